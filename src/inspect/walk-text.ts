/** The way of an address, a line each entry: what was looked at, what it says, where it ends. */
import type { WalkReport, WalkStep } from '../index.js';

/** Lines, without the last line end. */
export function walkText(report: WalkReport): string {
  const who = report.pasid === null ? report.device : `${report.device} PASID ${report.pasid}`;
  const lines = [`${who} at ${report.iova}, by ${report.unit}`, ''];
  for (const step of report.steps) lines.push(...stepLines(step));
  const { result } = report;
  if (result.kind === 'fault') {
    lines.push('', `faults: ${result.text} [0x${result.reason.toString(16)}]`);
  } else {
    lines.push(
      '',
      `leads to ${result.hpa} (${result.memory}); permits ${result.permits}; ${pageSize(result.size)}`,
    );
  }
  return lines.join('\n');
}

function stepLines({ table, at, index, entry, fields, depth, problem }: WalkStep): string[] {
  const indent = '    '.repeat(depth);
  const words = entry.length === 0 ? 'no memory' : [...entry].map(shortened).join(' ');
  const isOwner = entry.length === 0 && problem === undefined;
  const head = isOwner ? `${indent}${table}` : `${indent}${table} at ${at} [${index}]: ${words}`;
  const decoded = fieldsText(fields);
  return [
    decoded === '' ? head : `${head}  ${decoded}`,
    ...(problem === undefined ? [] : [`${indent}  ends here: ${problem}`]),
  ];
}

const shortened = (word: string): string => (word === '0x0' ? '0' : word);

/** `P PGTT=3 SSPTPTR=0x1000`: a bit that is set by its name alone. */
export function fieldsText(fields: Readonly<Record<string, string | number>>): string {
  return Object.entries(fields)
    .map(([name, value]) => (value === 1 ? name : `${name}=${value}`))
    .join(' ');
}

const sizes: readonly (readonly [bytes: bigint, name: string])[] = [
  [1n << 30n, 'GiB'],
  [1n << 20n, 'MiB'],
  [1n << 10n, 'KiB'],
];

/** `2 MiB page` */
export function pageSize(size: string): string {
  const bytes = BigInt(size);
  const [unit, name] = sizes.find(([least]) => bytes >= least) ?? [1n, 'bytes'];
  return `${bytes / unit} ${name} page`;
}
