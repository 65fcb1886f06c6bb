/** Through the shim: an operation among 1,000,000 areas, and among 100,000 objects, beside the same among 1,000. */
import { startDaemon } from './programs.js';
import { asMicroseconds, asRatio, figure, limited, quiet, title } from './report.js';

const ROUNDS = 41;
const OPERATIONS = 500;
const FEW = 1000;
const MOST = 1.2;

async function compare(work: 'areas' | 'objects', many: number): Promise<void> {
  // Two daemons, so that the one with few knows nothing of the many.
  const daemons = [await startDaemon(0), await startDaemon(0)] as const;
  const few = await daemons[0].client(work, FEW);
  const lots = await daemons[1].client(work, many);
  const times: [number[], number[]] = [[], []];
  for (const client of [few, lots]) await client.batch(OPERATIONS * 20);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, client] of [few, lots].entries()) {
      const { begun, ended } = await client.batch(OPERATIONS);
      // An operation is two ioctls.
      times[i]!.push((ended - begun) / (OPERATIONS * 2));
    }
  }
  for (const client of [few, lots]) await client.stop();
  for (const daemon of daemons) await daemon.stop();
  figure(`${work}, ${FEW}: an ioctl`, asMicroseconds(quiet(times[0])));
  figure(`${work}, ${many}: an ioctl`, asMicroseconds(quiet(times[1])));
  limited(`${work}, ${many} / ${FEW}`, quiet(times[1]) / quiet(times[0]), MOST, asRatio);
}

export async function run(): Promise<void> {
  title('scale, through the shim, client and engine on one CPU, in random order');
  await compare('areas', 1_000_000);
  await compare('objects', 100_000);
}
