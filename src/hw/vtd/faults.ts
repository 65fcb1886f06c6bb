/**
 * Primary fault logging (section 7.2.1): as many records as CAP_REG.NFR says, filled in turn, freed by software in any
 * order. A fault that finds its record still taken is lost, and FSTS_REG.PFO says so until software clears it.
 */
import { DMA_EXEC, DMA_PRIV, DMA_READ, DMA_WRITE, NO_PASID } from '../../bus/dma.js';
import type { Abilities } from './capabilities.js';
import type { Interrupt } from './interrupt.js';
import { isQualified } from './reasons.js';
import type { RegisterFile } from './register-file.js';
import * as reg from './registers.js';
import { beyond } from './structures.js';

const RECORD = 16;
/** Byte offset in a record of the word that has F. */
const F_WORD = 12;
const STATUS = reg.FSTS_PFO | reg.FSTS_PPF | reg.FSTS_IQE | reg.FSTS_ICE | reg.FSTS_ITE;
const FRI = 0xff << reg.FSTS_FRI_SHIFT;
const PAGE = -1 << 12;

export class FaultRecords {
  /** Faults that found no record, ever; for people. */
  lost = 0;

  readonly #registers: RegisterFile;
  readonly #interrupt: Interrupt;
  readonly #offset: number;
  readonly #count: number;
  /** Bits of FI above the largest AGAW are 0 (section 11.4.7.6). */
  readonly #addressHi: number;
  #next = 0;

  constructor(registers: RegisterFile, interrupt: Interrupt, can: Abilities) {
    this.#registers = registers;
    this.#interrupt = interrupt;
    this.#offset = can.faultRecordOffset;
    this.#count = can.faultRecords;
    this.#addressHi = ~beyond(can.largestWidth);
  }

  /** A request was refused; `isSilenced`: FPD was set in what it passed. */
  refused(
    reason: number,
    request: { sourceId: number; pasid: number; hi: number; lo: number; access: number; addressType: number },
    isSilenced: boolean,
  ): void {
    if (isSilenced && isQualified(reason)) return;
    const { access, pasid } = request;
    // T1 and T2: write, page request, read, atomic.
    const reads = (access & (DMA_READ | DMA_EXEC)) !== 0;
    const both = reads && (access & DMA_WRITE) !== 0;
    this.#record(request.hi, request.lo, pasid, {
      low: (request.sourceId & 0xffff) | (both ? reg.FRCD_T2 : 0) | modifiers(access, pasid),
      high: reason | (request.addressType << reg.FRCD_AT_SHIFT) | (reads ? reg.FRCD_T1 : 0),
    });
  }

  /** A page request was refused. */
  pageRequestRefused(
    reason: number,
    source: number,
    pasid: number,
    hi: number,
    lo: number,
    access: number,
    isSilenced: boolean,
  ): void {
    if (isSilenced && isQualified(reason)) return;
    this.#record(hi, lo, pasid, {
      low: (source & 0xffff) | reg.FRCD_T2 | modifiers(access, pasid),
      high: reason,
    });
  }

  /** Sets an error of the invalidation queue. */
  queueError(bit: number): void {
    this.#raise(bit);
  }

  /** Software has cleared F of a record. */
  recordCleared(): void {
    for (let index = 0; index < this.#count; index += 1) if (this.#isTaken(index)) return;
    const status = this.#registers.get(reg.FSTS_REG);
    this.#registers.set(reg.FSTS_REG, status & ~(reg.FSTS_PPF | FRI));
    this.statusCleared();
  }

  /** Software has written FSTS_REG. */
  statusCleared(): void {
    if ((this.#registers.get(reg.FSTS_REG) & STATUS) === 0) this.#interrupt.withdraw();
  }

  #isTaken(index: number): boolean {
    return this.#registers.get(this.#offset + index * RECORD + F_WORD) < 0;
  }

  #record(hi: number, lo: number, pasid: number, { low, high }: { low: number; high: number }): void {
    const registers = this.#registers;
    const status = registers.get(reg.FSTS_REG);
    if ((status & reg.FSTS_PFO) !== 0 || this.#isTaken(this.#next)) {
      this.lost += 1;
      this.#raise(reg.FSTS_PFO);
      return;
    }
    const at = this.#offset + this.#next * RECORD;
    registers.set(at, lo & PAGE);
    registers.set(at + 4, hi & this.#addressHi);
    registers.set(at + 8, low);
    const pasidBits = pasid === NO_PASID ? 0 : pasid << reg.FRCD_PASID_SHIFT;
    registers.set(at + F_WORD, high | pasidBits | reg.FRCD_F);
    if ((status & reg.FSTS_PPF) === 0) {
      registers.set(reg.FSTS_REG, (status & ~FRI) | (this.#next << reg.FSTS_FRI_SHIFT));
    }
    this.#next = (this.#next + 1) % this.#count;
    this.#raise(reg.FSTS_PPF);
  }

  /** Sets a status bit; an interrupt, if none was set before. */
  #raise(bit: number): void {
    const status = this.#registers.get(reg.FSTS_REG);
    this.#registers.set(reg.FSTS_REG, status | bit);
    if ((status & STATUS) === 0) this.#interrupt.raise();
  }
}

/** PP, EXE and PRIV: what a PASID prefix says of a request. */
function modifiers(access: number, pasid: number): number {
  if (pasid === NO_PASID) return 0;
  const execute = (access & DMA_EXEC) === 0 ? 0 : reg.FRCD_EXE;
  const privileged = (access & DMA_PRIV) === 0 ? 0 : reg.FRCD_PRIV;
  return reg.FRCD_PP | execute | privileged;
}
