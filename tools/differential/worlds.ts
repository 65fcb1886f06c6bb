/** Both worlds behind one call each; what Linux answered is kept, since a program always gets the same answer. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { readBrief, readFull, type BriefAnswer, type FullAnswer } from './answers.js';
import { repoRoot } from './../lib/repo.js';
import { buildDynamicPlayer, playOnIoasis } from './ioasis.js';
import { playOnKernel } from './kernel.js';
import { encodeProgram, type Sequence } from './program.js';

type Mode = 'brief' | 'full';
export type Play = (program: Uint8Array, mode: Mode) => Promise<string[]>;

const kept = join(repoRoot, '.cache', 'differential', 'answers');
const minute = 60_000;

/** Linux' answers, from the cache where this program was played before by the same player. */
export const linux: Play = async (program, mode) => {
  const player = readFileSync(join(repoRoot, 'tools', 'differential', 'player.c'));
  const name = createHash('sha256').update(player).update(mode).update(program).digest('hex');
  const file = join(kept, `${name}.gz`);
  if (existsSync(file)) return gunzipSync(readFileSync(file)).toString().split('\n');
  const lines = await playOnKernel(program, mode);
  mkdirSync(kept, { recursive: true });
  writeFileSync(file, gzipSync(lines.join('\n')));
  return lines;
};

/** Linux' answers, from a new boot every time. */
export const linuxAgain: Play = (program, mode) => playOnKernel(program, mode);

let player: string | null = null;

/** ioasis' answers. */
export const ioasis: Play = (program, mode) => {
  player ??= buildDynamicPlayer();
  return playOnIoasis(player, program, mode, 30 * minute);
};

export async function playBrief(
  play: Play,
  sequences: readonly Sequence[],
): Promise<Map<number, BriefAnswer>> {
  return readBrief(await play(encodeProgram(sequences), 'brief'));
}

export async function playFull(play: Play, sequences: readonly Sequence[]): Promise<Map<number, FullAnswer>> {
  return readFull(await play(encodeProgram(sequences), 'full'));
}
