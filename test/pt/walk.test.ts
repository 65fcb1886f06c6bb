/** The one walk: pointers that skip levels, where it stops, and what it says of the way. */
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { amdv1 } from '../../src/pt/formats/amdv1.js';
import { EMPTY, INVALID, LEAF, TABLE } from '../../src/pt/format.js';
import { UNREADABLE, Walk, walk } from '../../src/pt/walk.js';

const PR = 1n;
const IR = 1n << 61n;
const IW = 1n << 62n;
const RIGHTS = IR | IW;
/** READ, EXEC and USER; and WRITE. */
const READABLE = 13;
const WRITABLE = 15;
const HPA = 0xf_0000_0000_0000n;

const hi = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const lo = (value: bigint): number => Number(BigInt.asIntN(32, value));
const join = (high: number, low: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
const lg2Of = (level: number): bigint => BigInt(12 + 9 * level);
const indexAt = (va: bigint, level: number): bigint => (va >> lg2Of(level)) & 511n;

/** A table of AMD's, the pointers of which say which level is next. */
class Scene {
  readonly memory = new PhysicalMemory(new Injector());
  readonly #arena = this.memory.tables.openArena();
  readonly out = new Walk();

  table(): bigint {
    return BigInt(this.#arena.allocate(12)) << 12n;
  }

  put(at: bigint, entry: bigint): void {
    expect(this.memory.store64(hi(at), lo(at), hi(entry), lo(entry))).toBe(true);
  }

  /** Points from the table of one level to that of another. */
  point(table: bigint, va: bigint, from: number, to: number, target: bigint, rights = RIGHTS): bigint {
    const at = table + indexAt(va, from) * 8n;
    this.put(at, target | (BigInt(to + 1) << 9n) | rights | PR);
    return at;
  }

  leaf(table: bigint, va: bigint, level: number, oa: bigint, rights = RIGHTS): bigint {
    const at = table + indexAt(va, level) * 8n;
    this.put(at, oa | rights | PR);
    return at;
  }

  walk(
    root: bigint,
    topLevel: number,
    va: bigint,
    stop = 0,
  ): { found: boolean; kind: number; level: number; at: bigint } {
    const { out } = this;
    const found = walk(
      this.memory,
      amdv1,
      { rootHi: hi(root), rootLo: lo(root), topLevel },
      hi(va),
      lo(va),
      out,
      stop,
    );
    return { found, kind: out.kind, level: out.level, at: join(out.atHi, out.atLo) };
  }
}

const skips = [1, 2, 3, 4, 5].flatMap((from) =>
  [0, 1, 2, 3, 4].filter((to) => to < from).map((to) => [from, to] as const),
);

describe('a pointer may skip levels', () => {
  test.each(skips)('from level %i to level %i, for addresses without bits in between', (from, to) => {
    const scene = new Scene();
    const [root, below] = [scene.table(), scene.table()];
    // Every second bit of what the tables look at, and none of what is skipped.
    const pattern = 0x5555_5555_5555_5555n;
    const isSkipped = (bit: bigint): boolean => bit >= lg2Of(to + 1) && bit < lg2Of(from);
    let va = pattern & ((1n << lg2Of(from + 1)) - 1n);
    for (let bit = 0n; bit < 64n; bit += 1n) if (isSkipped(bit)) va &= ~(1n << bit);
    const pointer = scene.point(root, va, from, to, below);
    const leaf = scene.leaf(below, va, to, HPA);
    const size = lg2Of(to);
    expect(scene.walk(root, from, va)).toEqual({ found: true, kind: LEAF, level: to, at: leaf });
    expect([scene.out.sizeLg2, scene.out.prot]).toEqual([Number(size), WRITABLE]);
    for (let bit = 0n; bit < lg2Of(from + 1) && bit < 64n; bit += 1n) {
      const { found, kind, level, at } = scene.walk(root, from, va ^ (1n << bit));
      const other = va ^ (1n << bit);
      if (bit < size) {
        expect([bit, found, join(scene.out.oaHi, scene.out.oaLo)]).toEqual([
          bit,
          true,
          HPA | (other & ((1n << size) - 1n)),
        ]);
        continue;
      }
      // Another entry of the lower table or of the root, or bits that no table looks at.
      const isIn = (which: number): boolean => bit >= lg2Of(which) && bit < lg2Of(which + 1);
      const table = isIn(to)
        ? below + indexAt(other, to) * 8n
        : isIn(from)
          ? root + indexAt(other, from) * 8n
          : pointer;
      expect([bit, found, kind, level, at]).toEqual([bit, false, EMPTY, isIn(to) ? to : from, table]);
    }
  });
});

describe('it says where it stops', () => {
  const levels = [5, 4, 3, 2, 1, 0];
  const va = 0x6543_2109_8765_4321n;

  function path(): { scene: Scene; tables: bigint[]; entries: bigint[] } {
    const scene = new Scene();
    const tables = levels.map(() => scene.table());
    const entries = levels.map((level, at) =>
      level === 0
        ? scene.leaf(tables[at]!, va, 0, HPA, IR)
        : scene.point(tables[at]!, va, level, level - 1, tables[at + 1]!, level === 2 ? IR : RIGHTS),
    );
    return { scene, tables, entries };
  }

  test.each(levels)('told to stop at level %i', (stop) => {
    const { scene, tables, entries } = path();
    const found = scene.walk(tables[0]!, 5, va, stop);
    expect(found).toEqual({
      found: stop === 0,
      kind: stop === 0 ? LEAF : TABLE,
      level: stop,
      at: entries[5 - stop],
    });
    const { out, memory } = scene;
    memory.load64(hi(entries[5 - stop]!), lo(entries[5 - stop]!));
    expect([out.entryHi, out.entryLo]).toEqual([memory.loadedHi, memory.loadedLo]);
    expect(out.prot).toBe(stop > 2 ? WRITABLE : READABLE);
  });

  test.each(levels.slice(1))('a table of level %i that lies nowhere', (level) => {
    const { scene, tables } = path();
    const nowhere = 0x2_3456_7000_0000n;
    scene.point(tables[4 - level]!, va, level + 1, level, nowhere);
    const at = nowhere + indexAt(va, level) * 8n;
    expect(scene.walk(tables[0]!, 5, va)).toEqual({ found: false, kind: UNREADABLE, level, at });
  });

  test.each(levels)('an entry of level %i that is empty, or has a reserved bit', (level) => {
    const { scene, tables, entries } = path();
    const at = entries[5 - level]!;
    scene.memory.load64(hi(at), lo(at));
    const old = join(scene.memory.loadedHi, scene.memory.loadedLo);
    // Bit 52 is reserved in both.
    scene.put(at, old | (1n << 52n));
    expect(scene.walk(tables[0]!, 5, va)).toEqual({ found: false, kind: INVALID, level, at });
    scene.put(at, old & ~PR);
    expect(scene.walk(tables[0]!, 5, va)).toEqual({ found: false, kind: EMPTY, level, at });
    scene.put(at, (old | (1n << 52n)) & ~PR);
    expect(scene.walk(tables[0]!, 5, va)).toEqual({ found: false, kind: EMPTY, level, at });
  });
});
