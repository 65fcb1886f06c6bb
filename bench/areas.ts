/**
 * The engine alone, in this process, dispatch included: 1,000,000 areas in one IOAS and 100,000 objects in one
 * context, each beside 1,000. An argument struct is made once; an operation changes an address in it.
 */
import { IntervalMap } from '#ioasis/base/interval-map.js';
import { createEngine } from '#ioasis/machine/engine.js';
import type { OpenFile } from '#ioasis/mem/task.js';
import * as uapi from '#ioasis/wire/uapi/iommufd.gen.js';
import { ARGUMENT, LocalTask, MEMORY } from './local-task.js';
import { figure, limited, median, title } from './report.js';

const ROUNDS = 7;
const OPERATIONS = 200_000;
const MOST_NS = 1000;
const MOST_BYTES = 48;
const PAGE_LG2 = 12;
/** Areas do not touch: each is a page and then a page of nothing. */
const STRIDE_LG2 = PAGE_LG2 + 1;
const ACCESS = uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_FIXED_IOVA;

/** Where in the argument page each struct lies. */
const At = { map: 0, unmap: 64, alloc: 128, destroy: 192 } as const;
const argument = (at: number): bigint => ARGUMENT + BigInt(at);

let state = 0x2545f491;

/** Below `count`; the same numbers in every run. */
function random(count: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % count;
}

/** Of the address of a slot. */
const highWord = (slot: number): number => slot >>> (32 - STRIDE_LG2);

/** An open /dev/iommu with one IOAS, and the structs to ask it with. */
class Subject {
  readonly task = new LocalTask();
  readonly file: OpenFile;
  readonly ioas: number;
  readonly #words = new Int32Array(this.task.mm.bytes.buffer);

  constructor() {
    this.file = createEngine({ selftest: false }).open('/dev/iommu', 2, this.task);
    const { bytes } = this.task.mm;
    const { iommu_ioas_alloc, iommu_ioas_map, iommu_ioas_unmap, iommu_destroy } = uapi;
    iommu_ioas_alloc.encode(iommu_ioas_alloc.create({ size: iommu_ioas_alloc.size }), bytes, At.alloc);
    iommu_destroy.encode(iommu_destroy.create({ size: iommu_destroy.size }), bytes, At.destroy);
    this.ioas = this.alloc();
    const length = 1n << BigInt(PAGE_LG2);
    const target = { ioas_id: this.ioas, length };
    const map = { size: iommu_ioas_map.size, flags: ACCESS, user_va: MEMORY, ...target };
    iommu_ioas_map.encode(iommu_ioas_map.create(map), bytes, At.map);
    const unmap = { size: iommu_ioas_unmap.size, ...target };
    iommu_ioas_unmap.encode(iommu_ioas_unmap.create(unmap), bytes, At.unmap);
  }

  #setIova(at: number, slot: number): void {
    this.#words[at >> 2] = slot << STRIDE_LG2;
    this.#words[(at >> 2) + 1] = highWord(slot);
  }

  map(slot: number): void {
    this.#setIova(At.map + uapi.iommu_ioas_map.fields.iova.offset, slot);
    this.file.ioctl(uapi.IOMMU_IOAS_MAP, argument(At.map), this.task);
  }

  unmap(slot: number): void {
    this.#setIova(At.unmap + uapi.iommu_ioas_unmap.fields.iova.offset, slot);
    this.file.ioctl(uapi.IOMMU_IOAS_UNMAP, argument(At.unmap), this.task);
  }

  alloc(): number {
    this.file.ioctl(uapi.IOMMU_IOAS_ALLOC, argument(At.alloc), this.task);
    return this.#words[(At.alloc + uapi.iommu_ioas_alloc.fields.out_ioas_id.offset) >> 2]!;
  }

  destroy(id: number): void {
    this.#words[(At.destroy + uapi.iommu_destroy.fields.id.offset) >> 2] = id;
    this.file.ioctl(uapi.IOMMU_DESTROY, argument(At.destroy), this.task);
  }
}

/**
 * Median ns of one of the two ioctls that `pair` makes. CPU time, with that of the collector's threads: what else the
 * machine does is not in it.
 */
function time(pair: () => void): number {
  const times = [];
  for (let round = -1; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < OPERATIONS; i += 2) pair();
    const { user, system } = process.cpuUsage(before);
    // The first round is for the compiler.
    if (round >= 0) times.push(((user + system) * 1000) / OPERATIONS);
  }
  return median(times);
}

function withAreas(count: number): number {
  const subject = new Subject();
  for (let slot = 0; slot < count; slot++) subject.map(slot);
  return time(() => {
    const slot = random(count);
    subject.unmap(slot);
    subject.map(slot);
  });
}

function withObjects(count: number): number {
  const subject = new Subject();
  const ids = Array.from({ length: count }, () => subject.alloc());
  return time(() => {
    const at = random(count);
    subject.destroy(ids[at]!);
    ids[at] = subject.alloc();
  });
}

/** Bytes an area of the index of `count` areas, after as many removals and insertions in random order. */
function indexBytes(count: number): number {
  const map = new IntervalMap();
  const insert = (slot: number): void => {
    const lo = slot << STRIDE_LG2;
    map.insertWords(highWord(slot), lo, highWord(slot), lo | ((1 << PAGE_LG2) - 1), slot);
  };
  for (let slot = 0; slot < count; slot++) insert(slot);
  for (let i = 0; i < count; i++) {
    const slot = random(count);
    map.removeWords(highWord(slot), slot << STRIDE_LG2);
    insert(slot);
  }
  return map.bytes() / count;
}

const asNs = (ns: number): string => `${ns.toFixed(0)} ns`;

export async function run(): Promise<void> {
  title('scale, in process, in random order: an ioctl with its dispatch');
  figure('map or unmap among 1,000 areas', asNs(withAreas(1000)));
  limited('map or unmap among 1,000,000 areas', withAreas(1_000_000), MOST_NS, asNs);
  limited('index, bytes an area', indexBytes(1_000_000), MOST_BYTES, (bytes) => bytes.toFixed(1));
  figure('alloc or destroy among 1,000 objects', asNs(withObjects(1000)));
  limited('alloc or destroy among 100,000 objects', withObjects(100_000), MOST_NS, asNs);
}
