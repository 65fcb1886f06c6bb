/**
 * What has to be invalidated when translations of a domain change (Linux: drivers/iommu/intel/cache.c). The unit's own
 * caches come first and the devices' after them, so that no device refills its cache from a stale one.
 * OURS: an IOTLB invalidation of a second stage names no PASID, so one is made for each domain id; Linux makes the same
 * one again for each PASID.
 */
import { highWord, lowWord } from '../../../base/words.js';
import { EVERYTHING } from './commands.js';
import type { Places, UnitPlaces } from './places.js';

const PAGE_LG2 = 12;

/** A range as invalidations say it: one naturally aligned block; reused. */
class Block {
  hi = 0;
  lo = 0;
  /** lg2 of its pages; {@link EVERYTHING} and address 0 when there is no such block below 2^63. */
  order = 0;
}

const block = new Block();

/** The smallest block around `start`..`last` (Linux: calculate_psi_aligned_address, the quirks of `last < start` too). */
function blockAround(start: bigint, last: bigint): Block {
  const differHi = highWord(start) ^ highWord(last);
  const differLo = lowWord(start) ^ lowWord(last);
  const differ = differHi === 0 ? 32 - Math.clz32(differLo) : 64 - Math.clz32(differHi);
  const sizeLg2 = Math.max(PAGE_LG2, differ);
  block.order = sizeLg2 - PAGE_LG2;
  if (sizeLg2 < 32) {
    block.hi = highWord(start);
    block.lo = lowWord(start) & (-1 << sizeLg2);
  } else {
    block.hi = sizeLg2 === 64 ? 0 : highWord(start) & (-1 << (sizeLg2 - 32));
    block.lo = 0;
  }
  return block;
}

/** A first stage has changed at `start`..`last`. */
export function flushFirstStage(domain: Places, start: bigint, last: bigint, leafOnly: boolean): void {
  const { hi, lo, order } = blockAround(start, last);
  for (const at of domain.byUnit) {
    const { places, commands } = at.unit;
    for (let place = at.first; place !== 0; place = places.nextOf(place)) {
      if (!at.isFirstOfPasid(place)) continue;
      commands.pasidIotlb(at.did, places.pasidAt(place), hi, lo, order, leafOnly);
    }
    flushDevices(at, hi, lo, order);
    at.unit.queue.sync();
  }
}

/** The same with one invalidation of each kind for each place, whether the unit needs as many or not. */
export function flushEachPlace(domain: Places, start: bigint, last: bigint, leafOnly: boolean): void {
  const { hi, lo, order } = blockAround(start, last);
  for (const at of domain.byUnit) {
    const { places, commands } = at.unit;
    for (let place = at.first; place !== 0; place = places.nextOf(place)) {
      commands.pasidIotlb(at.did, places.pasidAt(place), hi, lo, order, leafOnly);
    }
    flushDevices(at, hi, lo, order);
    at.unit.queue.sync();
  }
}

/** A second stage has changed; `nested` are the places of the first stages on it. */
export function flushSecondStage(
  places: Places,
  nested: Iterable<{ readonly places: Places }>,
  start: bigint,
  last: bigint,
  leafOnly: boolean,
): void {
  const { hi, lo, order } = blockAround(start, last);
  for (const at of places.byUnit) {
    at.unit.commands.iotlb(at.did, hi, lo, order, leafOnly);
    flushDevices(at, hi, lo, order);
    at.unit.queue.sync();
  }
  for (const first of nested) {
    for (const at of first.places.byUnit) {
      at.unit.commands.iotlb(at.did, hi, lo, order, leafOnly);
      // A device caches the result of both stages, at addresses of the first.
      flushDevices(at, 0, 0, EVERYTHING);
      at.unit.queue.sync();
    }
  }
}

/** Something is mapped where nothing was: only a unit that caches that (CAP.CM) has to be told. */
export function flushNotPresent(
  places: Places,
  nested: Iterable<{ readonly places: Places }>,
  start: bigint,
  last: bigint,
): void {
  const { hi, lo, order } = blockAround(start, last);
  for (const at of places.byUnit) flushIotlb(at, hi, lo, order);
  for (const first of nested) for (const at of first.places.byUnit) flushIotlb(at, hi, lo, order);
}

function flushIotlb(at: UnitPlaces, hi: number, lo: number, order: number): void {
  if (!at.unit.cachingMode) return;
  at.unit.commands.iotlb(at.did, hi, lo, order, false);
  at.unit.queue.sync();
}

function flushDevices(at: UnitPlaces, hi: number, lo: number, order: number): void {
  if (at.withDeviceTlb === 0) return;
  const { unit } = at;
  const { places } = unit;
  for (let place = at.first; place !== 0; place = places.nextOf(place)) {
    const device = unit.deviceOf(places.deviceIndexAt(place));
    if (device.atsEnabled) unit.commands.deviceTlb(device.sourceId, places.pasidAt(place), hi, lo, order);
  }
}
