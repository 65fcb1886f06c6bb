/**
 * Failure injection as Linux' fail_nth does it: every point that can fail for lack of memory, or because a user
 * pointer is bad, asks here first; the n-th question of an armed task is answered yes, once.
 */

/** Which kind of failure a point stands for; debugfs attributes turn each on and off. */
export type FaultKind = 'failslab' | 'fail_page_alloc' | 'fail_usercopy' | 'fail_iommufd';

export class Injector {
  /** Points left before the one that fails; 0 = not armed. */
  #left = 0;
  /** Points passed since {@link arm}, by site, for the table that says what a sweep reached. */
  #lastSite = '';
  readonly enabled: Record<FaultKind, boolean> = {
    failslab: true,
    fail_page_alloc: true,
    fail_usercopy: true,
    fail_iommufd: true,
  };

  /** Makes the `n`-th point from now fail (1 = the next); 0 disarms. */
  arm(n: number): void {
    this.#left = n;
    this.#lastSite = '';
  }

  /** What `/proc/self/task/TID/fail-nth` reads: 0 when disarmed or fired. */
  get left(): number {
    return this.#left;
  }

  /** The site that failed since {@link arm}, or ''. */
  get fired(): string {
    return this.#lastSite;
  }

  /** True when this point has to fail now. `site` names it, once in the whole program. */
  point(kind: FaultKind, site: string): boolean {
    if (this.#left === 0 || !this.enabled[kind]) return false;
    this.#left -= 1;
    if (this.#left > 0) return false;
    this.#lastSite = site;
    return true;
  }
}
