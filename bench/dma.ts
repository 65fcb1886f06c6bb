/**
 * DMA beside what a processor does: a device copies from one half of a memfd to the other, both sides through two stages of
 * translation; a C program does the same with memcpy, in turns. The file is mapped here as in the daemon. Ratios are of
 * times, so 1.25x is 0.8 of the speed.
 */
import { DmaPort } from '#ioasis/bus/dma-port.js';
import { FileBackings } from '#ioasis/host/backing.js';
import * as sys from '#ioasis/host/sys.js';
import { startMemcpy } from './programs.js';
import { asMicroseconds, asRatio, limited, quiet, title } from './report.js';
import { IOVA, PASID, Scene, SOURCE, type SceneLayout } from './translate.js';

const TOTAL = 1 << 27;
const HALF = TOTAL / 2;
const PAGE = 4096;
const ROUNDS = 201;
/** A round is shorter than a time slice, so that the quiet ones are free of other programs. */
const ROUND_BYTES = 1 << 24;
const WARM_UP = 40;

/** Pages of each half in an order in which no two are adjacent. */
function scattered(page: number): number {
  const pages = HALF / PAGE;
  const half = page < pages ? 0 : pages;
  return half + (((page - half) * 5) % pages);
}

/** A device whose address space shows the file, which begins where physical memory for clients does. */
function makePort(layout: SceneLayout): DmaPort {
  const fd = sys.memfdCreate('dma', 0);
  sys.ftruncate(fd, TOTAL);
  const scene = new Scene(TOTAL / PAGE, 1, layout);
  const backing = new FileBackings().ofDescriptor(fd, sys.fstat(fd)!);
  const [window] = scene.memory.window(backing, 0n, BigInt(TOTAL))!;
  if (window!.hpa !== 1n << 40n) throw new Error('the file is not where the scene has its pages');
  const port = new DmaPort(SOURCE, scene.unit, scene.memory);
  port.pasid = PASID;
  if (!port.write(0, IOVA, new Uint8Array(TOTAL).fill(1))) throw new Error(`reason ${port.reason}`);
  return port;
}

async function compare(
  name: string,
  size: number,
  spread: number,
  layout: SceneLayout,
  most: number,
): Promise<void> {
  const port = makePort(layout);
  const peer = await startMemcpy(size, spread, TOTAL);
  const count = Math.ceil(ROUND_BYTES / size);
  let at = 0;
  const round = (): number => {
    const begun = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) {
      if (!port.copy(0, (IOVA + at) | 0, 0, (IOVA + HALF + at) | 0, size))
        throw new Error(`reason ${port.reason}`);
      at = at + size < spread ? at + size : 0;
    }
    return Number(process.hrtime.bigint() - begun) / count;
  };
  const own: number[] = [];
  const peers: number[] = [];
  for (let i = 0; i < ROUNDS + WARM_UP; i += 1) {
    const { begun, ended } = await peer.batch(count);
    const time = round();
    if (i < WARM_UP) continue;
    own.push(time);
    peers.push((ended - begun) / count);
  }
  await peer.stop();
  limited(`${name}, ${asMicroseconds(quiet(own))}`, quiet(own) / quiet(peers), most, asRatio);
}

export async function run(): Promise<void> {
  title('DMA copy through two stages, time beside memcpy of the same');
  const kib = (size: number): string => `${size / 1024} KiB`;
  for (const [warmth, spread] of [
    ['hot', 0],
    ['cold', HALF],
  ] as const) {
    for (const size of [1 << 16, 1 << 18, 1 << 20]) {
      const within = Math.max(spread, size);
      await compare(`${kib(size)} ${warmth}, 2 MiB pages`, size, within, { pageLg2: 21 }, 1.25);
      await compare(`${kib(size)} ${warmth}, 4 KiB pages side by side`, size, within, {}, 1.25);
      await compare(`${kib(size)} ${warmth}, 4 KiB pages scattered`, size, within, { frameOf: scattered }, 2);
    }
  }
}
