/**
 * `npm run uapi`: compares every struct, field and constant that ioasis declares, and the recorded answers, with
 * what a C compiler says of Linux' own headers. Exit code 1 on any difference, 2 if the headers cannot be had.
 * `npm run uapi -- --write` makes the declarations and the recorded answers anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readArguments } from '../lib/arguments.js';
import { linuxIncludes, linuxSource, linuxVersion, runWithPackages } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';
import { compare, type Comparison } from './compare.js';
import { generate } from './generate.js';
import { parts } from './parts.js';
import { ask, type Answers } from './probe.js';
import { chapter, type Chapter } from './shapes.js';

/** The compiler's answers, kept so that a test can compare where there is neither network nor compiler. */
const record = `test/wire/uapi-linux-${linuxVersion}.json`;
const recordFile = join(repoRoot, record);

function write(chapters: readonly Chapter[], answers: Answers): number {
  for (const each of chapters) {
    writeFileSync(join(repoRoot, `src/wire/uapi/${each.part.file}.gen.ts`), generate(each, answers));
  }
  writeFileSync(recordFile, recordText(answers));
  process.stdout.write(`wrote ${chapters.length} files of declarations and ${record}\n`);
  return 0;
}

/** One struct or constant a line, so that a change of Linux reads as a small diff. */
function recordText(answers: Answers): string {
  return `{
  "linux": "${answers.linux}",
  "structs": {
${lines(answers.structs)}
  },
  "constants": {
${lines(answers.constants)}
  }
}
`;
}

function lines(of: Readonly<Record<string, unknown>>): string {
  return Object.entries(of)
    .map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`)
    .join(',\n');
}

function check(chapters: readonly Chapter[], answers: Answers): number {
  const result = compare(chapters, answers);
  const recorded = JSON.parse(readFileSync(recordFile, 'utf8')) as Answers;
  // A fix release of Linux changes its version and, one hopes, nothing else.
  const stale = recordText({ ...recorded, linux: '' }) !== recordText({ ...answers, linux: '' });
  process.stdout.write(report(result, answers.linux, stale));
  const wrong =
    result.rows.some((row) => row.differences.length > 0) || result.constantDifferences.length > 0;
  return wrong || stale ? 1 : 0;
}

function report({ rows, constants, constantDifferences }: Comparison, linux: string, stale: boolean): string {
  const width = Math.max(...rows.map((row) => row.name.length));
  const out = [`${'struct'.padEnd(width)} fields ok`];
  for (const row of rows) {
    const ok = row.differences.length === 0 ? 'yes' : 'NO';
    out.push(`${row.name.padEnd(width)} ${String(row.fields).padStart(6)} ${ok}`);
    for (const difference of row.differences) out.push(`  ${difference}`);
  }
  out.push(...constantDifferences);
  if (stale) out.push(`${record} is not what the compiler says now`);
  const fields = rows.reduce((sum, row) => sum + row.fields, 0);
  const different =
    rows.flatMap((row) => row.differences).length + constantDifferences.length + (stale ? 1 : 0);
  out.push(
    `compared ${rows.length} structs, ${fields} fields, ${constants} constants with Linux ${linux}: ` +
      (different === 0 ? 'all equal' : `${different} different`),
  );
  return `${out.join('\n')}\n`;
}

const { values } = readArguments({ write: { type: 'boolean', default: false } });

await runWithPackages(() => {
  const include = linuxIncludes();
  const source = linuxSource();
  const chapters = parts.map((part) =>
    chapter(
      part,
      readFileSync(join(part.from === 'source' ? source : (include[0] as string), part.include), 'utf8'),
    ),
  );
  const answers = ask(chapters, { include, source, folder: join(repoRoot, '.cache/uapi') });
  return values.write ? write(chapters, answers) : check(chapters, answers);
});
