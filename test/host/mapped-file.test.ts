/** Files of shared memory that the daemon maps, and what becomes of a view when its file is cut short. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { highWord, lowWord } from '../../src/base/words.js';
import { DMA_READ, DMA_WRITE, NO_PASID, type Translation } from '../../src/bus/dma.js';
import { DmaPort, type Resolver } from '../../src/bus/dma-port.js';
import { FileBackings } from '../../src/host/backing.js';
import * as sys from '../../src/host/sys.js';
import { compareExchange, fetchAdd } from '../../src/mem/atomic.js';
import type { Backing } from '../../src/mem/client.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import type { RunList } from '../../src/mem/runs.js';
import { PageTranslator } from '../bus/page-translator.js';

const PAGE = 4096;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 2;
const F_SEAL_WRITE = 8;
const EBUSY = 16;

const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

interface File {
  readonly fd: number;
  readonly backing: Backing & Required<Pick<Backing, 'view' | 'unseen'>>;
}

/** A memfd of `size` bytes, as the daemon knows it when a client has passed it. */
function memfd(size: number): File {
  const fd = sys.memfdCreate('test', MFD_ALLOW_SEALING);
  sys.ftruncate(fd, size);
  return known(fd);
}

function known(fd: number): File {
  const backings = new FileBackings();
  const own = sys.open(`/proc/self/fd/${fd}`, sys.O_RDWR, 0);
  const backing = backings.ofDescriptor(own, sys.fstat(own)!) as File['backing'];
  open.push({
    close: () => {
      backings.put(backing as never);
      sys.close(fd);
    },
  });
  return { fd, backing };
}

/** A port that is told that all is cached; its pages are where {@link map} puts them in the file. */
class World implements Resolver {
  readonly memory = new PhysicalMemory(new Injector());
  readonly hpa: bigint;
  readonly #places: number[] = [];

  constructor(
    readonly backing: File['backing'],
    length: number,
  ) {
    this.hpa = this.memory.window(backing, 0n, BigInt(length))![0]!.hpa;
  }

  map(iova: number, offset: number): void {
    this.#places[iova / PAGE] = offset;
  }

  at(offset: number): [number, number] {
    const hpa = this.hpa + BigInt(offset);
    return [highWord(hpa), lowWord(hpa)];
  }

  port(): DmaPort {
    return new DmaPort(1, this, this.memory);
  }

  translate(): never {
    throw new Error('runs are asked for');
  }

  translateRuns({ lo }: Translation, length: number, runs: RunList): boolean {
    for (let page = 0; page < length / PAGE; page++)
      runs.add(...this.at(this.#places[lo / PAGE + page]!), PAGE);
    runs.areHits = true;
    return true;
  }
}

const contents = (fd: number, at: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  sys.pread(fd, bytes, length, at);
  return bytes;
};

/** Whether the process has a shared mapping of a memfd called `test`. */
const isMappedHere = (): boolean => readFileSync('/proc/self/maps', 'latin1').includes('/memfd:test');

describe('a view', () => {
  test('is the file: stores of either side are seen by the other', () => {
    const { fd, backing } = memfd(3 * PAGE);
    const view = backing.view(PAGE + 5)!;
    expect(view).toMatchObject({ start: 0, alive: true });
    expect(view.bytes.length).toBe(3 * PAGE);
    view.bytes.set([1, 2, 3], PAGE);
    expect([...contents(fd, PAGE, 4)]).toEqual([1, 2, 3, 0]);
    sys.pwrite(fd, Uint8Array.of(9, 0, 0, 0), 4, 8);
    expect(view.words[2]).toBe(9);
    expect(backing.view(0)).toBe(view);
  });

  test('ends where the file ends, and a file that grows gets a longer one', () => {
    const { fd, backing } = memfd(PAGE + 100);
    const view = backing.view(0)!;
    expect(view.bytes.length).toBe(PAGE + 100);
    expect(backing.view(PAGE + 100)).toBeNull();
    sys.ftruncate(fd, 5 * PAGE);
    const longer = backing.view(4 * PAGE)!;
    expect(longer.bytes.length).toBe(5 * PAGE);
    expect(view.alive).toBe(false);
  });

  test('begins at a GiB', () => {
    const { fd, backing } = memfd(2 ** 30 + PAGE);
    const view = backing.view(2 ** 30 + 7)!;
    expect(view).toMatchObject({ start: 2 ** 30 });
    view.bytes[7] = 3;
    expect(contents(fd, 2 ** 30 + 7, 1)[0]).toBe(3);
  });

  test('lets go of the file when no window shows it, so that it can be sealed', () => {
    const { fd, backing } = memfd(PAGE);
    const view = backing.view(0)!;
    expect(isMappedHere()).toBe(true);
    expect(sys.fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)).toBe(-EBUSY);
    backing.unseen();
    expect(view.alive).toBe(false);
    expect(isMappedHere()).toBe(false);
    expect(sys.fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)).toBe(0);
  });

  test('there is none of a file that cannot be written, or that is no shared memory', () => {
    const sealed = memfd(PAGE);
    sys.fcntl(sealed.fd, F_ADD_SEALS, F_SEAL_WRITE);
    expect(sealed.backing.view(0)).toBeNull();
    expect(known(sys.open('/dev/null', sys.O_RDWR, 0)).backing.view(0)).toBeNull();
  });
});

describe('a file that has grown gets another view, and', () => {
  /** More than the least that addresses are reserved for, so that the longer view lies elsewhere. */
  const HALF = 4 << 20;

  const grown = (): { world: World; file: File; grow(): void } => {
    const file = memfd(HALF);
    const world = new World(file.backing, 2 * HALF);
    const { backing, memory } = world;
    memory.writeAt(...world.at(0), new Uint8Array(PAGE).fill(1), 0, PAGE);
    return {
      world,
      file,
      grow: () => {
        sys.ftruncate(file.fd, 2 * HALF);
        sys.pwrite(file.fd, new Uint8Array(PAGE).fill(2), PAGE, HALF);
        expect(backing.view(0)!.bytes.length).toBe(HALF);
      },
    };
  };

  test.each([1, 2])('a copy of %i runs from where it was not to where it was is done', (runs) => {
    const { world, file, grow } = grown();
    grow();
    world.map(0, HALF);
    world.map(PAGE, HALF + (runs - 1) * PAGE);
    world.map(2 * PAGE, 0);
    world.map(3 * PAGE, (runs - 1) * PAGE);
    expect(world.port().copy(0, 0, 0, 2 * PAGE, runs * PAGE)).toBe(true);
    expect(contents(file.fd, 0, PAGE).every((byte) => byte === 2)).toBe(true);
  });

  test('whoever holds the one before touches neither it nor what lies in its place', () => {
    const { world, file, grow } = grown();
    world.map(0, 0);
    world.map(PAGE, HALF);
    const port = world.port();
    for (let turn = 0; turn < 2; turn++) expect(port.write(0, 0, new Uint8Array(PAGE).fill(3))).toBe(true);
    grow();
    expect(world.port().read(0, PAGE, new Uint8Array(PAGE))).toBe(true);
    const other = memfd(HALF);
    const victim = other.backing.view(0)!;
    expect(port.write(0, 0, new Uint8Array(PAGE).fill(4))).toBe(true);
    expect(victim.bytes[0]).toBe(0);
    expect(contents(file.fd, 0, 1)[0]).toBe(4);
  });
});

test('a word that a file ends within is not there', () => {
  const { fd, backing } = memfd(PAGE + 98);
  const { memory, hpa } = new World(backing, 2 * PAGE);
  const hi = highWord(hpa);
  const at = (offset: number): number => lowWord(hpa) + PAGE + offset;
  expect(memory.load64(hi, at(88))).toBe(true);
  expect(memory.setBits64(hi, at(88), 0, 5)).toBe(true);
  expect(contents(fd, PAGE + 88, 1)[0]).toBe(5);
  expect(memory.load64(hi, at(96))).toBe(false);
  expect(memory.setBits64(hi, at(96), 0, 1)).toBe(false);
  for (const width of [4, 8] as const) {
    expect(fetchAdd(memory, hi, at(96), width, 1n)).toBe(false);
    expect(compareExchange(memory, hi, at(96), width, 0n, 1n)).toBe(false);
  }
  expect(contents(fd, PAGE + 96, 2)).toEqual(new Uint8Array(2));
});

describe('a file that is cut short under its view', () => {
  test.each([0, F_SEAL_SHRINK])('sealed by %i: is no end of the program', (seal) => {
    const { fd, backing } = memfd(4 * PAGE);
    sys.pwrite(fd, new Uint8Array(4 * PAGE).fill(7), 4 * PAGE, 0);
    if (seal !== 0) sys.fcntl(fd, F_ADD_SEALS, seal);
    const view = backing.view(0)!;
    expect(view.bytes[3 * PAGE]).toBe(7);
    const isCut = sys.ftruncate(fd, PAGE) === 0;
    expect(isCut).toBe(seal === 0);
    expect(view.bytes[3 * PAGE]).toBe(isCut ? 0 : 7);
    expect(view.alive).toBe(!isCut);
    expect(backing.view(3 * PAGE) === null).toBe(isCut);
    expect(backing.read(BigInt(3 * PAGE), new Uint8Array(8))).toBe(!isCut);
    expect(backing.view(0)!.bytes[0]).toBe(7);
  });

  test('has a view again when it is as long again', () => {
    const { fd, backing } = memfd(4 * PAGE);
    const view = backing.view(0)!;
    sys.ftruncate(fd, PAGE);
    view.bytes[2 * PAGE] = 5;
    sys.ftruncate(fd, 4 * PAGE);
    const again = backing.view(2 * PAGE)!;
    expect([view.alive, again.alive, again.bytes[2 * PAGE]]).toEqual([false, true, 0]);
    again.bytes[2 * PAGE] = 6;
    expect(contents(fd, 2 * PAGE, 1)[0]).toBe(6);
  });

  test('stops DMA with what is gone, and nothing is invented or grown', () => {
    const { fd, backing } = memfd(4 * PAGE);
    const memory = new PhysicalMemory(new Injector());
    const [window] = memory.window(backing, 0n, BigInt(4 * PAGE))!;
    const translator = new PageTranslator();
    for (let page = 0; page < 4; page++)
      translator.map(NO_PASID, BigInt(page * PAGE), window!.hpa + BigInt(page * PAGE));
    const port = new DmaPort(1, translator, memory);
    expect(port.write(0, 0, new Uint8Array(4 * PAGE).fill(1))).toBe(true);
    sys.ftruncate(fd, 2 * PAGE);
    expect(port.read(0, 3 * PAGE, new Uint8Array(100))).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', stopLo: 3 * PAGE, stopAccess: DMA_READ, done: 0 });
    expect(port.write(0, PAGE, new Uint8Array(2 * PAGE))).toBe(false);
    expect(port.copy(0, 3 * PAGE, 0, 0, 64)).toBe(false);
    expect(port.fetchAdd(0, 3 * PAGE, 8, 1n)).toBe(false);
    expect(memory.load64(highWord(window!.hpa), lowWord(window!.hpa) + 3 * PAGE)).toBe(false);
    expect(sys.fstat(fd)!.size).toBe(BigInt(2 * PAGE));
    expect(port.read(0, 0, new Uint8Array(PAGE))).toBe(true);
    sys.ftruncate(fd, 4 * PAGE);
    expect(port.write(0, 3 * PAGE, Uint8Array.of(8))).toBe(true);
    expect(contents(fd, 3 * PAGE, 1)[0]).toBe(8);
    memory.unwindow(backing, 0n, BigInt(4 * PAGE));
    expect(isMappedHere()).toBe(false);
  });

  test('pages that lie apart are moved at once, and what is gone among them stops it', () => {
    const pages = 8;
    const { fd, backing } = memfd(2 * pages * PAGE);
    const memory = new PhysicalMemory(new Injector());
    const [window] = memory.window(backing, 0n, BigInt(2 * pages * PAGE))!;
    const translator = new PageTranslator();
    const place = (page: number): number => (page < pages ? 0 : pages) + ((page * 3) % pages);
    for (let page = 0; page < 2 * pages; page++)
      translator.map(NO_PASID, BigInt(page * PAGE), window!.hpa + BigInt(place(page) * PAGE));
    const port = new DmaPort(1, translator, memory);
    const data = Uint8Array.from({ length: pages * PAGE - 100 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
    expect(port.write(0, 50, data)).toBe(true);
    const there = contents(fd, place(1) * PAGE, PAGE);
    expect(there).toEqual(data.subarray(PAGE - 50, 2 * PAGE - 50));
    expect(port.copy(0, 50, 0, pages * PAGE + 20, data.length)).toBe(true);
    const back = new Uint8Array(data.length);
    expect(port.read(0, pages * PAGE + 20, back)).toBe(true);
    expect(Buffer.compare(back, data)).toBe(0);
    // The last page of the file, which is not the last of the operation.
    sys.ftruncate(fd, (2 * pages - 1) * PAGE);
    const gone = Array.from({ length: pages }, (_, page) => page).find((page) => place(page + pages) === 15)!;
    expect(port.read(0, pages * PAGE, new Uint8Array(pages * PAGE))).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', done: gone * PAGE, stopLo: (pages + gone) * PAGE });
    expect(port.write(0, pages * PAGE, new Uint8Array(pages * PAGE))).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', done: gone * PAGE });
    expect(port.copy(0, 0, 0, pages * PAGE, pages * PAGE)).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', done: gone * PAGE, stopAccess: DMA_WRITE });
    expect(sys.fstat(fd)!.size).toBe(BigInt((2 * pages - 1) * PAGE));
    memory.unwindow(backing, 0n, BigInt(2 * pages * PAGE));
  });
});
