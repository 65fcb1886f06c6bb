/**
 * One call as a line, in the manner of strace, and after an error the rule that was broken.
 * Invariant: a record gives exactly one line; text from a client or a rule cannot break it.
 */
import { findIoctl } from '../wire/ioctls.js';
import { printStruct, printValue } from '../wire/print.js';
import type { Struct } from '../wire/struct.js';
import * as iommufd from '../wire/uapi/iommufd.gen.js';
import { printFields, splitFields } from './arguments.js';
import { errnoText } from './errno-text.js';
import type { TraceRecord } from '../host/trace.js';

/** What a line needs of a way to colour; {@link plainInk} leaves everything as it is. */
export interface Ink {
  call(text: string): string;
  file(text: string): string;
  error(text: string): string;
  reason(text: string): string;
  quiet(text: string): string;
}

const same = (text: string): string => text;
export const plainInk: Ink = { call: same, file: same, error: same, reason: same, quiet: same };

/** `[pid 17] ioctl(4</dev/iommu>, IOMMU_IOAS_ALLOC, {size=12, flags=0} => {out_ioas_id=1}) = 0`, no line end. */
export function formatText(record: TraceRecord, ink: Ink = plainInk): string {
  const head = `${ink.quiet(`[pid ${record.tid}]`)} ${ink.call(record.call)}`;
  const injected = record.injected === undefined ? '' : ink.error(` (INJECTED: ${comment(record.injected)})`);
  return `${head}(${callArguments(record, ink).join(', ')}) = ${callResult(record, ink)}${injected}`;
}

function callArguments(record: TraceRecord, ink: Ink): string[] {
  const file = describeFd(record.fd, record, ink);
  switch (record.call) {
    case 'open':
      return [quoted(record.file), openFlags(record.cmd)];
    case 'ioctl':
      return [file, ...ioctlArguments(record)];
    case 'read':
      return [file, records(record, record.after), String(record.count)];
    case 'write':
      return [file, records(record, record.before), String(record.count)];
    case 'mmap':
      return [`length=${hex(BigInt(record.count))}`, file, `offset=${hex(record.arg)}`];
    default:
      return [file];
  }
}

const accessModes = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'];
const openFlagNames = { O_NONBLOCK: 0o4000, O_CLOEXEC: 0o2000000 };

function openFlags(flags: number): string {
  const names = Object.entries(openFlagNames).filter(([, bit]) => (flags & bit) !== 0);
  return [accessModes[flags & 3], ...names.map(([name]) => name)].join('|');
}

function describeFd(fd: number, { file }: TraceRecord, ink: Ink): string {
  return `${fd}${ink.file(`<${quoted(file).slice(1, -1)}>`)}`;
}

function ioctlArguments(record: TraceRecord): string[] {
  const { before, after, cmd, arg, errno } = record;
  const info = findIoctl(cmd, before ?? new Uint8Array(), record.file);
  if (info === undefined) return [hex(BigInt(cmd)), hex(arg)];
  if (info.struct === null) return [info.name, printValue(cmd, Number(arg))];
  if (before === null) return [info.name, hex(arg)];
  const { incoming, outgoing } = splitFields(info.struct, before, after, errno === 0);
  const went = printFields(info.struct, incoming, before, info);
  if (after === null || outgoing.length === 0) return [info.name, went];
  return [info.name, `${went} => ${printFields(info.struct, outgoing, after, info)}`];
}

function callResult(record: TraceRecord, ink: Ink): string {
  if (record.errno !== 0) {
    const why = record.rule === '' ? '' : ink.reason(` /* ${record.rule}: ${comment(record.reason)} */`);
    return `${ink.error(`-1 ${errnoText(record.errno)}`)}${why}`;
  }
  // The number of the new descriptor is chosen in the program, once the engine has answered.
  if (record.call === 'open') return ink.file(`<${quoted(record.file).slice(1, -1)}>`);
  return record.call === 'mmap' ? hex(BigInt(record.result)) : String(record.result);
}

/** What the queues of iommufd carry, by the name of their file. */
const queueRecords: Readonly<Record<string, { read: Struct<any>; write: Struct<any> }>> = {
  '[iommufd-pgfault]': { read: iommufd.iommu_hwpt_pgfault, write: iommufd.iommu_hwpt_page_response },
};

function records(record: TraceRecord, bytes: Uint8Array | null): string {
  if (bytes === null) return hex(record.arg);
  const struct = queueRecords[record.file]?.[record.call === 'read' ? 'read' : 'write'];
  if (struct === undefined || bytes.length % struct.size !== 0) return hexBytes(bytes);
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += struct.size) {
    parts.push(printStruct(struct, bytes.subarray(at, at + struct.size), queueHints));
  }
  return `[${parts.join(', ')}]`;
}

const queueHints = {
  flags: {
    flags: {
      PASID_VALID: iommufd.IOMMU_PGFAULT_FLAGS_PASID_VALID,
      LAST_PAGE: iommufd.IOMMU_PGFAULT_FLAGS_LAST_PAGE,
    },
    perm: {
      READ: iommufd.IOMMU_PGFAULT_PERM_READ,
      WRITE: iommufd.IOMMU_PGFAULT_PERM_WRITE,
      EXEC: iommufd.IOMMU_PGFAULT_PERM_EXEC,
      PRIV: iommufd.IOMMU_PGFAULT_PERM_PRIV,
    },
  },
  enums: {
    code: { SUCCESS: iommufd.IOMMUFD_PAGE_RESP_SUCCESS, INVALID: iommufd.IOMMUFD_PAGE_RESP_INVALID },
  },
};

const shownBytes = 32;

function hexBytes(bytes: Uint8Array): string {
  const shown = Array.from(
    bytes.subarray(0, shownBytes),
    (byte) => `\\x${byte.toString(16).padStart(2, '0')}`,
  );
  return `"${shown.join('')}"${bytes.length > shownBytes ? '...' : ''}`;
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** A C string; what does not print is escaped. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Fit for a C comment on one line. */
function comment(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, ' ').replace(/\*\//g, '* /');
}
