/**
 * The argument of an ioctl, before and after: what went in, and what came out of it.
 * Invariant: every byte shown was in the caller's struct; nothing is shown that the caller's size leaves out.
 */
import type { IoctlInfo } from '../wire/ioctl-rows.js';
import { printStruct } from '../wire/print.js';
import type { Struct } from '../wire/struct.js';

/** The names of the fields that a call reads and of those that it wrote, in the order of the struct. */
export interface Direction {
  readonly incoming: readonly string[];
  readonly outgoing: readonly string[];
}

const isOut = (name: string): boolean => name.startsWith('out_');
const isIn = (name: string): boolean => name.startsWith('in_');

/**
 * Splits the fields of `struct`. Fields named `out_` are answers; any other counts as one when its bytes changed.
 * A call that failed answers nothing unless it changed something.
 */
export function splitFields(
  struct: Struct<any>,
  before: Uint8Array,
  after: Uint8Array | null,
  succeeded: boolean,
): Direction {
  const names = Object.keys(struct.fields).filter((name) => struct.endOf(name) <= before.length);
  const incoming = names.filter((name) => !isOut(name));
  if (after === null) return { incoming, outgoing: [] };
  const changed = (name: string): boolean => {
    const start = struct.fields[name]?.offset ?? 0;
    for (let at = start; at < struct.endOf(name); at++) if (before[at] !== after[at]) return true;
    return false;
  };
  const outgoing = names.filter((name) => !isIn(name) && (changed(name) || (succeeded && isOut(name))));
  return { incoming, outgoing };
}

/** `{size=40, flags=...}`: only the fields `names` of `struct`. */
export function printFields(
  struct: Struct<any>,
  names: readonly string[],
  bytes: Uint8Array,
  info: IoctlInfo,
): string {
  return printStruct({ ...struct, fields: pick(struct.fields, names) }, bytes, info);
}

/** The same for machines: 64-bit values as hexadecimal strings, all others as numbers. */
export function plainFields(
  struct: Struct<any>,
  names: readonly string[],
  bytes: Uint8Array,
): Record<string, unknown> {
  const whole = new Uint8Array(struct.size);
  whole.set(bytes.subarray(0, struct.size));
  return plainValue(pick(struct.decode(whole), names)) as Record<string, unknown>;
}

function pick<T>(from: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, from[name] as T]));
}

function plainValue(value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (Array.isArray(value)) return value.map(plainValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plainValue(inner)]));
}
