/**
 * What the last requests translated by, so that the next ones of the same requesters and PASIDs need no context. It holds
 * what the context and PASID caches hold, and every invalidation of these ends all of it, whatever that names.
 */
import type { Epoch } from '../../mem/epoch.js';
import { hashOf } from './iotlb.js';

/** No requester id. */
const NOBODY = -1;
const SPACES = 16;

/** Who translated, and by what. */
export class LastSpace {
  source = NOBODY;
  pasid = 0;
  /** Tag of its translations, without an address; see {@link hashOf}. */
  tagHigh = 0;
  tagLow = 0;
  hash = 0;
}

export class LastSpaces {
  /** By {@link lastIndexOf}. Objects, since their fields cost less than the words of an array (seen: 3 ns a request). */
  readonly all: readonly LastSpace[] = Array.from({ length: SPACES }, () => new LastSpace());
  readonly #epoch: Epoch;
  /** Somebody has a place. */
  #isUsed = false;

  /** `epoch` ends with it. */
  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  remember(source: number, pasid: number, tagHigh: number, tagLow: number): void {
    const last = this.all[lastIndexOf(source, pasid)]!;
    last.source = source;
    last.pasid = pasid;
    last.tagHigh = tagHigh;
    last.tagLow = tagLow;
    last.hash = hashOf(tagHigh, tagLow);
    this.#isUsed = true;
  }

  forget(): void {
    this.#epoch.end();
    if (!this.#isUsed) return;
    this.#isUsed = false;
    for (const last of this.all) last.source = NOBODY;
  }
}

/** Index in {@link LastSpaces.all} of where a requester and PASID would be. */
export function lastIndexOf(source: number, pasid: number): number {
  return (source ^ (source >>> 4) ^ pasid) & (SPACES - 1);
}
