/**
 * Profiles: topologies that come with ioasis. Each is a file like any other, `examples/topologies/NAME.yaml`, whose
 * second line says in a comment what it is.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const directory = fileURLToPath(new URL('../../examples/topologies', import.meta.url));
const SUFFIX = '.yaml';

export interface Profile {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  readonly text: string;
}

/** In order of their names. */
export function profiles(): Profile[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(SUFFIX))
    .toSorted()
    .map((name) => {
      const text = readFileSync(join(directory, name), 'utf8');
      const summary =
        text.split('\n').find((line) => line.startsWith('# ') && !line.includes('$schema')) ?? '';
      return { name: name.slice(0, -SUFFIX.length), summary: summary.slice(2), text };
    });
}

/** Where the profile is, if there is one of that name. */
export const profileFile = (name: string): string => join(directory, name + SUFFIX);
