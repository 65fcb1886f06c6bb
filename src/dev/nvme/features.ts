/** Features: values that the host sets and gets. NVM Express Base 1.4, 5.21.1. */
import type { Command } from './command.js';
import { IO_QUEUES, VECTORS } from './registers.js';
import * as status from './status.js';
import type { Transfer } from './transfer.js';

const ARBITRATION = 0x01;
const POWER_MANAGEMENT = 0x02;
const TEMPERATURE_THRESHOLD = 0x04;
const ERROR_RECOVERY = 0x05;
const WRITE_CACHE = 0x06;
const NUMBER_OF_QUEUES = 0x07;
const INTERRUPT_COALESCING = 0x08;
const INTERRUPT_VECTOR = 0x09;
const WRITE_ATOMICITY = 0x0a;
const ASYNC_EVENTS = 0x0b;
const TIMESTAMP = 0x0e;

/** Bits that can be set, and what they are at first. What is not here does not exist. */
const known: Readonly<Record<number, { readonly bits: number; readonly reset: number }>> = {
  [ARBITRATION]: { bits: 0xffff_ff07, reset: 7 },
  [POWER_MANAGEMENT]: { bits: 0, reset: 0 },
  [TEMPERATURE_THRESHOLD]: { bits: 0x003f_ffff, reset: 0x0157 },
  [ERROR_RECOVERY]: { bits: 0x0001_ffff, reset: 0 },
  [WRITE_CACHE]: { bits: 1, reset: 1 },
  [NUMBER_OF_QUEUES]: { bits: 0, reset: (IO_QUEUES - 1) | ((IO_QUEUES - 1) << 16) },
  [INTERRUPT_COALESCING]: { bits: 0xffff, reset: 0 },
  [INTERRUPT_VECTOR]: { bits: 0x0001_ffff, reset: 0 },
  [WRITE_ATOMICITY]: { bits: 1, reset: 0 },
  [ASYNC_EVENTS]: { bits: 0x0000_7fff, reset: 0 },
  [TIMESTAMP]: { bits: 0, reset: 0 },
};

/** What Get Features is asked for (SEL). */
const CURRENT = 0;
const DEFAULT = 1;
const SAVED = 2;
const CAPABILITIES = 3;
/** Capabilities: the value can be changed. */
const CHANGEABLE = 4;

const SAVE = 2 ** 31;
const TIMESTAMP_BYTES = 8;
/** The timestamp was set by the host, and does not count on. */
const TIMESTAMP_SET = 1 << 1;
const TIMESTAMP_STOPPED = 1;

export interface FeatureHost {
  /** There are I/O queues. */
  readonly hasQueues: boolean;
  /** Moves the data of those that have some. */
  readonly transfer: Transfer;
}

export class Features {
  readonly #values = new Map<number, number>();
  readonly #vectors = new Uint8Array(VECTORS);
  readonly #timestamp = new Uint8Array(TIMESTAMP_BYTES);

  /** Writes may be kept back until a flush. */
  get hasWriteCache(): boolean {
    return this.#value(WRITE_CACHE) !== 0;
  }

  /** As a controller reset leaves them. */
  reset(): void {
    this.#values.clear();
    this.#vectors.fill(0);
  }

  #value(id: number): number {
    return this.#values.get(id) ?? known[id]!.reset;
  }

  set(command: Command, host: FeatureHost): number {
    const asked = command.dword(10);
    const id = asked & 0xff;
    const value = command.dword(11);
    const feature = known[id];
    if (feature === undefined) return status.INVALID_FIELD;
    if (asked >= SAVE) return status.FEATURE_NOT_SAVEABLE;
    if (id === NUMBER_OF_QUEUES) return this.#setQueues(command, value, host);
    if (id === TIMESTAMP) {
      const bytes = new Uint8Array(TIMESTAMP_BYTES);
      const failure = host.transfer.take(command, bytes);
      if (failure === status.SUCCESS) this.#timestamp.set(bytes.subarray(0, 6));
      if (failure === status.SUCCESS) this.#timestamp[6] = TIMESTAMP_SET | TIMESTAMP_STOPPED;
      return failure;
    }
    if (id === POWER_MANAGEMENT && (value & 0x1f) !== 0) return status.INVALID_FIELD;
    if (id === INTERRUPT_VECTOR) {
      const vector = value & 0xffff;
      if (vector >= VECTORS) return status.INVALID_FIELD;
      this.#vectors[vector] = (value >>> 16) & 1;
      return status.SUCCESS;
    }
    this.#values.set(id, (value & feature.bits) >>> 0);
    return status.SUCCESS;
  }

  /** How many there are is not negotiable, and said before the first is made. */
  #setQueues(command: Command, value: number, { hasQueues }: FeatureHost): number {
    if ((value & 0xffff) === 0xffff || value >>> 16 === 0xffff) return status.INVALID_FIELD;
    if (hasQueues) return status.COMMAND_SEQUENCE_ERROR;
    command.result = known[NUMBER_OF_QUEUES]!.reset;
    return status.SUCCESS;
  }

  get(command: Command, host: FeatureHost): number {
    const asked = command.dword(10);
    const id = asked & 0xff;
    const select = (asked >>> 8) & 7;
    const feature = known[id];
    if (feature === undefined || select > CAPABILITIES) return status.INVALID_FIELD;
    if (select === CAPABILITIES) {
      command.result = feature.bits !== 0 || id === TIMESTAMP ? CHANGEABLE : 0;
      return status.SUCCESS;
    }
    if (id === TIMESTAMP) {
      const value = select === CURRENT ? this.#timestamp : new Uint8Array(TIMESTAMP_BYTES);
      return host.transfer.give(command, value);
    }
    if (id === INTERRUPT_VECTOR) {
      const vector = command.dword(11) & 0xffff;
      if (vector >= VECTORS) return status.INVALID_FIELD;
      command.result = vector | (select === CURRENT ? this.#vectors[vector]! << 16 : 0);
      return status.SUCCESS;
    }
    const isDefault = select === DEFAULT || select === SAVED;
    command.result = isDefault ? feature.reset : this.#value(id);
    return status.SUCCESS;
  }
}
