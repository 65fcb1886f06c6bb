/** `ioasis doctor`: runs the checks and prints one line a finding. */
import type { Invocation } from '../commands.js';
import { painter, type Paint, type Style } from '../paint.js';
import type { Finding } from './finding.js';
import { checkProgram } from './program.js';
import { checkSystem, thisMachine } from './system.js';

const styles: Readonly<Record<Finding['level'], Style>> = {
  ok: 'green',
  note: 'cyan',
  warn: 'yellow',
  fail: 'red',
};

export async function doctor({ operands }: Invocation): Promise<number> {
  const findings = await checkSystem();
  const program = operands[0];
  if (program !== undefined) findings.push(...checkProgram(program, await thisMachine()));
  process.stdout.write(printFindings(findings, painter(process.stdout)));
  return findings.some(({ level }) => level === 'fail') ? 1 : 0;
}

/** `ok    node          v20.20.2`; the last line sums up. */
export function printFindings(findings: readonly Finding[], paint: Paint): string {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  const lines = findings.map(
    ({ level, subject, text }) =>
      `${paint(styles[level], level.padEnd(4))}  ${subject.padEnd(width)}  ${text}`,
  );
  const fails = findings.filter(({ level }) => level === 'fail').length;
  const warnings = findings.filter(({ level }) => level === 'warn').length;
  const sum = fails > 0 ? `${fails} thing${fails > 1 ? 's' : ''} in the way` : 'nothing in the way';
  const rest = warnings > 0 ? `, ${warnings} warning${warnings > 1 ? 's' : ''}` : '';
  return [...lines, '', `${sum}${rest}`, ''].join('\n');
}
