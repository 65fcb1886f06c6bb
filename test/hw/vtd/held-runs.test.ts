/** What a port goes on in without asking again: only what a hit would give, and only for as long as it would. */
import { describe, expect, test } from 'vitest';
import type { Resolver } from '../../../src/bus/dma-port.js';
import { DmaPort } from '../../../src/bus/dma-port.js';
import { SparsePages } from '../../../src/machine/local-memory.js';
import type { Backing, DirectView } from '../../../src/mem/client.js';
import { dice } from '../../dice.js';
import {
  contextInvalidate,
  pages,
  pasidCacheInvalidate,
  pasidIotlbInvalidate,
  QueueWorld,
} from './queue-world.js';
import { context, FS_LEAF, FS_TABLE, mapPage, pasidEntry, PS } from './structures.js';
import { PASID, PRIV, SOURCE } from './world.js';

const PAGE = 0x1000;
const FRAMES = 64;
/** The high word of an address is not 0, and the low word wraps after half of the pages. */
const START = 0x2_0000_0000n - BigInt((FRAMES / 2) * PAGE);
const RW = 2n;

const iovaOf = (page: number): bigint => START + BigInt(page * PAGE);
const wordsOf = (page: number): [number, number] => [
  Number(iovaOf(page) >> 32n),
  Number(iovaOf(page) & 0xffff_ffffn) | 0,
];

/** Memory whose views can be taken back, as those of a file that is cut short are. */
class Lent implements Backing {
  readonly pages = new SparsePages(FRAMES * PAGE);
  readonly id = this.pages.id;
  isLent = true;
  #view: DirectView | null = null;

  view(offset: number): DirectView | null {
    if (!this.isLent) return null;
    const { start, bytes, words } = this.pages.view(offset)!;
    const lent = { start, bytes, words, alive: true };
    return (this.#view ??= lent);
  }

  takeBack(): void {
    this.isLent = false;
    Object.assign(this.#view!, { alive: false });
  }

  read(offset: bigint, into: Uint8Array): boolean {
    return this.pages.read(offset, into);
  }

  write(offset: bigint, from: Uint8Array): boolean {
    return this.pages.write(offset, from);
  }
}

/**
 * Every page of the device's addresses is a frame, which holds its own number plus one. The guest's tables and the queue
 * are the backing's last frames, so that neither a change there nor a command is one that ioasis counts.
 */
class Scene extends QueueWorld {
  readonly backing = new Lent();
  readonly hpa = this.memory.window(this.backing, 0n, BigInt(FRAMES * PAGE))![0]!.hpa;
  readonly first = this.table();
  readonly entry: bigint;
  readonly leaves = FRAMES - 3;
  asked = 0;
  readonly port: DmaPort;

  constructor(frameOf = (page: number): number => page) {
    super();
    const guest = context(this);
    this.entry = guest.entry;
    pasidEntry(this, guest.entry, 1n, { first: this.first });
    for (const [index, iova] of [START, 0x2_0000_0000n].entries()) {
      const [, , directory] = mapPage(this, this.first, iova, 0n);
      this.put(directory!, this.#tableAt(index) | FS_TABLE);
    }
    for (let page = 0; page < this.leaves; page += 1) {
      this.map(page, frameOf(page));
      this.backing.write(BigInt(page * PAGE), new Uint8Array(PAGE).fill(page + 1));
    }
    this.moveQueue(this.#tableAt(-1));
    this.start();
    const { unit } = this;
    const resolver: Resolver = {
      translate: (request) => unit.translate(request),
      translateRuns: (request, length, runs) => {
        this.asked += 1;
        return unit.translateRuns(request, length, runs);
      },
    };
    this.port = new DmaPort(SOURCE, resolver, this.memory);
    this.port.pasid = PASID;
  }

  #tableAt(index: number): bigint {
    return this.hpa + BigInt((FRAMES - 2 + index) * PAGE);
  }

  /** Writes an entry of the guest, which moves nothing that ioasis counts. */
  map(page: number, frame: number | null, flags = FS_LEAF): void {
    const iova = START + BigInt(page * PAGE);
    const table = this.#tableAt(iova < 0x2_0000_0000n ? 0 : 1);
    const entry = frame === null ? 0n : (this.hpa + BigInt(frame * PAGE)) | flags;
    this.put(table + ((iova >> 12n) & 511n) * 8n, entry);
  }

  /** What the device finds at a page: the number of the frame; null when it was stopped. */
  find(page: number, length = 16): number | null {
    const into = new Uint8Array(length);
    const isDone = this.port.read(...wordsOf(page), into);
    expect(new Set(into).size).toBe(1);
    return isDone ? into[0]! - 1 : null;
  }

  /** The same, three times: by a walk, by hits, by what is held. */
  hold(page: number): number | null {
    this.find(page);
    this.find(page);
    const { asked } = this;
    const found = this.find(page);
    expect(this.asked).toBe(asked);
    return found;
  }
}

describe('what is held', () => {
  test('is gone on in without asking, and grows with adjacent memory', () => {
    const scene = new Scene();
    for (let turn = 0; turn < 2; turn += 1) {
      for (let page = 0; page < FRAMES / 2; page += 1) scene.find(page, PAGE);
    }
    const { asked } = scene;
    for (let page = 0; page < FRAMES / 2; page += 1) expect(scene.find(page)).toBe(page);
    expect(scene.asked).toBe(asked);
  });

  test('does not go on where the high word changes, nor where memory lies elsewhere', () => {
    const scene = new Scene((page) => (page === 5 ? 50 : page));
    for (let turn = 0; turn < 3; turn += 1) {
      for (let page = 0; page < scene.leaves; page += 1) {
        expect(scene.find(page, PAGE)).toBe(page === 5 ? 50 : page);
      }
    }
  });

  test('is for its PASID, its access and its attributes alone', () => {
    const scene = new Scene();
    scene.map(0, 0, FS_LEAF & ~RW);
    expect(scene.hold(0)).toBe(0);
    const { port } = scene;
    expect(port.write(...wordsOf(0), new Uint8Array(16))).toBe(false);
    port.pasid = 4;
    expect(scene.find(0)).toBeNull();
    port.pasid = PASID;
    port.attributes = PRIV;
    const { asked } = scene;
    expect(scene.find(0)).toBe(0);
    expect(scene.asked).toBe(asked + 1);
  });

  test('stays what it was while the guest has not invalidated, as a hit does', () => {
    const scene = new Scene();
    expect(scene.hold(3)).toBe(3);
    scene.map(3, 9);
    expect(scene.find(3)).toBe(3);
    scene.submit(pasidIotlbInvalidate(3n), pages(iovaOf(3)));
    expect(scene.find(3)).toBe(9);
  });
});

describe('ends with', () => {
  test.each([
    ['an invalidation of its page', [pasidIotlbInvalidate(3n), pages(iovaOf(3))]],
    ['an invalidation of all pages of its PASID', [pasidIotlbInvalidate(2n)]],
  ])('%s', (_, descriptor) => {
    const scene = new Scene();
    scene.hold(3);
    scene.map(3, null);
    scene.submit(...descriptor);
    expect(scene.find(3)).toBeNull();
  });

  test.each([
    ['an invalidation of its PASID', pasidCacheInvalidate(1n)],
    ['an invalidation of its context', contextInvalidate(1n)],
  ])('%s', (_, descriptor) => {
    const scene = new Scene();
    scene.hold(3);
    const { asked } = scene;
    scene.submit(descriptor);
    expect(scene.find(3)).toBe(3);
    expect(scene.asked).toBe(asked + 1);
  });

  test('its PASID entry, once that is invalidated', () => {
    const scene = new Scene();
    scene.hold(3);
    scene.put(scene.entry, 0n);
    scene.submit(pasidCacheInvalidate(1n));
    expect(scene.find(3)).toBeNull();
  });

  test('a table of ioasis that changes, and a stale hit is told', () => {
    const scene = new Scene();
    scene.hold(3);
    mapPage(scene, scene.first, iovaOf(3), (scene.hpa + BigInt(9 * PAGE)) | FS_LEAF);
    scene.map(3, 9);
    const [, , directory] = mapPage(scene, scene.first, iovaOf(3), 0n);
    scene.put(directory!, 0n);
    expect(scene.find(3)).toBe(3);
    expect(scene.stale.map((hit) => hit.iova)).toEqual([iovaOf(3)]);
  });

  test('checking, which looks at every hit', () => {
    const scene = new Scene();
    scene.hold(3);
    scene.map(3, 9);
    scene.unit.checking = true;
    expect(scene.find(3)).toBe(3);
    expect(scene.stale).toHaveLength(1);
    scene.find(3);
    const { asked } = scene;
    scene.find(3);
    expect(scene.asked).toBe(asked + 1);
  });

  test('translation, when it is switched off', () => {
    const scene = new Scene();
    scene.hold(3);
    scene.unit.write32(0x18, scene.unit.read32(0x1c) & ~0x8000_0000);
    expect(scene.find(3)).toBeNull();
    expect(scene.port.stop).toBe('gone');
  });

  test('its entry, when that has to make room', () => {
    const scene = new Scene();
    const frame = iovaOf(3) >> 12n;
    // Pages of the same set: low bits and those above them are exclusive-ored.
    const others = Array.from({ length: 8 }, (_, i) => (frame ^ (BigInt(i + 1) * 0x4001n)) << 12n);
    for (const iova of others) mapPage(scene, scene.first, iova, scene.hpa | FS_LEAF);
    expect(scene.hold(3)).toBe(3);
    scene.map(3, 9);
    expect(scene.find(3)).toBe(3);
    for (const iova of others) expect(scene.ask(iova)).toBe(scene.hpa);
    expect(scene.find(3)).toBe(9);
  });

  test('another entry for its page, of another size, that answers from then on', () => {
    const scene = new Scene();
    const D = 64n;
    scene.map(3, 3, FS_LEAF & ~D);
    expect(scene.hold(3)).toBe(3);
    // The guest puts a large page there, and drops another one. A store still has to set the dirty bit.
    const [, , directory] = mapPage(scene, scene.first, iovaOf(3), 0n);
    const [large] = scene.memory.window(new SparsePages(1 << 21), 0n, 1n << 21n)!;
    scene.put(directory!, large!.hpa | FS_LEAF | PS);
    scene.submit(pasidIotlbInvalidate(3n), pages(iovaOf(4)));
    expect(scene.hold(3)).toBe(3);
    expect(scene.port.write(...wordsOf(3), new Uint8Array(16).fill(78))).toBe(true);
    const fresh = new DmaPort(SOURCE, scene.unit, scene.memory);
    fresh.pasid = PASID;
    const into = new Uint8Array(1);
    expect(fresh.read(...wordsOf(3), into)).toBe(true);
    expect([into[0]! - 1, scene.find(3)]).toEqual([77, 77]);
  });

  test('its place in physical memory', () => {
    const scene = new Scene();
    scene.hold(3);
    scene.memory.unwindow(scene.backing, 0n, BigInt(FRAMES * PAGE));
    expect(scene.find(3)).toBeNull();
    expect(scene.port.stop).toBe('gone');
  });

  test('the view of its memory, which is then reached by calls', () => {
    const scene = new Scene();
    scene.hold(3);
    scene.backing.takeBack();
    expect(scene.find(3)).toBe(3);
    expect(scene.port.write(...wordsOf(3), new Uint8Array(PAGE).fill(77))).toBe(true);
    expect(scene.port.done).toBe(PAGE);
    expect(scene.find(3)).toBe(76);
  });
});

test('the same few buffers agree with the tables, whatever the guest changes and tells', () => {
  const next = dice(7);
  const scene = new Scene();
  const { leaves, port } = scene;
  const frames: (number | null)[] = Array.from({ length: leaves }, (_, page) => page);
  const bytes = new Uint8Array(leaves * PAGE).map((_, at) => (at >> 12) + 1);
  const expectRead = (page: number, length: number): void => {
    const into = new Uint8Array(length);
    const isDone = port.read(...wordsOf(page), into);
    const mapped = frames.slice(page, page + length / PAGE);
    const missing = mapped.indexOf(null);
    const known = missing < 0 ? mapped : mapped.slice(0, missing);
    expect(isDone).toBe(missing < 0);
    expect(port.done).toBe(known.length * PAGE);
    known.forEach((frame, i) => {
      const found = into.subarray(i * PAGE, (i + 1) * PAGE);
      expect(Buffer.compare(found, bytes.subarray(frame! * PAGE, (frame! + 1) * PAGE))).toBe(0);
    });
  };
  const buffers = Array.from({ length: 6 }, () => ({ page: next(20), pages: 1 + next(12) }));
  for (let step = 0; step < 4000; step += 1) {
    if (next(20) === 0) {
      const page = next(leaves);
      frames[page] = next(30) === 0 ? null : next(4) === 0 ? next(leaves) : page;
      scene.map(page, frames[page]!);
      scene.submit(pasidIotlbInvalidate(3n), pages(iovaOf(page)));
    }
    const { page, pages: count } = buffers[next(buffers.length)]!;
    const to = page + 20;
    const isMapped = [...frames.slice(page, page + count), ...frames.slice(to, to + count)].every(
      (f) => f !== null,
    );
    if (isMapped && next(2) === 0) {
      expect(port.copy(...wordsOf(page), ...wordsOf(to), count * PAGE)).toBe(true);
      for (let i = 0; i < count; i += 1) {
        const from = frames[page + i]! * PAGE;
        bytes.copyWithin(frames[to + i]! * PAGE, from, from + PAGE);
      }
    }
    expectRead(to, count * PAGE);
    scene.faults();
  }
});
