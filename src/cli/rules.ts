/** `ioasis rules`: the catalogue behind every errno. */
import type { Rule } from '../base/errno.js';
import { rules as mock } from '../hw/mock/rules.js';
import { rules as core } from '../hw/rules.js';
import { rules as iommufd } from '../iommufd/rules.js';
import type { Invocation } from './commands.js';
import { painter, type Paint } from './paint.js';

const catalogues: readonly Readonly<Record<string, Rule>>[] = [iommufd, core, mock];

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

/** The rule with id `start`; if there is none, all whose id begins so, in the order of their catalogues. */
export function findRules(start: string): Rule[] {
  const all = catalogues.flatMap((catalogue) => Object.values(catalogue));
  const exact = all.filter(({ id }) => id === start);
  return exact.length > 0 ? exact : all.filter(({ id }) => id.startsWith(start));
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
