/** `ioasis run -- true` beside `node -e 0`, in turns. */
import { spawnSync } from 'node:child_process';
import { cli } from './programs.js';
import { asMicroseconds, asRatio, figure, limited, quiet, title } from './report.js';

const ROUNDS = 15;
const MOST = 2.5;

/** Ns until the program has ended. */
function time(args: readonly string[]): number {
  const begun = process.hrtime.bigint();
  const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}`);
  return Number(process.hrtime.bigint() - begun);
}

export async function run(): Promise<void> {
  title('start-up');
  const bare: number[] = [];
  const ours: number[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const times = [time(['-e', '0']), time([cli, 'run', '--', 'true'])] as const;
    // The first round fills the caches.
    if (round < 0) continue;
    bare.push(times[0]);
    ours.push(times[1]);
  }
  figure('node -e 0', asMicroseconds(quiet(bare)));
  figure('ioasis run -- true', asMicroseconds(quiet(ours)));
  limited('ioasis run -- true / node -e 0', quiet(ours) / quiet(bare), MOST, asRatio);
}
