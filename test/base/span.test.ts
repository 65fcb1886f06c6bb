/**
 * Automatic placement, against the rule in its plainest form: cut what may be used into maximal runs with plain
 * bigints, then take the first run that the aligned range fits.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IntervalMap } from '../../src/base/interval-map.js';
import { findHole } from '../../src/base/span.js';
import type { HoleRequest } from '../../src/base/span.js';
import { MAX, NaiveRanges } from './naive-ranges.js';

type Range = [start: bigint, last: bigint];

/** Ranges without overlap out of any ranges: later ones that meet earlier ones are left out. */
function apart(ranges: readonly Range[]): NaiveRanges {
  const naive = new NaiveRanges();
  for (const [start, last] of ranges) if (!naive.overlapping(start, last)) naive.insert(start, last, 1);
  return naive;
}

function mapOf(naive: NaiveRanges): IntervalMap {
  const map = new IntervalMap();
  for (const { start, last, value } of naive.entries) map.insert(start, last, value);
  return map;
}

/** Maximal runs of covered (or of free) addresses within start..last. */
function runs(naives: readonly NaiveRanges[], covered: boolean, start: bigint, last: bigint): Range[] {
  const edges = new Set([start]);
  for (const { entries } of naives) for (const e of entries) edges.add(e.start).add(e.last + 1n);
  const points = [...edges].filter((at) => at >= start && at <= last).toSorted((a, b) => (a < b ? -1 : 1));
  const found: Range[] = [];
  for (const [i, at] of points.entries()) {
    if (naives.some((naive) => naive.overlapping(at, at)) !== covered) continue;
    const pieceLast = (points[i + 1] ?? last + 1n) - 1n;
    const before = found.at(-1);
    if (before && before[1] === at - 1n) before[1] = pieceLast;
    else found.push([at, pieceLast]);
  }
  return found;
}

interface Case {
  allowed: NaiveRanges | null;
  blockers: NaiveRanges[];
  start: bigint;
  last: bigint;
  length: bigint;
  alignment: bigint;
  pageOffset: bigint;
}

function fit(c: Case, start: bigint, last: bigint): bigint | null {
  const roundedUp = ((start + c.alignment - 1n) / c.alignment) * c.alignment;
  if (start + c.alignment - 1n > MAX) return null;
  const at = roundedUp | c.pageOffset;
  return at < last && at + c.length - 1n <= last ? at : null;
}

function naiveHole(c: Case): bigint | null {
  const everywhere = c.allowed === null || c.allowed.entries.length === 0;
  const windows: Range[] = everywhere ? [[c.start, c.last]] : runs([c.allowed!], true, c.start, c.last);
  for (const [windowStart, windowLast] of windows) {
    const from = fit(c, windowStart, windowLast);
    if (from === null) continue;
    for (const [holeStart, holeLast] of runs(c.blockers, false, from, windowLast)) {
      const at = fit(c, holeStart, holeLast);
      if (at !== null) return at;
    }
  }
  return null;
}

function requestOf(c: Case): HoleRequest {
  return { ...c, allowed: c.allowed && mapOf(c.allowed), blockers: c.blockers.map(mapOf) };
}

const bases = [0n, (1n << 32n) - 128n, MAX - 255n];
const address = fc
  .tuple(fc.constantFrom(...bases), fc.integer({ min: 0, max: 255 }))
  .map(([base, offset]) => base + BigInt(offset));
const range = fc.tuple(address, fc.integer({ min: 0, max: 60 })).map(([start, size]): Range => {
  const last = start + BigInt(size);
  return [start, last > MAX ? MAX : last];
});
const ranges = fc.array(range, { maxLength: 40 }).map(apart);
const wideRanges = fc
  .array(fc.tuple(address, address), { maxLength: 3 })
  .map((pairs) => apart(pairs.map(([a, b]): Range => (a < b ? [a, b] : [b, a]))));

describe('automatic placement', () => {
  test('finds what the plain rule finds, at both ends of the space too', () => {
    const arbitrary = fc.record({
      allowed: fc.oneof(fc.constant(null), ranges, wideRanges),
      blockers: fc.tuple(fc.oneof(ranges, wideRanges), ranges),
      edges: fc.tuple(fc.oneof(address, fc.constant(0n)), fc.oneof(address, fc.constant(MAX))),
      length: fc.oneof(
        fc.integer({ min: 1, max: 80 }).map(BigInt),
        fc.constantFrom(1n << 31n, 1n << 40n, MAX / 2n),
      ),
      alignmentLg2: fc.integer({ min: 0, max: 7 }),
      pageOffset: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 63 })),
    });
    let found = 0;
    fc.assert(
      fc.property(arbitrary, ({ edges: [a, b], alignmentLg2, pageOffset, ...rest }) => {
        const c: Case = {
          ...rest,
          start: a < b ? a : b,
          last: a < b ? b : a,
          alignment: 1n << BigInt(alignmentLg2),
          pageOffset: BigInt(pageOffset),
        };
        const expected = naiveHole(c);
        if (expected !== null) found += 1;
        expect(findHole(requestOf(c))).toBe(expected);
      }),
      { numRuns: 2000 },
    );
    expect(found).toBeGreaterThan(200);
  });

  const page = 4096n;
  const plain = { start: page, last: MAX - page, length: page, alignment: page, pageOffset: 0n };

  test('skips page 0 and starts where the search starts', () => {
    expect(findHole({ ...plain, allowed: null, blockers: [] })).toBe(page);
  });

  test('an alignment that would round past 2^64 does not wrap to a low address', () => {
    const used = new IntervalMap();
    used.insert(0n, MAX - 0x1ffffen, 1);
    const huge = { ...plain, last: MAX, allowed: null, blockers: [used] };
    expect(findHole({ ...huge, alignment: 0x200000n })).toBeNull();
    expect(findHole(huge)).toBe(MAX - 0x1fefffn);
  });

  test('an allowed window whose start cannot be aligned is passed over', () => {
    const allowed = new IntervalMap();
    allowed.insert(0x1000n, 0x1fffn, 1);
    allowed.insert(0x200000n, 0x3fffffn, 1);
    const request = { ...plain, allowed, blockers: [], alignment: 0x200000n };
    expect(findHole(request)).toBe(0x200000n);
    expect(findHole({ ...request, last: 0x1fffffn })).toBeNull();
  });

  test('allowed ranges that touch hold one range together', () => {
    const allowed = new IntervalMap();
    allowed.insert(0x10000n, 0x10fffn, 1);
    allowed.insert(0x11000n, 0x11fffn, 1);
    expect(findHole({ ...plain, allowed, blockers: [], length: 0x2000n })).toBe(0x10000n);
    expect(findHole({ ...plain, allowed, blockers: [], length: 0x2001n })).toBeNull();
  });

  test('a hundred thousand ranges are laid side by side, and holes in them are found again', () => {
    const used = new IntervalMap();
    const request = { ...plain, allowed: null, blockers: [new IntervalMap(), used] };
    for (let i = 1n; i <= 100_000n; i++) {
      const at = findHole(request);
      if (at !== i * page) expect(at).toBe(i * page);
      used.insert(at!, at! + page - 1n, Number(i));
    }
    for (const i of [70_000n, 30n, 31n, 99_999n]) used.remove(i * page);
    expect(findHole(request)).toBe(30n * page);
    expect(findHole({ ...request, length: 2n * page })).toBe(30n * page);
    expect(findHole({ ...request, length: 3n * page })).toBe(100_001n * page);
    expect(findHole({ ...request, start: 32n * page })).toBe(70_000n * page);
  });
});
