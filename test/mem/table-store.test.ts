import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { Epoch } from '../../src/mem/epoch.js';
import { TableQuota, TableStore } from '../../src/mem/table-store.js';

function fill(store: TableStore, frame: number, bytes: number, word: number): void {
  for (let at = 0; at < bytes; at += 4096) {
    const of = frame + at / 4096;
    store.wordsOf(of)!.fill(word, store.wordOf(of), store.wordOf(of) + 1024);
  }
}

function sumOf(store: TableStore, frame: number, bytes: number): number {
  let sum = 0;
  for (let at = 0; at < bytes; at += 4096) {
    const of = frame + at / 4096;
    const base = store.wordOf(of);
    for (const word of store.wordsOf(of)!.subarray(base, base + 1024)) sum += word;
  }
  return sum;
}

describe('table store', () => {
  test('a block is zero when it is handed out, also the second time', () => {
    const store = new TableStore(new Injector(), new Epoch());
    const arena = store.openArena();
    for (const lg2 of [12, 16, 22]) {
      const frame = arena.allocate(lg2);
      expect(sumOf(store, frame, 2 ** lg2)).toBe(0);
      fill(store, frame, 2 ** lg2, 1);
      arena.free(frame);
      expect(arena.allocate(lg2)).toBe(frame);
      expect(sumOf(store, frame, 2 ** lg2)).toBe(0);
    }
  });

  test('an arena frees only what it holds, and that once', () => {
    const store = new TableStore(new Injector(), new Epoch());
    const mine = store.openArena();
    const other = store.openArena();
    const frame = mine.allocate(14);
    expect(other.free(frame)).toBe(false);
    expect(mine.free(frame + 1)).toBe(false);
    expect(mine.free(0)).toBe(false);
    expect(mine.free(1 << 23)).toBe(false);
    expect(mine.free(frame)).toBe(true);
    expect(mine.free(frame)).toBe(false);
    expect(store.liveBlocks).toBe(0);
  });

  test('an injected failure is one failure', () => {
    const injector = new Injector();
    const arena = new TableStore(injector, new Epoch()).openArena();
    injector.arm(2);
    expect(arena.allocate(12)).toBeGreaterThan(0);
    expect(arena.allocate(12)).toBe(0);
    expect(arena.allocate(12)).toBeGreaterThan(0);
    expect(injector.fired).toBe('page table');
  });

  test('arenas of one quota share it', () => {
    const store = new TableStore(new Injector(), new Epoch());
    const quota = new TableQuota(8192);
    const [a, b] = [store.openArena(quota), store.openArena(quota)];
    const frame = a.allocate(12);
    expect(b.allocate(12)).toBeGreaterThan(0);
    expect(b.allocate(12)).toBe(0);
    a.free(frame);
    expect(b.allocate(12)).toBeGreaterThan(0);
    b.release();
    expect(quota.usedBytes).toBe(0);
    expect(store.liveBytes).toBe(0);
  });

  test('live blocks are aligned to their size and never overlap, whatever is freed in between', () => {
    const step = fc.record({ lg2: fc.integer({ min: 12, max: 20 }), free: fc.boolean(), pick: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const store = new TableStore(new Injector(), new Epoch());
        const arenas = [store.openArena(), store.openArena()];
        const live: { arena: number; frame: number; frames: number }[] = [];
        for (const { lg2, free, pick } of steps) {
          if (free && live.length > 0) {
            const [block] = live.splice(pick % live.length, 1);
            expect(arenas[block!.arena]!.free(block!.frame)).toBe(true);
          } else {
            const frame = arenas[pick % 2]!.allocate(lg2);
            const frames = 1 << (lg2 - 12);
            expect(frame % frames).toBe(0);
            for (const other of live) {
              expect(frame + frames <= other.frame || other.frame + other.frames <= frame).toBe(true);
            }
            live.push({ arena: pick % 2, frame, frames });
          }
        }
        expect(store.liveBlocks).toBe(live.length);
        for (const arena of arenas) arena.release();
        expect([store.liveBlocks, store.liveBytes]).toEqual([0, 0]);
      }),
      { numRuns: 60 },
    );
  });
});

describe('generations', () => {
  test('a change counts for its arena, in any frame of any block, and for all', () => {
    const store = new TableStore(new Injector(), new Epoch());
    const mine = store.openArena();
    const other = store.openArena();
    const frame = mine.allocate(15);
    const theirs = other.allocate(12);
    const before = store.generations.slice();
    const { moves } = store;
    store.bumpFrame(frame + 7);
    mine.bump();
    expect(store.generations[store.slotOf(frame)]! - before[store.slotOf(frame)]!).toBe(2);
    expect(store.generations[store.slotOf(theirs)]).toBe(before[store.slotOf(theirs)]);
    expect(store.slotOf(frame + 3)).toBe(store.slotOf(frame));
    expect(store.moves).toBe(moves + 2);
  });

  test('a freed block belongs to nobody, and its arena has changed', () => {
    const store = new TableStore(new Injector(), new Epoch());
    const arena = store.openArena();
    const frame = arena.allocate(14);
    const slot = store.slotOf(frame);
    const before = store.generations[slot]!;
    arena.free(frame);
    expect(store.generations[slot]).toBe(before + 1);
    for (let at = frame; at < frame + 4; at += 1) expect(store.ownerOf(at)).toBe(0);
    expect([store.ownerOf(0), store.ownerOf(1 << 23)]).toEqual([0, 0]);
  });
});
