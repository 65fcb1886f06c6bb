/** VFIO_DEVICE_SET_IRQS as every driver reads it (vfio_set_irqs_validate_and_prepare), checks in that order. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import {
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_DATA_BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
  vfio_irq_set,
} from '../wire/uapi/vfio.gen.js';
import { rules } from './call-rules.js';

const LEAST = vfio_irq_set.endOf('count');
const DATA = BigInt(LEAST);
const U32_MAX = 0xffff_ffff;
const KNOWN_FLAGS = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;

/** Bytes of data for each interrupt, by the kind of data. */
const widths: Readonly<Record<number, number>> = {
  [VFIO_IRQ_SET_DATA_NONE]: 0,
  [VFIO_IRQ_SET_DATA_BOOL]: 1,
  [VFIO_IRQ_SET_DATA_EVENTFD]: 4,
};

export interface IrqSet {
  readonly user: UserMemory;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** One of VFIO_IRQ_SET_DATA_*. */
  readonly kind: number;
  /** Bits of VFIO_IRQ_SET_ACTION_TYPE_MASK. */
  readonly action: number;
  /** For kind BOOL or EVENTFD, one for each of `count`. */
  readonly values: readonly number[];
}

/** `countOf(index)`: how many interrupts there are of a kind, 0 for a kind beyond `kinds`. */
export function readIrqSet(
  user: UserMemory,
  arg: bigint,
  kinds: number,
  countOf: (index: number) => number,
): IrqSet {
  const header = vfio_irq_set.decode(user.copyIn(arg, LEAST, rules.irqs_unreadable));
  const { argsz, flags, index, start, count } = header;
  const most = countOf(index);
  if (argsz < LEAST) refuse(rules.irqs_size, { argsz, least: LEAST });
  if (index >= kinds) refuse(rules.irqs_index, { index, kinds });
  if (count >= U32_MAX - start) refuse(rules.irqs_wraps, { start, count });
  if ((flags & ~KNOWN_FLAGS) !== 0) refuse(rules.irqs_flags, { flags });
  if (start >= most) refuse(rules.irqs_start, { start, most, index });
  if (start + count > most) refuse(rules.irqs_count, { start, count, most, index });
  const kind = flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
  const width = widths[kind] ?? refuse(rules.irqs_data_kind, { flags });
  if (argsz - LEAST < count * width) refuse(rules.irqs_data_size, { argsz, least: LEAST + count * width });
  const values = readValues(user, arg + DATA, count, width);
  return { user, index, start, count, kind, action: flags & VFIO_IRQ_SET_ACTION_TYPE_MASK, values };
}

function readValues(user: UserMemory, at: bigint, count: number, width: number): number[] {
  if (count * width === 0) return [];
  user.alloc('vfio_irq_set.data');
  const bytes = user.copyIn(at, count * width, rules.irqs_data_unreadable);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, i) => (width === 1 ? bytes[i]! : view.getInt32(i * 4, true)));
}
