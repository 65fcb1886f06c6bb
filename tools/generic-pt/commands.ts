/** Random commands for oracle.c: crowded, so that leaves of every size meet, and tables are emptied and replaced. */
import type { Random } from '../differential/random.js';
import type { TableKind } from './tables.js';

const COMMANDS = 120;
const GIB = 1n << 30n;
const READ_WRITE = 3;

interface Mapping {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Every command is one that iommu_map() or iommufd can make: aligned to pages, with a length and a permission. */
export function commandsFor(kind: TableKind, random: Random): string[] {
  const commands = ['i'];
  const mapped: Mapping[] = [];
  for (let n = 0; n < COMMANDS; n += 1) {
    const choice = random.below(100);
    const known = mapped.length === 0 ? null : random.pick(mapped);
    if (choice < 45 || known === null) commands.push(mapCommand(kind, random, mapped));
    else if (choice < 60) commands.push(`u ${hex(known.iova)} ${hex(known.length)}`);
    // Mostly into the middle of leaves, or over holes.
    else if (choice < 70) commands.push(`u ${hex(inside(random, known))} ${hex(size(random))}`);
    else if (choice < 80) commands.push(`p ${hex(inside(random, known) + BigInt(random.below(4096)))}`);
    else if (choice < 85 && kind.hasDirty) commands.push(`s ${hex(inside(random, known))}`);
    // Not from inside of a leaf in several items: from its last item Linux reports nothing, and does not return.
    else if (choice < 90 && kind.hasDirty) commands.push(`r 0 ${hex(size(random))}`);
    else commands.push('d');
  }
  return [...commands, 'd'];
}

function mapCommand(kind: TableKind, random: Random, mapped: Mapping[]): string {
  // A range of GiB is congruent to GiB, or its tables would fill memory.
  const isHuge = random.chance(5);
  const length = isHuge ? BigInt(1 + random.below(600)) * GIB : size(random);
  const place = address(random, kind.maxVaLg2);
  const iova = isHuge ? place - (place % GIB) : place;
  // Congruent to some size, so that large leaves are used.
  const congruence = 1n << BigInt(isHuge ? 30 + random.below(10) : 12 + random.below(24));
  const far = address(random, kind.format.maxOaLg2 - 1) + 2n * congruence;
  const hpa = far - (far % congruence) + (iova % congruence);
  mapped.push({ iova, length });
  return `m ${hex(iova)} ${hex(hpa)} ${hex(length)} ${hex(BigInt(1 + random.below(READ_WRITE)))}`;
}

/** Mostly in the first GiB; some beyond what a table can do. */
function address(random: Random, widthLg2: number): bigint {
  const crowd = random.below(1 << 18);
  const rough = BigInt(crowd - (random.chance(50) ? crowd % 512 : 0)) << 12n;
  if (random.chance(70)) return rough;
  return (rough + (1n << BigInt(31 + random.below(Math.min(widthLg2, 63) - 31)))) & ~0xfffn;
}

function size(random: Random): bigint {
  if (random.chance(20)) return 0x1000n;
  return BigInt(1 + random.below(1 << random.below(15))) << 12n;
}

function inside(random: Random, { iova, length }: Mapping): bigint {
  const page = BigInt(random.next()) % (length >> 12n);
  return iova + (page << 12n);
}

function hex(value: bigint): string {
  return value.toString(16);
}
