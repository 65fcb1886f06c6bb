/** What Linux answered to a first part of the programs, kept in the repository: no kernel is needed to replay it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { fullLines, readFull, type FullAnswer } from './answers.js';
import { decodeProgram, encodeProgram, type Sequence } from './program.js';

const programFile = 'program.bin.gz';
const answersFile = 'linux-7.2.txt.gz';

/** Writes a recording to `folder`. */
export function writeRecording(
  folder: string,
  sequences: readonly Sequence[],
  answers: ReadonlyMap<number, FullAnswer>,
): void {
  mkdirSync(folder, { recursive: true });
  const lines = [...answers].flatMap(([number, answer]) => fullLines(number, answer));
  writeFileSync(join(folder, programFile), gzipSync(encodeProgram(sequences), { level: 9 }));
  writeFileSync(join(folder, answersFile), gzipSync(`${lines.join('\n')}\n`, { level: 9 }));
}

/** Reads it back. */
export function readRecording(folder: string): { sequences: Sequence[]; answers: Map<number, FullAnswer> } {
  const program = gunzipSync(readFileSync(join(folder, programFile)));
  const lines = gunzipSync(readFileSync(join(folder, answersFile)))
    .toString()
    .split('\n');
  return { sequences: decodeProgram(program), answers: readFull(lines) };
}
