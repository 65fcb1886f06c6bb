/** Scatter-gather lists of a command: data blocks, bit buckets, segments. NVM Express Base 1.4, 4.4. */
import type { DmaPort } from '../../bus/dma-port.js';
import { DATA_POINTER, type Command } from './command.js';
import * as status from './status.js';

/** Data descriptors of an SGL, and more than there are PRPs of the most data. */
export const MOST_PIECES = 256;

/** What is found of the memory of a command. */
export interface Pieces {
  readonly port: DmaPort;
  /** Bytes that they have together. */
  readonly length: number;
  /** False: there are too many. */
  add(hi: number, lo: number, length: number, isBucket: boolean): boolean;
}

const DESCRIPTOR = 16;
const DATA_BLOCK = 0x0;
const BIT_BUCKET = 0x1;
const SEGMENT = 0x2;
const LAST_SEGMENT = 0x3;

/** Commands that carry data to the controller have this bit in their opcode; bit buckets are nothing to them. */
const TO_CONTROLLER = 1;

const bytes = new Uint8Array(MOST_PIECES * DESCRIPTOR);
const view = new DataView(bytes.buffer);

/** Adds the pieces of at least `length` bytes of data. */
export function followSgl(command: Command, pieces: Pieces, length: number): number {
  const isWrite = (command.opcode & TO_CONTROLLER) !== 0;
  bytes.set(command.bytes.subarray(DATA_POINTER, DATA_POINTER + DESCRIPTOR));
  let count = 1;
  // The descriptor in the command is a segment of its own, which may only lead to one other.
  let isLast = false;
  for (let seen = 0; ;) {
    const end = count - 1;
    seen += count;
    if (seen > MOST_PIECES) return status.SGL_COUNT_INVALID;
    for (let i = 0; i < end; i++) {
      const failure = addPiece(pieces, i, isWrite);
      if (failure !== status.SUCCESS) return failure;
    }
    const type = typeOf(end);
    if (type !== SEGMENT && type !== LAST_SEGMENT) {
      // All but the last segment end with a way to the next one.
      if (!isLast && seen > 1) return status.SGL_SEGMENT_INVALID;
      const failure = addPiece(pieces, end, isWrite);
      if (failure !== status.SUCCESS) return failure;
      return pieces.length < length ? status.SGL_LENGTH_INVALID : status.SUCCESS;
    }
    if (isLast) return status.SGL_SEGMENT_INVALID;
    isLast = type === LAST_SEGMENT;
    const size = view.getUint32(end * DESCRIPTOR + 8, true);
    if (size === 0 || size % DESCRIPTOR !== 0) return status.SGL_SEGMENT_INVALID;
    count = size / DESCRIPTOR;
    if (count > MOST_PIECES) return status.SGL_COUNT_INVALID;
    const lo = view.getInt32(end * DESCRIPTOR, true);
    const hi = view.getInt32(end * DESCRIPTOR + 4, true);
    if (!pieces.port.read(hi, lo, bytes.subarray(0, size))) return status.DATA_TRANSFER_ERROR;
  }
}

/** Type in bits 7:4; a subtype other than 0, an address, is made unknown. */
function typeOf(index: number): number {
  const last = bytes[index * DESCRIPTOR + DESCRIPTOR - 1]!;
  return (last & 0xf) === 0 ? last >>> 4 : 0xff;
}

function addPiece(pieces: Pieces, index: number, isWrite: boolean): number {
  const at = index * DESCRIPTOR;
  const type = typeOf(index);
  if (type === SEGMENT || type === LAST_SEGMENT) return status.SGL_SEGMENT_INVALID;
  if (type !== DATA_BLOCK && type !== BIT_BUCKET) return status.SGL_TYPE_INVALID;
  const length = view.getUint32(at + 8, true);
  if (length === 0 || (type === BIT_BUCKET && isWrite)) return status.SUCCESS;
  const lo = view.getInt32(at, true);
  const hi = view.getInt32(at + 4, true);
  return pieces.add(hi, lo, length, type === BIT_BUCKET) ? status.SUCCESS : status.SGL_COUNT_INVALID;
}
