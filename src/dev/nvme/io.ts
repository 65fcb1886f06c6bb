/** Commands of the NVM command set. NVM Express Base 1.4, chapter 6. */
import type { Command } from './command.js';
import type { Features } from './features.js';
import type { Logs } from './logs.js';
import { BLOCK_LG2, type Namespace } from './namespace.js';
import { ALL_NAMESPACES, MOST_DATA } from './registers.js';
import * as status from './status.js';
import type { Transfer } from './transfer.js';

/** What I/O commands work on. */
export interface IoHost {
  readonly namespaces: readonly Namespace[];
  readonly transfer: Transfer;
  readonly features: Features;
  readonly logs: Logs;
  /** Null: there is none. */
  namespace(id: number): Namespace | null;
}

const FLUSH = 0x00;
const WRITE = 0x01;
const READ = 0x02;
const COMPARE = 0x05;
const WRITE_ZEROES = 0x08;
const DATASET_MANAGEMENT = 0x09;

/** Dword 12: it survives a loss of power when it is over. */
const FORCE_UNIT_ACCESS = 1 << 30;
const DEALLOCATE = 1 << 2;
const RANGE_BYTES = 16;
const MOST_RANGES = 256;

const ranges = new Uint8Array(MOST_RANGES * RANGE_BYTES);
const rangeView = new DataView(ranges.buffer);
const compared = new Uint8Array(MOST_DATA);

export function runIo(command: Command, host: IoHost): number {
  if (command.isFused) return status.INVALID_FIELD;
  if (command.opcode === FLUSH) return flush(command, host);
  const namespace = host.namespace(command.namespace);
  switch (command.opcode) {
    case READ:
    case WRITE:
    case COMPARE:
    case WRITE_ZEROES:
      return namespace === null ? status.INVALID_NAMESPACE : onBlocks(command, namespace, host);
    case DATASET_MANAGEMENT:
      return namespace === null ? status.INVALID_NAMESPACE : manage(command, namespace, host);
    default:
      return status.INVALID_OPCODE;
  }
}

function flush({ namespace: id }: Command, host: IoHost): number {
  const chosen = id === ALL_NAMESPACES ? host.namespaces : [host.namespace(id)];
  for (const namespace of chosen) {
    if (namespace === null) return status.INVALID_NAMESPACE;
    if (!namespace.store.flush()) return status.WRITE_FAULT;
  }
  return status.SUCCESS;
}

/** Those that name a range of blocks. */
function onBlocks(command: Command, namespace: Namespace, host: IoHost): number {
  const start = command.quad(10);
  const blocks = (command.dword(12) & 0xffff) + 1;
  const length = blocks * 2 ** BLOCK_LG2;
  const { opcode } = command;
  if (opcode !== WRITE_ZEROES && length > MOST_DATA) return status.INVALID_FIELD;
  if (start + blocks > namespace.blocks) return status.LBA_OUT_OF_RANGE;
  const offset = start * 2 ** BLOCK_LG2;
  if (opcode === WRITE_ZEROES) {
    if (!namespace.store.zero(offset, length)) return status.WRITE_FAULT;
    return endWrite(command, namespace, host);
  }
  const failure = host.transfer.resolve(command, length);
  if (failure !== status.SUCCESS) return failure;
  if (opcode === READ) return read(namespace, offset, length, host);
  if (opcode === WRITE) return write(command, namespace, offset, length, host);
  return compare(namespace, offset, length, host);
}

function read({ store }: Namespace, offset: number, length: number, { transfer, logs }: IoHost): number {
  for (let done = 0; done < length;) {
    const bytes = store.read(offset + done, length - done);
    if (bytes === null) return status.UNRECOVERED_READ;
    if (!transfer.toMemory(bytes)) return status.DATA_TRANSFER_ERROR;
    done += bytes.length;
  }
  logs.reads += 1;
  logs.readBytes += length;
  return status.SUCCESS;
}

function write(command: Command, namespace: Namespace, offset: number, length: number, host: IoHost): number {
  const { store } = namespace;
  for (let done = 0; done < length;) {
    const bytes = store.room(offset + done, length - done);
    if (!host.transfer.fromMemory(bytes)) return status.DATA_TRANSFER_ERROR;
    if (!store.write(offset + done, bytes)) return status.WRITE_FAULT;
    done += bytes.length;
  }
  host.logs.writes += 1;
  host.logs.writtenBytes += length;
  return endWrite(command, namespace, host);
}

/** What must not be lost is made durable before it is said to be written. */
function endWrite(command: Command, { store }: Namespace, { features }: IoHost): number {
  const isForced = (command.dword(12) & FORCE_UNIT_ACCESS) !== 0;
  if (!isForced && features.hasWriteCache) return status.SUCCESS;
  return store.flush() ? status.SUCCESS : status.WRITE_FAULT;
}

function compare({ store }: Namespace, offset: number, length: number, { transfer }: IoHost): number {
  for (let done = 0; done < length;) {
    const bytes = store.read(offset + done, length - done);
    if (bytes === null) return status.UNRECOVERED_READ;
    const other = compared.subarray(0, bytes.length);
    if (!transfer.fromMemory(other)) return status.DATA_TRANSFER_ERROR;
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== other[i]) return status.COMPARE_FAILURE;
    done += bytes.length;
  }
  return status.SUCCESS;
}

/** Deallocates; all else that a range may say is advice that nobody follows. */
function manage(command: Command, namespace: Namespace, { transfer }: IoHost): number {
  const count = (command.dword(10) & 0xff) + 1;
  const failure = transfer.take(command, ranges.subarray(0, count * RANGE_BYTES));
  if (failure !== status.SUCCESS) return failure;
  if ((command.dword(11) & DEALLOCATE) === 0) return status.SUCCESS;
  for (let i = 0; i < count; i++) {
    const at = i * RANGE_BYTES;
    const blocks = rangeView.getUint32(at + 4, true);
    const start = rangeView.getUint32(at + 12, true) * 2 ** 32 + rangeView.getUint32(at + 8, true);
    if (start + blocks > namespace.blocks) return status.LBA_OUT_OF_RANGE;
    const isDone = namespace.store.zero(start * 2 ** BLOCK_LG2, blocks * 2 ** BLOCK_LG2);
    if (!isDone) return status.WRITE_FAULT;
  }
  return status.SUCCESS;
}
