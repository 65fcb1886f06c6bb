/**
 * What every page-table format has to do, whatever its bits: one suite, run by formats.test.ts for each of them.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { TableQuota } from '../../src/mem/table-store.js';
import type { PageTableFormat } from '../../src/pt/format.js';
import { PageTable, type PageTableConfig } from '../../src/pt/page-table.js';
import { judgeBits, type FormatBits } from './bits/judge.js';
import { NaiveTable } from './naive-table.js';

const READ = 1;
const WRITE = 2;
const HPA = 1n << 45n;

/** Some formats are written with dirty leaves. */
function makeClean(table: PageTable): void {
  table.readAndClearDirty(0n, 1n << 30n, false, () => {});
}

interface World {
  readonly injector: Injector;
  readonly memory: PhysicalMemory;
  readonly table: PageTable;
}

function build(format: PageTableFormat, config: Partial<PageTableConfig> = {}): World {
  const injector = new Injector();
  const memory = new PhysicalMemory(injector);
  const table = new PageTable(memory, format, {
    maxVaLg2: Math.min(format.maxVaLg2, 56),
    maxOaLg2: format.maxOaLg2,
    startingLevel: usualLevel(format),
    ...config,
  });
  return { injector, memory, table };
}

/** Three levels, or as few as the format can do. */
function usualLevel(format: PageTableFormat): number {
  return Math.max(2, format.minTopLevel);
}

function sizesIn(bitmap: bigint): bigint[] {
  const sizes: bigint[] = [];
  for (let lg2 = 0n; lg2 < 64n; lg2 += 1n) if (((bitmap >> lg2) & 1n) === 1n) sizes.push(1n << lg2);
  return sizes;
}

export function conformance(format: PageTableFormat, bits: FormatBits): void {
  judgeBits(format, bits);
  const granule = 1n << BigInt(format.granuleLg2);

  describe('leaf sizes', () => {
    for (const size of sizesIn(build(format).table.pgsizeBitmap)) {
      test(`a leaf of 0x${size.toString(16)} bytes is one leaf, and every byte of it translates`, () => {
        const { table, memory } = build(format);
        expect(table.map(size, size, size, READ | WRITE)).toBe('ok');
        for (const at of [0n, 1n, granule - 1n, size / 2n, size - 1n]) {
          expect(table.iovaToPhys(size + at)).toBe(size + at);
        }
        expect(table.iovaToPhys(size - 1n)).toBe(-1n);
        expect(table.iovaToPhys(size + size)).toBe(-1n);
        expect(table.stats.leafWrites).toBeLessThanOrEqual(256);
        expect(table.unmap(size, granule)).toBe(size);
        expect(table.iovaToPhys(size)).toBe(-1n);
        table.destroy();
        expect(memory.tables.liveBlocks).toBe(0);
      });
    }

    test('a leaf is never larger than what both addresses are aligned to', () => {
      const sizes = sizesIn(build(format).table.pgsizeBitmap & ((1n << 32n) - 1n));
      for (const size of sizes) {
        if (size === granule) continue;
        const { table } = build(format);
        expect(table.map(size, HPA + size / 2n, size, READ)).toBe('ok');
        expect(table.unmap(size, granule)).toBe(sizes.findLast((smaller) => smaller < size));
      }
    });

    test('a restricted bitmap restricts the leaves that map uses', () => {
      const large = sizesIn(build(format).table.pgsizeBitmap).find((size) => size >= 1n << 20n)!;
      const { table } = build(format, { pgsizeBitmap: large | 0x1000n });
      expect(table.pgsizeBitmap).toBe(large | 0x1000n);
      expect(table.map(0n, HPA, 1n << 30n, READ)).toBe('ok');
      expect(table.unmap(0n, granule)).toBe(large);
      expect(table.unmap(large, 1n << 29n)).toBe(1n << 29n);
      expect(table.map(large, HPA, 0x2000n, READ)).toBe('ok');
      expect(table.unmap(large, granule)).toBe(0x1000n);
      expect(table.map(0n, HPA, 0x800n, READ)).toBe('ENXIO');
    });
  });

  describe('output addresses', () => {
    test('a run of leaves carries over 4 GiB', () => {
      const { table } = build(format);
      const hpa = HPA + 0x1_0000_0000n - 3n * granule;
      expect(table.map(0n, hpa, 8n * granule, READ)).toBe('ok');
      for (let at = 0n; at < 8n * granule; at += granule) expect(table.iovaToPhys(at)).toBe(hpa + at);
    });
  });

  describe('refusals', () => {
    test('mapping over a leaf of any size is EADDRINUSE and leaves nothing of itself', () => {
      const { table } = build(format);
      expect(table.map(0x40_0000n, HPA, granule, READ)).toBe('ok');
      expect(table.map(0x20_0000n, HPA, 0x40_0000n, READ)).toBe('EADDRINUSE');
      expect(table.iovaToPhys(0x20_0000n)).toBe(-1n);
      expect(table.iovaToPhys(0x40_0000n)).toBe(HPA);
      expect(table.map(0x8000_0000n, HPA, 0x4000_0000n, READ)).toBe('ok');
      expect(table.map(0x8000_0000n + granule, HPA, granule, READ)).toBe('EADDRINUSE');
      expect(table.map(0x8000_0000n, HPA, 0x4000_0000n, READ)).toBe('EADDRINUSE');
    });

    test('addresses beyond the table are ERANGE, misaligned ones ENXIO, no permission EINVAL', () => {
      const { table } = build(format);
      expect(table.map(table.apertureLast + 1n, HPA, granule, READ)).toBe('ERANGE');
      expect(table.map(table.apertureLast + 1n - granule, HPA, granule * 2n, READ)).toBe('ERANGE');
      expect(table.map(0n, 1n << BigInt(format.maxOaLg2), granule, READ)).toBe('ERANGE');
      expect(table.map(1n, HPA, granule, READ)).toBe('ENXIO');
      expect(table.map(0n, HPA + 1n, granule, READ)).toBe('ENXIO');
      expect(table.map(0n, HPA, granule + 1n, READ)).toBe('ENXIO');
      expect(table.map(0n, HPA, granule, 0)).toBe('EINVAL');
      expect(table.map(0n, HPA, 0n, READ)).toBe('EINVAL');
      expect(table.stats.leafWrites).toBe(0);
    });

    test('the last granule of the aperture and the last of the output space can be mapped', () => {
      const { table } = build(format);
      const iova = table.apertureLast + 1n - granule;
      const hpa = (1n << BigInt(format.maxOaLg2)) - granule;
      expect(table.map(iova, hpa, granule, READ)).toBe('ok');
      expect(table.iovaToPhys(table.apertureLast)).toBe(hpa + granule - 1n);
      expect(table.unmap(iova, granule)).toBe(granule);
    });
  });

  describe('unmap', () => {
    test('it stops at a hole and says how far it came', () => {
      const { table } = build(format);
      table.map(0n, HPA, 0x3000n, READ);
      table.map(0x4000n, HPA, 0x1000n, READ);
      expect(table.unmap(0n, 0x5000n)).toBe(0x3000n);
      expect(table.iovaToPhys(0x4000n)).toBe(HPA);
    });

    test('a leaf that the range begins inside of stays', () => {
      const { table } = build(format);
      table.map(0x20_0000n, HPA, 0x20_0000n, READ);
      expect(table.unmap(0x20_0000n + granule, 0x10_0000n)).toBe(0n);
      expect(table.iovaToPhys(0x20_0000n)).toBe(HPA);
    });

    test('a leaf that the range ends inside of goes whole', () => {
      const { table } = build(format);
      table.map(0x1f_0000n, HPA + 0x1f_0000n, 0x21_0000n, READ);
      expect(table.unmap(0x1f_0000n, 0x1_0000n + granule)).toBe(0x21_0000n);
    });

    test('a range that is wider than the root unmaps nothing', () => {
      const { table } = build(format);
      table.map(0n, HPA, 0x1000n, READ);
      expect(table.unmap(0n, 1n << 50n)).toBe(0n);
      expect(table.unmap(0n, 0n)).toBe(0n);
      expect(table.iovaToPhys(0n)).toBe(HPA);
    });

    test('a pointer to where no table is stops it', () => {
      const { table, memory } = build(format);
      table.map(0n, HPA, 0x1000n, READ);
      const [top] = table.trace(0n);
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, top!.entry | (1n << 50n), true);
      memory.write(top!.hpa, bytes);
      expect(table.unmap(0n, 0x1000n)).toBe(0n);
      expect(table.map(0x1000n, HPA, 0x1000n, READ)).toBe('EADDRINUSE');
      expect(table.trace(0n).at(-1)!.kind).toBe('unreadable');
    });

    test('tables that the range covers are freed, the others wait for destroy', () => {
      const { table, memory } = build(format);
      const before = table.stats.tables;
      const span = granule << 9n;
      table.map(span, HPA + granule, span, READ);
      expect(table.stats.tables).toBeGreaterThan(before);
      expect(table.unmap(span, span)).toBe(span);
      const after = table.stats.tables;
      table.map(span, HPA + granule, granule, READ);
      table.unmap(span, granule);
      expect(table.stats.tables).toBe(after + 1);
      // A large leaf replaces the table that is empty now.
      expect(table.map(span, HPA, span, READ)).toBe('ok');
      expect(table.stats.tables).toBe(after);
      table.destroy();
      expect(memory.tables.liveBlocks).toBe(0);
    });
  });

  describe('root', () => {
    test('it grows when the format can, keeps what was mapped, and is refused when it cannot', () => {
      const { table, memory } = build(format, { startingLevel: format.minTopLevel });
      let changes = 0;
      table.onRootChange = () => {
        changes += 1;
      };
      const far = 1n << 54n;
      expect(table.map(0x7000n, HPA, 0x1000n, READ)).toBe('ok');
      expect(changes).toBe(0);
      if (format.hasDynamicTop) {
        expect(table.map(far, HPA + 0x1000n, 0x1000n, READ)).toBe('ok');
        expect(changes).toBe(1);
        expect(table.topLevel).toBe(4);
        expect(table.iovaToPhys(far + 5n)).toBe(HPA + 0x1005n);
        expect(table.trace(far).map((step) => step.kind)).toEqual([
          'table',
          'table',
          'table',
          'table',
          'leaf',
        ]);
      } else {
        expect(table.map(far, HPA, 0x1000n, READ)).toBe('ERANGE');
        const levels = BigInt(format.minTopLevel + 1);
        const whole = granule << (9n * levels);
        expect(table.apertureLast).toBe((format.isSignExtended ? whole / 2n : whole) - 1n);
      }
      expect(table.iovaToPhys(0x7000n)).toBe(HPA);
      expect(table.unmap(0x7000n, 0x1000n)).toBe(0x1000n);
      table.destroy();
      expect(memory.tables.liveBlocks).toBe(0);
    });
  });

  describe('permissions', () => {
    for (const prot of [READ, WRITE, READ | WRITE]) {
      test(`${prot} comes back as ${bits.grants(prot)} from every level`, () => {
        for (const size of sizesIn(build(format).table.pgsizeBitmap)) {
          const { table } = build(format);
          expect(table.map(0n, size, size, prot)).toBe('ok');
          expect(table.protAt(size - 1n)).toBe(bits.grants(prot));
          expect(table.protAt(size)).toBe(0);
        }
      });
    }
  });

  describe('what is in the bytes is what translates', () => {
    test('clearing an entry in memory unmaps, and restoring it maps again', () => {
      const { table, memory } = build(format);
      table.map(0x1000n, HPA, 0x1000n, READ);
      for (const step of table.trace(0x1000n)) {
        expect(memory.write(step.hpa, new Uint8Array(8))).toBe(true);
        expect(table.iovaToPhys(0x1000n)).toBe(-1n);
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setBigUint64(0, step.entry, true);
        memory.write(step.hpa, bytes);
        expect(table.iovaToPhys(0x1000n)).toBe(HPA);
      }
    });

    test('no bit flip in a table makes an operation throw or destroy leak', () => {
      fc.assert(
        fc.property(fc.nat(63), fc.nat(2), fc.nat(255), (bit, depth, seed) => {
          const { table, memory } = build(format);
          table.map(0x1000n, HPA, 0x1000n, READ);
          table.map(0x20_0000n, HPA, 0x60_0000n, READ);
          const steps = table.trace(seed < 128 ? 0x1000n : 0x20_0000n);
          const step = steps[Math.min(depth, steps.length - 1)]!;
          const bytes = new Uint8Array(8);
          new DataView(bytes.buffer).setBigUint64(0, step.entry ^ (1n << BigInt(bit)), true);
          memory.write(step.hpa, bytes);
          table.iovaToPhys(0x1000n);
          table.readAndClearDirty(0n, 0x100_0000n, false, () => {});
          table.map(0x2000n, HPA, 0x1000n, READ);
          table.unmap(0x1000n, 0x80_0000n);
          table.map(0n, HPA, 0x4000_0000n, READ);
          table.unmap(0n, 0x4000_0000n);
          table.destroy();
          expect(memory.tables.liveBlocks).toBe(0);
        }),
      );
    });
  });

  describe('memory', () => {
    test('failing each table allocation in turn leaves no mapping and no leak', () => {
      // Not congruent, so smallest leaves: across the tables of two levels.
      const iova = (granule << 18n) - granule;
      const length = granule << 10n;
      let failures = 0;
      for (let nth = 1; ; nth += 1) {
        const { table, memory, injector } = build(format);
        injector.arm(nth);
        const status = table.map(iova, HPA, length, READ);
        if (status !== 'ok') {
          failures += 1;
          expect(status).toBe('ENOMEM');
          expect(table.iovaToPhys(iova)).toBe(-1n);
          injector.arm(0);
          expect(table.map(iova, HPA, length, READ)).toBe('ok');
        }
        expect(table.unmap(iova, length)).toBe(length);
        table.destroy();
        expect(memory.tables.liveBlocks).toBe(0);
        if (injector.left > 0) break;
        injector.arm(0);
      }
      expect(failures).toBeGreaterThanOrEqual(3);
    });

    test.runIf(format.hasDynamicTop)('a root that cannot grow for lack of memory stays as it was', () => {
      for (const nth of [1, 2]) {
        const { table, injector } = build(format);
        const before = [table.rootHpa, table.topLevel, table.stats.tables];
        injector.arm(nth);
        expect(table.map(1n << 54n, HPA, 0x1000n, READ)).toBe('ENOMEM');
        expect([table.rootHpa, table.topLevel, table.stats.tables]).toEqual(before);
      }
    });

    test('a root that cannot be allocated is ENOMEM', () => {
      const injector = new Injector();
      const memory = new PhysicalMemory(injector);
      injector.arm(1);
      const config = { maxVaLg2: 56, maxOaLg2: 51, startingLevel: usualLevel(format) };
      expect(() => new PageTable(memory, format, config)).toThrow(
        expect.objectContaining({ code: 'ENOMEM', rule: 'page-table.root-needs-memory' }),
      );
      expect(memory.tables.liveBlocks).toBe(0);
    });

    test('a quota bounds the tables, and is given back', () => {
      const levels = usualLevel(format) + 1;
      const quota = new TableQuota(levels * 4096);
      const { table } = build(format, { quota });
      expect(table.map(0n, HPA, 0x1000n, READ)).toBe('ok');
      expect(quota.usedBytes).toBe(levels * 4096);
      expect(table.map(1n << 34n, HPA, 0x1000n, READ)).toBe('ENOMEM');
      table.destroy();
      expect(quota.usedBytes).toBe(0);
    });

    test('cost follows leaves, not pages', () => {
      const { table } = build(format);
      const length = 1n << 36n;
      expect(table.map(0n, HPA, length, READ)).toBe('ok');
      expect(table.stats.leafWrites).toBeLessThanOrEqual(Number(length >> 29n));
    });
  });

  describe('dirty', () => {
    test('a leaf in one item reports exactly itself, once', () => {
      const { table } = build(format);
      table.map(0n, HPA + granule, 8n * granule, READ | WRITE);
      table.unmap(0n, granule);
      expect(table.setDirty(0n)).toBe(false);
      const size = granule << 9n;
      table.map(size, HPA, size, READ | WRITE);
      makeClean(table);
      expect(table.setDirty(size + 5n * granule)).toBe(true);
      const seen: bigint[][] = [];
      const visit = (iova: bigint, length: bigint): number => seen.push([iova, length]);
      table.readAndClearDirty(0n, 2n * size, true, visit);
      table.readAndClearDirty(0n, 2n * size, false, visit);
      table.readAndClearDirty(0n, 2n * size, false, visit);
      expect(seen).toEqual([
        [size, size],
        [size, size],
      ]);
    });

    test('only the range that is asked for is reported and cleaned', () => {
      const { table } = build(format, { pgsizeBitmap: granule });
      table.map(0n, HPA, 16n * granule, READ | WRITE);
      for (let page = 0n; page < 16n; page += 1n) table.setDirty(page * granule);
      const seen: bigint[] = [];
      table.readAndClearDirty(4n * granule, 4n * granule, false, (iova) => seen.push(iova / granule));
      expect(seen).toEqual([4n, 5n, 6n, 7n]);
      seen.length = 0;
      table.readAndClearDirty(0n, 16n * granule, false, (iova) => seen.push(iova / granule));
      expect(seen).toEqual([0n, 1n, 2n, 3n, 8n, 9n, 10n, 11n, 12n, 13n, 14n, 15n]);
    });
  });

  describe('random operations', () => {
    test('agree with a table that keeps every granule by itself', () => {
      const unit = 0x1000n;
      const step = fc.oneof(
        fc.record({
          op: fc.constant('map' as const),
          start: fc.nat(1200),
          length: fc.integer({ min: 1, max: 700 }),
          hpa: fc.nat(1200),
          prot: fc.integer({ min: 1, max: 3 }),
        }),
        fc.record({ op: fc.constant('unmap' as const), pick: fc.nat() }),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
          const { table, memory } = build(format);
          const naive = new NaiveTable(unit);
          for (const action of steps) {
            if (action.op === 'map') {
              const iova = BigInt(action.start) * unit;
              const hpa = HPA + BigInt(action.hpa) * unit;
              const length = BigInt(action.length) * unit;
              const status = table.map(iova, hpa, length, action.prot);
              expect(status).toBe(naive.map(iova, hpa, length, bits.grants(action.prot)));
            } else {
              const range = naive.pickRange(action.pick);
              if (range === null) continue;
              expect(table.unmap(range.start, range.length)).toBe(range.length);
              naive.unmap(range.start);
            }
          }
          for (let page = 0n; page < 2000n; page += 7n) {
            const iova = page * unit + page;
            expect(table.iovaToPhys(iova)).toBe(naive.iovaToPhys(iova));
            expect(table.protAt(iova)).toBe(naive.protAt(iova));
          }
          table.destroy();
          expect(memory.tables.liveBlocks).toBe(0);
        }),
        { numRuns: 150 },
      );
    });
  });
}
