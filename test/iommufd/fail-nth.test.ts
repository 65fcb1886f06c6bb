/**
 * Every point that can fail is made to fail once: in each scenario the first, then the second, and so on, until it
 * runs through. A failure is an errno, nothing is left half done, and the same scenario then works.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import { filesBelow } from '../../tools/lib/imports.js';
import { repoRoot } from '../../tools/lib/repo.js';
import { scenarios, type Scenario } from './scenarios.js';
import { World } from './world.js';

/** What Linux answers where fail_nth strikes: no memory, a bad pointer, or iommufd_should_fail(). */
const plausible = ['ENOMEM', 'EFAULT', 'EINVAL', 'ENOENT'];

/** A page table that does not suit is no reason to refuse an attachment: the next one is tried, or made. */
const swallowed = ['device reserved regions'];

interface Sweep {
  readonly points: number;
  readonly sites: ReadonlySet<string>;
  /** Sites whose failure the caller does not see. */
  readonly unseen: readonly string[];
}

/** Runs `scenario` with point `n` failing. True when there is no such point. */
function failAt(scenario: Scenario, n: number, sites: Set<string>, unseen: string[]): boolean {
  const w = new World();
  w.injector.arm(n);
  try {
    scenario.run(w);
    if (w.injector.fired !== '') unseen.push(w.injector.fired);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    expect(plausible).toContain(error.code);
    expect(w.injector.fired).not.toBe('');
  }
  const { fired } = w.injector;
  sites.add(fired);
  w.injector.arm(0);
  if (fired !== '') scenario.run(w);
  w.end();
  return fired === '';
}

function sweep(scenario: Scenario): Sweep {
  const sites = new Set<string>();
  const unseen: string[] = [];
  let points = 0;
  while (!failAt(scenario, points + 1, sites, unseen)) points += 1;
  return { points, sites, unseen };
}

/** Of all scenarios that have run; the last test looks at them. */
const failed = new Set<string>();

describe('points that can fail, each of them seen by the caller', () => {
  test.each(Object.entries(scenarios))(
    '%s',
    (_name, scenario) => {
      const { points, sites, unseen } = sweep(scenario);
      expect(points).toBeGreaterThanOrEqual(scenario.points);
      expect(unseen.filter((site) => !swallowed.includes(site))).toEqual([]);
      for (const site of sites) failed.add(site);
    },
    60_000,
  );

  test('every named point of the sources has failed in some scenario', () => {
    const named =
      /(?:\balloc|shouldFail|checkRoom|point|shortage)\((?:call, |[\w.]+, '\w+', |'\w+', )?'([^']+)'/g;
    const declared = ['src/iommufd', 'src/selftest'].flatMap((folder) =>
      filesBelow(join(repoRoot, folder), '.ts').flatMap((file) => {
        const source = readFileSync(join(repoRoot, folder, file), 'utf8');
        return [...source.matchAll(named)].map((match) => match[1] as string);
      }),
    );
    // Where the name of a point is a rule's, what follows the bracket is its kind.
    const names = declared.filter((name) => !name.startsWith('fail_'));
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !failed.has(name))).toEqual([]);
  });
});
