/** What a struct ioasis_dma asks for, checked: an operation that the device can do. */
import { refuse } from '../base/errno.js';
import { DMA_EXEC, DMA_PRIV, NO_PASID } from '../bus/dma.js';
import type { DmaEngine } from '../dev/dma-engine.js';
import type { DmaSegment, Operation, OperationKind } from '../dev/operation.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import * as uapi from '../wire/uapi/ioasis-dma.js';
import { rules } from './rules.js';

export type IoasisDma = uapi.IoasisDma;

const kinds: readonly OperationKind[] = [
  'read',
  'write',
  'copy',
  'fill',
  'compare',
  'gather',
  'scatter',
  'fetch-add',
  'compare-and-swap',
];

const FLAGS =
  uapi.IOASIS_DMA_PASID |
  uapi.IOASIS_DMA_PRIV |
  uapi.IOASIS_DMA_EXEC |
  uapi.IOASIS_DMA_ATS |
  uapi.IOASIS_DMA_PRI;
/** What passes through the engine's own memory, and what does not. */
const MOST_DATA = 1n << 24n;
const MOST_BYTES = 1n << 28n;
const MOST_SEGMENTS = 1024;
const TOP = 1n << 64n;

export function operationOf(user: UserMemory, request: IoasisDma, engine: DmaEngine): Operation {
  const { op, flags, pasid, iova, __reserved } = request;
  if ((flags & ~FLAGS) !== 0) refuse(rules.dma_flags, { flags });
  const kind = kinds[op] ?? refuse(rules.dma_op, { op });
  if (__reserved !== 0) refuse(rules.dma_reserved, { __reserved });
  checkCapabilities(request, engine);
  if ((flags & uapi.IOASIS_DMA_EXEC) !== 0 && kind !== 'read') refuse(rules.dma_exec, { op });
  const length = checkLength(kind, request);
  const operation: Operation = {
    kind,
    iova,
    length,
    target: request.iova2,
    value: request.value,
    expected: request.expected,
    pasid: (flags & uapi.IOASIS_DMA_PASID) !== 0 ? pasid : NO_PASID,
    attributes:
      ((flags & uapi.IOASIS_DMA_PRIV) !== 0 ? DMA_PRIV : 0) |
      ((flags & uapi.IOASIS_DMA_EXEC) !== 0 ? DMA_EXEC : 0),
    ats: (flags & uapi.IOASIS_DMA_ATS) !== 0,
    pri: (flags & uapi.IOASIS_DMA_PRI) !== 0,
  };
  if (kind === 'gather' || kind === 'scatter') return { ...operation, segments: copySegments(user, request) };
  if (kind !== 'write' && kind !== 'compare') return operation;
  return { ...operation, data: user.copyIn(request.data_uptr, length, rules.dma_data_unreadable) };
}

/** What the requests of the device can carry. */
function checkCapabilities({ flags, pasid }: IoasisDma, engine: DmaEngine): void {
  const device = engine.name;
  const ats = (flags & uapi.IOASIS_DMA_ATS) !== 0;
  const pri = (flags & uapi.IOASIS_DMA_PRI) !== 0;
  if (ats && engine.cache === null) refuse(rules.dma_ats, { device });
  if (pri && engine.requests === null) refuse(rules.dma_pri, { device });
  if (pri && !ats) refuse(rules.dma_pri_without_ats, {});
  const hasPasid = (flags & uapi.IOASIS_DMA_PASID) !== 0;
  if (!hasPasid && pasid !== 0) refuse(rules.dma_pasid_flag, { pasid });
  if (hasPasid && pasid >= engine.maxPasids)
    refuse(rules.dma_pasid, { pasid, maxPasids: engine.maxPasids, device });
}

function checkLength(kind: OperationKind, { length, iova, iova2 }: IoasisDma): number {
  const passes = kind === 'read' || kind === 'write' || kind === 'compare';
  const most = passes ? MOST_DATA : MOST_BYTES;
  if (length === 0n || length > most) refuse(rules.dma_length, { length, most });
  if (iova + length > TOP) refuse(rules.dma_wraps, { iova, length });
  if (kind === 'copy' && iova2 + length > TOP) refuse(rules.dma_target_wraps, { iova: iova2, length });
  const isAtomic = kind === 'fetch-add' || kind === 'compare-and-swap';
  if (isAtomic && ((length !== 4n && length !== 8n) || iova % length !== 0n))
    refuse(rules.dma_width, { length, iova });
  return Number(length);
}

function copySegments(user: UserMemory, { nr_segments, data_uptr, length }: IoasisDma): DmaSegment[] {
  if (nr_segments === 0 || nr_segments > MOST_SEGMENTS) {
    refuse(rules.dma_segment_count, { segments: nr_segments, most: MOST_SEGMENTS });
  }
  const { size } = uapi.ioasis_dma_segment;
  const bytes = user.copyIn(data_uptr, nr_segments * size, rules.dma_segments_unreadable);
  const segments: DmaSegment[] = [];
  let sum = 0n;
  for (let index = 0; index < nr_segments; index++) {
    const segment = uapi.ioasis_dma_segment.decode(bytes, index * size);
    if (segment.length === 0n || segment.iova + segment.length > TOP) {
      refuse(rules.dma_segment, { index, iova: segment.iova, length: segment.length });
    }
    sum += segment.length;
    segments.push({ iova: segment.iova, length: Number(segment.length) });
  }
  if (sum !== length) refuse(rules.dma_segment_sum, { sum, length });
  return segments;
}
