/**
 * One call as an object on a line: the stable shape that docs/trace.schema.json publishes.
 * 64-bit values are hexadecimal strings, all other numbers are numbers; what does not apply is absent.
 */
import { findIoctl } from '../wire/ioctls.js';
import { plainFields, splitFields } from './arguments.js';
import { errnoName } from './errno-text.js';
import type { TraceRecord } from '../host/trace.js';

/** The object, without a line end. */
export function formatJson(record: TraceRecord): string {
  return JSON.stringify(traceObject(record));
}

/** The object that {@link formatJson} prints. */
export function traceObject(record: TraceRecord): Record<string, unknown> {
  return {
    v: 1,
    pid: record.pid,
    tid: record.tid,
    time: Math.round(record.time),
    call: record.call,
    ...(record.fd < 0 ? {} : { fd: record.fd }),
    file: record.file,
    ...callObject(record),
    result: record.errno === 0 ? record.result : -1,
    ...(record.errno === 0 ? {} : { error: errorObject(record) }),
    ...(record.injected === undefined ? {} : { injected: record.injected }),
  };
}

function errorObject({ errno, rule, reason }: TraceRecord): Record<string, unknown> {
  const name = errnoName(errno);
  return { errno, name, ...(rule === '' ? {} : { rule, reason }) };
}

function callObject(record: TraceRecord): Record<string, unknown> {
  switch (record.call) {
    case 'open':
      return { flags: record.cmd };
    case 'ioctl':
      return ioctlObject(record);
    case 'read':
      return { count: record.count, ...bytesObject(record.after) };
    case 'write':
      return { count: record.count, ...bytesObject(record.before) };
    case 'mmap':
      return { length: hex(BigInt(record.count)), offset: hex(record.arg) };
    default:
      return {};
  }
}

function bytesObject(bytes: Uint8Array | null): Record<string, unknown> {
  if (bytes === null) return {};
  return { bytes: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('') };
}

function ioctlObject(record: TraceRecord): Record<string, unknown> {
  const { cmd, arg, before, after, errno } = record;
  const request = { request: hex(BigInt(cmd)), arg: hex(arg) };
  const info = findIoctl(cmd, before ?? new Uint8Array(), record.file);
  if (info === undefined) return request;
  const named = { ...request, name: info.name };
  if (info.struct === null || before === null) return named;
  const { incoming, outgoing } = splitFields(info.struct, before, after, errno === 0);
  const went = { ...named, in: plainFields(info.struct, incoming, before) };
  if (after === null || outgoing.length === 0) return went;
  return { ...went, out: plainFields(info.struct, outgoing, after) };
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
