/** How often each operation of the programs ended in each errno: shows what the grammar reaches. */
import { constants } from 'node:os';
import { errnoOf, type BriefAnswer } from './answers.js';
import { layoutOfOp, type Op, type Sequence } from './program.js';

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value as number, name]));
errnoNames.set(52, 'EBADE');
errnoNames.set(77, 'EBADFD');

/** 'EINVAL' for 22. */
export const errnoName = (errno: number): string => errnoNames.get(errno) ?? String(errno);

/** Counts by operation name, then by errno name. */
export type Coverage = Map<string, Map<string, number>>;

function nameOf(op: Op): string {
  if (op.kind !== 'ioctl') return op.kind;
  return layoutOfOp(op)?.name ?? 'other ioctl';
}

/** Adds one sequence's answers to `coverage`. */
export function cover(coverage: Coverage, sequence: Sequence, answer: BriefAnswer): void {
  for (const [index, op] of sequence.ops.entries()) {
    if (index * 4 + 4 >= answer.bytes.length) break;
    const errno = errnoOf(answer, index);
    const name = nameOf(op);
    const row = coverage.get(name) ?? new Map<string, number>();
    const key = errno === 0 ? 'ok' : errnoName(errno);
    row.set(key, (row.get(key) ?? 0) + 1);
    coverage.set(name, row);
  }
}

/** The table, a line for each operation. */
export function coverageTable(coverage: Coverage): string {
  const rows = [...coverage].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return rows
    .map(([name, row]) => {
      const cells = [...row].toSorted(([, a], [, b]) => b - a).map(([errno, count]) => `${errno} ${count}`);
      return `${name.padEnd(24)} ${cells.join(', ')}`;
    })
    .join('\n');
}
