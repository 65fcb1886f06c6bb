/**
 * Operations of the test device as a row of legs: what one call of a port can do. A leg that stops half way leaves the
 * job where it is, and {@link Legs.advance} goes on from there.
 */
import { highWord, lowWord } from '../base/words.js';
import { NO_PASID } from '../bus/dma.js';
import type { DmaPort } from '../bus/dma-port.js';
import { widthOf, type Job } from './operation.js';

/** Bytes of a leg of operations that pass through the device. */
const CHUNK = 1 << 16;
/** Bytes of a leg of a copy. */
const LONGEST = 1 << 28;

export type LegsOutcome = 'done' | 'stopped' | 'mismatch';

export class Legs {
  /** Bytes of the leg that stopped, from where it stopped. */
  left = 0;
  readonly #chunk = new Uint8Array(CHUNK);

  constructor(readonly port: DmaPort) {}

  /** Does as much of `job` as it can. After 'stopped' the port says why. */
  advance(job: Job): LegsOutcome {
    const { port } = this;
    const { operation } = job;
    port.pasid = operation.pasid ?? NO_PASID;
    port.attributes = operation.attributes ?? 0;
    while (job.bytes < operation.length) {
      const length = this.#lengthOfLeg(job);
      const isDone = this.#leg(job, length);
      this.left = length - port.done;
      if (operation.kind === 'compare' && !this.#compare(job)) return 'mismatch';
      job.bytes += port.done;
      job.segmentDone += port.done;
      if (!isDone) return 'stopped';
    }
    return 'done';
  }

  #lengthOfLeg(job: Job): number {
    const { kind, length, segments } = job.operation;
    const left = length - job.bytes;
    if (kind === 'copy') return Math.min(left, LONGEST);
    if (segments === undefined || (kind !== 'gather' && kind !== 'scatter')) return Math.min(left, CHUNK);
    if (job.segmentDone === segments[job.segment]!.length) {
      job.segment += 1;
      job.segmentDone = 0;
    }
    return Math.min(segments[job.segment]!.length - job.segmentDone, LONGEST);
  }

  #leg(job: Job, length: number): boolean {
    const { port } = this;
    const { operation } = job;
    const at = operation.iova + BigInt(job.bytes);
    const hi = highWord(at);
    const lo = lowWord(at);
    switch (operation.kind) {
      case 'read':
        return port.read(hi, lo, job.data!.subarray(job.bytes, job.bytes + length));
      case 'compare':
        return port.read(hi, lo, this.#chunk.subarray(0, length));
      case 'write':
        return port.write(hi, lo, operation.data!.subarray(job.bytes, job.bytes + length));
      case 'fill':
        return port.write(
          hi,
          lo,
          this.#chunk.subarray(0, length).fill(Number((operation.value ?? 0n) & 0xffn)),
        );
      case 'copy':
        return this.#copy(at, (operation.target ?? 0n) + BigInt(job.bytes), length);
      case 'gather':
        return this.#copy(segmentAt(job), at, length);
      case 'scatter':
        return this.#copy(at, segmentAt(job), length);
      case 'fetch-add':
      case 'compare-and-swap':
        return this.#atomic(job, hi, lo);
    }
  }

  #copy(from: bigint, to: bigint, length: number): boolean {
    return this.port.copy(highWord(from), lowWord(from), highWord(to), lowWord(to), length);
  }

  #atomic(job: Job, hi: number, lo: number): boolean {
    const { port } = this;
    const { operation } = job;
    const width = widthOf(operation);
    const { value = 0n, expected = 0n } = operation;
    const isDone =
      operation.kind === 'fetch-add'
        ? port.fetchAdd(hi, lo, width, value)
        : port.compareExchange(hi, lo, width, expected, value);
    job.old = port.old;
    return isDone;
  }

  /** Whether what was just read is what it should be; else `job` ends at the first byte that differs. */
  #compare(job: Job): boolean {
    const { done } = this.port;
    const expected = job.operation.data!;
    for (let i = 0; i < done; i++) {
      if (this.#chunk[i] === expected[job.bytes + i]) continue;
      job.bytes += i;
      job.faultIova = job.operation.iova + BigInt(job.bytes);
      return false;
    }
    return true;
  }
}

/** Where the segment in hand goes on. */
function segmentAt(job: Job): bigint {
  return job.operation.segments![job.segment]!.iova + BigInt(job.segmentDone);
}
