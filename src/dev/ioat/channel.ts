/**
 * The channel of Intel's DMA engine: walks a chain of descriptors in memory, as far as DMACOUNT says, and copies. It
 * does so in pieces, and stops with CHANERR where a request is refused.
 * Invariant: what CHANSTS says is what the channel will do; HALTED with an error left is silence until that is cleared.
 */
import { carry } from '../../base/words.js';
import type { Worker, WorkQueue } from '../../base/work.js';
import { DMA_READ } from '../../bus/dma.js';
import type { DmaPort } from '../../bus/dma-port.js';
import type { Registers } from '../../bus/registers.js';
import * as r from './registers.js';

/** What the channel needs of its device. */
export interface ChannelHost {
  readonly isMaster: boolean;
  readonly port: DmaPort;
  readonly work: WorkQueue;
  readonly registers: Registers;
  interrupt(): void;
  /** CHANERR has got these bits. */
  failed(errors: number): void;
}

/** Bytes and descriptors of one piece. */
const PIECE = 1 << 18;
const PIECE_DESCRIPTORS = 32;
const COUNT_MASK = 0xffff;
const ALIGNMENT = r.DESC_BYTES - 1;

export class Channel implements Worker {
  readonly #host: ChannelHost;
  readonly #registers: Registers;
  readonly #descriptor = new Uint8Array(r.DESC_BYTES);
  readonly #fields = new DataView(this.#descriptor.buffer);
  readonly #completion = new Uint8Array(8);
  #status = r.CHANSTS_HALTED;
  /** Descriptors done since CHAINADDR was stored, modulo 2^16, as DMACOUNT counts. */
  #done = 0;
  /** Where the next one is, and whether that came from CHAINADDR. */
  #nextHi = 0;
  #nextLo = 0;
  #isFirst = false;
  /** A chain was stored since the last reset. */
  #hasChain = false;
  /** The descriptor in hand, and how much of its copy is done. */
  #currentHi = 0;
  #currentLo = 0;
  #isBusy = false;
  #copied = 0;
  #isArmed = true;
  #interruptWaits = false;

  constructor(host: ChannelHost) {
    this.#host = host;
    const registers = (this.#registers = host.registers);
    const at = r.CHANNEL;
    registers.define(
      at + r.CHANCTRL,
      2,
      { writable: r.CHANCTRL_WRITABLE | r.CHANCTRL_INT_REARM, reset: 0 },
      () => this.#controlled(),
    );
    registers.define(at + r.DMA_COMP, 2, { reset: r.DMA_COMP_V2 });
    registers.define(at + r.CHANCMD, 1, { writable: 0xff }, () => this.#commanded());
    registers.define(at + r.DMACOUNT, 2, { writable: 0xffff }, () => this.#counted());
    registers.define(at + r.CHANSTS, 4, { reset: r.CHANSTS_HALTED });
    registers.define(at + r.CHAINADDR, 4, { writable: 0xffff_ffff }, () => this.#chained());
    registers.define(at + r.CHAINADDR + 4, 4, { writable: 0xffff_ffff }, () => this.#chained());
    registers.define(at + r.CHANCMP, 4, { writable: 0xffff_ffff });
    registers.define(at + r.CHANCMP + 4, 4, { writable: 0xffff_ffff });
    registers.define(at + r.CHANERR, 4, { clears: r.CHANERR_ALL });
    registers.define(at + r.CHANERR_MASK, 4, { writable: r.CHANERR_ALL });
    registers.define(at + r.DCACTRL, 4, { writable: 0x1_ffff });
  }

  get isActive(): boolean {
    return this.#status === r.CHANSTS_ACTIVE;
  }

  /** What waited for bus mastering goes on. */
  resume(): void {
    if (this.isActive) this.#host.work.schedule(this);
  }

  /** Whatever it was doing has ended; addresses and CHANCTRL stay, as a reset of the channel alone leaves them. */
  reset(): void {
    this.#host.work.cancel(this);
    this.#done = 0;
    this.#hasChain = false;
    this.#isBusy = false;
    this.#isArmed = true;
    this.#interruptWaits = false;
    this.#registers.set(r.CHANNEL + r.DMACOUNT, 2, 0);
    this.#registers.set(r.CHANNEL + r.CHANERR, 4, 0);
    this.#currentHi = 0;
    this.#currentLo = 0;
    this.#become(r.CHANSTS_HALTED);
  }

  #become(status: number): void {
    this.#status = status;
    const at = r.CHANNEL + r.CHANSTS;
    this.#registers.set(at, 4, ((this.#currentLo & ~ALIGNMENT) | status) >>> 0);
    this.#registers.set(at + 4, 4, this.#currentHi >>> 0);
  }

  #controlled(): void {
    const at = r.CHANNEL + r.CHANCTRL;
    const stored = this.#registers.get(at, 2);
    if ((stored & r.CHANCTRL_INT_REARM) === 0) return;
    this.#registers.set(at, 2, stored & ~r.CHANCTRL_INT_REARM);
    this.#isArmed = true;
    if (this.#interruptWaits) this.#interrupt();
  }

  #commanded(): void {
    const at = r.CHANNEL + r.CHANCMD;
    const stored = this.#registers.get(at, 1);
    this.#registers.set(at, 1, 0);
    if ((stored & r.CHANCMD_RESET) !== 0) return this.reset();
    if ((stored & r.CHANCMD_SUSPEND) !== 0 && this.#status !== r.CHANSTS_HALTED) {
      // Between two pieces nothing is under way, so it is suspended at once, in the middle of a copy too.
      this.#host.work.cancel(this);
      this.#become(r.CHANSTS_SUSPENDED);
    }
    if ((stored & r.CHANCMD_RESUME) !== 0 && this.#status === r.CHANSTS_SUSPENDED) this.#go();
  }

  /** A new chain, from its first descriptor. */
  #chained(): void {
    if (this.isActive) return;
    this.#hasChain = true;
    this.#isFirst = true;
    this.#isBusy = false;
    this.#done = 0;
    this.#nextLo = this.#registers.get(r.CHANNEL + r.CHAINADDR, 4) | 0;
    this.#nextHi = this.#registers.get(r.CHANNEL + r.CHAINADDR + 4, 4) | 0;
    this.#registers.set(r.CHANNEL + r.DMACOUNT, 2, 0);
  }

  #counted(): void {
    if (this.#status === r.CHANSTS_SUSPENDED && !this.#isFirst) return;
    this.#go();
  }

  #go(): void {
    const hasFailed = this.#registers.get(r.CHANNEL + r.CHANERR, 4) !== 0;
    if (!this.#hasChain || hasFailed) return;
    if (this.#done === this.#registers.get(r.CHANNEL + r.DMACOUNT, 2)) {
      if (this.#status === r.CHANSTS_SUSPENDED) this.#become(r.CHANSTS_DONE);
      return;
    }
    this.#become(r.CHANSTS_ACTIVE);
    this.#host.work.schedule(this);
  }

  step(): boolean {
    if (!this.#host.isMaster || !this.isActive) return false;
    let left = PIECE;
    for (let count = 0; count < PIECE_DESCRIPTORS && left > 0; count++) {
      if (!this.#isBusy && !this.#fetch()) return false;
      const moved = this.#move(left);
      if (moved < 0) return false;
      left -= moved;
      if (this.#isBusy) break;
      if (!this.#complete()) return false;
    }
    return true;
  }

  /** Takes the next descriptor in hand. */
  #fetch(): boolean {
    const hi = this.#nextHi;
    const lo = this.#nextLo;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if ((lo & ALIGNMENT) !== 0)
      return this.#fail(isFirst ? r.CHANERR_CHAIN_ADDR_VALUE_ERR : r.CHANERR_NEXT_DESC_ALIGN_ERR);
    if (!this.#host.port.read(hi, lo, this.#descriptor))
      return this.#fail(isFirst ? r.CHANERR_CHAIN_ADDR_VALUE_ERR : r.CHANERR_NEXT_ADDR_ERR);
    this.#currentHi = hi;
    this.#currentLo = lo;
    this.#registers.set(r.CHANNEL + r.CDAR, 4, lo >>> 0);
    this.#registers.set(r.CHANNEL + r.CDAR + 4, 4, hi >>> 0);
    const ctl = this.#fields.getUint32(r.DESC_CTL, true);
    if (ctl >>> r.CTL_OP_SHIFT !== r.OP_COPY) return this.#fail(r.CHANERR_CONTROL_ERR);
    const size = this.#fields.getUint32(r.DESC_SIZE, true);
    const isLegal = size > 0 && size <= 2 ** r.XFERCAP_1M;
    if ((ctl & r.CTL_NULL) === 0 && !isLegal) return this.#fail(r.CHANERR_LENGTH_ERR);
    this.#isBusy = true;
    this.#copied = 0;
    return true;
  }

  /** Copies at most `most` bytes; how many, or -1 when a request was refused. */
  #move(most: number): number {
    const fields = this.#fields;
    if ((fields.getUint32(r.DESC_CTL, true) & r.CTL_NULL) !== 0) {
      this.#isBusy = false;
      return 0;
    }
    const size = fields.getUint32(r.DESC_SIZE, true);
    const length = Math.min(most, size - this.#copied);
    const fromLo = fields.getUint32(r.DESC_SRC, true);
    const toLo = fields.getUint32(r.DESC_DST, true);
    const isDone = this.#host.port.copy(
      (fields.getInt32(r.DESC_SRC + 4, true) + carry(fromLo, this.#copied)) | 0,
      (fromLo + this.#copied) | 0,
      (fields.getInt32(r.DESC_DST + 4, true) + carry(toLo, this.#copied)) | 0,
      (toLo + this.#copied) | 0,
      length,
    );
    if (!isDone) {
      this.#fail(this.#stoppedAtRead() ? r.CHANERR_READ_DATA_ERR : r.CHANERR_WRITE_DATA_ERR);
      return -1;
    }
    this.#copied += length;
    this.#isBusy = this.#copied < size;
    return length;
  }

  #stoppedAtRead(): boolean {
    return (this.#host.port.stopAccess & DMA_READ) !== 0;
  }

  /** The descriptor in hand is done. False: it was the last, or the channel has stopped. */
  #complete(): boolean {
    const ctl = this.#fields.getUint32(r.DESC_CTL, true);
    this.#nextLo = this.#fields.getInt32(r.DESC_NEXT, true);
    this.#nextHi = this.#fields.getInt32(r.DESC_NEXT + 4, true);
    this.#done = (this.#done + 1) & COUNT_MASK;
    const isLast = this.#done === this.#registers.get(r.CHANNEL + r.DMACOUNT, 2);
    this.#become(isLast ? r.CHANSTS_DONE : r.CHANSTS_ACTIVE);
    if ((ctl & r.CTL_COMPL_WRITE) !== 0 && !this.#writeCompletion())
      return this.#fail(r.CHANERR_COMPLETION_ADDR_ERR);
    if ((ctl & r.CTL_INT_EN) !== 0) this.#interrupt();
    return !isLast;
  }

  /** CHANSTS goes to where CHANCMP says. */
  #writeCompletion(): boolean {
    const registers = this.#registers;
    this.#completion.set(registers.image.subarray(r.CHANNEL + r.CHANSTS, r.CHANNEL + r.CHANSTS + 8));
    const hi = registers.get(r.CHANNEL + r.CHANCMP + 4, 4) | 0;
    const lo = registers.get(r.CHANNEL + r.CHANCMP, 4) & ~7;
    return this.#host.port.write(hi, lo, this.#completion);
  }

  /** UNSPECIFIED: which bit a refused fetch of a descriptor sets. Chosen: that of the address it was fetched from. */
  #fail(errors: number): false {
    const at = r.CHANNEL + r.CHANERR;
    this.#registers.set(at, 4, this.#registers.get(at, 4) | errors);
    this.#host.failed(errors);
    this.#isBusy = false;
    this.#become(r.CHANSTS_HALTED);
    const control = this.#registers.get(r.CHANNEL + r.CHANCTRL, 2);
    const isWritable = errors !== r.CHANERR_COMPLETION_ADDR_ERR;
    if ((control & r.CHANCTRL_ERR_COMPLETION_EN) !== 0 && isWritable) this.#writeCompletion();
    if ((control & r.CHANCTRL_ERR_INT_EN) !== 0) this.#interrupt();
    return false;
  }

  /** One interrupt each time it was armed; what comes meanwhile waits. */
  #interrupt(): void {
    this.#interruptWaits = !this.#isArmed;
    if (!this.#isArmed) return;
    this.#isArmed = false;
    this.#host.interrupt();
  }
}
