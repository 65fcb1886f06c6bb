/**
 * A VT-d unit in a test: physical memory whose loads are counted, devices that note what they are told, and structures
 * written entry by entry. Numbers are those of the specification, written down once more, never imported.
 */
import { Events, type StaleHit } from '../../../src/base/events.js';
import { Injector } from '../../../src/base/inject.js';
import { NO_PASID, Translation, type Endpoint } from '../../../src/bus/dma.js';
import { VtdHardware } from '../../../src/hw/vtd/hardware.js';
import { PhysicalMemory } from '../../../src/mem/physical.js';
import { NearChunk } from '../../../src/mem/table-store.js';
import type { TableArena } from '../../../src/mem/table-store.js';
import type { Answer, Model } from './reference.js';

/** Everything that a unit can have: 39, 48 and 57 bits, 2 MiB and 1 GiB pages, eight fault records at 0x220. */
export const CAP =
  0x6n |
  (0xen << 8n) |
  (56n << 16n) |
  (0x22n << 24n) |
  (3n << 34n) |
  (1n << 39n) |
  (7n << 40n) |
  (18n << 48n) |
  (1n << 56n) |
  (1n << 60n);
const bit = (n: number): bigint => 1n << BigInt(n);
export const ECAP =
  [0, 1, 2, 6, 7, 26, 29, 30, 31, 34, 40, 42, 43, 45, 46, 47, 48, 49, 53].map(bit).reduce((a, b) => a | b) |
  (19n << 35n);
export const HAW = 48;

export class CountingMemory extends PhysicalMemory {
  loads = 0;
  /** Bits that the unit has set, by HPA of their entry. */
  readonly sets = new Map<bigint, bigint>();
  /** Nothing is near, so that no load of a walk passes by; or, for the way that is taken otherwise, `tables.near`. */
  override near = new NearChunk();
  readonly #block = new Int32Array(16);

  override load64(hi: number, lo: number): boolean {
    this.loads += 1;
    return super.load64(hi, lo);
  }

  override setBits64(hi: number, lo: number, expected: number, bits: number): boolean {
    const isSet = super.setBits64(hi, lo, expected, bits);
    const at = (BigInt(hi) << 32n) | BigInt(lo >>> 0);
    if (isSet) this.sets.set(at, (this.sets.get(at) ?? 0n) | BigInt(bits));
    return isSet;
  }

  override block(hi: number, lo: number, count: number): Int32Array | null {
    for (let at = 0; at < count; at += 2) {
      if (!this.load64(hi, lo + at * 4)) return null;
      this.#block[at] = this.loadedLo;
      this.#block[at + 1] = this.loadedHi;
    }
    this.blockAt = 0;
    return this.#block;
  }
}

export class FakeEndpoint implements Endpoint {
  readonly told: string[] = [];
  answers = true;

  constructor(
    readonly name: string,
    readonly sourceId: number,
  ) {}

  invalidateDeviceTlb(pasid: number, hi: number, lo: number, sizeLg2: number): boolean {
    const at = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    this.told.push(`drop pasid ${pasid} 0x${at.toString(16)} 2^${sizeLg2}`);
    return this.answers;
  }

  pageGroupResponse(pasid: number, group: number, code: number): void {
    this.told.push(`response pasid ${pasid} group ${group} code ${code}`);
  }
}

export interface WorldOptions {
  readonly cap?: bigint;
  readonly ecap?: bigint;
  readonly haw?: number;
}

/** What {@link World.ask} asks. */
export interface Ask {
  readonly source?: number;
  readonly pasid?: number;
  readonly access?: number;
  readonly at?: number;
}

export const READ = 1;
export const WRITE = 2;
export const EXEC = 4;
export const PRIV = 8;

/** Bus 1, device 0, function 0. */
export const SOURCE = 0x100;
export const DID = 5n;
export const PASID = 3;

export class World {
  readonly memory = new CountingMemory(new Injector());
  readonly events = new Events();
  readonly stale: StaleHit[] = [];
  readonly messages: [number, number][] = [];
  readonly device = new FakeEndpoint('device', SOURCE);
  readonly unit: VtdHardware;
  readonly arena: TableArena = this.memory.tables.openArena();
  readonly request = new Translation();
  readonly root = this.table();

  constructor(readonly options: WorldOptions = {}) {
    const { cap = CAP, ecap = ECAP, haw = HAW } = options;
    this.events.listen((event) => {
      if (event.kind === 'stale-hit') this.stale.push(event);
    });
    this.unit = new VtdHardware({
      name: 'vtd0',
      memory: this.memory,
      capabilities: { cap, ecap, haw },
      messages: { message: (address, data) => void this.messages.push([address, data]) },
      endpoints: { endpoint: (source) => (source === this.device.sourceId ? this.device : null) },
      events: this.events,
    });
  }

  /** HPA of `1 << lg2` zeroed bytes of table memory. */
  table(lg2 = 12, arena = this.arena): bigint {
    return BigInt(arena.allocate(lg2)) << 12n;
  }

  put(hpa: bigint, value: bigint): void {
    const entry = BigInt.asUintN(64, value);
    if (!this.memory.store64(Number(hpa >> 32n), Number(hpa & 0xffff_ffffn) | 0, hi32(entry), lo32(entry))) {
      throw new Error(`no memory at 0x${hpa.toString(16)}`);
    }
  }

  get(hpa: bigint): bigint {
    const { memory } = this;
    if (!memory.load64(Number(hpa >> 32n), Number(hpa & 0xffff_ffffn) | 0)) {
      throw new Error(`no memory at 0x${hpa.toString(16)}`);
    }
    return (BigInt(memory.loadedHi >>> 0) << 32n) | BigInt(memory.loadedLo >>> 0);
  }

  /** Programs RTADDR with translation table mode `ttm`, latches it, switches translation on. */
  start(ttm = 1, root = this.root): void {
    this.unit.write64(0x20, root | (BigInt(ttm) << 10n));
    this.unit.write32(0x18, 0x4000_0000 | this.unit.read32(0x1c));
    this.unit.write32(0x18, 0x8000_0000 | this.unit.read32(0x1c));
  }

  /** Asks and returns where the byte lies; null when it was refused. */
  ask(iova: bigint, { source = SOURCE, pasid = PASID, access = READ, at = 0 }: Ask = {}): bigint | null {
    const { request } = this;
    const address = BigInt.asUintN(64, iova);
    request.sourceId = source;
    request.pasid = pasid;
    request.hi = hi32(address);
    request.lo = lo32(address);
    request.access = access;
    request.addressType = at;
    if (!this.unit.translate(request)) return null;
    return (BigInt(request.hpaHi >>> 0) << 32n) | BigInt(request.hpaLo >>> 0);
  }

  /** What is there for PASID 3, past all caches; no bit is set. */
  peek(iova: bigint, access = 0): bigint | null {
    const { request } = this;
    const address = BigInt.asUintN(64, iova);
    Object.assign(request, { sourceId: SOURCE, pasid: PASID, hi: hi32(address), lo: lo32(address), access });
    if (!this.unit.peek(request)) return null;
    return (BigInt(request.hpaHi >>> 0) << 32n) | BigInt(request.hpaLo >>> 0);
  }

  /** What the reference is given of this world. */
  model(root = this.root): Model {
    const { memory, options } = this;
    const { cap = CAP, haw = HAW } = options;
    const read = (hpa: bigint): bigint | null =>
      memory.load64(Number(hpa >> 32n), lo32(hpa))
        ? (BigInt(memory.loadedHi >>> 0) << 32n) | BigInt(memory.loadedLo >>> 0)
        : null;
    const mgaw = ((cap >> 16n) & 63n) + 1n;
    return { read, root, haw: BigInt(haw), mgaw, has1GibFirst: (cap & bit(56)) !== 0n };
  }

  /** All that the last request was told, which {@link ask} has returned `hpa` for, and the bits that were set for it. */
  answerTo(hpa: bigint | null): Answer {
    const { request, memory } = this;
    const sets = new Map(memory.sets);
    memory.sets.clear();
    if (hpa === null && sets.size > 0) throw new Error(`0x${request.reason.toString(16)}, yet bits were set`);
    if (hpa === null) return { reason: request.reason };
    return { hpa, sizeLg2: request.sizeLg2, permitted: request.permitted, sets };
  }

  /** The fault records that are taken, oldest first; takes them out. */
  faults(): FaultRecord[] {
    const records: FaultRecord[] = [];
    // PPF
    if ((this.unit.read32(0x34) & 2) === 0) return records;
    for (let index = 0; index < 8; index += 1) {
      const lo = this.unit.read64(0x220 + index * 16);
      const hi = this.unit.read64(0x228 + index * 16);
      if (hi >> 63n === 0n) continue;
      this.unit.write64(0x228 + index * 16, 1n << 63n);
      records.push({
        reason: Number((hi >> 32n) & 0xffn),
        source: Number(hi & 0xffffn),
        pasid: (hi & (1n << 31n)) === 0n ? NO_PASID : Number((hi >> 40n) & 0xfffffn),
        address: lo,
        type: Number(((hi >> 62n) & 1n) << 1n) | Number((hi >> 28n) & 1n),
        at: Number((hi >> 60n) & 3n),
      });
    }
    return records;
  }
}

export interface FaultRecord {
  readonly reason: number;
  readonly source: number;
  readonly pasid: number;
  /** Of the page. */
  readonly address: bigint;
  /** T1 T2: 0 write, 1 page request, 2 read, 3 atomic. */
  readonly type: number;
  readonly at: number;
}

export function hi32(value: bigint): number {
  return Number(value >> 32n) | 0;
}

export function lo32(value: bigint): number {
  return Number(value & 0xffff_ffffn) | 0;
}
