import { expect, test } from 'vitest';
import { PagedMap } from '../../src/base/paged-map.js';

test('does what a Map does, at the edges of its pages and far out', () => {
  const paged = new PagedMap<{ key: number }>();
  const plain = new Map<number, { key: number }>();
  const keys = [0, 1, 255, 256, 257, 511, 512, 1 << 19, (1 << 20) - 1, 70_000, 1];
  for (const key of keys) {
    const value = { key };
    paged.set(key, value);
    plain.set(key, value);
    expect(paged.size).toBe(plain.size);
  }
  for (const key of [...keys, 2, 254, 258, 1 << 18, 1 << 21]) {
    expect(paged.get(key)).toBe(plain.get(key));
    expect(paged.has(key)).toBe(plain.has(key));
  }
  for (const key of [3, 1, 1, 1 << 21, 512, 0]) {
    paged.delete(key);
    plain.delete(key);
    expect([paged.has(key), paged.size]).toEqual([false, plain.size]);
  }
});
