/** VT-d's second stage: entries as Linux 7.2 writes them, and what a unit may lack. */
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { Vtdss, vtdss } from '../../src/pt/formats/vtdss.js';
import { PageTable } from '../../src/pt/page-table.js';
import { judgeBits } from './bits/judge.js';
import { everything, vtdssBits } from './bits/vtdss.js';

const R = 1n << 0n;
const W = 1n << 1n;
const PS = 1n << 7n;
const SNP = 1n << 11n;
const READ = 1;
const EXEC = 4;
const COHERENT = 16;

function build(startingLevel = 2, format = vtdss): PageTable {
  const memory = new PhysicalMemory(new Injector());
  return new PageTable(memory, format, { maxVaLg2: 57, maxOaLg2: 52, startingLevel });
}

describe('entries', () => {
  test('a page is its address, R and W; the tables above have both, whatever the leaf has', () => {
    const table = build();
    table.map(0x1000n, 0x1_2345_6000n, 0x1000n, 2);
    const steps = table.trace(0x1000n);
    expect(steps.map((step) => step.level)).toEqual([2, 1, 0]);
    expect(steps.at(-1)!.entry).toBe(0x1_2345_6000n | W);
    for (const step of steps.slice(0, -1)) expect(step.entry & 0xfffn).toBe(R | W);
    expect(table.protAt(0x1000n)).toBe(2);
  });

  test('2 MiB and 1 GiB have PS, one and two levels up; nothing is larger', () => {
    const table = build(4);
    expect(table.pgsizeBitmap).toBe(0x4020_1000n);
    table.map(0n, 0n, 1n << 31n, 1);
    expect(table.trace(0n).at(-1)).toMatchObject({ level: 2, entry: R | PS });
    table.map(1n << 32n, 0x20_0000n, 0x20_0000n, 1);
    expect(table.trace(1n << 32n).at(-1)).toMatchObject({ level: 1, entry: 0x20_0000n | R | PS });
  });

  test('a device that must snoop has SNP in its leaves, and nowhere else', () => {
    const table = build();
    table.map(0x1000n, 0x5000n, 0x1000n, READ | COHERENT);
    expect(table.trace(0x1000n).map((step) => step.entry & SNP)).toEqual([0n, 0n, SNP]);
    expect(table.trace(0x1000n).at(-1)!.entry).toBe(0x5000n | R | SNP);
  });

  test('three, four and five levels are 39, 48 and 57 bits', () => {
    expect([2, 3, 4].map((level) => build(level).apertureLast + 1n)).toEqual([
      1n << 39n,
      1n << 48n,
      1n << 57n,
    ]);
    expect(() => build(1)).toThrow('page table starts at no level');
  });
});

describe('a unit with 39 address bits', () =>
  judgeBits(new Vtdss({ maxOaLg2: 39 }), vtdssBits({ ...everything, haw: 39 })));

describe('without snoop control', () =>
  judgeBits(new Vtdss({ hasSnoopControl: false }), vtdssBits({ ...everything, sc: false })));

describe('4 KiB pages only', () => {
  const format = new Vtdss({ maxLeafLevel: 0 });
  judgeBits(format, vtdssBits({ ...everything, largest: 0 }));

  test('map uses them', () => {
    const table = build(2, format);
    expect(table.pgsizeBitmap).toBe(0x1000n);
    expect(table.map(0n, 0n, 0x20_0000n, 1)).toBe('ok');
    expect(table.unmap(0n, 1n)).toBe(0x1000n);
  });
});

describe('X', () => {
  const format = new Vtdss({ hasExecute: true });

  test('where it is looked at it alone makes an entry, and execution has to be allowed at every level', () => {
    for (const level of [0, 1, 4]) {
      expect(format.kind(0, 4, level)).toBe(level === 0 ? 2 : 1);
      expect(format.protOf(0, 4) & 7).toBe(EXEC);
      expect(format.protOf(0, 3) & EXEC).toBe(0);
    }
  });

  test('where it is not, it makes no entry and everything can be executed', () => {
    expect(vtdss.kind(0, 4, 0)).toBe(0);
    expect(vtdss.protOf(0, 1) & EXEC).toBe(EXEC);
  });
});
