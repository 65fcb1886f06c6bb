/**
 * The smallest hardware that the driver can talk to: registers that remember, a queue that notes each invalidation and
 * answers waits, and a way to put faults and page requests in. It translates nothing. Numbers are restated from the VT-d
 * specification (chapters 9 and 11, section 6.5.2), not taken from the sources under test.
 */
import type { Mmio } from '../../../../src/bus/mmio.js';
import type { PhysicalMemory } from '../../../../src/mem/physical.js';

/** Offsets of registers. */
const GCMD = 0x18;
const GSTS = 0x1c;
const FSTS = 0x34;
const IQH = 0x80;
const IQT = 0x88;
const IQA = 0x90;
const PQT = 0xc8;
const PQA = 0xd0;
const PRS = 0xdc;
const FAULTS_AT = 0x220;

/** CAP: 2^16 domain ids, 48 bits in both stages, 2 MiB and 1 GiB, PSI, AM up to 18, fault records at 0x220, eight. */
export const CAP =
  6n |
  (0b00100n << 8n) |
  (47n << 16n) |
  (0x22n << 24n) |
  (0b0011n << 34n) |
  (1n << 39n) |
  (7n << 40n) |
  (18n << 48n) |
  (1n << 56n);
/** CAP.FS5LP, CM, SAGAW of 57 bits, MGAW of 57. */
export const FS5LP = 1n << 60n;
export const CM = 1n << 7n;
/** ECAP: C, QI, DT, SC, NEST, PRS, SRS, EAFS, PSS 19, PASID, PDS, SMTS, SSADS, SSTS, FSTS, SMPWCS. */
export const ECAP =
  (1n << 0n) |
  (1n << 1n) |
  (1n << 2n) |
  (1n << 7n) |
  (1n << 26n) |
  (1n << 29n) |
  (1n << 31n) |
  (1n << 34n) |
  (19n << 35n) |
  (1n << 40n) |
  (1n << 42n) |
  (1n << 43n) |
  (1n << 45n) |
  (1n << 46n) |
  (1n << 47n) |
  (1n << 48n);
export const ECAP_DT = 1n << 2n;
export const ECAP_SC = 1n << 7n;
export const ECAP_NEST = 1n << 26n;
export const ECAP_SRS = 1n << 31n;
export const ECAP_EAFS = 1n << 34n;
export const ECAP_PASID = 1n << 40n;
export const ECAP_SSADS = 1n << 45n;
export const ECAP_SSTS = 1n << 46n;
export const ECAP_FSTS = 1n << 47n;
export const ECAP_SMPWCS = 1n << 48n;

/** An invalidation descriptor, without the waits. */
export interface Descriptor {
  readonly type: number;
  readonly qw0: bigint;
  readonly qw1: bigint;
}

export interface PageRequestEntry {
  readonly sourceId: number;
  readonly pasid?: number;
  readonly address: bigint;
  /** RD 1, WR 2. */
  readonly access?: number;
  readonly group?: number;
  readonly last?: boolean;
  readonly exec?: boolean;
  readonly priv?: boolean;
}

export interface FaultEntry {
  readonly sourceId: number;
  readonly reason: number;
  readonly address: bigint;
  readonly pasid?: number;
  readonly isRead?: boolean;
  readonly exec?: boolean;
  readonly priv?: boolean;
}

export class FakeHardware implements Mmio {
  /** By offset of each 32-bit register. */
  readonly registers = new Map<number, number>();
  /** What was written, in order: offset and value. */
  readonly writes: [offset: number, value: bigint][] = [];
  /** Invalidations since {@link take}. */
  #descriptors: Descriptor[] = [];
  /** Called with each as it is done. */
  onDescriptor: (descriptor: Descriptor) => void = () => {};
  interrupt: (data: number) => void = () => {};
  /** Messages that were sent. */
  readonly messages: number[] = [];
  /** The next descriptor of this type is not answered by its device (ITE). */
  timeOutType = -1;
  /** Descriptors of this type are not understood (IQE). */
  badType = -1;
  waits = 0;
  #nextFault = 0;

  constructor(
    readonly memory: PhysicalMemory,
    readonly cap: bigint,
    readonly ecap: bigint,
  ) {
    this.#store64(0x08, cap);
    this.#store64(0x10, ecap);
  }

  /** The invalidations so far, and forgets them. */
  take(): Descriptor[] {
    const taken = this.#descriptors;
    this.#descriptors = [];
    return taken;
  }

  read32(offset: number): number {
    return (this.registers.get(offset) ?? 0) >>> 0;
  }

  read64(offset: number): bigint {
    return (BigInt(this.read32(offset + 4)) << 32n) | BigInt(this.read32(offset));
  }

  write64(offset: number, value: bigint): void {
    this.writes.push([offset, value]);
    this.#store64(offset, value);
    if (offset === IQT) this.#runQueue();
  }

  write32(offset: number, value: number): void {
    this.writes.push([offset, BigInt(value >>> 0)]);
    if (offset === GCMD) {
      // SRTP is done at once, and its status stays.
      const sticky = this.read32(GSTS) & (1 << 30);
      this.registers.set(GSTS, value | sticky);
      return;
    }
    if (offset === FSTS) {
      this.registers.set(FSTS, this.read32(FSTS) & ~value);
      this.#runQueue();
      return;
    }
    if (offset === PRS) {
      this.registers.set(PRS, this.read32(PRS) & ~value);
      return;
    }
    if (offset >= FAULTS_AT && offset < FAULTS_AT + 8 * 16) {
      this.registers.set(offset, this.read32(offset) & ~value);
      return;
    }
    this.registers.set(offset, value);
    if (offset === IQT) this.#runQueue();
  }

  /** Puts a page request into the queue and sends the message, unless the event is pending. */
  pageRequest(entry: PageRequestEntry, announce = true): void {
    const { sourceId, pasid, address, access = 1, group = 0, last = true, exec, priv } = entry;
    const tail = this.read64(PQT);
    const at = (this.read64(PQA) & ~0xfffn) + tail;
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    const qw0 =
      1n |
      (pasid === undefined ? 0n : 1n << 8n) |
      (BigInt(sourceId) << 16n) |
      (BigInt(pasid ?? 0) << 32n) |
      (exec === true ? 1n << 52n : 0n) |
      (priv === true ? 1n << 53n : 0n);
    view.setBigUint64(0, qw0, true);
    view.setBigUint64(8, BigInt(access) | (last ? 4n : 0n) | (BigInt(group) << 3n) | address, true);
    this.memory.write(at, bytes);
    this.#store64(PQT, (tail + 32n) & 0xffe0n);
    if (!announce) return;
    if ((this.read32(PRS) & 1) !== 0) return;
    this.registers.set(PRS, this.read32(PRS) | 1);
    this.#message(0xe0);
  }

  /** Has lost a page request. */
  overflow(): void {
    this.registers.set(PRS, this.read32(PRS) | 2);
    this.#message(0xe0);
  }

  /** Records a fault and sends the message, unless one is pending. */
  fault({ sourceId, reason, address, pasid, isRead = true, exec, priv }: FaultEntry): void {
    const at = FAULTS_AT + this.#nextFault * 16;
    const isFirst = (this.read32(FSTS) & 2) === 0;
    this.#store64(at, address);
    const bits =
      (pasid === undefined ? 0 : 1 << 31) | (exec === true ? 1 << 30 : 0) | (priv === true ? 1 << 29 : 0);
    this.registers.set(at + 8, sourceId | bits);
    this.registers.set(at + 12, (1 << 31) | (isRead ? 1 << 30 : 0) | ((pasid ?? 0) << 8) | reason);
    if (isFirst) {
      this.registers.set(FSTS, (this.read32(FSTS) & 0xff) | 2 | (this.#nextFault << 8));
    }
    this.#nextFault = (this.#nextFault + 1) % 8;
    if (isFirst) this.#message(0x38);
  }

  setFaultStatus(bits: number): void {
    this.registers.set(FSTS, this.read32(FSTS) | bits);
  }

  #message(control: number): void {
    if ((this.read32(control) & (1 << 31)) !== 0) return;
    const data = this.read32(control + 4);
    this.messages.push(data);
    this.interrupt(data);
  }

  #store64(offset: number, value: bigint): void {
    this.registers.set(offset, Number(value & 0xffffffffn));
    this.registers.set(offset + 4, Number(value >> 32n));
  }

  /** IQA says DW and QS = 1: 256 descriptors of 32 bytes. */
  #runQueue(): void {
    if ((this.read32(GSTS) & (1 << 26)) === 0) return;
    const base = this.read64(IQA) & ~0xfffn;
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    let aborted = false;
    while (this.read32(IQH) !== this.read32(IQT)) {
      if ((this.read32(FSTS) & 0x10) !== 0) return;
      const head = this.read32(IQH);
      this.memory.read(base + BigInt(head), bytes);
      const qw0 = view.getBigUint64(0, true);
      const qw1 = view.getBigUint64(8, true);
      const type = Number(qw0 & 0xfn);
      if (type === this.badType) {
        this.registers.set(FSTS, this.read32(FSTS) | 0x10);
        return;
      }
      this.registers.set(IQH, (head + 32) % 0x2000);
      if (type === 5) {
        this.waits += 1;
        if ((qw0 & 0x20n) !== 0n && !aborted) {
          const status = new Uint8Array(4);
          new DataView(status.buffer).setUint32(0, Number(qw0 >> 32n), true);
          this.memory.write(qw1, status);
        }
        if ((qw0 & 0x20n) === 0n || (qw0 & 0x80n) !== 0n) this.#note(type, qw0, qw1);
        continue;
      }
      if (type === this.timeOutType) {
        this.timeOutType = -1;
        aborted = true;
        this.registers.set(FSTS, this.read32(FSTS) | 0x40);
        continue;
      }
      this.#note(type, qw0, qw1);
    }
  }

  #note(type: number, qw0: bigint, qw1: bigint): void {
    const descriptor = { type, qw0, qw1 };
    this.#descriptors.push(descriptor);
    this.onDescriptor(descriptor);
  }
}
