/** Where two worlds' answers differ, and how that looks to a person. */
import { errnoName } from './coverage.js';
import { regions } from './layouts.js';
import type { BriefAnswer, FullAnswer } from './answers.js';
import { describeOp, layoutOfOp, type Op, type Sequence } from './program.js';

/** One operation, or the memory at the end, that the two worlds answered differently. */
export interface Difference {
  readonly sequence: number;
  /** Index of the operation; the number of operations for the memory at the end. */
  readonly index: number;
  /** Operation and the two results: differences of one kind have one cause, mostly. */
  readonly kind: string;
  readonly text: string;
}

/** True when all of a sequence's operations, its end and its memory are the same. */
export function sameBrief(linux: BriefAnswer | undefined, other: BriefAnswer | undefined): boolean {
  if (linux === undefined || other === undefined) return false;
  return linux.died === other.died && Buffer.compare(linux.bytes, other.bytes) === 0;
}

/** Indices of the operations that differ, the memory at the end counted as one; [0] where an answer is missing. */
export function differingOps(linux: BriefAnswer | undefined, other: BriefAnswer | undefined): number[] {
  if (linux === undefined || other === undefined) return [0];
  const words = Math.max(linux.bytes.length, other.bytes.length) / 4;
  const found: number[] = [];
  for (let i = 0; i < words; i++) {
    const [a, b] = [linux, other].map((answer) => answer.bytes.subarray(i * 4, i * 4 + 4));
    if (Buffer.compare(a as Uint8Array, b as Uint8Array) !== 0) found.push(i);
  }
  return found.length === 0 && linux.died !== other.died ? [words - 1] : found;
}

function read(from: Uint8Array, at: number, width: number): bigint {
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(from[at + i] ?? 0);
  return value;
}

function structText(op: Op, hex: string, otherHex: string): string {
  const layout = layoutOfOp(op);
  if (layout === null || op.span === 0) return hex;
  const bytes = Buffer.from(hex === '-' ? '' : hex, 'hex');
  const others = Buffer.from(otherHex === '-' ? '' : otherHex, 'hex');
  const differing = layout.fields.filter((f) => read(bytes, f.at, f.width) !== read(others, f.at, f.width));
  const named = differing.map((f) => `${f.name}=0x${read(bytes, f.at, f.width).toString(16)}`);
  if (named.length === 0 && hex !== otherHex) named.push(hex);
  return named.length === 0 ? '' : `{${named.join(' ')}}`;
}

function answerText(op: Op, line: string | undefined, other: string | undefined): string {
  if (line === undefined) return 'not reached';
  const [result = '', errno = '0', hex = '-', watch = '0'] = line.split(' ');
  const [, , otherHex = '-', otherWatch = '0'] = (other ?? '').split(' ');
  const ret = errno === '0' ? result : `-1 ${errnoName(Number(errno))}`;
  const buffer = watch === otherWatch ? '' : ` buffer ${watch}`;
  return `${ret} ${structText(op, hex, otherHex)}${buffer}`.trimEnd();
}

function resultOf(line: string | undefined): string {
  if (line === undefined) return 'not reached';
  const [result = '', errno = '0'] = line.split(' ');
  return errno !== '0' ? errnoName(Number(errno)) : result === '0' ? 'ok' : 'ok, a number';
}

function memoryText(linux: FullAnswer, other: FullAnswer): string {
  const names = regions.filter((_, i) => linux.memory[i] !== other.memory[i]).map((r) => r.name);
  const ends =
    linux.died === other.died
      ? ''
      : `; ended with ${linux.died ?? 'all played'} / ${other.died ?? 'all played'}`;
  return `memory at the end differs: ${names.join(', ') || 'nowhere'}${ends}`;
}

/** Every operation of `sequence` that differs, in order. */
export function differences(sequence: Sequence, linux: FullAnswer, other: FullAnswer): Difference[] {
  const found: Difference[] = [];
  for (const [index, op] of sequence.ops.entries()) {
    const [a, b] = [linux.lines[index], other.lines[index]];
    if (a === b) continue;
    const text = `${describeOp(op)}\n    linux  ${answerText(op, a, b)}\n    ioasis ${answerText(op, b, a)}`;
    const kind = `${layoutOfOp(op)?.name ?? op.kind}: linux ${resultOf(a)}, ioasis ${resultOf(b)}`;
    found.push({ sequence: sequence.number, index, kind, text });
  }
  if (linux.memory.join() !== other.memory.join() || linux.died !== other.died) {
    const text = memoryText(linux, other);
    found.push({ sequence: sequence.number, index: sequence.ops.length, kind: 'memory at the end', text });
  }
  return found;
}
