/**
 * Mutants that no test can notice, because they change nothing that the specification or a caller can see: an entry more
 * is asked for, a path that is only quicker is not taken. They stand in YAML files beside this one, one per part of the
 * code, each with its reason, and do not count. A row that meets no mutant, and one whose mutant a test does notice, is
 * wrong and said to be.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { repoRoot } from '../lib/repo.js';
import type { Mutant } from './instrument.js';

const folder = join(repoRoot, 'tools/mutation/equivalent');

const File = z.record(
  z.string().describe('The compiled file, as src/hw/vtd/walk.js'),
  z.array(
    z.strictObject({
      code: z.string().describe('The whole line, without what it is indented by'),
      what: z.array(z.string()).min(1).describe('The mutants of that line, as they are printed'),
      why: z.string(),
    }),
  ),
);

/** The ids of those among `mutants` that stand in the files. Throws if a row meets none. */
export function equivalent(mutants: readonly Mutant[]): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const name of readdirSync(folder)) {
    for (const [file, rows] of Object.entries(File.parse(parse(readFileSync(join(folder, name), 'utf8'))))) {
      const own = mutants.filter((mutant) => mutant.file === file);
      for (const { code, what } of rows) {
        for (const one of what) {
          const met = own.filter((mutant) => mutant.code === code && mutant.what === one);
          if (met.length === 0) throw new Error(`${name}: no mutant "${one}" of "${code}"`);
          for (const { id } of met) ids.add(id);
        }
      }
    }
  }
  return ids;
}
