/**
 * `npm run differential`: plays random programs on Linux and on ioasis and prints what differs. Exit status 1 when
 * anything does. `--twice` compares Linux with itself: what differs then is not the program's to know.
 */
import { join } from 'node:path';
import { readArguments, readCount } from '../lib/arguments.js';
import { runWithPackages } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';
import { differences, differingOps, sameBrief, type Difference } from './compare.js';
import { cover, coverageTable, type Coverage } from './coverage.js';
import { exclusions, generateSequence } from './generate.js';
import { minimise, remaining } from './minimise.js';
import { describeOp, type Sequence } from './program.js';
import { writeRecording } from './record.js';
import { ioasis, linux, linuxAgain, playBrief, playFull, type Play } from './worlds.js';

/** Sequences in one boot. */
const BATCH = 1500;
/** Differing sequences of a batch that are looked at closely. */
const CLOSE_LOOKS = 300;
/** Examples shown of each kind of difference. */
const SHOWN_PER_KIND = 3;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

interface Settings {
  readonly ops: number;
  readonly seed: number;
  readonly first: number;
  readonly minimise: boolean;
  readonly other: Play;
  /** How often each kind of difference was the first of its sequence. */
  readonly kinds: Map<string, number>;
}

/** A sequence whose brief answers differ, and in which operations. */
interface Suspect {
  readonly sequence: Sequence;
  readonly ops: readonly number[];
}

/** Sequences from number `first` on, until they hold `ops` operations. */
function sequencesFor(seed: number, first: number, ops: number): Sequence[] {
  const sequences: Sequence[] = [];
  for (let left = ops, number = first; left > 0 && sequences.length < BATCH; number++) {
    const sequence = generateSequence(seed, number);
    sequences.push(sequence);
    left -= sequence.ops.length;
  }
  return sequences;
}

/** Shows the first difference of each; what follows it in its sequence may only follow from it. */
async function lookClosely(settings: Settings, suspects: readonly Suspect[]): Promise<void> {
  const sequences = suspects.map((s) => s.sequence);
  const [a, b] = await Promise.all([playFull(linux, sequences), playFull(settings.other, sequences)]);
  for (const { sequence, ops } of suspects) {
    const [left, right] = [a.get(sequence.number), b.get(sequence.number)];
    if (left === undefined || right === undefined) {
      say(`seed ${settings.seed} sequence ${sequence.number}: no answer`);
      continue;
    }
    const first = differences(sequence, left, right)[0];
    if (first === undefined) {
      say(
        `seed ${settings.seed} sequence ${sequence.number}: differed in op ${ops.join()}, but not when played again`,
      );
      continue;
    }
    const seen = settings.kinds.get(first.kind) ?? 0;
    settings.kinds.set(first.kind, seen + 1);
    if (seen >= SHOWN_PER_KIND) continue;
    say(`seed ${settings.seed} sequence ${first.sequence} op ${first.index}: ${first.text}`);
    if (settings.minimise && seen === 0) await showMinimised(settings, sequence, first);
  }
}

async function showMinimised(settings: Settings, sequence: Sequence, first: Difference): Promise<void> {
  const small = await minimise(linux, settings.other, sequence, first.index);
  say(`  needed for op ${first.index}:`);
  for (const [index, op] of remaining(small)) say(`    ${index}: ${describeOp(op)}`);
}

async function compareWorlds(
  settings: Settings,
  coverage: Coverage,
): Promise<{ ops: number; lines: number }> {
  let ops = 0;
  let lines = 0;
  for (let number = settings.first; ops < settings.ops;) {
    const sequences = sequencesFor(settings.seed, number, settings.ops - ops);
    const [a, b] = await Promise.all([playBrief(linux, sequences), playBrief(settings.other, sequences)]);
    const suspects: Suspect[] = [];
    for (const sequence of sequences) {
      const [left, right] = [a.get(sequence.number), b.get(sequence.number)];
      ops += sequence.ops.length;
      if (left !== undefined) cover(coverage, sequence, left);
      if (sameBrief(left, right)) continue;
      const found = differingOps(left, right);
      lines += found.length;
      suspects.push({ sequence, ops: found });
    }
    number += sequences.length;
    if (suspects.length > 0) await lookClosely(settings, suspects.slice(0, CLOSE_LOOKS));
    process.stderr.write(`${ops} operations played, ${lines} lines differ\n`);
  }
  return { ops, lines };
}

async function record(seed: number, ops: number): Promise<void> {
  const sequences = sequencesFor(seed, 0, ops);
  const folder = join(repoRoot, 'test', 'differential');
  writeRecording(folder, sequences, await playFull(linux, sequences));
  say(`${sequences.reduce((sum, s) => sum + s.ops.length, 0)} operations recorded in ${folder}`);
}

async function main(): Promise<number> {
  const { values } = readArguments({
    ops: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    minimise: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    coverage: { type: 'boolean', default: false },
  });
  const seed = readCount('--seed', values.seed);
  if (values.record) {
    await record(seed, 20_000);
    return 0;
  }
  const coverage: Coverage = new Map();
  const settings: Settings = {
    ops: readCount('--ops', values.ops),
    seed,
    first: readCount('--first', values.first),
    minimise: values.minimise,
    other: values.twice ? linuxAgain : ioasis,
    kinds: new Map(),
  };
  const { ops, lines } = await compareWorlds(settings, coverage);
  for (const [kind, count] of [...settings.kinds].toSorted(([, x], [, y]) => y - x))
    say(`${count} x ${kind}`);
  if (values.coverage) say(coverageTable(coverage));
  for (const { what, why } of exclusions) say(`left out: ${what} (${why})`);
  say(`${ops} operations, ${lines} lines differ`);
  return lines === 0 ? 0 : 1;
}

await runWithPackages(main);
