/**
 * `ioasis demo`: compiles examples/first-steps.c, runs it on an engine, and shows what it asked and why it was
 * refused. Compiled programs stay in a cache directory under the hash of what they were made of.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TraceRecord } from '../host/trace.js';
import { formatText, type Ink } from '../inspect/trace.js';
import { printHeader } from '../wire/header.js';
import { Status } from './child.js';
import { painter, type Paint } from './paint.js';
import { runOnEngine } from './run.js';
import { inkOf } from './trace-output.js';

const source = fileURLToPath(new URL('../../examples/first-steps.c', import.meta.url));

export async function demo(): Promise<number> {
  const program = compile();
  if (program === null) return Status.failed;
  const paint = painter(process.stdout);
  const title = (text: string): void => void process.stdout.write(`${paint('bold', text)}\n\n`);
  title('examples/first-steps.c, an ordinary C program, without root, module or hardware');
  const records: TraceRecord[] = [];
  const engine = { config: { selftest: true }, trace: (record: TraceRecord) => void records.push(record) };
  const { status } = await runOnEngine(engine, [program]);
  process.stdout.write('\n');
  title('What it asked of /dev/iommu, and why it was refused');
  for (const record of records) process.stdout.write(`${explain(record, paint, inkOf(paint))}\n`);
  process.stdout.write('\n');
  title('The same for a program of yours: ioasis run --trace -- program');
  return status;
}

/** A trace line, and below an error its reason in a line of its own. */
function explain(record: TraceRecord, paint: Paint, ink: Ink): string {
  const line = `  ${formatText({ ...record, rule: '' }, ink)}`;
  if (record.rule === '') return line;
  return `${line}\n      ${paint('yellow', `why: ${record.reason}`)} ${paint('dim', `[${record.rule}]`)}`;
}

/** The path of the compiled example; null, and a message, when there is none. */
function compile(): string | null {
  const header = printHeader();
  const code = readFileSync(source, 'utf8');
  const hash = createHash('sha256').update(code).update(header).digest('hex').slice(0, 16);
  const directory = join(
    process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'),
    'ioasis',
    `demo-${hash}`,
  );
  const program = join(directory, 'first-steps');
  if (existsSync(program)) return program;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'ioasis.h'), header);
  const unfinished = `${program}.${process.pid}`;
  const { error, status, stderr } = spawnSync('cc', ['-O1', '-I', directory, '-o', unfinished, source], {
    encoding: 'utf8',
  });
  if (error !== undefined) {
    process.stderr.write(
      `ioasis: the demo is a C program and there is no C compiler (cc): ${error.message}\n`,
    );
    process.stderr.write('Install one (Debian, Ubuntu: apt install gcc libc6-dev) and run it again.\n');
    return null;
  }
  if (status !== 0) {
    process.stderr.write(`ioasis: the demo does not compile:\n${stderr}`);
    return null;
  }
  renameSync(unfinished, program);
  return program;
}
