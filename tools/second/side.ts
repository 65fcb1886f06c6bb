/**
 * What is compared: an Intel IOMMU with memory behind it and devices in front of it, driven from outside. Both sides get
 * the same bytes, the same register writes and the same accesses.
 */

/** Where both sides have memory; the first MiB of a PC is something else. */
export const MEMORY_FIRST_FRAME = 0x100;
export const MEMORY_FRAMES = 0x1000;
export const MEMORY_BYTES = MEMORY_FRAMES << 12;
/** Each access moves so many bytes, within one page. */
export const ACCESS_BYTES = 8;
/** What every write writes: the pattern of QEMU's iommu-testdev. */
export const WRITTEN = 0x1234_5678_1234_5678n;

/** Requester ids, all on bus 0, in both halves of it: a device here either reads or writes. */
export const READERS = [0x20, 0xe0] as const;
export const WRITERS = [0x28, 0xe8] as const;
export const REQUESTERS = [...READERS, ...WRITERS];

/** Bits of the longest second stage. A record has no address bits above them (11.4.7.6); QEMU's does. */
const RECORDED_BITS = 48;

export interface Access {
  readonly source: number;
  readonly isWrite: boolean;
  readonly iova: bigint;
}

export interface FaultRecord {
  readonly reason: number;
  readonly source: number;
  /** Of the page. */
  readonly address: bigint;
  readonly isRead: boolean;
  /** -1: none. */
  readonly pasid: number;
}

/** What became of one access. */
export interface Outcome {
  /** What a read got; where a write went: null when nothing was moved, or only zeros were read. */
  readonly data: bigint | null;
  readonly fault: FaultRecord | null;
}

export interface Side {
  read32(offset: number): Promise<number>;
  write32(offset: number, value: number): Promise<void>;
  read64(offset: number): Promise<bigint>;
  write64(offset: number, value: bigint): Promise<void>;
  load(hpa: bigint, bytes: number): Promise<Uint8Array>;
  store(hpa: bigint, bytes: Uint8Array): Promise<void>;
  /** One access after the other. A write is undone in memory once it is known where it went. */
  access(accesses: readonly Access[]): Promise<Outcome[]>;
}

/** The record of the only fault, if there is one; it is free afterwards. */
export async function takeFault(side: Side, offset: number): Promise<FaultRecord | null> {
  const [lo, hi] = await Promise.all([
    side.read64(offset),
    side.read64(offset + 8),
    side.write32(offset + 12, 1 << 31),
    side.write32(0x34, 0x7f),
  ]);
  if (hi >> 63n === 0n) return null;
  return {
    reason: Number((hi >> 32n) & 0xffn),
    source: Number(hi & 0xffffn),
    address: BigInt.asUintN(RECORDED_BITS, lo & ~0xfffn),
    isRead: ((hi >> 62n) & 1n) === 1n,
    pasid: (hi & (1n << 31n)) === 0n ? -1 : Number((hi >> 40n) & 0xfffffn),
  };
}
