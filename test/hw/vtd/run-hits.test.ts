/** Translations of many pages at once: the same as page by page, however often and from where they are asked for. */
import { describe, expect, test } from 'vitest';
import { RunList } from '../../../src/mem/runs.js';
import { dice } from '../../dice.js';
import { QueueWorld, pages, pasidIotlbInvalidate } from './queue-world.js';
import { FS_LEAF, context, mapPage, pasidEntry } from './structures.js';
import { PASID, READ, SOURCE, WRITE } from './world.js';

const PAGE = 0x1000n;
const COUNT = 48;
/** The low word of the address wraps in the middle. */
const START = 0x1_0000_0000n - BigInt(COUNT / 2) * PAGE;
const HPA = 0x7_ffff_8000n;
const RW = 2n;

interface Space {
  readonly world: QueueWorld;
  readonly root: bigint;
  /** By page: its frame, counted from HPA, or null; and whether it may be written. */
  readonly frames: (number | null)[];
  readonly writable: boolean[];
}

function build(): Space {
  const world = new QueueWorld();
  const root = world.table();
  pasidEntry(world, context(world).entry, 1n, { first: root });
  const frames = Array.from({ length: COUNT }, (_, page) => page);
  frames.forEach((_, page) => mapPage(world, root, START + BigInt(page) * PAGE, leaf(page, true)));
  world.start();
  return { world, root, frames, writable: frames.map(() => true) };
}

const leaf = (frame: number, isWritable: boolean): bigint =>
  (HPA + BigInt(frame) * PAGE) | (isWritable ? FS_LEAF : FS_LEAF & ~RW);

/** Asks for `length` bytes from `at` on; where each page of them was found, as far as it went. */
function ask({ world }: Space, at: number, length: number, access: number): (bigint | 'refused')[] {
  const runs = new RunList();
  const { request } = world;
  const iova = START + BigInt(at);
  Object.assign(request, { sourceId: SOURCE, pasid: PASID, access, addressType: 0 });
  request.hi = Number(iova >> 32n);
  request.lo = Number(iova & 0xffff_ffffn) | 0;
  const isAnswered = world.unit.translateRuns(request, length, runs);
  const found: (bigint | 'refused')[] = [];
  let offset = at;
  for (let run = 0; run < runs.count; run += 1) {
    const [hi, lo, bytes] = runs.words.subarray(run * 3, run * 3 + 3);
    const hpa = (BigInt(hi!) << 32n) | BigInt(lo! >>> 0);
    for (const end = offset + bytes!; offset < end;) {
      found.push(hpa + BigInt(offset - (end - bytes!)));
      offset = Math.min(end, (offset | 0xfff) + 1);
    }
  }
  expect(runs.bytes).toBe(offset - at);
  expect(isAnswered).toBe(runs.bytes === length);
  if (!isAnswered) found.push('refused');
  return found;
}

function expected({ frames, writable }: Space, at: number, length: number, access: number): unknown[] {
  const found: unknown[] = [];
  for (let offset = at; offset < at + length; offset = (offset | 0xfff) + 1) {
    const frame = frames[offset >> 12]!;
    if (frame === null || (access === WRITE && !writable[offset >> 12]!)) return [...found, 'refused'];
    found.push(HPA + BigInt(frame) * PAGE + BigInt(offset & 0xfff));
  }
  return found;
}

describe('runs', () => {
  test('adjacent pages are one run, over both wraps of the low word, also when asked again', () => {
    const space = build();
    for (let turn = 0; turn < 3; turn += 1) {
      expect(ask(space, 5, COUNT * 4096 - 5, WRITE)).toEqual(expected(space, 5, COUNT * 4096 - 5, WRITE));
    }
  });

  test('what is invalidated in the middle is asked for again, and what is not goes on as it was', () => {
    const space = build();
    const { world, root } = space;
    for (let turn = 0; turn < 3; turn += 1) ask(space, 0, COUNT * 4096, READ);
    const old = ask(space, 0, COUNT * 4096, READ);
    mapPage(world, root, START + 7n * PAGE, leaf(200, true));
    expect(ask(space, 0, COUNT * 4096, READ)).toEqual(old);
    expect(world.stale.map((hit) => hit.iova)).toEqual([START + 7n * PAGE]);
    world.submit(pasidIotlbInvalidate(3n), pages(START + 7n * PAGE));
    space.frames[7] = 200;
    expect(ask(space, 0, COUNT * 4096, READ)).toEqual(expected(space, 0, COUNT * 4096, READ));
  });

  test('agrees with the tables after any changes that are told', () => {
    const next = dice(1);
    const space = build();
    const { world, root, frames, writable } = space;
    for (let step = 0; step < 3000; step += 1) {
      if (next(4) === 0) {
        const page = next(COUNT);
        const frame = next(3) === 0 ? null : next(3) === 0 ? next(COUNT) : page;
        frames[page] = frame;
        writable[page] = next(5) > 0;
        const iova = START + BigInt(page) * PAGE;
        mapPage(world, root, iova, frame === null ? 0n : leaf(frame, writable[page]));
        world.submit(pasidIotlbInvalidate(3n), pages(iova));
      }
      const at = next(COUNT * 4096);
      const length = 1 + next(COUNT * 4096 - at);
      const access = next(2) === 0 ? READ : WRITE;
      expect(ask(space, at, length, access)).toEqual(expected(space, at, length, access));
      world.faults();
    }
  });
});
