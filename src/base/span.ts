/**
 * Where automatic placement puts a range: the first hole that nobody uses, with the alignment that was asked for.
 * The results are those of Linux' iopt_alloc_iova, for the odd inputs too.
 *
 * Invariant: sums that pass 2^64-1 mean "does not fit"; they are never wrapped round.
 */
import type { IntervalMap } from './interval-map.js';

/** What knows its free addresses; an interval map does. */
export interface GapSource {
  /** Finds the first free run from `at` on of at least `length`; its range is then in gapStart and gapLast. */
  seekGap(at: bigint, length: bigint): boolean;
  readonly gapStart: bigint;
  readonly gapLast: bigint;
}

export interface HoleRequest {
  /** Where to search; null or empty: everywhere. */
  readonly allowed: IntervalMap | null;
  /** What is in the way. */
  readonly blockers: readonly GapSource[];
  /** The search stays within `start`..`last`. */
  readonly start: bigint;
  readonly last: bigint;
  /** Bytes, at least 1. */
  readonly length: bigint;
  /** A power of two. */
  readonly alignment: bigint;
  /** Or-ed into the aligned address. Only a multiple of the alignment, or 0, keeps the result aligned. */
  readonly pageOffset: bigint;
}

/** The first address that the request allows, or null. */
export function findHole(request: HoleRequest): bigint | null {
  const { allowed, start, last } = request;
  if (allowed === null || allowed.size === 0) return findInWindow(request, start, last);
  if (!allowed.seek(start)) return null;
  for (let more = true; more;) {
    let windowStart = allowed.curStart;
    let windowLast = allowed.curLast;
    if (windowStart > last) return null;
    // Allowed ranges that touch are one window, as a range may straddle them.
    while ((more = allowed.advance()) && allowed.curStart === windowLast + 1n) windowLast = allowed.curLast;
    if (windowStart < start) windowStart = start;
    if (windowLast > last) windowLast = last;
    const found = findInWindow(request, windowStart, windowLast);
    if (found !== null) return found;
  }
  return null;
}

/** The start of the request's range in the free run `start`..`last`, or null. A run of one byte never fits. */
function place(request: HoleRequest, start: bigint, last: bigint): bigint | null {
  const { length, alignment, pageOffset } = request;
  // A start that rounds up past 2^64-1 does not wrap, so it lies past `last`.
  const at = ((start + alignment - 1n) & ~(alignment - 1n)) | pageOffset;
  return at >= last || last - at < length - 1n ? null : at;
}

function findInWindow(request: HoleRequest, start: bigint, last: bigint): bigint | null {
  // Linux aligns the window first, then each hole of what is left of the window.
  const first = place(request, start, last);
  if (first === null) return null;
  for (let at = first; at <= last;) {
    const holeStart = agree(request, at);
    if (holeStart === null || holeStart > last) return null;
    let holeLast = last;
    for (const blocker of request.blockers) if (blocker.gapLast < holeLast) holeLast = blocker.gapLast;
    const found = place(request, holeStart, holeLast);
    if (found !== null) return found;
    at = holeLast + 1n;
  }
  return null;
}

/** The first address from `at` on that all blockers leave free for `length` or more, each on its own; or null. */
function agree(request: HoleRequest, at: bigint): bigint | null {
  const { blockers, length } = request;
  let start = at;
  for (let next = 0, agreed = 0; agreed < blockers.length; next = (next + 1) % blockers.length) {
    const blocker = blockers[next]!;
    if (!blocker.seekGap(start, length)) return null;
    agreed = blocker.gapStart === start ? agreed + 1 : 1;
    start = blocker.gapStart;
  }
  return start;
}
