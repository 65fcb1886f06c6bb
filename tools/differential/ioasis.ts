/** The other world: the dynamic player under the daemon and the shim. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from '../lib/process.js';
import { repoRoot } from '../lib/repo.js';

/** Compiles player.c for this machine; returns where it is. */
export function buildDynamicPlayer(): string {
  const folder = join(repoRoot, '.cache', 'differential');
  mkdirSync(folder, { recursive: true });
  const player = join(folder, 'player');
  // Renamed into place, since others may be running it.
  const built = `${player}-${process.pid}`;
  const source = join(repoRoot, 'tools', 'differential', 'player.c');
  const { status, stderr, error } = spawnSync('cc', ['-O2', '-o', built, source], { encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`cc: exit ${status}\n${stderr}`);
  renameSync(built, player);
  return player;
}

const defaultCommand = `${process.execPath} ${join(repoRoot, 'dist', 'cli', 'main.js')} run --selftest --`;

/**
 * Plays `program` under ioasis, or under the command of IOASIS_DIFFERENTIAL_COMMAND (words that the player and its
 * arguments follow). Returns the lines the player printed; throws when it did not come to its end.
 */
export async function playOnIoasis(
  player: string,
  program: Uint8Array,
  mode: 'brief' | 'full',
  timeoutMs: number,
): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'differential-'));
  try {
    const file = join(folder, 'program');
    writeFileSync(file, program);
    const command = (process.env['IOASIS_DIFFERENTIAL_COMMAND'] ?? defaultCommand).split(' ');
    const result = await runProgram([...command, player, mode, file], { timeoutMs });
    const lines = result.output.split('\n');
    const end = lines.indexOf('end');
    const others = lines.filter((line) => line !== '' && line !== 'end' && !/^[BEFX] \d/.test(line));
    if (others.length > 0) process.stderr.write(`${others.slice(0, 20).join('\n')}\n`);
    if (end < 0) {
      const how = result.timedOut ? `after ${timeoutMs} ms` : `with status ${result.status}`;
      throw new Error(`the player ended early, ${how}:\n${result.output.slice(-2000)}`);
    }
    return lines.slice(0, end);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
