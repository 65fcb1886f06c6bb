import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { highWord, lowWord } from '../../src/base/words.js';
import { DMA_READ, DMA_WRITE, NO_PASID } from '../../src/bus/dma.js';
import { DmaPort } from '../../src/bus/dma-port.js';
import { SparsePages } from '../../src/machine/local-memory.js';
import type { Backing } from '../../src/mem/client.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { dice } from '../dice.js';
import { PageTranslator } from './page-translator.js';

const PAGE = 4096;
/** Pages of the backing of a test; every other one belongs to somebody else. */
const FRAMES = 32;
const RW = DMA_READ | DMA_WRITE;

/** The same memory without direct views, as private memory is. */
class CalledPages implements Backing {
  readonly id: number;
  constructor(readonly pages: SparsePages) {
    this.id = pages.id;
  }
  read(offset: bigint, into: Uint8Array): boolean {
    return this.pages.read(offset, into);
  }
  write(offset: bigint, from: Uint8Array): boolean {
    return this.pages.write(offset, from);
  }
}

interface World {
  readonly translator: PageTranslator;
  readonly port: DmaPort;
  readonly pages: SparsePages;
  readonly memory: PhysicalMemory;
  readonly base: bigint;
}

function makeWorld(isDirect: boolean, offset = 0): World {
  const memory = new PhysicalMemory(new Injector());
  const pages = new SparsePages(offset + FRAMES * PAGE);
  const backing: Backing = isDirect ? pages : new CalledPages(pages);
  const [window] = memory.window(backing, BigInt(offset), BigInt(FRAMES * PAGE))!;
  const translator = new PageTranslator();
  return { translator, port: new DmaPort(0x10, translator, memory), pages, memory, base: window!.hpa };
}

const bytesOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 0xff);

describe.each([
  ['reached directly', true],
  ['reached by calls', false],
])('memory that is %s', (_, isDirect) => {
  test('a write is found by a read of the same address, across pages that lie apart', () => {
    const { translator, port, base } = makeWorld(isDirect);
    [5, 2, 9, 0].forEach((frame, i) =>
      translator.map(NO_PASID, BigInt(i * PAGE), base + BigInt(frame * PAGE)),
    );
    const data = bytesOf(3 * PAGE + 100, 1);
    expect(port.write(0, 77, data)).toBe(true);
    const back = new Uint8Array(data.length);
    expect(port.read(0, 77, back)).toBe(true);
    expect(back).toEqual(data);
    expect(port.done).toBe(data.length);
  });

  test('stops at the first byte that is not mapped, and has moved what is before it', () => {
    const { translator, port, base, pages } = makeWorld(isDirect);
    translator.map(NO_PASID, 0x1000n, base);
    expect(port.write(0, 0x1f00, bytesOf(PAGE, 3))).toBe(false);
    expect(port.done).toBe(0x100);
    expect(port).toMatchObject({ stop: 'refused', stopLo: 0x2000, stopAccess: DMA_WRITE, reason: 0x71 });
    const found = new Uint8Array(0x100);
    pages.read(0xf00n, found);
    expect(found).toEqual(bytesOf(PAGE, 3).subarray(0, 0x100));
  });

  test('what may only be read is not written', () => {
    const { translator, port, base } = makeWorld(isDirect);
    translator.map(NO_PASID, 0n, base, DMA_READ);
    expect(port.read(0, 0, new Uint8Array(8))).toBe(true);
    expect(port.write(0, 0, new Uint8Array(8))).toBe(false);
    expect(port.reason).toBe(0x85);
    expect(port.fetchAdd(0, 0, 8, 1n)).toBe(false);
    expect(port.stopAccess).toBe(RW);
  });

  test.each([4, 8] as const)('atomic operations of %i bytes return what was there', (width) => {
    const { translator, port, base } = makeWorld(isDirect);
    translator.map(NO_PASID, 0n, base);
    const limit = 1n << BigInt(8 * width);
    expect(port.fetchAdd(0, 8, width, limit - 3n)).toBe(true);
    expect(port.old).toBe(0n);
    expect(port.fetchAdd(0, 8, width, 5n)).toBe(true);
    expect(port.old).toBe(limit - 3n);
    expect(port.compareExchange(0, 8, width, 1n, 9n)).toBe(true);
    expect(port.old).toBe(2n);
    expect(port.compareExchange(0, 8, width, 2n, limit - 1n)).toBe(true);
    expect(port.old).toBe(2n);
    const found = new Uint8Array(16);
    port.read(0, 4, found);
    const expected = new Uint8Array(16).fill(255, 4, 4 + width);
    expect(found).toEqual(expected);
  });

  test('a PASID sees its own address space', () => {
    const { translator, port, base } = makeWorld(isDirect);
    translator.map(NO_PASID, 0n, base);
    translator.map(7, 0n, base + 4096n);
    port.write(0, 0, bytesOf(16, 1));
    port.pasid = 7;
    port.write(0, 0, bytesOf(16, 2));
    const found = new Uint8Array(16);
    port.read(0, 0, found);
    expect(found).toEqual(bytesOf(16, 2));
    port.pasid = NO_PASID;
    port.read(0, 0, found);
    expect(found).toEqual(bytesOf(16, 1));
    port.pasid = 8;
    expect(port.read(0, 0, found)).toBe(false);
  });

  test('memory that is mapped and gone is told apart from what is not mapped', () => {
    const { translator, port, memory, base } = makeWorld(isDirect);
    translator.map(NO_PASID, 0n, base);
    translator.map(NO_PASID, 0x1000n, base + BigInt(FRAMES * PAGE) - 4096n);
    const short = new SparsePages(PAGE);
    const [window] = memory.window(isDirect ? short : new CalledPages(short), 0n, 0x4000n)!;
    translator.map(NO_PASID, 0x2000n, window!.hpa + 0x1000n);
    expect(port.read(0, 0x1ff0, new Uint8Array(32))).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', done: 16, stopLo: 0x2000 });
    expect(port.copy(0, 0x2000, 0, 0, 8)).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', stopLo: 0x2000, stopAccess: DMA_READ });
    expect(port.copy(0, 0, 0, 0x2000, 8)).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', stopLo: 0x2000, stopAccess: DMA_WRITE });
    expect(port.fetchAdd(0, 0x2000, 8, 1n)).toBe(false);
    expect(port.stop).toBe('gone');
  });

  test('memory that goes and comes between translation and copy is met in the end, and not waited for', () => {
    const { translator, port, memory } = makeWorld(isDirect);
    let isGone = 0;
    const restless = new CalledPages(new SparsePages(PAGE));
    const [window] = memory.window(
      {
        id: restless.id,
        read: (offset, into) => (isGone-- > 0 ? false : restless.read(offset, into)),
        write: (offset, from) => (isGone-- > 0 ? false : restless.write(offset, from)),
      },
      0n,
      4096n,
    )!;
    translator.map(NO_PASID, 0n, window!.hpa);
    isGone = 5;
    expect(port.write(0, 8, bytesOf(8, 1))).toBe(true);
    isGone = 5;
    const found = new Uint8Array(8);
    expect(port.read(0, 8, found)).toBe(true);
    expect(found).toEqual(bytesOf(8, 1));
    isGone = 5;
    expect(port.fetchAdd(0, 16, 8, 3n)).toBe(true);
    isGone = 5;
    expect(port.compareExchange(0, 16, 8, 3n, 4n)).toBe(true);
    expect(port.old).toBe(3n);
    isGone = Infinity;
    expect(port.read(0, 8, found)).toBe(false);
    expect(port.stop).toBe('gone');
  });

  test('agrees with a flat address space, and touches nothing beside what is mapped', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => playFlat(makeWorld(isDirect), dice(seed), 500)),
      { numRuns: 100 },
    );
  });
});

/** toEqual of arrays takes a microsecond a byte. */
function expectSame(found: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(found, expected) !== 0) expect(found).toEqual(expected);
}

/** Where the address space of {@link playFlat} begins: its low word wraps in the middle. */
const FLAT_START = 0x12_ffff_8000n;
const FLAT_PAGES = 16;

const hi = (at: number): number => highWord(FLAT_START + BigInt(at));
const lo = (at: number): number => lowWord(FLAT_START + BigInt(at));

/** Random operations on a port and on flat arrays beside it. */
function playFlat(
  { translator, port, pages, base }: World,
  next: (below: number) => number,
  steps: number,
): void {
  translator.largestBlock = 12 + next(5);
  const flat = new Uint8Array(FLAT_PAGES * PAGE);
  const isMapped: (number | null)[] = Array.from({ length: FLAT_PAGES }, () => null);
  const free = Array.from({ length: FRAMES / 2 }, (_, i) => 2 * i);
  const canary = bytesOf(PAGE, 99);
  for (let frame = 0; frame < FRAMES; frame++) pages.write(BigInt(frame * PAGE), canary);
  const change = (page: number): void => {
    const iova = FLAT_START + BigInt(page * PAGE);
    const old = isMapped[page]!;
    if (old !== null) {
      translator.unmap(NO_PASID, iova);
      free.push(old);
      pages.write(BigInt(old * PAGE), canary);
      isMapped[page] = null;
    } else if (free.length > 0) {
      const frame = free.splice(next(free.length), 1)[0]!;
      translator.map(NO_PASID, iova, base + BigInt(frame * PAGE));
      flat.fill(0, page * PAGE, (page + 1) * PAGE);
      pages.write(BigInt(frame * PAGE), new Uint8Array(PAGE));
      isMapped[page] = frame;
    }
  };
  for (let page = 0; page < FLAT_PAGES; page++) if (next(5) > 0) change(page);
  /** How many of `length` bytes from `at` on are mapped without a gap. */
  const mapped = (at: number, length: number): number => {
    let end = at;
    while (end < at + length && (isMapped[end >> 12] ?? null) !== null)
      end = Math.min(at + length, (end | 0xfff) + 1);
    return end - at;
  };
  for (let step = 0; step < steps; step++) {
    const at = next(flat.length);
    const length = 1 + next(next(3) === 0 ? 4 * PAGE : 64);
    const reach = mapped(at, length);
    const kind = next(8);
    if (kind === 0) change(at >> 12);
    else if (kind < 3) {
      const data = bytesOf(length, step);
      expect(port.write(hi(at), lo(at), data)).toBe(reach === length);
      expect(port.done).toBe(reach);
      flat.set(data.subarray(0, reach), at);
    } else if (kind < 6) {
      const found = new Uint8Array(length);
      expect(port.read(hi(at), lo(at), found)).toBe(reach === length);
      expect(port.done).toBe(reach);
      expectSame(found.subarray(0, reach), flat.subarray(at, at + reach));
    } else {
      const to = next(flat.length);
      if (Math.abs(to - at) < length) continue;
      const done = Math.min(reach, mapped(to, length));
      expect(port.copy(hi(at), lo(at), hi(to), lo(to), length)).toBe(done === length);
      expect(port.done).toBe(done);
      flat.copyWithin(to, at, at + done);
    }
  }
  const found = new Uint8Array(PAGE);
  for (let frame = 0; frame < FRAMES; frame++) {
    const page = isMapped.indexOf(frame);
    pages.read(BigInt(frame * PAGE), found);
    expectSame(found, page < 0 ? canary : flat.subarray(page * PAGE, (page + 1) * PAGE));
  }
}

describe('runs', () => {
  test('pages that are adjacent in physical memory are one run, and one view', () => {
    const { translator, port, base, memory } = makeWorld(true);
    for (let page = 0; page < 16; page++)
      translator.map(NO_PASID, BigInt(page * PAGE), base + BigInt(page * PAGE));
    let touched = 0;
    const { readAt } = memory;
    memory.readAt = (...args) => {
      touched += 1;
      return readAt.apply(memory, args);
    };
    expect(port.read(0, 0, new Uint8Array(16 * PAGE))).toBe(true);
    expect(touched).toBe(1);
    expect(translator.asked).toBe(16);
  });

  test('a block is asked about once', () => {
    const { translator, port, base } = makeWorld(true);
    translator.largestBlock = 16;
    for (let page = 0; page < 16; page++)
      translator.map(NO_PASID, BigInt(page * PAGE), base + BigInt(page * PAGE));
    expect(port.read(0, 0, new Uint8Array(16 * PAGE))).toBe(true);
    expect(translator.asked).toBe(1);
    expect(port.copy(0, 0, 0, 8 * PAGE, 8 * PAGE)).toBe(true);
    expect(translator.asked).toBe(3);
  });

  test.each([30, 31, 32, 33, 47, 52, 64])('a block of 2^%i bytes ends where it ends', (sizeLg2) => {
    const { memory, base } = makeWorld(true);
    const asked: number[] = [];
    const port = new DmaPort(
      1,
      {
        translate: (request) => {
          asked.push(request.lo >>> 0);
          [request.hpaHi, request.hpaLo] = [highWord(base), lowWord(base) + (asked.length - 1) * 8];
          request.sizeLg2 = sizeLg2;
          return true;
        },
      },
      memory,
    );
    expect(port.read(0x7fff_ffff, 0xffff_fff8 | 0, new Uint8Array(16))).toBe(true);
    expect(asked).toEqual([0xffff_fff8, 0]);
  });
});

describe('one operation at a time', () => {
  const bytes = new Uint8Array(PAGE);
  const operations: Readonly<Record<string, (port: DmaPort) => boolean>> = {
    read: (port) => port.read(0, 0, bytes),
    write: (port) => port.write(0, 0, bytes),
    copy: (port) => port.copy(0, 0, 0, 0, PAGE),
    fetchAdd: (port) => port.fetchAdd(0, 0, 8, 1n),
    compareExchange: (port) => port.compareExchange(0, 0, 4, 0n, 1n),
  };
  const pairs = Object.keys(operations).flatMap((outer) =>
    Object.keys(operations).map((inner): [string, string] => [outer, inner]),
  );

  test.each(pairs)('in the middle of a %s there is no %s, and afterwards each is done', (outer, inner) => {
    const { translator, port, base } = makeWorld(true);
    translator.map(NO_PASID, 0n, base);
    const translate = translator.translate.bind(translator);
    translator.translate = () => operations[inner]!(port);
    expect(() => operations[outer]!(port)).toThrow(
      'a device began an operation while it was asked about another',
    );
    translator.translate = translate;
    for (const name of [outer, inner]) expect(operations[name]!(port)).toBe(true);
  });

  test('who is told of a write may begin the next', () => {
    const { translator, port, base } = makeWorld(true);
    translator.map(NO_PASID, 0n, base);
    for (const outer of ['write', 'copy', 'fetchAdd', 'compareExchange']) {
      const told: boolean[] = [];
      port.observer = {
        wrote() {
          port.observer = null;
          for (const inner of Object.values(operations)) told.push(inner(port));
        },
      };
      expect(operations[outer]!(port)).toBe(true);
      expect([outer, told]).toEqual([outer, [true, true, true, true, true]]);
    }
  });
});
