/**
 * Ioctl arguments for people: `{size=40, flags=FIXED_IOVA|READABLE, ioas_id=1, user_va=0x7f00, ...}`. Numbers that
 * have names show them; 64-bit fields are addresses and lengths and are hexadecimal; reserved zeros stay out.
 */
import type { IoctlInfo, Names } from './ioctl-rows.js';
import { findIoctl } from './ioctls.js';
import type { Struct } from './struct.js';

/** Fields that carry nothing while they are zero. */
const silent = /^(__reserved\d*|reserved|pad|last)$/;

/**
 * The struct at the start of `bytes`, which may be shorter than the struct (then the rest is not shown) or longer.
 * A number that is no known ioctl, or has no struct, gives ''.
 */
export function printIoctl(number: number, bytes: Uint8Array): string {
  const info = findIoctl(number, bytes);
  if (info === undefined || info.struct === null) return '';
  return printStruct(info.struct, bytes, info);
}

/** The argument of an ioctl that takes a number: `VFIO_TYPE1v2_IOMMU`. */
export function printValue(number: number, argument: number): string {
  const names = findIoctl(number, new Uint8Array())?.enums['arg'] ?? {};
  return enumName(names, argument);
}

/** `struct` from `bytes`, as far as they reach; `hints` name the values of fields. */
export function printStruct(
  struct: Struct<any>,
  bytes: Uint8Array,
  hints: Pick<IoctlInfo, 'flags' | 'enums'> = { flags: {}, enums: {} },
): string {
  const whole = new Uint8Array(struct.size);
  whole.set(bytes.subarray(0, struct.size));
  const value = struct.decode(whole) as Record<string, unknown>;
  const shown = Object.keys(struct.fields).filter(
    (name) => struct.endOf(name) <= bytes.length && !(silent.test(name) && isZero(value[name])),
  );
  const printed = shown.map((name) => `${name}=${printField(struct, name, value[name], hints)}`);
  return `{${printed.join(', ')}}`;
}

function isZero(value: unknown): boolean {
  return Array.isArray(value) ? value.every(isZero) : Number(value) === 0;
}

function printField(
  struct: Struct<any>,
  name: string,
  value: unknown,
  hints: Pick<IoctlInfo, 'flags' | 'enums'>,
): string {
  const inner = struct.fields[name]?.inner ?? null;
  if (inner !== null) {
    const bytes = new Uint8Array(inner.size);
    inner.encode(value, bytes);
    return printStruct(inner, bytes);
  }
  const flags = hints.flags[name];
  if (flags !== undefined) return flagNames(flags, BigInt(value as number | bigint));
  const names = hints.enums[name];
  if (names !== undefined) return enumName(names, Number(value));
  return printNumber(value);
}

function printNumber(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printNumber).join(', ')}]`;
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** Names of the bits that are set, joined by `|`, bits without a name last as one number; `0` for none. */
function flagNames(names: Names, value: bigint): string {
  let rest = value;
  const parts: string[] = [];
  for (const [name, bit] of Object.entries(names)) {
    if ((value & BigInt(bit)) === 0n) continue;
    parts.push(name);
    rest &= ~BigInt(bit);
  }
  if (rest !== 0n) parts.push(`0x${rest.toString(16)}`);
  return parts.length === 0 ? '0' : parts.join('|');
}

function enumName(names: Names, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? `0x${value.toString(16)}`;
}
