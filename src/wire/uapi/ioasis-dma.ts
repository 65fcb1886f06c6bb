/**
 * ioasis' own ioctl on the VFIO device file of a DMA test device: a program, which cannot reach the registers of a
 * device that does not exist, asks it to master memory. The rules are the kernel's: the struct may grow, a longer one is
 * accepted when what is not known is zero, an unknown operation or flag is EOPNOTSUPP.
 */
import { struct, u32, u64, type Infer } from '../struct.js';

/** _IO(0xd1, 0) */
export const IOASIS_DMA = 0xd100;

/** op: the device reads `length` bytes at `iova` into `data_uptr`. */
export const IOASIS_DMA_OP_READ = 0;
/** It writes those at `data_uptr` to `iova`. */
export const IOASIS_DMA_OP_WRITE = 1;
/** It copies from `iova` to `iova2`. */
export const IOASIS_DMA_OP_COPY = 2;
/** It stores the low byte of `value`. */
export const IOASIS_DMA_OP_FILL = 3;
/** It compares with what is at `data_uptr`. */
export const IOASIS_DMA_OP_COMPARE = 4;
/** It copies the `nr_segments` segments at `data_uptr`, one after the other, to `iova`. */
export const IOASIS_DMA_OP_GATHER = 5;
/** It spreads what is at `iova` over the segments. */
export const IOASIS_DMA_OP_SCATTER = 6;
/** It adds `value` to the 4 or 8 (`length`) bytes at `iova`. */
export const IOASIS_DMA_OP_FETCH_ADD = 7;
/** It stores `value` there if `expected` is there. */
export const IOASIS_DMA_OP_COMPARE_AND_SWAP = 8;

/** flags: the requests carry `pasid`. */
export const IOASIS_DMA_PASID = 1;
/** In privileged mode. */
export const IOASIS_DMA_PRIV = 2;
/** Reads that fetch instructions. */
export const IOASIS_DMA_EXEC = 4;
/** The device translates with its own cache. */
export const IOASIS_DMA_ATS = 8;
/** And asks for pages that are missing. */
export const IOASIS_DMA_PRI = 16;

/** out_state */
export const IOASIS_DMA_PENDING = 0;
export const IOASIS_DMA_DONE = 1;
/** A translation was refused: `fault_reason` is the unit's code. */
export const IOASIS_DMA_FAULTED = 2;
/** Something else went wrong: `fault_reason` is one of the next. */
export const IOASIS_DMA_FAILED = 3;

/** What is mapped there is no memory any more. */
export const IOASIS_DMA_MEMORY_GONE = 1;
/** The page request was answered INVALID. */
export const IOASIS_DMA_PAGE_INVALID = 2;
export const IOASIS_DMA_PAGE_FAILURE = 3;
/** Page requests were answered SUCCESS, and the page was never there. */
export const IOASIS_DMA_NOT_CURED = 4;
/** COMPARE found another byte. */
export const IOASIS_DMA_MISMATCH = 5;
export const IOASIS_DMA_CANCELLED = 6;

/** fault_access: bits of what the device wanted to do. */
export const IOASIS_DMA_ACCESS_READ = 1;
export const IOASIS_DMA_ACCESS_WRITE = 2;
export const IOASIS_DMA_ACCESS_EXEC = 4;
export const IOASIS_DMA_ACCESS_PRIV = 8;

/** An element of the list of GATHER and SCATTER. */
export const ioasis_dma_segment = struct('ioasis_dma_segment', 16, {
  iova: u64(0),
  length: u64(8),
});
export type IoasisDmaSegment = Infer<typeof ioasis_dma_segment>;

/** What became of an operation: in the answer of the ioctl, and what read(2) returns once a pending one is over. */
export const ioasis_dma_completion = struct('ioasis_dma_completion', 40, {
  job: u32(0),
  state: u32(4),
  bytes: u64(8),
  fault_iova: u64(16),
  fault_access: u32(24),
  fault_reason: u32(28),
  old: u64(32),
});
export type IoasisDmaCompletion = Infer<typeof ioasis_dma_completion>;

export const ioasis_dma = struct('ioasis_dma', 112, {
  size: u32(0),
  flags: u32(4),
  op: u32(8),
  pasid: u32(12),
  iova: u64(16),
  iova2: u64(24),
  length: u64(32),
  data_uptr: u64(40),
  nr_segments: u32(48),
  __reserved: u32(52),
  value: u64(56),
  expected: u64(64),
  out_job: u32(72),
  out_state: u32(76),
  out_bytes: u64(80),
  out_fault_iova: u64(88),
  out_fault_access: u32(96),
  out_fault_reason: u32(100),
  out_old: u64(104),
});
export type IoasisDma = Infer<typeof ioasis_dma>;

export const declared = {
  structs: [ioasis_dma_segment, ioasis_dma_completion, ioasis_dma],
  constants: {
    IOASIS_DMA,
    IOASIS_DMA_OP_READ,
    IOASIS_DMA_OP_WRITE,
    IOASIS_DMA_OP_COPY,
    IOASIS_DMA_OP_FILL,
    IOASIS_DMA_OP_COMPARE,
    IOASIS_DMA_OP_GATHER,
    IOASIS_DMA_OP_SCATTER,
    IOASIS_DMA_OP_FETCH_ADD,
    IOASIS_DMA_OP_COMPARE_AND_SWAP,
    IOASIS_DMA_PASID,
    IOASIS_DMA_PRIV,
    IOASIS_DMA_EXEC,
    IOASIS_DMA_ATS,
    IOASIS_DMA_PRI,
    IOASIS_DMA_PENDING,
    IOASIS_DMA_DONE,
    IOASIS_DMA_FAULTED,
    IOASIS_DMA_FAILED,
    IOASIS_DMA_MEMORY_GONE,
    IOASIS_DMA_PAGE_INVALID,
    IOASIS_DMA_PAGE_FAILURE,
    IOASIS_DMA_NOT_CURED,
    IOASIS_DMA_MISMATCH,
    IOASIS_DMA_CANCELLED,
    IOASIS_DMA_ACCESS_READ,
    IOASIS_DMA_ACCESS_WRITE,
    IOASIS_DMA_ACCESS_EXEC,
    IOASIS_DMA_ACCESS_PRIV,
  },
  enums: {},
};
