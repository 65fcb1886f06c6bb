/** Runs over pages of every size, adjacent, scattered and missing: what page by page is, whatever of it is cached. */
import { expect, test } from 'vitest';
import { RunList } from '../../../src/mem/runs.js';
import { dice } from '../../dice.js';
import { iotlbInvalidate, QueueWorld } from './queue-world.js';
import { context, FS_LEAF, mapPage, pasidEntry } from './structures.js';
import { PASID, READ, SOURCE, type World } from './world.js';

/** By page of an area with pages of every size and holes: where it lies, or null. */
function area(world: World): { start: bigint; pages: (bigint | null)[] } {
  const start = 0x1_ffc0_0000n;
  const pages: (bigint | null)[] = [];
  const root = world.table();
  const place = (hpa: bigint | null, size: number, count = 1): void => {
    for (let index = 0; index < count; index += 1) {
      const iova = start + BigInt(pages.length) * 0x1000n;
      if (hpa !== null) mapPage(world, root, iova, hpa | FS_LEAF, { size });
      for (let page = 0n; page < 1n << BigInt(size - 12); page += 1n)
        pages.push(hpa === null ? null : hpa + (page << 12n));
    }
  };
  place(0x7_ffe0_0000n, 21);
  // Side by side with the large page and with one another; then scattered, more than a list of runs has room for.
  for (let page = 0n; page < 60n; page += 1n) place(0x8_0000_0000n + (page << 12n), 12);
  for (let page = 0n; page < 300n; page += 1n) place(0x9_0000_0000n + (page << 13n), 12);
  place(null, 12, 3);
  for (let page = 0n; pages.length < 1024; page += 1n) place(0xa_ffff_0000n + (page << 12n), 12);
  place(0x3_4000_0000n, 30);
  pasidEntry(world, context(world).entry, 1n, { first: root });
  return { start, pages };
}

test('runs over pages of every size are what page by page is, up to the first that is missing', () => {
  const next = dice(22);
  const world = new QueueWorld();
  const { start, pages } = area(world);
  world.start();
  const { request } = world;
  let ends = 0;
  let full = 0;
  for (let step = 0; step < 300; step += 1) {
    if (next(8) === 0) world.submit(iotlbInvalidate(1n));
    const from = next(4) === 0 ? next(0x80_0000) : next(1536) * 4096 + next(4096);
    const length = 1 + next([64, 0x3000, 0x10_0000, 0x40_0000][next(4)]!);
    const runs = new RunList();
    const iova = start + BigInt(from);
    Object.assign(request, { sourceId: SOURCE, pasid: PASID, access: READ, addressType: 0 });
    Object.assign(request, { hi: Number(iova >> 32n), lo: Number(iova & 0xffff_ffffn) | 0 });
    const isAnswered = world.unit.translateRuns(request, length, runs);
    // Every byte that the runs have is where it should be.
    let at = from;
    for (let run = 0; run < runs.count; run += 1) {
      const [hi, lo, bytes] = runs.words.subarray(run * 3, run * 3 + 3);
      let hpa = (BigInt(hi!) << 32n) | BigInt(lo! >>> 0);
      for (const end = at + bytes!; at < end;) {
        const page = pages[at >> 12]!;
        if (page === null || hpa !== page + BigInt(at & 0xfff))
          expect([step, at, hpa]).toEqual([step, at, page]);
        const more = Math.min(end, (at | 0xfff) + 1) - at;
        at += more;
        hpa += BigInt(more);
      }
    }
    expect([step, runs.bytes]).toEqual([step, at - from]);
    const faults = world.faults().map(({ address }) => address);
    if (!isAnswered) {
      ends += 1;
      expect([step, pages[at >> 12], faults]).toEqual([step, null, [(start + BigInt(at)) & ~0xfffn]]);
      continue;
    }
    expect([step, faults]).toEqual([step, []]);
    if (runs.isFull && runs.bytes < length) full += 1;
    else expect([step, runs.bytes]).toEqual([step, length]);
  }
  expect(Math.min(ends, full)).toBeGreaterThan(10);
});

test('runs end with the last byte, whatever of them is cached', () => {
  const world = new QueueWorld();
  const { start } = area(world);
  world.start();
  for (const length of [1, 2, 0x1000, 0x1001, 0x1002, 0x2001]) {
    for (const cached of [[], [0], [1], [0, 1]]) {
      world.submit(iotlbInvalidate(1n));
      const from = start + 0x25_c000n;
      for (const page of cached) world.ask(from + BigInt(page) * 0x1000n);
      const { request } = world;
      const runs = new RunList();
      const iova = from + 0xfffn;
      Object.assign(request, { sourceId: SOURCE, pasid: PASID, access: READ, addressType: 0 });
      Object.assign(request, { hi: Number(iova >> 32n), lo: Number(iova & 0xffff_ffffn) | 0 });
      expect(world.unit.translateRuns(request, length, runs)).toBe(true);
      expect([length, cached, runs.bytes]).toEqual([length, cached, length]);
    }
  }
});
