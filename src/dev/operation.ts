/** What the DMA test device can be asked to do, and what becomes of it. */
import { DMA_READ, DMA_WRITE, NO_PASID } from '../bus/dma.js';
import type { AtomicWidth } from '../mem/atomic.js';

export type OperationKind =
  'read' | 'write' | 'copy' | 'fill' | 'compare' | 'gather' | 'scatter' | 'fetch-add' | 'compare-and-swap';

/** A piece of a scatter-gather list. */
export interface DmaSegment {
  readonly iova: bigint;
  readonly length: number;
}

export interface Operation {
  readonly kind: OperationKind;
  /** Where it reads or writes; of `copy` and `scatter` the source, of `gather` the target. */
  readonly iova: bigint;
  /** Bytes; of `gather` and `scatter` the sum of the segments, of atomic operations 4 or 8. */
  readonly length: number;
  /** Target of `copy`. */
  readonly target?: bigint;
  /** What `write` writes and `compare` expects. */
  readonly data?: Uint8Array;
  readonly segments?: readonly DmaSegment[];
  /** The byte of `fill`; the operand of `fetch-add`; the new value of `compare-and-swap`. */
  readonly value?: bigint;
  /** What `compare-and-swap` expects. */
  readonly expected?: bigint;
  /** Default: none, the requester id alone. */
  readonly pasid?: number;
  /** DMA_EXEC (reads only) and DMA_PRIV. Default 0. */
  readonly attributes?: number;
  /** Translations come from the device's own cache, and requests go out translated. */
  readonly ats?: boolean;
  /** What is not there is asked for by page requests. */
  readonly pri?: boolean;
}

/** `faulted`: a translation was refused. `failed`: anything else; {@link Job.reason} says what. */
export type JobState = 'pending' | 'done' | 'faulted' | 'failed';

export type JobReason =
  | 'none'
  /** {@link Job.unitReason} is the unit's code. */
  | 'translation'
  /** Mapped, and no memory: the file behind it was cut short, or its owner is gone. */
  | 'memory-gone'
  /** The page request was answered INVALID, or FAILURE. */
  | 'page-invalid'
  | 'page-failure'
  /** Page requests were answered SUCCESS again and again, and the page was never there. */
  | 'not-cured'
  /** `compare` found another byte. */
  | 'mismatch'
  | 'cancelled';

/** One operation on its way. */
export class Job {
  state: JobState = 'pending';
  reason: JobReason = 'none';
  /** Bytes done; of `compare`, bytes that are equal. */
  bytes = 0;
  /** Where it stopped, and with which access (DMA_*): while it is pending too. */
  faultIova = 0n;
  faultAccess = 0;
  unitReason = 0;
  /** What `read` read. */
  readonly data: Uint8Array | null;
  /** What an atomic operation found. */
  old = 0n;
  /** Called once, when the state is no longer `pending`. */
  onEnd: ((job: Job) => void) | null = null;
  /** Of a scatter-gather list: the segment in hand, and how many bytes of it are done. */
  segment = 0;
  segmentDone = 0;
  /** How often in a row a page request did not help. */
  retries = 0;

  constructor(
    readonly id: number,
    readonly operation: Operation,
  ) {
    this.data = operation.kind === 'read' ? new Uint8Array(operation.length) : null;
  }
}

const TOP = 1n << 64n;
/** The longest operation. */
const MAX_OPERATION_BYTES = 1 << 30;

/** Why `operation` cannot be, or null. */
export function findMistake(operation: Operation): string | null {
  const { kind, length, segments = [], data, pasid = NO_PASID } = operation;
  if (!(length > 0 && length <= MAX_OPERATION_BYTES)) return `a length of ${length} bytes`;
  if (pasid !== NO_PASID && (pasid < 0 || pasid >= 1 << 20)) return `PASID ${pasid}`;
  if (((operation.attributes ?? 0) & (DMA_READ | DMA_WRITE)) !== 0) return 'attributes that are accesses';
  const ranges: DmaSegment[] = [{ iova: operation.iova, length }, ...segments];
  if (kind === 'copy') ranges.push({ iova: operation.target ?? 0n, length });
  for (const range of ranges) {
    if (range.length <= 0 || range.iova < 0n || range.iova + BigInt(range.length) > TOP)
      return `${range.length} bytes at 0x${range.iova.toString(16)}`;
  }
  if (kind === 'gather' || kind === 'scatter') {
    const sum = segments.reduce((total, segment) => total + segment.length, 0);
    if (sum !== length) return `segments of ${sum} bytes for ${length}`;
  }
  if ((kind === 'write' || kind === 'compare') && data?.length !== length)
    return `${data?.length ?? 0} bytes of data for ${length}`;
  if (kind === 'fetch-add' || kind === 'compare-and-swap') {
    if (length !== 4 && length !== 8) return `an atomic operation on ${length} bytes`;
    if (operation.iova % BigInt(length) !== 0n)
      return `an atomic operation at 0x${operation.iova.toString(16)}`;
  }
  return null;
}

/** The width of an atomic operation that {@link findMistake} has looked at. */
export const widthOf = ({ length }: Operation): AtomicWidth => (length === 4 ? 4 : 8);
