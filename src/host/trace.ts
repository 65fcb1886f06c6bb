/** What a call of a client was and what came of it, for whoever watches. Made only while somebody does. */
import { Errno } from '../base/errno.js';
import type { Call } from './call.js';

export interface TraceRecord {
  readonly pid: number;
  readonly tid: number;
  readonly call: 'open' | 'ioctl' | 'read' | 'write' | 'mmap' | 'close';
  readonly fd: number;
  /** The name of the file, as /proc/PID/fd shows it. */
  readonly file: string;
  readonly cmd: number;
  readonly arg: bigint;
  /** Bytes of a read, write or mmap. */
  readonly count: number;
  /** The struct at entry (its first word is its size), or the bytes written; null where there are none. */
  readonly before: Uint8Array | null;
  /** The struct after the call, or the bytes read. */
  readonly after: Uint8Array | null;
  readonly result: number;
  /** 0 when the call succeeded. */
  readonly errno: number;
  /** The rule that was broken, or ''. */
  readonly rule: string;
  readonly reason: string;
  /** The site that was made to fail during the call. */
  readonly injected?: string;
  /** Microseconds since the engine started. */
  readonly time: number;
}

export type Tracer = (record: TraceRecord) => void;

const TRACED = 4096;

/** _IOC_SIZESHIFT, _IOC_SIZEMASK. */
const SIZE_SHIFT = 16;
const SIZE_MASK = 0x3fff;

/** The struct that an ioctl's argument points to, at most 4 KiB of it: its number says how long it is, or its first word. */
export function traceStruct(call: Call, cmd: number, arg: bigint): Uint8Array | null {
  const coded = (cmd >>> SIZE_SHIFT) & SIZE_MASK;
  if (coded > 0) return traceBytes(call, arg, coded);
  const size = new Uint8Array(4);
  if (!call.mm.read(arg, size)) return null;
  return traceBytes(call, arg, new DataView(size.buffer).getUint32(0, true));
}

/** `count` bytes of the caller's memory, at most 4 KiB. */
export function traceBytes(call: Call, at: bigint, count: number): Uint8Array | null {
  const bytes = new Uint8Array(Math.min(count, TRACED));
  return bytes.length > 0 && call.mm.read(at, bytes) ? bytes : null;
}

/** How a refusal shows in a record. */
export function explain(error: unknown, fallback: number): Pick<TraceRecord, 'errno' | 'rule' | 'reason'> {
  if (error instanceof Errno) return { errno: error.errno, rule: error.rule, reason: error.reason };
  return { errno: fallback, rule: error === null ? '' : 'bug', reason: error === null ? '' : String(error) };
}
