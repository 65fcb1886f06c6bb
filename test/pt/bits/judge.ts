/**
 * What each of the 64 bits of an entry does, restated from the format's specification and not from src, and the
 * judge: every bit of every entry on the way to leaves of every level is flipped in memory, and the walk has to
 * change as the table says, or not at all.
 */
import { describe, expect, test } from 'vitest';
import { Injector } from '../../../src/base/inject.js';
import { PhysicalMemory } from '../../../src/mem/physical.js';
import { EMPTY, INVALID, type PageTableFormat } from '../../../src/pt/format.js';
import { PageTable, type WalkStep } from '../../../src/pt/page-table.js';
import { Walk, walk } from '../../../src/pt/walk.js';

const PERMISSIONS = { read: 1, write: 2, exec: 4, user: 8 } as const;
const READ_WRITE = 3;

/** Each of the 64 bits is in exactly one of these. */
export interface EntryBits {
  /** Cleared, the entry is none. In a format that has no such bit, clearing all permissions does it. */
  readonly present?: bigint;
  /** What kind of entry, of which size, pointing to which level. */
  readonly shape?: bigint;
  readonly address: bigint;
  readonly read?: bigint;
  readonly write?: bigint;
  readonly exec?: bigint;
  readonly user?: bigint;
  /** What hardware writes. */
  readonly accessed: bigint;
  readonly dirty?: bigint;
  /** Of no effect on what is translated, and how. */
  readonly ignored: bigint;
  readonly reserved?: bigint;
}

export interface FormatBits {
  /** IOMMU_READ | IOMMU_WRITE that a mapping has which was made with `prot`. */
  grants(prot: number): number;
  /** An address bit of the entry is this many below, in the address; if negative, above. */
  readonly addressShift: number;
  /** Of an entry at `level`; a leaf has `1n << sizeLg2` bytes, a pointer has null. */
  entry(level: number, sizeLg2: number | null): EntryBits;
}

/** `bits('51:12', '0')`: a mask, written as specifications write it. */
export function bits(...ranges: string[]): bigint {
  let mask = 0n;
  for (const range of ranges) {
    const [last, first = last] = range.split(':').map(BigInt) as [bigint, bigint?];
    for (let bit = first; bit <= last; bit += 1n) mask |= 1n << bit;
  }
  return mask;
}

interface Outcome {
  readonly kind: number;
  readonly level: number;
  readonly prot: number;
  readonly sizeLg2: number;
  readonly oa: bigint;
}

class Subject {
  readonly memory = new PhysicalMemory(new Injector());
  readonly format: PageTableFormat;
  readonly table: PageTable;
  readonly #walk = new Walk();

  constructor(format: PageTableFormat, level: number) {
    const { maxVaLg2, maxOaLg2 } = format;
    this.format = format;
    this.table = new PageTable(this.memory, format, { maxVaLg2, maxOaLg2, startingLevel: level });
  }

  outcome(va: bigint): Outcome {
    const out = this.#walk;
    const isFound = walk(
      this.memory,
      this.format,
      this.table,
      Number(va >> 32n),
      Number(va & 0xffff_ffffn) | 0,
      out,
    );
    const { kind, level, prot } = out;
    return isFound
      ? { kind, level, prot, sizeLg2: out.sizeLg2, oa: join(out.oaHi, out.oaLo) }
      : { kind, level, prot, sizeLg2: 0, oa: 0n };
  }

  put(step: WalkStep, entry: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, entry, true);
    expect(this.memory.write(step.hpa, bytes)).toBe(true);
  }
}

/** Judges `format` by `table`, in tests of their own. */
export function judgeBits(format: PageTableFormat, table: FormatBits): void {
  describe('every bit of every entry', () => {
    for (let top = format.minTopLevel; top <= format.maxTopLevel; top += 1) {
      for (const sizeLg2 of leafSizes(format, top)) {
        test(`on the way from level ${top} to a leaf of ${1n << BigInt(sizeLg2)} bytes`, () => {
          const subject = new Subject(format, top);
          const size = 1n << BigInt(sizeLg2);
          const va = addressOf(format, top, size);
          expect(subject.table.map(va, size, size, READ_WRITE)).toBe('ok');
          const steps = subject.table.trace(va);
          expect(steps.at(-1)!.kind).toBe('leaf');
          for (const step of steps) {
            const isLeaf = step.kind === 'leaf';
            judgeEntry(
              subject,
              va,
              step,
              table.entry(step.level, isLeaf ? sizeLg2 : null),
              table.addressShift,
            );
          }
        });
      }
    }

    test('what hardware writes is what the format says', () => {
      const { accessed, dirty = 0n } = table.entry(0, format.granuleLg2);
      expect(join(format.accessedHi, format.accessedLo)).toBe(accessed);
      expect(join(format.dirtyHi, format.dirtyLo)).toBe(dirty);
      // Of entries that point to tables either all have it or none.
      const above = Array.from(
        { length: format.maxTopLevel },
        (_, level) => table.entry(level + 1, null).accessed,
      );
      expect([[accessed], [0n]]).toContainEqual([...new Set(above)]);
    });
  });
}

function judgeEntry(subject: Subject, va: bigint, step: WalkStep, is: EntryBits, addressShift: number): void {
  const { format } = subject;
  const { level, entry } = step;
  const before = subject.outcome(va);
  expectPartition(is);
  expect(entry & (is.reserved ?? 0n)).toBe(0n);
  const gone = is.present ?? (is.read ?? 0n) | (is.write ?? 0n) | (is.exec ?? 0n);
  subject.put(step, entry & ~gone);
  expect(subject.outcome(va)).toMatchObject({ kind: EMPTY, level });
  for (let bit = 0n; bit < 64n; bit += 1n) {
    const mask = 1n << bit;
    const flipped = entry ^ mask;
    const what = `bit ${bit} of ${entry.toString(16)} at level ${level}`;
    subject.put(step, flipped);
    const after = subject.outcome(va);
    const permission = permissionOf(is, mask);
    const isReserved = format.isReserved(highWord(flipped), lowWord(flipped), level);
    if (((is.reserved ?? 0n) & mask) !== 0n) {
      expect([after.kind, after.level, isReserved], what).toEqual([INVALID, level, true]);
    } else if (permission !== 0) {
      expect(before.prot & permission, what).toBe(permission);
      expect(after, what).toEqual({ ...before, prot: before.prot & ~permission });
    } else if (((is.accessed | (is.dirty ?? 0n) | is.ignored) & mask) !== 0n) {
      expect([after, isReserved], what).toEqual([before, false]);
    } else if ((is.address & mask) === 0n) {
      expect(after, what).not.toEqual(before);
    } else if (step.kind === 'leaf') {
      expect(after, what).toEqual({ ...before, oa: before.oa ^ (mask >> BigInt(addressShift)) });
    } else {
      expect(tableOf(format, flipped) ^ tableOf(format, entry), what).toBe(mask >> BigInt(addressShift));
      expect(after, what).not.toEqual(before);
    }
  }
  subject.put(step, entry);
  expect(subject.outcome(va)).toEqual(before);
}

/** READ, WRITE, EXEC or USER when flipping this bit takes it away; else 0. */
function permissionOf(is: EntryBits, mask: bigint): number {
  for (const name of ['read', 'write', 'exec', 'user'] as const) {
    if (((is[name] ?? 0n) & mask) !== 0n) return PERMISSIONS[name];
  }
  return 0;
}

function expectPartition(is: EntryBits): void {
  const masks = Object.values(is) as bigint[];
  expect(masks.reduce((sum, mask) => sum + mask)).toBe((1n << 64n) - 1n);
  expect(masks.reduce((union, mask) => union | mask)).toBe((1n << 64n) - 1n);
}

/** Of each level below `top`: its own leaf, and one and the largest in several items. */
function leafSizes(format: PageTableFormat, top: number): number[] {
  const sizes: number[] = [];
  const { pgsizeBitmap, apertureLast } = new Subject(format, top).table;
  for (let level = 0; level <= top; level += 1) {
    const own = format.granuleLg2 + 9 * level;
    for (const lg2 of [own, own + 3, own + 8]) {
      const size = 1n << BigInt(lg2);
      if ((pgsizeBitmap & size) !== 0n && size * 2n <= apertureLast) sizes.push(lg2);
    }
  }
  return sizes;
}

/** An address of a leaf of this size, with another index at each level: where levels are mistaken it is not found. */
function addressOf(format: PageTableFormat, top: number, size: bigint): bigint {
  let address = size;
  for (let level = 0; level <= top; level += 1) {
    const item = 1n << BigInt(format.granuleLg2 + 9 * level);
    if (item > size) address += item * BigInt(level + 2);
  }
  return address;
}

function tableOf(format: PageTableFormat, entry: bigint): bigint {
  return join(
    format.tableHi(highWord(entry), lowWord(entry)),
    format.tableLo(highWord(entry), lowWord(entry)),
  );
}

function join(hi: number, lo: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

function highWord(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}

function lowWord(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}
