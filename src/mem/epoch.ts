/**
 * How long something that was looked up may be used again without being looked up. An epoch ends when a table of ioasis
 * changes, when a translation or what stands before it leaves a unit's caches, and when client memory loses its place.
 */
export class Epoch {
  /** Another one than before, once something has ended; never 0, which is what nobody has seen. */
  count = 1;

  end(): void {
    this.count = (this.count + 1) | 0 || 1;
  }
}
