/** Arithmetic on (high, low) words says what arithmetic on bigints says. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { highWord, isBelow, joinWords, lastHigh, lastLow, lowWord, sumHigh } from '../../src/base/words.js';

const TOP = (1n << 64n) - 1n;
/** Where words carry and signs change. */
const edges = [0n, 1n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 32n, 1n << 63n, TOP - 1n, TOP];
const value = fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min: 0n, max: TOP }));
const both = fc.property(value, value, (a, b) => {
  const [aHi, aLo, bHi, bLo] = [highWord(a), lowWord(a), highWord(b), lowWord(b)];
  expect(joinWords(aHi, aLo)).toBe(a);
  expect(isBelow(aHi, aLo, bHi, bLo)).toBe(a < b);
  expect(joinWords(sumHigh(aHi, aLo, bHi, bLo), (aLo + bLo) | 0)).toBe((a + b) & TOP);
  const last = joinWords(lastHigh(aHi, aLo, bHi, bLo), lastLow(aLo, bLo));
  if (b > 0n) expect(last).toBe((a + b - 1n) & TOP);
});

it('sums, ends of ranges and order of words are those of the bigints they stand for', () => {
  fc.assert(both, { numRuns: 2000 });
});
