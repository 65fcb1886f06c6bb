/** One ioctl through the shim, and eight clients at once, beside C programs that only echo; and an idle engine. */
import {
  startDaemon,
  startEcho,
  together,
  type BatchClient,
  type Cpu,
  type Daemon,
  type EchoServer,
} from './programs.js';
import { asMicroseconds, asRatio, figure, limited, median, note, quiet, title } from './report.js';

const ROUNDS = 61;
/** In a round, of all clients together; short, so that many rounds are not interrupted. */
const OPERATIONS = 800;
const WARM_UP = 20_000;

interface Contest {
  readonly name: string;
  readonly cpu: Cpu;
  readonly clients: number;
  /** The most that ours may take, as a multiple of the echo. */
  readonly most: number;
}

const contests: readonly Contest[] = [
  { name: '1 client, client and engine on one CPU', cpu: 0, clients: 1, most: 1.4 },
  { name: '1 client, not pinned', cpu: null, clients: 1, most: 1.2 },
  { name: '8 clients at once, not pinned', cpu: null, clients: 8, most: 1.3 },
];

/** The clients of one side. */
function several(count: number, start: () => Promise<BatchClient>): Promise<BatchClient[]> {
  return Promise.all(Array.from({ length: count }, start));
}

async function contest({ name, cpu, clients, most }: Contest): Promise<void> {
  const echo: EchoServer = await startEcho(clients === 1 ? 'blocking' : 'epoll', cpu);
  const daemon: Daemon = await startDaemon(cpu);
  const sides = [
    await several(clients, () => echo.client()),
    await several(clients, () => daemon.client('areas', 1000)),
  ] as const;
  const times: [number[], number[]] = [[], []];
  const operations = Math.ceil(OPERATIONS / clients);
  for (const side of sides) await together(side, Math.ceil(WARM_UP / clients));
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < sides.length; i++) times[i]!.push(await together(sides[i]!, operations));
  }
  for (const client of sides.flat()) await client.stop();
  await daemon.stop();
  await echo.stop();
  const echoed = quiet(times[0]);
  // An operation on an area is two ioctls.
  const mapped = quiet(times[1]) / 2;
  note(name);
  figure('  C echo', asMicroseconds(echoed));
  figure('  IOMMU_IOAS_MAP or UNMAP', asMicroseconds(mapped));
  limited('  ioctl / echo', mapped / echoed, most, asRatio);
}

const IDLE_WINDOWS = 5;

/** A daemon with a client that does nothing. */
async function idle(): Promise<void> {
  const daemon = await startDaemon(null);
  const client = await daemon.client('areas', 1000);
  await client.batch(WARM_UP);
  // What the work has left behind (compilation, collection) is not idling.
  await pause(2);
  const shares: number[] = [];
  for (let i = 0; i < IDLE_WINDOWS; i++) {
    const before = daemon.cpuTime();
    await pause(1);
    shares.push((daemon.cpuTime() - before) / 1e9);
  }
  await client.stop();
  await daemon.stop();
  const percent = Math.round(median(shares) * 1000) / 10;
  limited(`idle engine, CPU, median of ${IDLE_WINDOWS} seconds`, percent, 0, (share) => `${share} %`);
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

export async function run(): Promise<void> {
  title('round trip: 64 bytes and back, Unix SOCK_SEQPACKET');
  for (const each of contests) await contest(each);
  await idle();
}
