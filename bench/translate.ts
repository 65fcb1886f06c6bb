/**
 * One translation of a VT-d unit, in process, in ns: on an IOTLB hit by working set, context lookup included; from
 * nothing, through two stages; after an IOTLB miss; in checking mode; and invalidation beside what is cached. Walks of
 * guest tables in a process's memory, by the second. Also how much the heap grows per translation, which has to be nothing.
 */
import { Events } from '#ioasis/base/events.js';
import { Injector } from '#ioasis/base/inject.js';
import { Translation } from '#ioasis/bus/dma.js';
import { Abilities } from '#ioasis/hw/vtd/capabilities.js';
import { Contexts } from '#ioasis/hw/vtd/context.js';
import { VtdHardware } from '#ioasis/hw/vtd/hardware.js';
import { PagingCache } from '#ioasis/hw/vtd/paging-cache.js';
import { WALK, Walker } from '#ioasis/hw/vtd/walk.js';
import { ProcessSpace } from '#ioasis/host/address-space.js';
import { FileBackings } from '#ioasis/host/backing.js';
import * as sys from '#ioasis/host/sys.js';
import type { Backing } from '#ioasis/mem/client.js';
import { PhysicalMemory } from '#ioasis/mem/physical.js';
import { figure, limited, quiet, title } from './report.js';

const CAP =
  0x6n |
  (0xen << 8n) |
  (56n << 16n) |
  (0x22n << 24n) |
  (3n << 34n) |
  (1n << 39n) |
  (18n << 48n) |
  (1n << 56n);
const ECAP = [0, 1, 2, 6, 7, 26, 40, 43, 45, 46, 47, 48].reduce(
  (bits, n) => bits | (1n << BigInt(n)),
  19n << 35n,
);
const capabilities = { cap: CAP, ecap: ECAP, haw: 51 };
export const SOURCE = 0x100;
export const PASID = 3;
const DID = 5n;
/** Rounds of a spell that count, and those before them. */
const ROUNDS = 50;
const WARM_UP = 100;
const SPELLS = 8;
const PAUSE_MS = 50;
const OPERATIONS = 2000;
/** Where the device's pages, the guest's tables and the guest's pages begin. */
export const IOVA = 0x4000_0000;
const GUEST_TABLES = 0x1000_0000;
const QUEUE_LG2 = 12;

const asNs = (value: number): string => `${value.toFixed(1)} ns`;

let sink = 0;

/** How pages of a scene lie in physical memory, from 1 TiB on. */
export interface SceneLayout {
  /** Default: one after the other. */
  readonly frameOf?: (page: number) => number;
  /** lg2 of the pages of both stages: 12 or 21. */
  readonly pageLg2?: number;
  /** Where the guest's tables lie. Default: among ioasis' own. */
  readonly guestTables?: GuestTables;
}

/** Zeroed memory of a program from `offset` on, {@link GUEST_BYTES} of it. */
interface GuestTables {
  readonly backing: Backing;
  readonly offset: bigint;
}

/** Tables of 1 GiB in pages of 4 KiB. */
const GUEST_BYTES = 1 << 22;

/** Two stages of tables in ioasis' own memory. */
export class Scene {
  readonly memory = new PhysicalMemory(new Injector());
  readonly arena = this.memory.tables.openArena();
  readonly unit: VtdHardware;
  readonly root = this.#table();
  readonly second = this.#table();
  readonly request = new Translation();
  readonly #guest = new Map<number, number>();
  #nextGuest = GUEST_TABLES;
  readonly #guestTables: number | null;
  readonly #queue: number;
  #tail = 0;

  constructor(
    pages: number,
    pasids = 1,
    { frameOf = (page) => page, pageLg2 = 12, guestTables }: SceneLayout = {},
  ) {
    this.#guestTables = guestTables === undefined ? null : this.#windowOn(guestTables);
    this.unit = new VtdHardware({
      name: 'vtd0',
      memory: this.memory,
      capabilities,
      messages: { message: () => {} },
      endpoints: { endpoint: () => null },
      events: new Events(),
    });
    const guestRoot = this.#guestTable();
    for (let page = 0; page < pages; page += 2 ** (pageLg2 - 12)) {
      const gpa = 0x10_0000_0000 + page * 4096;
      this.#mapSecond(gpa, 0x100_0000_0000 + frameOf(page) * 4096, pageLg2);
      this.#mapGuest(guestRoot, IOVA + page * 4096, gpa, pageLg2);
    }
    const contexts = this.#table();
    const directory = this.#table();
    const table = this.#table();
    this.#put(this.root + 16, BigInt(contexts) | 1n);
    this.#put(contexts, BigInt(directory) | 1n | 8n);
    this.#put(directory, BigInt(table) | 1n);
    for (let pasid = PASID; pasid < PASID + pasids; pasid += 1) {
      this.#put(table + pasid * 64, BigInt(this.second) | 1n | (2n << 2n) | (3n << 6n));
      this.#put(table + pasid * 64 + 8, DID | (1n << 23n));
      this.#put(table + pasid * 64 + 16, BigInt(guestRoot));
    }
    this.#queue = this.#table();
    this.unit.write64(0x20, BigInt(this.root) | (1n << 10n));
    this.unit.write64(0x90, BigInt(this.#queue) | (1n << 11n));
    this.unit.write32(0x18, 0x4000_0000);
    this.unit.write32(0x18, 0x8400_0000);
    this.request.sourceId = SOURCE;
    this.request.pasid = PASID;
  }

  ask(page: number): void {
    const { request } = this;
    request.hi = 0;
    request.lo = (IOVA + page * 4096) | 0;
    if (!this.unit.translate(request)) throw new Error(`page ${page}: reason ${request.reason}`);
    sink ^= request.hpaLo;
  }

  /** Submits one 256-bit descriptor. */
  submit(q0: bigint, q1: bigint): void {
    this.#put(this.#queue + this.#tail, q0);
    this.#put(this.#queue + this.#tail + 8, q1);
    this.#tail = (this.#tail + 32) & ((1 << QUEUE_LG2) - 1);
    this.unit.write32(0x88, this.#tail);
  }

  #table(): number {
    return this.arena.allocate(12) * 4096;
  }

  #put(hpa: number, value: bigint): void {
    const hi = Number(value >> 32n) | 0;
    if (!this.memory.store64(Math.floor(hpa / 2 ** 32), hpa | 0, hi, Number(value & 0xffff_ffffn) | 0)) {
      throw new Error('no memory');
    }
  }

  #get(hpa: number): bigint {
    this.memory.load64(Math.floor(hpa / 2 ** 32), hpa | 0);
    return (BigInt(this.memory.loadedHi >>> 0) << 32n) | BigInt(this.memory.loadedLo >>> 0);
  }

  #windowOn({ backing, offset }: GuestTables): number {
    return Number(this.memory.window(backing, offset, BigInt(GUEST_BYTES))![0]!.hpa);
  }

  /** A table of the guest: its address is the guest's, its bytes are mapped by the second stage. */
  #guestTable(): number {
    const gpa = this.#nextGuest;
    this.#nextGuest += 4096;
    const hpa = this.#guestTables === null ? this.#table() : this.#guestTables + gpa - GUEST_TABLES;
    this.#guest.set(gpa, hpa);
    this.#mapSecond(gpa, hpa);
    return gpa;
  }

  #mapSecond(gpa: number, hpa: number, pageLg2 = 12): void {
    let at = this.second;
    for (let shift = 39; shift > pageLg2; shift -= 9) {
      const entry = at + (Math.floor(gpa / 2 ** shift) % 512) * 8;
      if (this.#get(entry) === 0n) this.#put(entry, BigInt(this.#table()) | 3n);
      at = Number(this.#get(entry) & ~0xfffn);
    }
    this.#put(at + (Math.floor(gpa / 2 ** pageLg2) % 512) * 8, BigInt(hpa) | 3n | leafBit(pageLg2));
  }

  #mapGuest(root: number, iova: number, gpa: number, pageLg2: number): void {
    let at = root;
    for (let shift = 39; shift > pageLg2; shift -= 9) {
      const entry = this.#guest.get(at)! + (Math.floor(iova / 2 ** shift) % 512) * 8;
      if (this.#get(entry) === 0n) this.#put(entry, BigInt(this.#guestTable()) | 0x27n);
      at = Number(this.#get(entry) & ~0xfffn);
    }
    const leaf = this.#guest.get(at)! + (Math.floor(iova / 2 ** pageLg2) % 512) * 8;
    this.#put(leaf, BigInt(gpa) | 0x67n | leafBit(pageLg2));
  }
}

/** The bit that makes an entry above the lowest level a leaf. */
const leafBit = (pageLg2: number): bigint => (pageLg2 > 12 ? 0x80n : 0n);

function randomPages(pages: number): Int32Array {
  let state = 0x2545f491;
  return Int32Array.from({ length: 1 << 16 }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % pages;
  });
}

/**
 * ns an operation: rounds are shorter than a time slice, so that the quiet ones are free of other programs. They come in
 * spells with pauses between them: a program that is busy for a while does not have them all, and the compiler, which works
 * in a thread of its own, gets a CPU whatever else goes on.
 */
function time(work: (from: number, count: number) => void, count = OPERATIONS): number {
  const times: number[] = [];
  for (let spell = 0; spell < SPELLS; spell += 1) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    for (let round = 0; round < WARM_UP; round += 1) work(round * count, count);
    for (let round = 0; round < ROUNDS; round += 1) {
      const from = process.hrtime.bigint();
      work(round * count, count);
      times.push(Number(process.hrtime.bigint() - from) / count);
    }
  }
  return quiet(times);
}

function hits(pages: number): number {
  const scene = new Scene(pages);
  const order = randomPages(pages);
  for (let page = 0; page < pages; page += 1) scene.ask(page);
  return time((first) => {
    for (let i = first; i < first + OPERATIONS; i += 1) scene.ask(order[i & 0xffff]!);
  });
}

/** Each request from another PASID than the last. */
function hitsInTurns(pages: number, pasids: number): number {
  const scene = new Scene(pages, pasids);
  const { request } = scene;
  const order = randomPages(pages);
  for (let i = 0; i < pages * pasids; i += 1) {
    request.pasid = PASID + (i % pasids);
    scene.ask(Math.floor(i / pasids));
  }
  return time((first) => {
    for (let i = first; i < first + OPERATIONS; i += 1) {
      request.pasid = PASID + (i % pasids);
      scene.ask(order[i & 0xffff]!);
    }
  });
}

/** Root, context, PASID directory, PASID entry, 4 * 5 + 4 entries: all from memory. */
const cold = (pages: number): number => walks(new Scene(pages), pages, 0);

/** Walks from the context on, by `mode`, past the IOTLB. */
function walks(scene: Scene, pages: number, mode: number, count = OPERATIONS): number {
  const can = new Abilities(capabilities);
  const contexts = new Contexts(scene.memory, can);
  contexts.setRoot(0, scene.root | 0, 1);
  const walker = new Walker(scene.memory, contexts.spaces, can, new PagingCache());
  const order = randomPages(pages);
  return time((first) => {
    for (let i = first; i < first + count; i += 1) {
      const row = contexts.findFresh(SOURCE, PASID);
      if (!walker.walk(row, 0, (IOVA + order[i & 0xffff]! * 4096) | 0, 1, mode))
        throw new Error(`${walker.reason}`);
      sink ^= walker.hpaLo;
    }
  }, count);
}

/** A file of shared memory, which is mapped here as in the daemon. */
function sharedTables(): GuestTables {
  const fd = sys.memfdCreate('tables', 0);
  sys.ftruncate(fd, GUEST_BYTES);
  return { backing: new FileBackings().ofDescriptor(fd, sys.fstat(fd)!)!, offset: 0n };
}

/** Private memory, which is reached by system calls: of this process, as of any other. */
function privateTables(): GuestTables {
  const policy = { buffers: null, lost: () => {} };
  const space = new ProcessSpace(process.pid, 'direct', new FileBackings(), policy);
  const start = BigInt(sys.allocate(GUEST_BYTES + 4096).address + 4095) & ~4095n;
  const [piece] = space.resolve(start, BigInt(GUEST_BYTES), true)!;
  return { backing: piece!.backing, offset: piece!.offset };
}

/** An IOTLB that is too small: the walk starts in the paging-structure caches. */
function misses(pages: number): number {
  const scene = new Scene(pages);
  const order = randomPages(pages);
  return time((first) => {
    for (let i = first; i < first + OPERATIONS; i += 1) scene.ask(order[i & 0xffff]!);
  });
}

function checkedHits(pages: number): number {
  const scene = new Scene(pages);
  scene.unit.checking = true;
  const order = randomPages(pages);
  return time((first) => {
    for (let i = first; i < first + OPERATIONS; i += 1) scene.ask(order[i & 0xffff]!);
  });
}

/** ns of one PASID-selective IOTLB invalidation with `pages` of that PASID cached, 2,000 of another beside them. */
function invalidation(pages: number): number {
  const scene = new Scene(4000, 2);
  scene.request.pasid = PASID + 1;
  for (let page = 0; page < 2000; page += 1) scene.ask(page);
  scene.request.pasid = PASID;
  const times: number[] = [];
  for (let round = 0; round < 400; round += 1) {
    for (let page = 0; page < pages; page += 1) scene.ask(page);
    const from = process.hrtime.bigint();
    scene.submit(6n | (2n << 4n) | (DID << 16n) | (BigInt(PASID) << 32n), 0n);
    times.push(Number(process.hrtime.bigint() - from));
  }
  return quiet(times);
}

/** Bytes of heap a translation leaves behind, in the quietest of some rounds: code that is compiled anew leaves some in one. */
function growth(): number {
  const scene = new Scene(1000);
  const many = (): void => {
    for (let i = 0; i < 1_000_000; i += 1) scene.ask(i % 1000);
  };
  many();
  let least = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const before = process.memoryUsage().heapUsed;
    many();
    least = Math.min(least, Math.max(0, process.memoryUsage().heapUsed - before) / 1_000_000);
  }
  return least;
}

export async function run(): Promise<void> {
  title('translation by a VT-d unit, two stages of 4 KiB pages, ns');
  for (const pages of [1, 64, 1000, 2000]) limited(`IOTLB hit, ${pages} random pages`, hits(pages), 15, asNs);
  for (const pages of [3500, 16_384, 32_768])
    limited(`IOTLB hit, ${pages} random pages`, hits(pages), 25, asNs);
  limited('IOTLB hit, 500 random pages of each of 4 PASIDs in turn', hitsInTurns(500, 4), 15, asNs);
  limited('walk with nothing cached, 16 MiB mapped', cold(4096), 250, asNs);
  limited('walk with nothing cached, 1 GiB at random', cold(262_144), 550, asNs);
  figure('IOTLB miss at random in 1 GiB (a quarter are hits)', asNs(misses(262_144)));
  figure('checking mode, 1000 random pages', asNs(checkedHits(1000)));
  title('walks of guest tables in process memory, 16 MiB mapped, a second');
  for (const [where, tables] of [
    ['shared', sharedTables],
    ['private', privateTables],
  ] as const) {
    for (const [how, mode] of [
      ['nothing cached', 0],
      ['paging structures cached', WALK.CACHED],
    ] as const) {
      const ns = walks(new Scene(4096, 1, { guestTables: tables() }), 4096, mode, 100);
      figure(`${where} memory, ${how}`, `${asNs(ns)}, ${Math.round(1e9 / ns).toLocaleString('en')} a second`);
    }
  }
  title('invalidation of one PASID, ns');
  for (const pages of [0, 1, 16, 256, 2000]) figure(`${pages} pages cached`, asNs(invalidation(pages)));
  limited('heap growth of a translation, bytes', growth(), 0.1, (value) => value.toFixed(3));
  if (sink === 0.5) figure('', '');
}
