/** AMD I/O page tables, spec 48882, 2.2.3: the bits restated, and what iommufd's selftest sees of its variant. */
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { amdv1, amdv1Mock } from '../../src/pt/formats/amdv1.js';
import type { PageTableFormat } from '../../src/pt/format.js';
import { PageTable } from '../../src/pt/page-table.js';

const PR = 1n;
const D = 1n << 6n;
const IR = 1n << 61n;
const IW = 1n << 62n;

function nextLevel(level: bigint): bigint {
  return level << 9n;
}

function build(format: PageTableFormat, pgsizeBitmap?: bigint): { memory: PhysicalMemory; table: PageTable } {
  const memory = new PhysicalMemory(new Injector());
  const restricted = pgsizeBitmap === undefined ? {} : { pgsizeBitmap };
  const limits = format === amdv1 ? { maxVaLg2: 64, maxOaLg2: 52 } : { maxVaLg2: 56, maxOaLg2: 51 };
  return { memory, table: new PageTable(memory, format, { ...limits, startingLevel: 2, ...restricted }) };
}

function leafOf(table: PageTable, iova: bigint): bigint {
  return table.trace(iova).at(-1)!.entry;
}

describe('amdv1 entries', () => {
  test('a 4 KiB page has next level 0, a pointer has the level it points from', () => {
    const { table } = build(amdv1);
    table.map(0x1000n, 0x1_2345_6000n, 0x1000n, 3);
    const [top, middle, leaf] = table.trace(0x1000n);
    expect(leaf!.entry).toBe(0x1_2345_6000n | IR | IW | PR);
    expect(leaf!.hpa).toBe((middle!.entry & 0xffff_ffff_f000n) + 8n);
    expect(middle!.entry & 0xfffn).toBe(nextLevel(1n) | PR);
    expect(top!.entry & 0xfffn).toBe(nextLevel(2n) | PR);
    expect(top!.entry & (IR | IW)).toBe(IR | IW);
    expect(top!.hpa).toBe(table.rootHpa);
  });

  test('sizes between levels are next level 7 and low ones, in every item', () => {
    const cases = [
      { size: 0x2000n, field: 0x0n },
      { size: 0x8000n, field: 0x3n },
      { size: 0x10_0000n, field: 0x7fn },
      { size: 0x40_0000n, field: 0x1ffn },
      { size: 1n << 33n, field: 0xf_ffffn },
      { size: 1n << 34n, field: 0x1f_ffffn },
      { size: 1n << 40n, field: 0x7ff_ffffn },
    ];
    for (const { size, field } of cases) {
      const { table } = build(amdv1);
      const hpa = 1n << 50n;
      expect(table.map(size, hpa, size, 1)).toBe('ok');
      const entry = hpa | (field << 12n) | nextLevel(7n) | IR | PR;
      expect(leafOf(table, size)).toBe(entry);
      expect(leafOf(table, 2n * size - 1n)).toBe(entry);
      expect(table.iovaToPhys(2n * size - 1n)).toBe(hpa + size - 1n);
    }
  });

  test('2 MiB and 1 GiB are next level 0 one and two levels up; 512 GiB is never used', () => {
    const { table } = build(amdv1);
    table.map(0x20_0000n, 0x4000_0000n, 0x20_0000n, 2);
    expect(leafOf(table, 0x20_0000n)).toBe(0x4000_0000n | IW | PR);
    table.map(0x4000_0000n, 0x4000_0000n, 0x4000_0000n, 2);
    expect(leafOf(table, 0x4000_0000n)).toBe(0x4000_0000n | IW | PR);
    expect(table.map(1n << 39n, 1n << 39n, 1n << 39n, 1)).toBe('ok');
    expect(table.unmap(1n << 39n, 0x1000n)).toBe(1n << 38n);
  });

  test('every power of two from 4 KiB up, except 512 GiB, and the whole 64-bit aperture', () => {
    const { table } = build(amdv1);
    expect(table.pgsizeBitmap).toBe(0x000f_ffff_ffff_f000n & ~(1n << 39n));
    expect([table.apertureStart, table.apertureLast]).toEqual([0n, 0xffff_ffff_ffff_ffffn]);
    expect(table.map(0xffff_ffff_ffff_f000n, 0x1000n, 0x1000n, 1)).toBe('ok');
    expect(table.topLevel).toBe(5);
    expect(table.iovaToPhys(0xffff_ffff_ffff_ffffn)).toBe(0x1fffn);
  });

  test('a pointer whose level does not fit is followed by nobody', () => {
    const { table, memory } = build(amdv1);
    table.map(0x1000n, 0x1000n, 0x1000n, 1);
    const [top] = table.trace(0x1000n);
    for (const level of [3n, 4n, 5n, 6n]) {
      const bytes = new Uint8Array(8);
      const entry = (top!.entry & ~nextLevel(7n)) | nextLevel(level);
      new DataView(bytes.buffer).setBigUint64(0, entry, true);
      memory.write(top!.hpa, bytes);
      expect(table.iovaToPhys(0x1000n)).toBe(-1n);
      expect(table.trace(0x1000n).at(-1)!.kind).toBe('invalid');
    }
  });

  test('a pointer may skip a level, and then translates what has no bits there', () => {
    const { table, memory } = build(amdv1);
    table.map(0x1000n, 0x1_2345_6000n, 0x1000n, 3);
    const [top, middle] = table.trace(0x1000n);
    const bytes = new Uint8Array(8);
    const leafTable = middle!.entry & 0x000f_ffff_ffff_f000n;
    new DataView(bytes.buffer).setBigUint64(0, leafTable | nextLevel(1n) | IR | PR, true);
    memory.write(top!.hpa, bytes);
    expect(table.iovaToPhys(0x1fffn)).toBe(0x1_2345_6fffn);
    expect(table.protAt(0x1000n)).toBe(1);
    expect(table.trace(0x1000n).map((step) => [step.level, step.kind])).toEqual([
      [2, 'table'],
      [0, 'leaf'],
    ]);
    for (let bit = 21n; bit < 30n; bit += 1n) {
      expect(table.iovaToPhys(0x1000n | (1n << bit))).toBe(-1n);
      expect(table.trace(0x1000n | (1n << bit)).at(-1)!.kind).toBe('empty');
    }
  });

  test('a size that its level cannot hold is followed by nobody', () => {
    const { table, memory } = build(amdv1);
    table.map(0x40_0000n, 0x40_0000n, 0x40_0000n, 1);
    const leaf = table.trace(0x40_0000n).at(-1)!;
    const bytes = new Uint8Array(8);
    // By trailing ones of the field: 1 MiB, 2 MiB (one item), 512 MiB, and 1 GiB (a whole table).
    for (const { ones, kind } of [
      { ones: 7n, kind: 'invalid' },
      { ones: 8n, kind: 'leaf' },
      { ones: 16n, kind: 'leaf' },
      { ones: 17n, kind: 'invalid' },
      { ones: 40n, kind: 'invalid' },
    ]) {
      const field = ((1n << ones) - 1n) << 12n;
      new DataView(bytes.buffer).setBigUint64(0, field | nextLevel(7n) | IR | PR, true);
      memory.write(leaf.hpa, bytes);
      expect(table.trace(0x40_0000n).at(-1)!.kind).toBe(kind);
    }
  });

  test('a device that must snoop has FC in its leaves, and nowhere else', () => {
    const { table } = build(amdv1);
    table.map(0x1000n, 0x1000n, 0x1000n, 3 | 16);
    const steps = table.trace(0x1000n);
    expect(steps.map((step) => (step.entry >> 60n) & 1n)).toEqual([0n, 0n, 1n]);
    expect(table.protAt(0x1000n)).toBe(3);
  });

  test('permissions are ANDed from the pointers down', () => {
    const { table, memory } = build(amdv1);
    table.map(0x1000n, 0x1000n, 0x1000n, 3);
    const [top] = table.trace(0x1000n);
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, top!.entry & ~IW, true);
    memory.write(top!.hpa, bytes);
    expect(table.protAt(0x1000n)).toBe(1);
    expect(table.trace(0x1000n).map((step) => step.prot)).toEqual([1, 1, 1]);
  });

  test('a 1 TiB map on congruent addresses is two items, on 1 GiB congruent ones at most 1024', () => {
    const { table } = build(amdv1);
    table.map(1n << 40n, 1n << 40n, 1n << 40n, 3);
    expect(table.stats.leafWrites).toBe(2);
    const other = build(amdv1).table;
    other.map(1n << 40n, (1n << 40n) + (1n << 30n), 1n << 40n, 3);
    expect(other.stats.leafWrites).toBe(1024);
  });
});

describe('amdv1_mock', () => {
  test('its root cannot grow, so its geometry is that of three levels of 2 KiB pages', () => {
    const { table } = build(amdv1Mock);
    expect(table.apertureLast).toBe((1n << 38n) - 1n);
    expect(table.pgsizeBitmap).toBe(0x1f_ffff_f800n);
  });

  test('an address is stored in units of 2 KiB from bit 12 on', () => {
    const { table } = build(amdv1Mock);
    table.map(0x800n, 0x5_8000_0800n, 0x800n, 3);
    const [, , leaf] = table.trace(0x800n);
    expect(leaf!.entry).toBe(0xb_0000_1000n | IR | IW | PR);
    const high = (1n << 51n) - 0x800n;
    table.map(0x1000n, high, 0x800n, 1);
    expect(leafOf(table, 0x1000n)).toBe(0xf_ffff_ffff_f000n | IR | PR);
    expect(table.iovaToPhys(0x17ffn)).toBe((1n << 51n) - 1n);
  });

  test('a 4 KiB page is two items; written in the first half only that half shows', () => {
    const { table } = build(amdv1Mock, 0x1000n);
    table.map(0n, 0x10_0000n, 0x4000n, 3);
    expect(leafOf(table, 0n)).toBe(0x20_0000n | nextLevel(7n) | IR | IW | PR);
    table.setDirty(0x1000n);
    expect(leafOf(table, 0x1000n) & D).toBe(D);
    expect(leafOf(table, 0x1800n) & D).toBe(0n);
    const seen: [bigint, bigint][] = [];
    table.readAndClearDirty(0n, 0x4000n, false, (iova, length) => seen.push([iova, length]));
    expect(seen).toEqual([[0x1000n, 0x800n]]);
    expect(leafOf(table, 0x1000n) & D).toBe(0n);
  });

  test('a dirty leaf of many items reports all but the last, from where the range starts, to where it ends', () => {
    const { table } = build(amdv1Mock);
    table.map(0x8000n, 0x8000n, 0x8000n, 3);
    table.setDirty(0xc000n);
    const seen: [bigint, bigint][] = [];
    const visit = (iova: bigint, length: bigint): number => seen.push([iova, length]);
    table.readAndClearDirty(0n, 0x1_0000n, true, visit);
    table.readAndClearDirty(0x9000n, 0x1000n, true, visit);
    table.readAndClearDirty(0xf800n, 0x800n, false, visit);
    table.readAndClearDirty(0x8000n, 0x8000n, false, visit);
    expect(seen).toEqual([
      [0x8000n, 0x7800n],
      [0x9000n, 0x1000n],
      [0xf800n, 0x800n],
    ]);
  });
});
