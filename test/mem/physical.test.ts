import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { SparsePages } from '../../src/machine/local-memory.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { FakeBacking } from './fake-backing.js';

const GIB = 1n << 30n;
const TIB = 1n << 40n;
/** Where tables end, and where windows begin. */
const TABLES = 1n << 36n;
const HPA_SPACE = 1n << 51n;

function build(): PhysicalMemory {
  return new PhysicalMemory(new Injector());
}

describe('windows of client memory', () => {
  test('two mappings of one backing are one set of frames', () => {
    const memory = build();
    const first = memory.window(new FakeBacking(7), 0x5000n, 0x1000n);
    const second = memory.window(new FakeBacking(7), 0x5000n, 0x1000n);
    expect(second).toEqual(first);
    expect(memory.window(new FakeBacking(8), 0x5000n, 0x1000n)).not.toEqual(first);
  });

  test('HPA and offset are equal modulo a TiB, above the tables and within 51 bits', () => {
    const memory = build();
    for (const offset of [0n, 0x1000n, 3n * GIB + 5n, 0x7f12_3456_7000n, (1n << 57n) - 0x1000n]) {
      const [piece] = memory.window(new FakeBacking(1), offset, 0x1000n - (offset & 0xfffn))!;
      expect(piece!.hpa % TIB).toBe(offset % TIB);
      expect(piece!.hpa).toBeGreaterThanOrEqual(TABLES);
      expect(piece!.hpa).toBeLessThan(HPA_SPACE);
    }
  });

  test('a TiB of one backing is one piece, wherever it starts', () => {
    for (const offset of [0n, GIB * 5n + 0x1000n]) {
      const memory = build();
      const pieces = memory.window(new FakeBacking(1), offset, TIB)!;
      expect(pieces).toHaveLength(1);
      expect(pieces[0]!.length).toBe(TIB);
    }
  });

  test('a backing that is pinned GiB by GiB, in any order and beside others, stays one piece', () => {
    const memory = build();
    const backing = new FakeBacking(1);
    for (const gib of [4n, 5n, 3n, 6n, 2n]) {
      memory.window(backing, gib * GIB, GIB);
      memory.window(new FakeBacking(100 + Number(gib)), gib * GIB, GIB);
    }
    expect(memory.window(backing, 2n * GIB, 5n * GIB)).toHaveLength(1);
  });

  test('a run of two TiB passes over a free TiB that stands alone', () => {
    const memory = build();
    memory.window(new FakeBacking(1), 0n, GIB);
    memory.window(new FakeBacking(2), 0n, GIB);
    memory.unwindow(new FakeBacking(1), 0n, GIB);
    expect(memory.window(new FakeBacking(3), 0n, 2n * TIB)).toHaveLength(1);
  });

  test('where a neighbour is taken the run is in pieces that cover it in order', () => {
    const memory = build();
    // Every TiB has its first GiB taken, so a run of two TiB cannot be one piece.
    for (let id = 0; id < 2046; id += 1) memory.window(new FakeBacking(10 + id), 0n, 0x1000n);
    const backing = new FakeBacking(1);
    const pieces = memory.window(backing, 0x3000n, 2n * TIB)!;
    expect(pieces.length).toBeGreaterThan(1);
    let offset = 0x3000n;
    for (const piece of pieces) {
      expect(memory.hpaOf(backing, offset)).toBe(piece.hpa);
      expect(memory.hpaOf(backing, offset + piece.length - 1n)).toBe(piece.hpa + piece.length - 1n);
      offset += piece.length;
    }
    expect(offset).toBe(0x3000n + 2n * TIB);
  });

  test('a window lives as long as somebody uses it', () => {
    const memory = build();
    const backing = new FakeBacking(1);
    memory.window(backing, 0x1000n, 0x2000n);
    memory.window(backing, GIB - 0x1000n, 0x2000n);
    expect(memory.liveWindows).toBe(2);
    const hpa = memory.hpaOf(backing, 0x1234n)!;
    memory.unwindow(backing, 0x1000n, 0x2000n);
    expect(memory.hpaOf(backing, 0x1234n)).toBe(hpa);
    memory.unwindow(backing, GIB - 0x1000n, 0x2000n);
    expect(memory.hpaOf(backing, 0x1234n)).toBeNull();
    expect(memory.backingAt(hpa)).toBeNull();
    expect(memory.liveWindows).toBe(0);
    expect(() => memory.unwindow(backing, 0x1000n, 0x2000n)).toThrow(/no window/);
  });

  test('when HPA is exhausted a run is refused, and what it took goes back', () => {
    const memory = build();
    const big = new FakeBacking(1);
    expect(memory.window(big, 0n, 2046n * TIB)).toHaveLength(1);
    const other = new FakeBacking(2);
    expect(memory.window(other, 0n, 2n * TIB)).toBeNull();
    expect(memory.hpaOf(other, 0n)).toBeNull();
    expect(memory.liveWindows).toBe(2046 * 1024);
    expect(memory.window(other, 0n, TIB)).toHaveLength(1);
  });

  test("any sequence of uses keeps offset and HPA each other's inverse, and ends with nothing", () => {
    const use = fc.record({
      id: fc.integer({ min: 1, max: 3 }),
      page: fc.nat(4 * 262144),
      pages: fc.integer({ min: 1, max: 2 * 262144 }),
      undo: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(use, { maxLength: 40 }), (uses) => {
        const memory = build();
        const live: { backing: FakeBacking; offset: bigint; length: bigint }[] = [];
        for (const { id, page, pages, undo } of uses) {
          if (undo && live.length > 0) {
            const [range] = live.splice(page % live.length, 1);
            memory.unwindow(range!.backing, range!.offset, range!.length);
            continue;
          }
          const range = {
            backing: new FakeBacking(id),
            offset: BigInt(page) * 4096n,
            length: BigInt(pages) * 4096n,
          };
          memory.window(range.backing, range.offset, range.length);
          live.push(range);
        }
        for (const { backing, offset, length } of live) {
          for (const at of [offset, offset + length - 1n]) {
            const place = memory.backingAt(memory.hpaOf(backing, at)!)!;
            expect([place.backing.id, place.offset]).toEqual([backing.id, at]);
          }
        }
        for (const range of live) memory.unwindow(range.backing, range.offset, range.length);
        expect(memory.liveWindows).toBe(0);
      }),
      { numRuns: 50 },
    );
  });
});

describe('bytes', () => {
  test('reads and writes reach client memory through its backing, across GiB borders', () => {
    const memory = build();
    const backing = new FakeBacking(1);
    const [piece] = memory.window(backing, GIB - 0x1000n, 0x2000n)!;
    expect(memory.write(piece!.hpa + 0xffen, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect([GIB - 2n, GIB - 1n, GIB, GIB + 1n].map((at) => backing.bytes.get(at))).toEqual([1, 2, 3, 4]);
    const back = new Uint8Array(4);
    expect(memory.read(piece!.hpa + 0xffen, back)).toBe(true);
    expect([...back]).toEqual([1, 2, 3, 4]);
  });

  test('where no memory is, reading and writing say so', () => {
    const memory = build();
    const bytes = new Uint8Array(8);
    for (const hpa of [0n, 0x1000n, TABLES, 5n * TIB]) {
      expect(memory.read(hpa, bytes)).toBe(false);
      expect(memory.write(hpa, bytes)).toBe(false);
      expect(memory.load64(Number(hpa >> 32n), Number(hpa & 0xffff_ffffn) | 0)).toBe(false);
    }
    const small = new FakeBacking(1, 0x1000n);
    const [piece] = memory.window(small, 0n, 0x2000n)!;
    expect(memory.read(piece!.hpa + 0x1000n, bytes)).toBe(false);
  });

  test('entries are little-endian 64-bit words, in tables and in client memory', () => {
    const memory = build();
    const frame = memory.tables.openArena().allocate(12);
    const client = memory.window(new FakeBacking(1), 0n, 0x1000n)![0]!.hpa;
    for (const hpa of [BigInt(frame) << 12n, client]) {
      const hi = Number(hpa >> 32n);
      const lo = Number(hpa & 0xffff_ffffn) + 8;
      expect(memory.store64(hi, lo, 0x11223344, -2)).toBe(true);
      const bytes = new Uint8Array(8);
      memory.read(hpa + 8n, bytes);
      expect([...bytes]).toEqual([0xfe, 0xff, 0xff, 0xff, 0x44, 0x33, 0x22, 0x11]);
      expect(memory.load64(hi, lo)).toBe(true);
      expect([memory.loadedHi, memory.loadedLo]).toEqual([0x11223344, -2]);
    }
  });
});

/** A page of client memory that has a view, one that has none, and a table; each with an entry in it. */
function places(memory: PhysicalMemory): [name: string, hi: number, lo: number][] {
  const sparse = new SparsePages(0x2000);
  const table = memory.tables.openArena().allocate(12) * 0x1000;
  const made = [
    ['a view', Number(memory.window(sparse, 0n, 0x2000n)![0]!.hpa)],
    ['no view', Number(memory.window(new FakeBacking(9), 0n, 0x2000n)![0]!.hpa)],
    ['a table', table],
  ] as const;
  return made.map(([name, hpa]) => [name, Math.floor(hpa / 2 ** 32), (hpa + 0x18) | 0]);
}

describe('entries', () => {
  const TABLE_BITS = 0x60;

  test('are loaded as they were stored, and as bytes', () => {
    const memory = build();
    for (const [name, hi, lo] of places(memory)) {
      for (let turn = 0; turn < 2; turn += 1) {
        expect([name, memory.store64(hi, lo, -2, 0x1234_5007)]).toEqual([name, true]);
        expect(memory.load64(hi, lo)).toBe(true);
        expect([name, memory.loadedHi, memory.loadedLo]).toEqual([name, -2, 0x1234_5007]);
      }
      const bytes = new Uint8Array(8);
      memory.read(BigInt(hi) * 2n ** 32n + BigInt(lo >>> 0), bytes);
      expect([...bytes]).toEqual([0x07, 0x50, 0x34, 0x12, 0xfe, 0xff, 0xff, 0xff]);
    }
  });

  test('bits are set where the low half is what was read, and nowhere else', () => {
    const memory = build();
    for (const [name, hi, lo] of places(memory)) {
      memory.store64(hi, lo, 5, 7);
      expect([name, memory.setBits64(hi, lo, 6, TABLE_BITS)]).toEqual([name, false]);
      expect([name, memory.setBits64(hi, lo, 7, TABLE_BITS)]).toEqual([name, true]);
      memory.load64(hi, lo);
      expect([name, memory.loadedHi, memory.loadedLo]).toEqual([name, 5, 7 | TABLE_BITS]);
    }
    expect(memory.setBits64(0x40, 0, 0, 1)).toBe(false);
  });

  test('a store to a table is a change, a bit that is set is none', () => {
    const memory = build();
    const [, hi, lo] = places(memory)[2]!;
    const { moves } = memory.tables;
    memory.store64(hi, lo, 0, 7);
    expect(memory.tables.moves).toBe(moves + 1);
    memory.setBits64(hi, lo, 7, TABLE_BITS);
    expect(memory.tables.moves).toBe(moves + 1);
    memory.write(BigInt(lo >>> 0), new Uint8Array(4));
    expect(memory.tables.moves).toBe(moves + 2);
  });

  test('an address beyond all windows is nothing, however its slot wraps around', () => {
    const memory = build();
    const [piece] = memory.window(new FakeBacking(3), 0n, 0x1000n)!;
    const alias = piece!.hpa + (1n << 62n);
    expect(memory.read(alias, new Uint8Array(8))).toBe(false);
    expect(memory.load64(Number(alias >> 32n) | 0, Number(alias & 0xffff_ffffn) | 0)).toBe(false);
    expect(memory.load64(-1, -4096)).toBe(false);
  });
});
