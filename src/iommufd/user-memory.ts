/**
 * Copies from and to a caller's memory, with the rules and the points of failure that Linux has for them. Every ioctl
 * has one of these, of whatever file it is.
 */
import { refuse, type Rule } from '../base/errno.js';
import type { Task } from '../mem/task.js';
import type { Struct } from '../wire/struct.js';
import type { Env } from './env.js';
import { shortage } from './shortage.js';
import { rules } from './rules.js';

const PAGE_MASK_LOW = 4095n;
/** TASK_SIZE_MAX of x86-64 with four levels: no user address lies at or above it. */
export const TASK_SIZE = 0x7ffffffff000n;

/**
 * Room for one struct of each length, on its way in or out. Calls run one after the other and nobody keeps these
 * bytes, and a new array for each struct would be the largest part of what a call costs.
 */
const rooms: (Uint8Array | undefined)[] = [];

export function roomFor(length: number): Uint8Array {
  return (rooms[length] ??= new Uint8Array(length));
}

export class UserMemory {
  constructor(
    readonly env: Env,
    readonly task: Task,
  ) {}

  /** copy_from_user: `length` bytes; EFAULT by `rule`. */
  copyIn(at: bigint, length: number, rule: Rule): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#fill(bytes, at, rule);
    return bytes;
  }

  /** get_user of a u32; EFAULT by `rule`. */
  copyU32(at: bigint, rule: Rule): number {
    return new DataView(this.copyIn(at, 4, rule).buffer).getUint32(0, true);
  }

  /** copy_from_user of the first `length` bytes of a struct; the rest of it is 0. */
  copyHead<T>(struct: Struct<T>, at: bigint, length: number, rule: Rule): T {
    const bytes = new Uint8Array(struct.size);
    bytes.set(this.copyIn(at, length, rule));
    return struct.decode(bytes);
  }

  #fill(bytes: Uint8Array, at: bigint, rule: Rule): void {
    const { length } = bytes;
    if (length === 0) return;
    const failed = this.env.injector.point('fail_usercopy', rule.id);
    if (failed || !this.task.mm.read(at, bytes)) refuse(rule, { at, length });
  }

  /** copy_to_user, at once; EFAULT by `rule`. */
  copyOut(at: bigint, bytes: Uint8Array, rule: Rule): void {
    if (bytes.length === 0) return;
    const failed = this.env.injector.point('fail_usercopy', rule.id);
    if (failed || !this.task.mm.write(at, bytes)) refuse(rule, { at, length: bytes.length });
  }

  /** copy_to_user of what the call answers: it may go with the answer, which then becomes EFAULT by itself. */
  answer(at: bigint, bytes: Uint8Array, rule: Rule): void {
    const failed = this.env.injector.point('fail_usercopy', rule.id);
    if (failed || !this.task.reply(at, bytes)) refuse(rule, { at, length: bytes.length });
  }

  /** copy_struct_from_user: shorter ones are zero-extended, a longer one must end in zeros (E2BIG). */
  copyStructIn<T>(struct: Struct<T>, at: bigint, length: number): T {
    const bytes = roomFor(struct.size);
    this.#fillStruct(bytes, at, length);
    return struct.decode(bytes);
  }

  /** {@link copyStructIn} without decoding: fills `bytes`, which are as many as the struct has. */
  copyStructInto(bytes: Uint8Array, at: bigint, length: number): void {
    this.#fillStruct(bytes, at, length);
  }

  /** The bytes that {@link copyStructIn} decodes: always `size` of them. */
  copyStructBytes(size: number, at: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.#fillStruct(bytes, at, length);
    return bytes;
  }

  #fillStruct(bytes: Uint8Array, at: bigint, length: number): void {
    const size = bytes.length;
    if (length > size) this.#checkZeroTail(at, size, length);
    const known = length < size ? roomFor(length) : bytes;
    this.#fill(known, at, rules.struct_unreadable);
    if (known === bytes) return;
    bytes.fill(0);
    bytes.set(known);
  }

  /** Page by page, so that a huge length costs no memory, and a non-zero byte before a hole is seen first. */
  #checkZeroTail(at: bigint, known: number, size: number): void {
    const end = at + BigInt(size);
    if (end > TASK_SIZE) refuse(rules.struct_beyond_memory, { at, length: size });
    let from = at + BigInt(known);
    while (from < end) {
      const pageEnd = (from | PAGE_MASK_LOW) + 1n;
      const length = Number((pageEnd < end ? pageEnd : end) - from);
      const nonZero = this.copyIn(from, length, rules.struct_tail_unreadable).findIndex((byte) => byte !== 0);
      if (nonZero >= 0) refuse(rules.struct_tail_not_zero, { size, known, at: from + BigInt(nonZero) });
      from += BigInt(length);
    }
  }

  /** A point where Linux allocates; `site` names it. ENOMEM when it is made to fail. */
  alloc(site: string): void {
    const refusal = shortage(this.env.injector, 'failslab', site);
    if (refusal !== null) refuse(refusal.rule, refusal.values);
  }

  /** iommufd_should_fail() at a named site. */
  shouldFail(site: string): boolean {
    return this.env.injector.point('fail_iommufd', site);
  }
}
