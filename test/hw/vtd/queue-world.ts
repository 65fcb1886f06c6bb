/** A world with an invalidation queue, and descriptors by their names in section 6.5.2. */
import { DID, PASID, SOURCE, World, type WorldOptions } from './world.js';

export class QueueWorld extends World {
  queue = this.table();
  /** Bytes of a descriptor. */
  readonly step: number;
  tail = 0;

  constructor(options: WorldOptions = {}, is256 = true) {
    super(options);
    this.step = is256 ? 32 : 16;
    this.unit.write64(0x90, this.queue | (is256 ? 0x800n : 0n));
  }

  /** Puts the queue elsewhere, before it is started: in memory whose changes nobody counts. */
  moveQueue(hpa: bigint): void {
    this.queue = hpa;
    this.unit.write64(0x90, hpa | (this.step === 32 ? 0x800n : 0n));
  }

  override start(ttm = 1, root = this.root): void {
    super.start(ttm, root);
    this.unit.write32(0x18, 0x0400_0000 | this.unit.read32(0x1c));
  }

  /** Writes a descriptor without moving the tail. */
  enqueue(...words: bigint[]): void {
    for (let at = 0; at < this.step / 8; at += 1) {
      this.put(this.queue + BigInt(this.tail + at * 8), words[at] ?? 0n);
    }
    this.tail = (this.tail + this.step) & 0xfff;
  }

  submit(...words: bigint[]): void {
    this.enqueue(...words);
    this.unit.write32(0x88, this.tail);
  }

  get head(): number {
    return this.unit.read32(0x80);
  }

  /** FSTS. */
  get status(): number {
    return this.unit.read32(0x34);
  }
}

export function contextInvalidate(g: bigint, { did = DID, source = SOURCE, fm = 0 } = {}): bigint {
  return 1n | (g << 4n) | (did << 16n) | (BigInt(source) << 32n) | (BigInt(fm) << 48n);
}

export function iotlbInvalidate(g: bigint, did = DID): bigint {
  return 2n | (g << 4n) | (did << 16n);
}

export function pasidIotlbInvalidate(g: bigint, { did = DID, pasid = PASID } = {}): bigint {
  return 6n | (g << 4n) | (did << 16n) | (BigInt(pasid) << 32n);
}

export function pasidCacheInvalidate(g: bigint, { did = DID, pasid = PASID } = {}): bigint {
  return 7n | (g << 4n) | (did << 16n) | (BigInt(pasid) << 32n);
}

/** Address, AM and IH of an IOTLB invalidation. */
export function pages(address: bigint, am = 0n, ih = 0n): bigint {
  return address | am | (ih << 6n);
}
