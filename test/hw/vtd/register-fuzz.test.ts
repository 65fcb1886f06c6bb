/**
 * Whatever software does with the registers, and whatever lies in its queues: no exception, no descriptor more than a queue
 * holds for a store, and the way out that the specification names is always there.
 */
import { expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { dice } from '../../dice.js';
import { context, FS_LEAF, mapPage, pasidEntry } from './structures.js';
import { iotlbInvalidate, QueueWorld } from './queue-world.js';
import { PASID, SOURCE } from './world.js';

const STORES = 60_000;
const IOVA = 0x7000n;
const HPA = 0x5_0000_0000n;
const NOWHERE = 0x40_0000_0000n;
const [GCMD, RTADDR, FSTS, IQH, IQT, IQA, PQH, PQT, PQA, PRS] = [
  0x18, 0x20, 0x34, 0x80, 0x88, 0x90, 0xc0, 0xc8, 0xd0, 0xdc,
];
/** What most stores go to; the others go anywhere. */
const FAVOURITES = [
  GCMD,
  RTADDR,
  FSTS,
  IQH,
  IQT,
  IQT,
  IQA,
  PQH,
  PQT,
  PQA,
  PRS,
  0x38,
  0xa0,
  0xe0,
  0x9c,
  0x22c,
];

test(`${STORES} stores to any register, with anything in the queues`, { timeout: 120_000 }, () => {
  const next = dice(20_261_127);
  const world = new QueueWorld();
  const { unit } = world;
  const first = world.table();
  mapPage(world, first, IOVA, HPA | FS_LEAF);
  pasidEntry(world, context(world).entry, 1n, { first });
  // Eight pages for queues; longer ones go on into other tables.
  const queue = world.table(15);
  /** Waits, one page of 16 bytes each and the next of 32. */
  const fill = (): void => {
    for (let at = 0n; at < 32768n; at += 8n) {
      const step = (at & 0x1000n) === 0n ? 16n : 32n;
      world.put(queue + at, at % step === 0n ? 5n | 0x40n : 0n);
    }
  };
  fill();
  const word = (): bigint => (BigInt(next(2 ** 32)) << 32n) | BigInt(next(2 ** 32));
  const address = (): bigint => (next(8) === 0 ? NOWHERE : queue + BigInt(next(8) * 4096));
  const descriptor = (): bigint =>
    next(3) === 0 ? word() : BigInt(1 + next(9)) | (word() & 0xff_ffff_0030n);
  const valueFor = (offset: number): bigint => {
    const isQueue = offset === IQA || offset === PQA;
    if (isQueue) return address() | BigInt(next(8)) | (next(2) === 0 ? 0x800n : 0n);
    if (offset === RTADDR) return (next(4) === 0 ? word() : world.root) | (BigInt(next(4)) << 10n);
    if (offset === FSTS && next(2) === 0) return 0x71n;
    // Translation and queue are mostly on.
    if (offset === GCMD) return (word() & 0x7b3f_ffffn) | (next(5) === 0 ? 0n : 0x8400_0000n);
    return next(2) === 0 ? word() & 0x7fe0n : word();
  };
  const done = (): number => unit.statistics.descriptors.reduce((sum, n) => sum + n, 0);
  let most = 0;
  let stopped = 0;
  for (let store = 0; store < STORES; store += 1) {
    const offset = next(4) === 0 ? next(0x300) & ~3 : FAVOURITES[next(FAVOURITES.length)]!;
    if (next(16) === 0) world.put(queue + BigInt(next(4096) * 8), descriptor());
    const before = done();
    const value = valueFor(offset);
    if (next(3) !== 0 && offset % 8 === 0) unit.write64(offset, value);
    else unit.write32(offset, Number(value & 0xffff_ffffn) | 0);
    most = Math.max(most, done() - before);
    if ((unit.read32(FSTS) & 0x10) !== 0) stopped += 1;
    const pasid = next(2) === 0 ? PASID : NO_PASID;
    if (next(8) === 0) world.ask(word() & 0xffffn, { pasid, at: next(2) });
    if (next(8) === 0) {
      const ask = {
        sourceId: SOURCE,
        pasid,
        address: word(),
        access: next(4),
        group: next(512),
        last: next(2) === 0,
      };
      unit.pageRequest(ask);
    }
    if (store % 500 === 499) recover(world);
  }
  // 2^7 pages of descriptors of 16 bytes.
  expect(most).toBeLessThanOrEqual(2 ** 15);
  expect(most).toBeGreaterThan(50);
  expect(stopped).toBeGreaterThan(STORES / 10);

  /** As a driver starts over: queue off, errors cleared, queue and root where they belong, everything invalidated. */
  function recover({ queue: own, root }: QueueWorld): void {
    unit.write32(GCMD, 0);
    unit.write32(FSTS, 0x71);
    world.faults();
    unit.write32(PRS, 3);
    unit.write64(IQT, 0n);
    unit.write64(IQA, own | 0x800n);
    unit.write64(PQA, NOWHERE);
    world.tail = 0;
    world.start(1, root);
    world.submit(1n | (1n << 4n));
    world.submit(7n | (3n << 4n));
    world.submit(iotlbInvalidate(1n));
    expect([world.head, unit.read32(FSTS) & 0x71]).toEqual([world.tail, 0]);
    expect(world.ask(IOVA)).toBe(HPA);
    expect(world.ask(0x9000n)).toBeNull();
    expect(world.faults()).toMatchObject([{ reason: 0x71 }]);
    fill();
  }
});
