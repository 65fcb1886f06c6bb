/**
 * What the last request translated by, so that the next one of the same requester and PASID needs no context. It holds
 * what the context and PASID caches hold, and every invalidation of these ends it, whatever that names.
 */

/** No requester id. */
const NOBODY = -1;

export class LastSpace {
  source = NOBODY;
  pasid = 0;
  /** Tag of its translations, without an address; see {@link hashOf}. */
  tagHigh = 0;
  tagLow = 0;
  hash = 0;

  forget(): void {
    this.source = NOBODY;
  }
}
