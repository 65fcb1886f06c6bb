/**
 * What the last request translated by, so that the next one of the same requester and PASID needs no context. It holds
 * what the context and PASID caches hold, and every invalidation of these ends it, whatever that names.
 */
import type { Epoch } from '../../mem/epoch.js';

/** No requester id. */
const NOBODY = -1;

export class LastSpace {
  source = NOBODY;
  pasid = 0;
  /** Tag of its translations, without an address; see {@link hashOf}. */
  tagHigh = 0;
  tagLow = 0;
  hash = 0;

  readonly #epoch: Epoch;

  /** `epoch` ends with it. */
  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  forget(): void {
    this.source = NOBODY;
    this.#epoch.end();
  }
}
