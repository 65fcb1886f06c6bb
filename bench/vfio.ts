/**
 * Devices in the hands of C programs: registers beside the echo of round-trip.ts, a disk beside a C program that copies
 * out of a memfd, a DMA engine beside memcpy. Ratios are of times.
 */
import { join } from 'node:path';
import { repoRoot } from '../tools/lib/repo.js';
import {
  inTurns,
  startCopyServer,
  startDaemon,
  startEcho,
  startMemcpy,
  type BatchClient,
  type Daemon,
} from './programs.js';
import { asMicroseconds, asRatio, figure, limited, title } from './report.js';

const NVME = '/dev/vfio/devices/vfio0';
const IOAT = '/dev/vfio/devices/vfio1';
const OTHER_NVME = '/dev/vfio/devices/vfio2';
const machine = ['-t', join(repoRoot, 'bench/vfio.yaml')];
const ROUNDS = 41;
/** A round is some time slices at most, so that the quiet ones are free of other programs. */
const ROUND_US = 4000;
const WARM_UP = 5;

const KIB = 1024;
const MIB = KIB * KIB;

/** Ns for one operation of each, which takes some `guessUs`. */
function beside(clients: readonly BatchClient[], guessUs: number): Promise<number[]> {
  return inTurns(clients, Math.max(2, Math.round(ROUND_US / guessUs)), ROUNDS, WARM_UP);
}

/** All on one CPU, as the echo is there. */
async function registers(): Promise<void> {
  title('registers, client and engine on one CPU, beside a C echo');
  const daemon = await startDaemon(0, machine);
  const echo = await startEcho('blocking', 0);
  const nvme = (work: string, device = NVME): Promise<BatchClient> =>
    daemon.program('nvme-client', device, work);
  for (const work of ['pread', 'pwrite']) {
    const [ours, peer] = await beside([await nvme(work), await echo.client()], 10);
    limited(`${work} of a register, ${asMicroseconds(ours!)}`, ours! / peer!, 1.4, asRatio);
  }
  const [store, pwrite] = await beside([await nvme('store'), await nvme('pwrite', OTHER_NVME)], 10);
  figure(`store to a mapped register, ${asMicroseconds(store!)}, beside pwrite`, asRatio(store! / pwrite!));
  const [load] = await beside([await nvme('load')], 0.01);
  figure('load from a mapped register', `${load!.toFixed(1)} ns`);
  const [flush] = await beside([await nvme('flush')], 50);
  figure('NVMe: doorbell, command, interrupt, doorbell', asMicroseconds(flush!));
  await echo.stop();
  await daemon.stop();
}

async function disk(daemon: Daemon): Promise<void> {
  title('NVMe reads, not pinned, beside a C program that copies out of a memfd');
  const peer = await startCopyServer();
  for (const [how, size] of [
    ['random', 4 * KIB],
    ['sequential', 128 * KIB],
  ] as const) {
    for (const depth of [1, 32]) {
      const ours = await daemon.program('nvme-client', NVME, how, size, depth);
      const theirs = await peer.client(how, size, depth);
      const [own, other] = await beside([ours, theirs], size > 4 * KIB ? 60 : 20);
      const speed = `${((size / own!) * (1e9 / MIB)).toFixed(0)} MiB/s`;
      figure(
        `${size / KIB} KiB ${how}, ${depth} at once, ${asMicroseconds(own!)}, ${speed}`,
        asRatio(own! / other!),
      );
    }
  }
  await peer.stop();
}

async function engine(daemon: Daemon): Promise<void> {
  title('Intel DMA engine, from doorbell to completion, beside memcpy');
  for (const size of [4 * KIB, 64 * KIB, 512 * KIB, 2 * MIB]) {
    const ours = await daemon.program('ioat-client', IOAT, size);
    const [own, memcpy] = await beside(
      [ours, await startMemcpy('copy', size, size, 2 * size)],
      20 + size / 5000,
    );
    figure(`${size / KIB} KiB, ${asMicroseconds(own!)}`, asRatio(own! / memcpy!));
  }
}

export async function run(): Promise<void> {
  await registers();
  const daemon = await startDaemon(null, machine);
  await disk(daemon);
  await engine(daemon);
  await daemon.stop();
}
