/** Accesses of a device, direct and nested, against a flat address space. IOASIS_ORACLE=10000000 makes it longer. */
import { expect, test } from 'vitest';
import { Oracle } from './oracle.js';

const ACCESSES = Number(process.env['IOASIS_ORACLE'] ?? 100_000);
/** The whole memory is looked at after so many. */
const ROUND = 500_000;

test(`${ACCESSES} accesses reach what is mapped for them and nothing else`, { timeout: 30 * 60_000 }, () => {
  const oracle = new Oracle(Number(process.env['IOASIS_SEED'] ?? 20_261_125));
  for (let left = ACCESSES; left > 0; left -= ROUND) {
    expect(oracle.run(Math.min(left, ROUND))).toBeNull();
    expect(oracle.isIntact()).toBe(true);
  }
  const { accesses, held, moved, refused, changes, unsettled, old } = oracle.counts;
  const share = (count: number): string => `${((100 * count) / accesses).toFixed(1)} %`;
  console.log(
    `${accesses} accesses: ${share(held)} by what the port held, ${share(moved)} moved all, ${share(refused)} were refused, ${share(unsettled)} met one of ` +
      `${changes} changed pages before its invalidation, and ${old} of those got the old page`,
  );
  expect(held / accesses).toBeGreaterThan(0.2);
  expect(moved / accesses).toBeGreaterThan(0.4);
  expect(refused).toBeGreaterThan(accesses / 20);
  expect(old).toBeGreaterThan(0);
});
