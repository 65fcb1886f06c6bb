/**
 * From an ioctl number to a handler: the size rules, the copy of the struct and the end of the call (publish or
 * undo) are written here once, in Linux' order. A handler sees a decoded struct only.
 */
import { refuse } from '../base/errno.js';
import type { Struct } from '../wire/struct.js';
import type { IommuIoasCopy } from '../wire/uapi/iommufd.gen.js';
import type { Task } from '../mem/task.js';
import { Call } from './call.js';
import type { Context } from './context.js';
import { rules } from './rules.js';

/** IOMMUFD_CMD_BASE: numbers below belong to VFIO. */
const CMD_BASE = 0x80;

export interface IoctlRow {
  /** The whole code. */
  readonly cmd: number;
  readonly name: string;
  /** Smallest size that is taken: the end of the last field of the first version. */
  readonly minSize: number;
  /** Copies the struct in and runs the handler; the (non-negative) result. */
  readonly run: (call: Call) => number;
}

/** One line of the table. `last` is the last field that the first version of the struct had. */
export function row<T>(
  name: string,
  cmd: number,
  struct: Struct<T>,
  last: keyof T & string,
  handler: (call: Call, cmd: T) => number | void,
): IoctlRow {
  const run = (call: Call): number => handler(call, call.copyStructIn(struct, call.arg, call.userSize)) ?? 0;
  return { cmd, name, minSize: struct.endOf(last), run };
}

/** {@link row} for what is asked a million times: `args` has the struct's bytes, for the handler to read and to answer with. */
export function inPlaceRow<T, A extends { readonly bytes: Uint8Array }>(
  name: string,
  cmd: number,
  struct: Struct<T>,
  last: keyof T & string,
  args: A,
  handler: (call: Call, args: A) => void,
): IoctlRow {
  const run = (call: Call): number => {
    call.copyStructInto(args.bytes, call.arg, call.userSize);
    handler(call, args);
    return 0;
  };
  return { cmd, name, minSize: struct.endOf(last), run };
}

export interface IoctlTable {
  /** By number: the low byte of the code. */
  readonly rows: readonly (IoctlRow | undefined)[];
  /** Numbers outside the table. */
  readonly vfio: (context: Context, cmd: number, arg: bigint, task: Task) => number;
  /** The selftest's way to name a source area by its number instead of its IOVA. */
  readonly convertCopySource: ((call: Call, cmd: IommuIoasCopy) => void) | null;
}

export function ioctlTable(
  rows: readonly IoctlRow[],
  vfio: IoctlTable['vfio'],
  convertCopySource: IoctlTable['convertCopySource'] = null,
): IoctlTable {
  const byNumber: (IoctlRow | undefined)[] = [];
  for (const each of rows) byNumber[each.cmd & 0xff] = each;
  return { rows: byNumber, vfio, convertCopySource };
}

const sizeBytes = new Uint8Array(4);

export function dispatch(context: Context, cmd: number, arg: bigint, task: Task): number {
  const { ioctls, env } = context;
  const number = cmd & 0xff;
  if (number < CMD_BASE || number >= ioctls.rows.length) return ioctls.vfio(context, cmd, arg, task);
  if (env.injector.point('fail_usercopy', rules.size_unreadable.id) || !task.mm.read(arg, sizeBytes)) {
    refuse(rules.size_unreadable, { at: arg });
  }
  const userSize =
    (sizeBytes[0]! | (sizeBytes[1]! << 8) | (sizeBytes[2]! << 16) | (sizeBytes[3]! << 24)) >>> 0;
  const entry = ioctls.rows[number];
  if (entry === undefined || entry.cmd !== cmd) refuse(rules.ioctl_unknown, { cmd: BigInt(cmd >>> 0) });
  if (userSize < entry.minSize) {
    refuse(rules.size_too_small, { size: userSize, least: entry.minSize, ioctl: entry.name });
  }
  const call = new Call(context, task, arg, userSize);
  return finish(call, entry.run);
}

/** Runs `step` as one call: what it did stays when it returns, and is undone when it throws. */
export function finish(call: Call, step: (call: Call) => number): number {
  try {
    const result = step(call);
    call.commit();
    return result;
  } catch (error) {
    call.tx.rollback();
    throw error;
  }
}
