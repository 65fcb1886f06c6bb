/**
 * The seam between what masters memory and what translates: a device makes requests and never knows who answers
 * them; a unit sees a requester id, a PASID and an address and never knows the device. The same for every bus: what a
 * bus adds is how a requester id is formed (PCI: bus, device, function; a platform bus: a number from the topology).
 * Addresses are pairs of int32 words; nothing here allocates for a request that succeeds.
 */

import type { RunList } from '../mem/runs.js';

/** {@link Translation.access}, and what an entry permits. */
export const DMA_READ = 1;
export const DMA_WRITE = 2;
export const DMA_EXEC = 4;
/** Privileged mode (PCIe PASID TLP prefix, PMR). */
export const DMA_PRIV = 8;

/** {@link Translation.pasid} of a request without one. */
export const NO_PASID = -1;
/** In {@link Endpoint.invalidateDeviceTlb}: whatever the PASID. */
export const ALL_PASIDS = -2;

/** Address types of PCIe (AT field). */
export const AT_UNTRANSLATED = 0;
export const AT_TRANSLATION_REQUEST = 1;
export const AT_TRANSLATED = 2;

/** One question to a translator and its answer; reused, so whoever asks copies what it needs. */
export class Translation {
  /** In: who asks, for what. */
  sourceId = 0;
  pasid = NO_PASID;
  hi = 0;
  lo = 0;
  access = DMA_READ;
  addressType = AT_UNTRANSLATED;

  /** Out: where that byte is, and lg2 of the aligned block around it that is contiguous there. */
  hpaHi = 0;
  hpaLo = 0;
  sizeLg2 = 0;
  /** DMA_READ | DMA_WRITE | DMA_EXEC as the tables allow it. */
  permitted = 0;
  /** Out, when refused: the unit's own reason code, and whether a page request may cure it. */
  reason = 0;
  recoverable = false;
}

/** A page request message (PCIe PRI; a stall of another bus is the same to whoever answers it). */
export interface PageRequestMessage {
  readonly sourceId: number;
  /** {@link NO_PASID}: none. */
  readonly pasid: number;
  /** First byte of the page. */
  readonly address: bigint;
  /** DMA_READ | DMA_WRITE | DMA_EXEC | DMA_PRIV. */
  readonly access: number;
  /** Page request group index, 0..511. */
  readonly group: number;
  readonly last: boolean;
}

/** What translates, seen from a bus. */
export interface Translator {
  readonly name: string;
  /**
   * Answers `request` in place. False: refused; unless it was a translation request that a page request may cure, the
   * unit has recorded the fault.
   */
  translate(request: Translation): boolean;
  /**
   * Answers for `length` (> 0) bytes from an untranslated address on at once: adds where they lie to `runs`, until that is
   * full. False: the byte after them was refused. Whoever has it asks each block as {@link translate} would,
   * and may say that all of it was cached ({@link RunList.areHits}) if it ends the epoch of memory before it would answer
   * anything else: until then it is not asked for those bytes again.
   */
  translateRuns?(request: Translation, length: number, runs: RunList): boolean;
  /** Takes a page request. The answer comes to {@link Endpoint.pageGroupResponse}, at once or later. */
  pageRequest(message: PageRequestMessage): void;
}

/** PCIe page response codes. */
export const PRG_SUCCESS = 0;
export const PRG_INVALID = 1;
export const PRG_FAILURE = 15;

/** What a unit sends to a device. */
export interface Endpoint {
  readonly name: string;
  readonly sourceId: number;
  /**
   * Drops translations from the device's own cache: those of `pasid` (of the requester id alone: {@link NO_PASID}; of
   * every PASID, not those of the requester id alone: {@link ALL_PASIDS}) in the aligned block of `1 << sizeLg2` bytes
   * around the address; 64 is everything. False: the device did not answer, as one that is gone or has no such cache.
   */
  invalidateDeviceTlb(pasid: number, hi: number, lo: number, sizeLg2: number): boolean;
  pageGroupResponse(pasid: number, group: number, code: number): void;
}

/** Finds the device behind a requester id; a bus is one, a unit gets those it serves. */
export interface EndpointRouter {
  endpoint(sourceId: number): Endpoint | null;
}
