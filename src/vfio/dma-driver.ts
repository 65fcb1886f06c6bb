/**
 * The driver of a DMA test device: IOASIS_DMA starts an operation. What is over at once is in the answer; of what is
 * not, read(2) returns a completion record afterwards, and poll says when. The bytes of a READ go to where the program
 * wanted them when it takes the record, because they can only be stored during a call of its own.
 */
import { refuse } from '../base/errno.js';
import type { DmaEngine } from '../dev/dma-engine.js';
import type { Job, JobReason, JobState } from '../dev/operation.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { Task } from '../mem/task.js';
import * as uapi from '../wire/uapi/ioasis-dma.js';
import { operationOf, type IoasisDma } from './dma-operation.js';
import type { VfioExtension } from './driver.js';
import { rules } from './rules.js';

const LEAST = uapi.ioasis_dma.endOf('out_old');
const RECORD = uapi.ioasis_dma_completion.size;
/** Operations that are not over, or whose record is not read. */
const MOST_JOBS = 64;

const states: Readonly<Record<JobState, number>> = {
  pending: uapi.IOASIS_DMA_PENDING,
  done: uapi.IOASIS_DMA_DONE,
  faulted: uapi.IOASIS_DMA_FAULTED,
  failed: uapi.IOASIS_DMA_FAILED,
};

const reasons: Readonly<Record<JobReason, number>> = {
  none: 0,
  translation: 0,
  'memory-gone': uapi.IOASIS_DMA_MEMORY_GONE,
  'page-invalid': uapi.IOASIS_DMA_PAGE_INVALID,
  'page-failure': uapi.IOASIS_DMA_PAGE_FAILURE,
  'not-cured': uapi.IOASIS_DMA_NOT_CURED,
  mismatch: uapi.IOASIS_DMA_MISMATCH,
  cancelled: uapi.IOASIS_DMA_CANCELLED,
};

const reasonOf = (job: Job): number => (job.state === 'faulted' ? job.unitReason : reasons[job.reason]);

/** A job that was pending, and where its data goes. */
interface Waiting {
  readonly job: Job;
  readonly dataAt: bigint;
}

export class DmaDriver implements VfioExtension {
  onReadableChange: (() => void) | null = null;
  readonly #pending = new Set<Waiting>();
  readonly #over: Waiting[] = [];

  constructor(readonly engine: DmaEngine) {}

  get readable(): boolean {
    return this.#over.length > 0;
  }

  ioctl(cmd: number, arg: bigint, user: UserMemory): number | null {
    if (cmd !== uapi.IOASIS_DMA) return null;
    const size = user.copyU32(arg, rules.dma_size_unreadable);
    if (size < LEAST) refuse(rules.dma_size, { size, least: LEAST });
    const request = user.copyStructIn(uapi.ioasis_dma, arg, size);
    const jobs = this.#pending.size + this.#over.length;
    if (jobs >= MOST_JOBS) refuse(rules.dma_busy, { jobs });
    const job = this.engine.submit(operationOf(user, request, this.engine));
    this.#answer(user, arg, request, job);
    return 0;
  }

  #answer(user: UserMemory, arg: bigint, request: IoasisDma, job: Job): void {
    if (job.state !== 'pending' && job.data !== null && job.bytes > 0) {
      user.copyOut(request.data_uptr, job.data.subarray(0, job.bytes), rules.dma_data_unwritable);
    }
    const answer = new Uint8Array(uapi.ioasis_dma.size);
    uapi.ioasis_dma.encode({ ...request, ...outcomeOf(job) }, answer);
    try {
      user.copyOut(arg, answer, rules.dma_answer_unwritable);
    } catch (error) {
      // Nobody would know its number.
      this.engine.cancel(job);
      throw error;
    }
    if (job.state !== 'pending') return;
    const waiting: Waiting = { job, dataAt: request.data_uptr };
    this.#pending.add(waiting);
    job.onEnd = () => {
      this.#pending.delete(waiting);
      this.#over.push(waiting);
      this.onReadableChange?.();
    };
  }

  /** As many records as fit, in the order in which the operations ended; 0 when none has. */
  read(at: bigint, count: number, task: Task): number {
    if (count < RECORD) refuse(rules.dma_read_count, { count, record: RECORD });
    const bytes = new Uint8Array(RECORD);
    let done = 0;
    for (let over = this.#over[0]; over !== undefined && done + RECORD <= count; over = this.#over[0]) {
      const { job, dataAt } = over;
      if (job.data !== null && job.bytes > 0 && !task.mm.write(dataAt, job.data.subarray(0, job.bytes))) {
        if (done > 0) break;
        refuse(rules.dma_read_data_unwritable, { at: dataAt, length: job.bytes, job: job.id });
      }
      uapi.ioasis_dma_completion.encode(recordOf(job), bytes);
      if (!task.mm.write(at + BigInt(done), bytes)) {
        if (done > 0) break;
        refuse(rules.dma_read_unwritable, { at });
      }
      this.#over.shift();
      done += RECORD;
    }
    this.onReadableChange?.();
    return done;
  }

  close(): void {
    for (const { job } of this.#pending) job.onEnd = null;
    this.#pending.clear();
    this.#over.length = 0;
    this.engine.reset();
  }
}

function recordOf(job: Job): uapi.IoasisDmaCompletion {
  return {
    job: job.id >>> 0,
    state: states[job.state],
    bytes: BigInt(job.bytes),
    fault_iova: job.faultIova,
    fault_access: job.faultAccess,
    fault_reason: reasonOf(job),
    old: job.old,
  };
}

function outcomeOf(job: Job): Partial<IoasisDma> {
  const record = recordOf(job);
  return {
    out_job: record.job,
    out_state: record.state,
    out_bytes: record.bytes,
    out_fault_iova: record.fault_iova,
    out_fault_access: record.fault_access,
    out_fault_reason: record.fault_reason,
    out_old: record.old,
  };
}
