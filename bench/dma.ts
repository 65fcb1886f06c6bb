/**
 * DMA beside what a processor does: a device writes what it holds into a memfd, or copies from one half of the memfd to the
 * other, through two stages of translation; a C program does the same with memcpy, in turns, in the same file and on the same
 * CPU: where its pages lie in the machine's memory, and in which caches, decides by up to a half. The file is mapped here as
 * in the daemon. Ratios are of times, so 1.25x is 0.8 of the speed.
 */
import { DmaPort } from '#ioasis/bus/dma-port.js';
import { FileBackings } from '#ioasis/host/backing.js';
import * as sys from '#ioasis/host/sys.js';
import { onOneCpu, startMemcpy } from './programs.js';
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

const fd = sys.memfdCreate('dma', 0);
sys.ftruncate(fd, TOTAL);

/** A device whose address space shows the file, which begins where physical memory for clients does. */
function makePort(layout: SceneLayout): DmaPort {
  const scene = new Scene(TOTAL / PAGE, 1, layout);
  const backing = new FileBackings().ofDescriptor(fd, sys.fstat(fd)!);
  const [window] = scene.memory.window(backing, 0n, BigInt(TOTAL))!;
  if (window!.hpa !== 1n << 40n) throw new Error('the file is not where the scene has its pages');
  const port = new DmaPort(SOURCE, scene.unit, scene.memory);
  port.pasid = PASID;
  if (!port.write(0, IOVA, new Uint8Array(TOTAL).fill(1))) throw new Error(`reason ${port.reason}`);
  return port;
}

/** What is compared: over how many bytes it goes from place to place, and how the pages lie. */
interface Case {
  readonly kind: 'write' | 'copy';
  readonly size: number;
  readonly spread: number;
  readonly layout: SceneLayout;
}

async function compare(name: string, { kind, size, spread, layout }: Case, most: number): Promise<void> {
  const port = makePort(layout);
  const peer = await startMemcpy(kind, size, spread, TOTAL, `/proc/${process.pid}/fd/${fd}`);
  const count = Math.ceil(ROUND_BYTES / size);
  // Elsewhere than the C program, whose last bytes may be in a cache.
  let at = Math.floor(spread / 2 / size) * size;
  const held = new Uint8Array(size).fill(3);
  const step = (): boolean =>
    kind === 'write'
      ? port.write(0, (IOVA + HALF + at) | 0, held)
      : port.copy(0, (IOVA + at) | 0, 0, (IOVA + HALF + at) | 0, size);
  const round = (): number => {
    const begun = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) {
      if (!step()) throw new Error(`reason ${port.reason}`);
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

/**
 * Bytes of heap that an operation leaves behind, in the quietest of some rounds: code that is compiled anew leaves some in
 * one of them, an operation would in each. A view of a run would be more than 100.
 */
function growth(kind: Case['kind'], layout: SceneLayout): number {
  const size = 1 << 16;
  const port = makePort(layout);
  const held = new Uint8Array(size);
  const many = (): void => {
    for (let i = 0; i < 20_000; i += 1) {
      if (kind === 'write') port.write(0, (IOVA + HALF) | 0, held);
      else port.copy(0, IOVA, 0, (IOVA + HALF) | 0, size);
    }
  };
  many();
  let least = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const before = process.memoryUsage().heapUsed;
    many();
    least = Math.min(least, Math.max(0, process.memoryUsage().heapUsed - before) / 20_000);
  }
  return least;
}

const kib = (size: number): string => `${size / 1024} KiB`;

/** What is somewhere among so many bytes is in no cache of the processor but the last. */
const LAST_CACHE = 1 << 22;

export const run = (): Promise<void> => onOneCpu(compareAll);

async function compareAll(): Promise<void> {
  for (const kind of ['write', 'copy'] as const) {
    title(`DMA ${kind} through two stages, time beside memcpy`);
    for (const spread of [0, LAST_CACHE, HALF]) {
      for (const size of [1 << 16, 1 << 20]) {
        const how = spread === 0 ? 'in place' : `over ${spread >> 20} MiB`;
        const one: Case = { kind, size, spread: Math.max(spread, size), layout: {} };
        await compare(`${kib(size)} ${how}, 2 MiB pages`, { ...one, layout: { pageLg2: 21 } }, 1.25);
        await compare(`${kib(size)} ${how}, 4 KiB pages, adjacent`, one, 1.25);
        await compare(
          `${kib(size)} ${how}, 4 KiB pages, scattered`,
          { ...one, layout: { frameOf: scattered } },
          2,
        );
      }
    }
    for (const [how, layout] of [
      ['2 MiB pages', { pageLg2: 21 }],
      ['4 KiB pages, adjacent', {}],
      ['4 KiB pages, scattered', { frameOf: scattered }],
    ] as const) {
      limited(`heap growth, 64 KiB, ${how}, bytes`, growth(kind, layout), 1, (value) => value.toFixed(2));
    }
  }
}
