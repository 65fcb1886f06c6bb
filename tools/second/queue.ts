/**
 * The invalidation queue, compared: a translation is cached, its table changed, one descriptor done, and then it shows
 * where the queue stands, whether it has stopped, and who still has the old translation. Descriptors are of every type
 * and granularity, of the right domain and others, and some have a bit set that should not be.
 */
import { READ, WRITE } from '#ioasis/pt/format.js';
import { vtdss } from '#ioasis/pt/formats/vtdss.js';
import { x86 } from '#ioasis/pt/formats/x86.js';
import { PageTable } from '#ioasis/pt/page-table.js';
import type { Random } from '../differential/random.js';
import type { OurSide } from './ours.js';
import type { QemuSide } from './qemu.js';
import { DATA, type Mode } from './scenes.js';
import { WRITERS, type Side } from './side.js';

/** Of each domain's page. */
const IOVAS = [0x40_0020_0000n, 0x40_0020_7000n] as const;
const IOVA = IOVAS[0];
const GCMD = 0x18;
const FSTS = 0x34;
const IQH = 0x80;
const IQT = 0x88;
const IQA = 0x90;
const TE = 1 << 31;
const QIE = 1 << 26;
/** IQE, ICE, ITE. */
const QUEUE_ERRORS = 0x70;
const QUEUE_BYTES = 0x1000;
/** Where waits store their status; nothing else lies there. */
const STATUS = DATA + 0x8000n;
/** A wait that only fences. */
const FENCE = 0x45n;
/** Where the page of each domain is at first, and where it is moved. */
const PLACES = [
  { old: DATA + 0x1000n, now: DATA + 0x2000n },
  { old: DATA + 0x5000n, now: DATA + 0x6000n },
] as const;

export interface QueueCase {
  readonly words: readonly bigint[];
  /** What was seen, in a line. */
  readonly ours: string;
  readonly theirs: string;
}

/** A row like those of differences.ts: a difference that has none fails the run. */
export interface QueueDifference {
  readonly name: string;
  readonly why: string;
  readonly explains: (found: QueueCase, mode: Mode) => boolean;
}

const typeOf = ({ words }: QueueCase): number => Number(words[0]! & 0xfn);
const stops = (seen: string): boolean => seen.includes('stopped');

export const queueDifferences: readonly QueueDifference[] = [
  {
    name: 'device-TLB invalidation on a unit without device TLBs',
    why: 'QEMU does it; it is no type of descriptor there (6.5.2.5, 6.5.2.6)',
    explains: (found) => [3, 8].includes(typeOf(found)) && stops(found.ours) && !stops(found.theirs),
  },
  {
    name: 'a wait that asks for nothing',
    why: 'QEMU refuses it; nothing says that one of its flags has to be set (6.5.2.9)',
    explains: (found) =>
      typeOf(found) === 5 && (found.words[0]! & 0x70n) === 0n && !stops(found.ours) && stops(found.theirs),
  },
  {
    name: 'PASID-based invalidation of more pages than MAMV says',
    why: 'QEMU refuses it; MAMV does not count for descriptors of this type (11.4.2)',
    explains: (found) =>
      typeOf(found) === 6 && (found.words[1]! & 0x3fn) > 18n && !stops(found.ours) && stops(found.theirs),
  },
  {
    name: 'PASID-based invalidation in a domain without a first stage',
    why: 'QEMU drops second-stage translations with it; it is for first-stage and nested ones (6.5.2.4)',
    explains: (found, mode) =>
      mode === 'second' && typeOf(found) === 6 && !stops(found.ours) && !stops(found.theirs),
  },
];

export class QueueComparison {
  readonly #entries: readonly bigint[];
  readonly #tables: readonly PageTable[];
  readonly #queue: bigint;
  readonly #root: bigint;
  readonly #step: number;
  #head = 0;

  constructor(
    readonly mode: Mode,
    readonly ours: OurSide,
    readonly qemu: QemuSide,
  ) {
    const arena = ours.memory.tables.openArena();
    const frame = (): bigint => BigInt(arena.allocate(12)) << 12n;
    const isFirst = mode === 'first';
    this.#step = mode === 'legacy' ? 16 : 32;
    this.#queue = frame();
    this.#root = frame();
    this.#tables = PLACES.map(({ old }, index) => {
      const table = new PageTable(ours.memory, isFirst ? x86 : vtdss, {
        startingLevel: 3,
        maxVaLg2: 48,
        maxOaLg2: 48,
      });
      table.map(IOVAS[index]!, old, 0x1000n, READ | WRITE);
      return table;
    });
    this.#entries = this.#tables.map((table, index) => table.trace(IOVAS[index]!).at(-1)!.hpa);
    const put = (hpa: bigint, value: bigint): void => {
      ours.memory.store64(
        0,
        Number(hpa),
        Number(BigInt.asIntN(32, value >> 32n)),
        Number(BigInt.asIntN(32, value)),
      );
    };
    const lower = frame();
    const upper = mode === 'legacy' ? lower : frame();
    put(this.#root, lower | 1n);
    if (mode !== 'legacy') put(this.#root + 8n, upper | 1n);
    for (const [index, source] of WRITERS.entries()) {
      const at = this.#tables[index]!.rootHpa;
      const did = BigInt(index + 1);
      if (mode === 'legacy') {
        put(lower + BigInt(source) * 16n + 8n, 2n | (did << 8n));
        put(lower + BigInt(source) * 16n, at | 1n);
        continue;
      }
      const [directory, entries] = [frame(), frame()];
      put((source < 0x80 ? lower : upper) + BigInt(source & 0x7f) * 32n, directory | 1n);
      put(directory, entries | 1n);
      put(entries + 16n, isFirst ? at : 0n);
      put(entries + 8n, did | (1n << 23n));
      put(entries, (isFirst ? 0n : at) | (2n << 2n) | ((isFirst ? 1n : 2n) << 6n) | 1n);
    }
  }

  /** Starts both units anew, with an empty queue. The tables have to be on the other side already. */
  async start(): Promise<void> {
    for (const side of this.#sides) {
      await side.write32(GCMD, 0);
      await side.write64(IQT, 0n);
      await side.write64(IQA, this.#queue | (this.#step === 32 ? 0x800n : 0n));
      await side.write64(0x20, this.#root | (this.mode === 'legacy' ? 0n : 1n << 10n));
      await side.write32(GCMD, 1 << 30);
      await side.write32(GCMD, QIE);
      await side.write32(GCMD, QIE | TE);
    }
    this.#head = 0;
  }

  async run(random: Random): Promise<QueueCase> {
    const words = descriptor(random, this.mode);
    for (const [index, { old }] of PLACES.entries()) await this.#point(index, old);
    await this.#everything();
    await this.#write();
    for (const [index, { now }] of PLACES.entries()) await this.#point(index, now);
    const [ours, theirs] = await this.#submit(words);
    return { words, ours, theirs };
  }

  get #sides(): readonly Side[] {
    return [this.ours, this.qemu];
  }

  /** Lets the page of a domain be at `hpa`; the other bits of its entry stay. */
  async #point(index: number, hpa: bigint): Promise<void> {
    const entry = this.#entries[index]!;
    const view = new DataView((await this.ours.load(entry, 8)).buffer);
    view.setBigUint64(0, (view.getBigUint64(0, true) & 0xfffn) | hpa, true);
    for (const side of this.#sides) await side.store(entry, new Uint8Array(view.buffer));
  }

  /** A write of each domain's device; where they went, on both sides. */
  async #write(): Promise<readonly [string, string]> {
    const accesses = WRITERS.map((source, index) => ({ source, isWrite: true, iova: IOVAS[index]! }));
    const ours = await this.ours.access(accesses);
    this.qemu.likely = (index) => ours[index]!.data;
    const theirs = await this.qemu.access(accesses);
    const show = (outcomes: typeof ours): string =>
      outcomes
        .map(({ data }, index) =>
          data === PLACES[index]!.old ? 'old' : data === PLACES[index]!.now ? 'new' : '?',
        )
        .join(' ');
    return [show(ours), show(theirs)];
  }

  /** What Linux does when the queue has stopped: the descriptor becomes one that does nothing. */
  async #goOn(): Promise<void> {
    const at = (this.#head - this.#step + QUEUE_BYTES) % QUEUE_BYTES;
    const fence = new BigUint64Array(this.#step / 8);
    fence[0] = FENCE;
    for (const side of this.#sides) {
      await side.store(this.#queue + BigInt(at), new Uint8Array(fence.buffer));
      await side.write32(FSTS, QUEUE_ERRORS);
      await side.write64(IQT, BigInt(this.#head));
    }
  }

  /** Empties every cache that a descriptor can empty. */
  async #everything(): Promise<void> {
    for (const words of [[0x11n], [0x37n], [0x12n]]) {
      if (this.mode === 'legacy' && words[0] === 0x37n) continue;
      await this.#enqueue(words);
    }
  }

  async #enqueue(words: readonly bigint[]): Promise<void> {
    const bytes = new BigUint64Array(this.#step / 8);
    bytes.set(words.slice(0, bytes.length));
    const tail = (this.#head + this.#step) % QUEUE_BYTES;
    for (const side of this.#sides) {
      await side.store(this.#queue + BigInt(this.#head), new Uint8Array(bytes.buffer));
      await side.write64(IQT, BigInt(tail));
    }
    this.#head = tail;
  }

  /** One descriptor; what each side shows of it. If either stops on it, both go on behind it. */
  async #submit(words: readonly bigint[]): Promise<readonly [string, string]> {
    await this.#enqueue(words);
    const states: string[] = [];
    for (const side of this.#sides) {
      const head = Number(await side.read64(IQH));
      const errors = (await side.read32(FSTS)) & QUEUE_ERRORS;
      states.push(head === this.#head && errors === 0 ? 'done' : `stopped, FSTS ${errors.toString(16)}`);
    }
    if (states.some((state) => state !== 'done')) await this.#goOn();
    const places = await this.#write();
    return [`${states[0]}, ${places[0]}`, `${states[1]}, ${places[1]}`];
  }
}

function descriptor(random: Random, mode: Mode): bigint[] {
  const type = BigInt(random.pick([1, 2, 2, 2, 4, 5, 7, 6, 6, 6, 8, 0, 10, 15]));
  const g = BigInt(random.below(4));
  const did = BigInt(random.pick([1, 1, 2, 3]));
  const pasid = BigInt(random.pick([0, 0, 0, 5]));
  const source = BigInt(random.pick<number>(WRITERS));
  const address = random.pick([IOVA, IOVA, IOVAS[1], IOVA ^ 0x1000n, IOVA ^ 0x20_0000n, IOVA ^ 0x4000_0000n]);
  const page = address | BigInt(random.pick([0, 0, 1, 9, 18, 19, 40])) | (random.chance(20) ? 0x40n : 0n);
  const rows: Readonly<Record<string, readonly bigint[]>> = {
    1: [1n | (g << 4n) | (did << 16n) | (source << 32n)],
    2: [2n | (g << 4n) | (did << 16n), g === 3n ? page : 0n],
    4: [4n],
    5: [5n | (g << 4n), STATUS],
    6: [6n | (g << 4n) | (did << 16n) | (pasid << 32n), g === 3n ? page : 0n],
    7: [7n | (g << 4n) | (did << 16n) | (pasid << 32n)],
    8: [8n | (source << 16n) | (pasid << 32n), address],
  };
  const words = [...(rows[String(type)] ?? [type]), 0n, 0n, 0n].slice(0, mode === 'legacy' ? 2 : 4);
  if (random.chance(15)) {
    const at = random.below(words.length);
    words[at]! ^= 1n << BigInt(random.below(64));
  }
  return words;
}
