/** Who translated last: everything that forgets, forgets all of them, and ends the epoch. */
import { expect, test } from 'vitest';
import { hashOf } from '../../../src/hw/vtd/iotlb.js';
import { LastSpaces, lastIndexOf } from '../../../src/hw/vtd/last-spaces.js';
import { Epoch } from '../../../src/mem/epoch.js';

const NOBODY = -1;
/** Requesters and PASIDs, each with tags of its own; sixteen have a place. */
const users = Array.from(
  { length: 64 },
  (_, user) => [user * 5, user % 3 === 0 ? NOBODY : user, user << 20, user] as const,
);

test('each that has a place is there with its tags, until all are forgotten, as often as that is', () => {
  const epoch = new Epoch();
  const last = new LastSpaces(epoch);
  expect(last.all.map(({ source }) => source)).toEqual(Array.from({ length: 16 }, () => NOBODY));
  for (let turn = 0; turn < 3; turn += 1) {
    for (const [source, pasid, tagHigh, tagLow] of users) {
      last.remember(source, pasid, tagHigh, tagLow);
      expect(last.all[lastIndexOf(source, pasid)]).toEqual({
        source,
        pasid,
        tagHigh,
        tagLow,
        hash: hashOf(tagHigh, tagLow),
      });
    }
    expect(last.all.every(({ source }) => source !== NOBODY)).toBe(true);
    for (let again = 0; again < 2; again += 1) {
      const { count } = epoch;
      last.forget();
      expect(epoch.count).not.toBe(count);
      expect(last.all.every(({ source }) => source === NOBODY)).toBe(true);
    }
  }
});
