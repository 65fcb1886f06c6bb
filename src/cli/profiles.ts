/** `ioasis profiles`: the topologies that come with ioasis. */
import { profiles } from '../topology/profiles.js';
import type { Invocation } from './commands.js';
import { painter } from './paint.js';

export async function listProfiles({ operands }: Invocation): Promise<number> {
  const all = profiles();
  const name = operands[0];
  if (name === undefined) {
    const paint = painter(process.stdout);
    const width = Math.max(...all.map((profile) => profile.name.length));
    for (const profile of all) {
      process.stdout.write(`${paint('bold', profile.name.padEnd(width))}  ${profile.summary}\n`);
    }
    return 0;
  }
  const found = all.find((profile) => profile.name === name);
  if (found === undefined) {
    process.stderr.write(
      `ioasis: no profile ${name}; there are ${all.map((each) => each.name).join(', ')}\n`,
    );
    return 1;
  }
  process.stdout.write(found.text);
  return 0;
}
