/** Random operations of the test device beside a flat address space, with a cache of its own and page requests. */
import { expect, test } from 'vitest';
import { PRG_SUCCESS } from '../../src/bus/dma.js';
import type { Operation } from '../../src/dev/operation.js';
import { dice } from '../dice.js';
import { bytesOf, FRAMES, makeDevice, PAGE } from './world.js';

const PAGES = 16;
const OPERATIONS = 25_000;
const START = 0x7f_ffff_8000n;
const PASID = 5;
const kinds = ['read', 'write', 'copy', 'fill', 'compare', 'fetch-add'] as const;

const iova = (at: number): bigint => START + BigInt(at);

/** Plays with page requests or without; unmapping sends the invalidation, or is what a later operation would miss. */
function play(seed: number, how: { ats: boolean; pri: boolean }): { operations: number; requested: number } {
  const next = dice(seed);
  const w = makeDevice();
  const flat = new Uint8Array(PAGES * PAGE);
  const frames: (number | null)[] = Array.from({ length: PAGES }, () => null);
  const free = Array.from({ length: FRAMES }, (_, i) => i);
  const provide = (page: number): void => {
    const frame = free.splice(next(free.length), 1)[0]!;
    frames[page] = frame;
    w.bytes(frame).set(flat.subarray(page * PAGE, (page + 1) * PAGE));
    w.translator.map(PASID, iova(page * PAGE), w.frame(frame));
  };
  const takeAway = (page: number): void => {
    const frame = frames[page];
    if (frame === null || frame === undefined) return;
    expect(Buffer.compare(w.bytes(frame), flat.subarray(page * PAGE, (page + 1) * PAGE))).toBe(0);
    w.translator.unmap(PASID, iova(page * PAGE));
    const at = iova(page * PAGE);
    w.device.invalidateDeviceTlb(PASID, Number(at >> 32n), Number(BigInt.asIntN(32, at)), 12);
    frames[page] = null;
    w.bytes(frame).fill(0xee);
    free.push(frame);
  };
  w.translator.onPageRequest = ({ address, group, last }) => {
    const page = Number((address - START) / 4096n);
    if (frames[page] === null) provide(page);
    if (last) w.device.pageGroupResponse(PASID, group, PRG_SUCCESS);
  };
  const reach = (at: number, length: number): number => {
    if (how.pri) return length;
    let end = at;
    while (end < at + length && frames[end >> 12] !== null) end = Math.min(at + length, (end | 0xfff) + 1);
    return end - at;
  };
  for (let step = 0; step < OPERATIONS; step++) {
    if (next(6) === 0) takeAway(next(PAGES));
    else if (!how.pri && next(4) === 0 && frames.includes(null)) provide(frames.indexOf(null));
    const kind = kinds[next(kinds.length)]!;
    const length = kind === 'fetch-add' ? 8 : 1 + next(next(4) === 0 ? 3 * PAGE : 100);
    const at = kind === 'fetch-add' ? next(flat.length >> 3) << 3 : next(flat.length - length);
    const to = next(flat.length - length);
    if (kind === 'copy' && Math.abs(at - to) < length) continue;
    const data = kind === 'compare' ? flat.slice(at, at + length) : bytesOf(length, step);
    const operation: Operation = {
      kind,
      iova: iova(at),
      target: iova(to),
      length,
      data,
      value: 3n,
      pasid: PASID,
      ...how,
    };
    const job = w.device.submit(operation);
    const done = kind === 'copy' ? Math.min(reach(at, length), reach(to, length)) : reach(at, length);
    expect(job.bytes).toBe(done);
    expect(job.state).toBe(done === length ? 'done' : 'faulted');
    if (kind === 'read')
      expect(Buffer.compare(job.data!.subarray(0, done), flat.subarray(at, at + done))).toBe(0);
    else if (kind === 'write') flat.set(data.subarray(0, done), at);
    else if (kind === 'fill') flat.fill(3, at, at + done);
    else if (kind === 'copy') flat.copyWithin(to, at, at + done);
    else if (kind === 'fetch-add' && done === 8) {
      const view = new DataView(flat.buffer, at, 8);
      expect(job.old).toBe(view.getBigUint64(0, true));
      view.setBigUint64(0, job.old + 3n, true);
    }
  }
  for (const frame of free) expect(w.bytes(frame).every((byte) => byte === 0xee || byte === 0)).toBe(true);
  for (let page = 0; page < PAGES; page++) takeAway(page);
  expect(w.device.pending).toBe(0);
  return { operations: OPERATIONS, requested: w.translator.requests.length };
}

test.each([
  { ats: false, pri: false },
  { ats: true, pri: false },
  { ats: true, pri: true },
])('agrees with a flat address space: %o', (how) => {
  const { requested } = play(0x1234567, how);
  expect(requested > 1000).toBe(how.pri);
});
