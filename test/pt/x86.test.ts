/** x86 tables as VT-d's first stage has them: entries as Linux 7.2 writes them, and what a unit may lack. */
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { X86, x86 } from '../../src/pt/formats/x86.js';
import { PageTable } from '../../src/pt/page-table.js';
import { judgeBits } from './bits/judge.js';
import { everything, x86Bits } from './bits/x86.js';

const P = 1n << 0n;
const RW = 1n << 1n;
const US = 1n << 2n;
const A = 1n << 5n;
const D = 1n << 6n;
const PS = 1n << 7n;

function build(format = x86, startingLevel = 3): PageTable {
  const memory = new PhysicalMemory(new Injector());
  return new PageTable(memory, format, { maxVaLg2: 57, maxOaLg2: 52, startingLevel });
}

describe('entries', () => {
  test('a writable page is P, RW, US, A and D; the tables above have no D and no PS', () => {
    const table = build();
    table.map(0x1000n, 0x1_2345_6000n, 0x1000n, 3);
    const steps = table.trace(0x1000n);
    expect(steps.map((step) => step.level)).toEqual([3, 2, 1, 0]);
    expect(steps.at(-1)!.entry).toBe(0x1_2345_6000n | P | RW | US | A | D);
    for (const step of steps.slice(0, -1)) expect(step.entry & ~(0xf_ffffn << 12n)).toBe(P | RW | US | A);
  });

  test('a page that is only read has neither RW nor D; one that is only written can be read', () => {
    const table = build();
    table.map(0x1000n, 0x5000n, 0x1000n, 1);
    table.map(0x2000n, 0x6000n, 0x1000n, 2);
    expect(table.trace(0x1000n).at(-1)!.entry).toBe(0x5000n | P | US | A);
    expect(table.trace(0x2000n).at(-1)!.entry).toBe(0x6000n | P | RW | US | A | D);
  });

  test('2 MiB and 1 GiB have PS, one and two levels up; nothing is larger', () => {
    const table = build();
    expect(table.pgsizeBitmap).toBe(0x4020_1000n);
    table.map(0n, 0n, 1n << 31n, 1);
    expect(table.trace(0n).at(-1)).toMatchObject({ level: 2, entry: P | US | A | PS });
    table.map(1n << 32n, 0x20_0000n, 0x20_0000n, 1);
    expect(table.trace(1n << 32n).at(-1)).toMatchObject({ level: 1, entry: 0x20_0000n | P | US | A | PS });
  });

  test('the aperture is the lower half: 47 bits of four levels, 56 of five, fewer where the unit has fewer', () => {
    expect(build(x86, 3).apertureLast).toBe((1n << 47n) - 1n);
    expect(build(x86, 4).apertureLast).toBe((1n << 56n) - 1n);
    const memory = new PhysicalMemory(new Injector());
    const narrow = new PageTable(memory, x86, { maxVaLg2: 39, maxOaLg2: 52, startingLevel: 3 });
    expect(narrow.apertureLast).toBe((1n << 38n) - 1n);
    expect(narrow.map(1n << 38n, 0n, 0x1000n, 1)).toBe('ERANGE');
  });

  test('three levels are not x86 tables of this kind', () => {
    expect(() => build(x86, 2)).toThrow('page table starts at no level');
  });
});

describe('a unit with 46 address bits', () =>
  judgeBits(new X86({ maxOaLg2: 46 }), x86Bits({ ...everything, haw: 46 })));

describe('without NXE', () =>
  judgeBits(new X86({ hasExecuteDisable: false }), x86Bits({ ...everything, nxe: false })));

describe('with EAFE', () =>
  judgeBits(new X86({ hasExtendedAccessed: true }), x86Bits({ ...everything, eafe: true })));

describe('without 1 GiB pages', () => {
  const format = new X86({ maxLeafLevel: 1 });
  judgeBits(format, x86Bits({ ...everything, fs1gp: false }));

  test('map uses 2 MiB instead', () => {
    const table = build(format);
    expect(table.pgsizeBitmap).toBe(0x20_1000n);
    expect(table.map(0n, 0n, 1n << 30n, 1)).toBe('ok');
    expect(table.unmap(0n, 1n)).toBe(0x20_0000n);
  });
});
