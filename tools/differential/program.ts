/**
 * Programs for player.c: sequences of operations, their bytes, and what an operation looks like to a person.
 * An operand is a number, or a reference to what an earlier operation of the same sequence answered.
 */
import { layoutOf, type Layout } from './layouts.js';

/** In the order of player.c's enum. */
export const kinds = [
  'none',
  'ioctl',
  'poke',
  'read',
  'write',
  'poll',
  'open',
  'close',
  'dup',
  'mmap',
  'munmap',
  'mprotect',
  'fill',
  'hash',
  'status',
  'rlimit',
  'dropcaps',
  'ftruncate',
  'lseek',
] as const;
export type Kind = (typeof kinds)[number];

/** Offset that names the returned value instead of a field of the struct. */
export const RESULT = 0xffff;
const WHERE_BYTES = 0xff;

/** What operation `op` answered at `offset` of its struct, plus `addPages` pages and `addBytes` bytes. */
export interface Ref {
  readonly op: number;
  readonly offset: number;
  readonly width: 4 | 8;
  readonly addPages: number;
  readonly addBytes: number;
}

export type Operand = bigint | Ref;

/** A reference put into the struct at byte `at`. */
export interface BytesRef extends Ref {
  readonly at: number;
}

export interface Op {
  readonly kind: Kind;
  /** 1: in a child process; 2: store the struct though its page is read-only. */
  readonly flags: number;
  readonly args: readonly Operand[];
  /** The struct (ioctl, at args[2]) or the bytes to store (poke, at args[0]); zeros follow up to `span`. */
  readonly bytes: Uint8Array;
  readonly span: number;
  readonly refs: readonly BytesRef[];
}

export interface Sequence {
  readonly number: number;
  readonly ops: readonly Op[];
}

export const isRef = (operand: Operand): operand is Ref => typeof operand !== 'bigint';

function refBytes(into: DataView, at: number, where: number, place: number, ref: Ref): void {
  into.setUint8(at, where);
  into.setUint8(at + 1, ref.width);
  into.setUint16(at + 2, place, true);
  into.setUint16(at + 4, ref.op, true);
  into.setUint16(at + 6, ref.offset, true);
  into.setInt16(at + 8, ref.addPages, true);
  into.setInt16(at + 10, ref.addBytes, true);
}

const trimmed = (bytes: Uint8Array, keep: number): Uint8Array => {
  let n = bytes.length;
  while (n > keep && bytes[n - 1] === 0) n--;
  return bytes.subarray(0, n);
};

function encodeOp(op: Op): Uint8Array {
  const keep = op.refs.reduce((most, ref) => Math.max(most, ref.at + ref.width), 0);
  const bytes = trimmed(op.bytes, keep);
  const argRefs = op.args.flatMap((arg, index) => (isRef(arg) ? [{ arg, index }] : []));
  const nrefs = argRefs.length + op.refs.length;
  const size = 8 + op.args.length * 8 + nrefs * 12 + ((bytes.length + 3) & ~3);
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  view.setUint8(0, kinds.indexOf(op.kind));
  view.setUint8(1, op.flags);
  view.setUint8(2, op.args.length);
  view.setUint8(3, nrefs);
  view.setUint16(4, bytes.length, true);
  view.setUint16(6, op.span, true);
  let at = 8;
  for (const arg of op.args) {
    view.setBigUint64(at, isRef(arg) ? 0n : arg, true);
    at += 8;
  }
  for (const { arg, index } of argRefs) {
    refBytes(view, at, index, 0, arg);
    at += 12;
  }
  for (const ref of op.refs) {
    refBytes(view, at, WHERE_BYTES, ref.at, ref);
    at += 12;
  }
  out.set(bytes, at);
  return out;
}

/** One sequence with its header. */
function encodeSequence(sequence: Sequence): Uint8Array {
  const parts = sequence.ops.map(encodeOp);
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const out = new Uint8Array(12 + length);
  const view = new DataView(out.buffer);
  view.setUint32(0, length, true);
  view.setUint32(4, sequence.number, true);
  view.setUint32(8, sequence.ops.length, true);
  let at = 12;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The header of a program file of `count` sequences. */
function encodeHeader(count: number): Uint8Array {
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  view.setUint32(0, 0x31444f49, true);
  view.setUint32(4, count, true);
  return out;
}

/** A whole program file. */
export function encodeProgram(sequences: readonly Sequence[]): Uint8Array {
  return Buffer.concat([encodeHeader(sequences.length), ...sequences.map(encodeSequence)]);
}

function decodeOp(view: DataView, start: number): { op: Op; next: number } {
  const nargs = view.getUint8(start + 2);
  const nrefs = view.getUint8(start + 3);
  const nbytes = view.getUint16(start + 4, true);
  const args: Operand[] = [];
  const refs: BytesRef[] = [];
  for (let i = 0; i < nargs; i++) args.push(view.getBigUint64(start + 8 + i * 8, true));
  let at = start + 8 + nargs * 8;
  for (let i = 0; i < nrefs; i++, at += 12) {
    const where = view.getUint8(at);
    const ref: Ref = {
      width: view.getUint8(at + 1) as 4 | 8,
      op: view.getUint16(at + 4, true),
      offset: view.getUint16(at + 6, true),
      addPages: view.getInt16(at + 8, true),
      addBytes: view.getInt16(at + 10, true),
    };
    if (where === WHERE_BYTES) refs.push({ ...ref, at: view.getUint16(at + 2, true) });
    else args[where] = ref;
  }
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, nbytes);
  const kind = kinds[view.getUint8(start)] ?? 'none';
  const span = view.getUint16(start + 6, true);
  const op: Op = { kind, flags: view.getUint8(start + 1), args, bytes, span, refs };
  return { op, next: at + ((nbytes + 3) & ~3) };
}

/** The inverse of encodeProgram. */
export function decodeProgram(file: Uint8Array): Sequence[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const sequences: Sequence[] = [];
  for (let at = 8; at < file.length;) {
    const count = view.getUint32(at + 8, true);
    const number = view.getUint32(at + 4, true);
    const last = at + 12 + view.getUint32(at, true);
    const ops: Op[] = [];
    at += 12;
    for (let i = 0; i < count; i++) {
      const { op, next } = decodeOp(view, at);
      ops.push(op);
      at = next;
    }
    if (at !== last) throw new Error(`sequence ${number} is not as long as it says`);
    sequences.push({ number, ops });
  }
  return sequences;
}

const hex = (value: bigint): string => (value < 10n ? String(value) : `0x${value.toString(16)}`);

function refText(ref: Ref): string {
  const field = ref.offset === RESULT ? 'result' : `+${ref.offset}`;
  const add = ref.addPages * 4096 + ref.addBytes;
  return `<op ${ref.op} ${field}${add === 0 ? '' : ` ${add > 0 ? '+' : ''}${add}`}>`;
}

const operandText = (operand: Operand): string => (isRef(operand) ? refText(operand) : hex(operand));

function fieldText(op: Op, name: string, at: number, width: number): string {
  const ref = op.refs.find((r) => r.at === at);
  if (ref !== undefined) return `${name}=${refText(ref)}`;
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(op.bytes[at + i] ?? 0);
  return `${name}=${hex(value)}`;
}

/** The ioctl's layout, or null for other operations and unknown numbers. */
export function layoutOfOp(op: Op): Layout | null {
  const code = op.args[1];
  if (op.kind !== 'ioctl' || code === undefined || isRef(code)) return null;
  return layoutOf(Number(code & 0xffffffffn), op.bytes[4] ?? 0);
}

/** One operation with the names of its fields, for a person. */
export function describeOp(op: Op): string {
  const layout = layoutOfOp(op);
  const child = op.flags & 1 ? 'child ' : '';
  const args = op.args.map(operandText);
  if (op.kind !== 'ioctl') {
    const bytes = op.bytes.length === 0 ? '' : ` <- ${Buffer.from(op.bytes).toString('hex')}`;
    return `${child}${op.kind}(${args.join(', ')})${bytes}`;
  }
  const place = args.slice(2).join(', ');
  if (layout === null) return `${child}ioctl(${args.join(', ')}) <- ${Buffer.from(op.bytes).toString('hex')}`;
  const fields = op.span === 0 ? [] : layout.fields.map((f) => fieldText(op, f.name, f.at, f.width));
  return `${child}${layout.name}(${args[0]}) {${fields.join(' ')}} at ${place}`;
}
