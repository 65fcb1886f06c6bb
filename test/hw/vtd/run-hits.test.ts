/** Translations of many pages at once: the same as page by page, however often and from where they are asked for. */
import { describe, expect, test } from 'vitest';
import { RunList } from '../../../src/mem/runs.js';
import { dice } from '../../dice.js';
import { FakeBacking } from '../../mem/fake-backing.js';
import { QueueWorld, pages, pasidCacheInvalidate, pasidIotlbInvalidate } from './queue-world.js';
import { FS_LEAF, FS_TABLE, context, mapPage, pasidEntry } from './structures.js';
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

function build(frameOf = (page: number): number => page): Space {
  const world = new QueueWorld();
  const root = world.table();
  pasidEntry(world, context(world).entry, 1n, { first: root });
  const frames = Array.from({ length: COUNT }, (_, page) => frameOf(page));
  frames.forEach((frame, page) => mapPage(world, root, START + BigInt(page) * PAGE, leaf(frame, true)));
  world.start();
  return { world, root, frames, writable: frames.map(() => true) };
}

/** What lies in client memory changes without a trace: here the lowest tables, and the queue. */
class ClientWorld extends QueueWorld {
  readonly base = this.memory.window(new FakeBacking(1), 0n, 0x4000n)![0]!.hpa;
  override readonly queue = this.base;

  constructor() {
    super();
    this.unit.write64(0x90, this.queue | 0x800n);
  }
}

function buildGuest(): Space & { readonly world: ClientWorld; readonly entry: bigint } {
  const world = new ClientWorld();
  const root = world.table();
  const { entry } = context(world);
  pasidEntry(world, entry, 1n, { first: root });
  for (const [index, iova] of [START, 0x1_0000_0000n].entries()) {
    const [, , directory] = mapPage(world, root, iova, 0n);
    world.put(directory!, (world.base + PAGE * BigInt(index + 1)) | FS_TABLE);
  }
  const frames = Array.from({ length: COUNT }, (_, page) => (page * 7) % 31);
  const space = { world, root, entry, frames, writable: frames.map(() => true) };
  frames.forEach((_, page) => putLeaf(space, page));
  world.start();
  return space;
}

function putLeaf({ world, frames, writable }: ReturnType<typeof buildGuest>, page: number): void {
  const iova = START + BigInt(page) * PAGE;
  const table = world.base + (iova < 0x1_0000_0000n ? PAGE : 2n * PAGE);
  const frame = frames[page]!;
  world.put(table + ((iova >> 12n) & 511n) * 8n, frame === null ? 0n : leaf(frame, writable[page]!));
}

const leaf = (frame: number, isWritable: boolean): bigint =>
  (HPA + BigInt(frame) * PAGE) | (isWritable ? FS_LEAF : FS_LEAF & ~RW);

/** Asks for `length` bytes from `at` on; where each page of them was found, as far as it went. */
function ask(
  { world }: Space,
  at: number,
  length: number,
  access: number,
  pasid = PASID,
): (bigint | 'refused')[] {
  const runs = new RunList();
  const { request } = world;
  const iova = START + BigInt(at);
  Object.assign(request, { sourceId: SOURCE, pasid, access, addressType: 0 });
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

  test.each([
    ['adjacent', COUNT, 1],
    ['scattered', 16, 3],
  ])('what is invalidated in the middle is asked for again, %s', (_, count, distance) => {
    const space = build((page) => page * distance);
    const { world, root } = space;
    const length = count * 4096;
    for (let turn = 0; turn < 3; turn += 1) ask(space, 0, length, READ);
    const old = ask(space, 0, length, READ);
    mapPage(world, root, START + 7n * PAGE, leaf(200, true));
    // The first page has been looked at since, and the one that changed has not.
    ask(space, 0, 64, READ);
    expect(ask(space, 0, length, READ)).toEqual(old);
    expect(world.stale.map((hit) => hit.iova)).toEqual([START + 7n * PAGE]);
    world.submit(pasidIotlbInvalidate(3n), pages(START + 7n * PAGE));
    space.frames[7] = 200;
    expect(ask(space, 0, length, READ)).toEqual(expected(space, 0, length, READ));
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

  test('the same buffers again, scattered, agree after changes that only the queue tells of', () => {
    const next = dice(2);
    const space = buildGuest();
    const { world, frames, writable } = space;
    const buffers = Array.from({ length: 6 }, () => {
      const at = next(20 * 4096);
      return { at, length: 4 * 4096 + next(12 * 4096), access: next(2) === 0 ? READ : WRITE };
    });
    // Two that begin alike.
    buffers.push({ ...buffers[0]!, length: buffers[0]!.length - 1 });
    buffers.push({ ...buffers[1]!, access: READ }, { ...buffers[1]!, access: WRITE });
    for (let step = 0; step < 3000; step += 1) {
      if (next(6) === 0) {
        const page = next(COUNT);
        frames[page] = next(40) === 0 ? null : next(1000);
        writable[page] = next(6) > 0;
        putLeaf(space, page);
        world.submit(pasidIotlbInvalidate(3n), pages(START + BigInt(page) * PAGE));
      }
      const { at, length, access } = buffers[next(buffers.length)]!;
      expect(ask(space, at, length, access)).toEqual(expected(space, at, length, access));
      world.faults();
    }
  });

  test('a buffer is known by its address space too', () => {
    const space = buildGuest();
    const { world } = space;
    const other = world.table();
    pasidEntry(world, context(world, { pasid: 4 }).entry, 1n, { first: other });
    const frames = Array.from({ length: 16 }, (_, page) => (page * 5) % 17);
    frames.forEach((frame, page) => mapPage(world, other, START + BigInt(page) * PAGE, leaf(frame, true)));
    for (let turn = 0; turn < 3; turn += 1) {
      for (const [pasid, from] of [
        [PASID, space],
        [4, { ...space, frames }],
      ] as const) {
        const answers = [0, 1, 2].map(() => ask(space, 0, 65536, READ, pasid));
        expect(answers).toEqual([0, 1, 2].map(() => expected(from, 0, 65536, READ)));
      }
    }
  });

  test('a buffer that is known is refused like any other once its PASID entry is gone', () => {
    const space = buildGuest();
    const { world } = space;
    for (let turn = 0; turn < 3; turn += 1) ask(space, 0, 65536, READ);
    world.put(space.entry, 0n);
    world.submit(pasidCacheInvalidate(1n));
    expect(ask(space, 0, 65536, READ)).toEqual(['refused']);
  });
});
