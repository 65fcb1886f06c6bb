/** `ioasis rules`: the catalogue behind every errno. */
import type { Rule } from '../base/errno.js';
import { findRules } from '../index.js';
import type { Invocation } from './commands.js';
import { painter, type Paint } from './paint.js';

export async function listRules({ options, operands }: Invocation): Promise<number> {
  const start = operands[0] ?? '';
  const found = findRules(start);
  if (found.length === 0) {
    process.stderr.write(`ioasis: no rule begins with ${start}\n`);
    return 1;
  }
  const text =
    options['json'] === true ? JSON.stringify(found, null, 2) : printRules(found, painter(process.stdout));
  process.stdout.write(`${text}\n`);
  return 0;
}

function printRules(found: readonly Rule[], paint: Paint): string {
  const idWidth = Math.max(...found.map(({ id }) => id.length));
  const errnoWidth = Math.max(...found.map(({ errno }) => errno.length));
  return found
    .map(({ id, errno, sentence }) => {
      return `${paint('bold', id.padEnd(idWidth))}  ${paint('red', errno.padEnd(errnoWidth))}  ${sentence}`;
    })
    .join('\n');
}
