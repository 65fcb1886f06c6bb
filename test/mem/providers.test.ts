/** Places for address spaces without tables: a million, and then none. */
import { expect, test } from 'vitest';
import { Bug } from '../../src/base/errno.js';
import { Providers, type AddressSpaceProvider } from '../../src/mem/providers.js';

test('owned_spaces: a million have places, one more has none until one goes', () => {
  const providers = new Providers();
  const one: AddressSpaceProvider = { name: 'one', translate: () => false, onInvalidate: null };
  let last = 0;
  for (let n = 0; n < 1 << 20; n++) {
    if (providers.isFull) throw new Error(`full with ${n}`);
    last = providers.add(one);
  }
  expect(providers.isFull).toBe(true);
  expect(() => providers.add(one)).toThrow(Bug);
  providers.remove(last);
  expect(providers.isFull).toBe(false);
  expect(providers.add(one)).toBe(last);
});
