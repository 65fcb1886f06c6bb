/**
 * What a page of every size permits in first and second stages of every kind, and all that an answer says of a request:
 * for tests that compare ways to find it. What is expected is written down beside the tables, not asked of the unit.
 */
import { Contexts } from '../../../src/hw/vtd/context.js';
import { FIRST_FLAGS, FS_LEAF, SECOND, context, mapPage, pasidEntry } from './structures.js';
import { EXEC, PASID, READ, SOURCE, WRITE, type Ask, type World } from './world.js';

export const BASE = 0x12_4000_0000n;
const RW = 2n;
const US = 4n;
export const D = 64n;
const XD = 1n << 63n;
const SRE = 1n;
const WPE = 16n;
export const SMEP = 64n;
const READ_ONLY = READ | EXEC;
export const ALL = READ | WRITE | EXEC;
export const QUESTION = 1;
export const TRANSLATED = 2;

/** What is mapped for a PASID, and what its tables permit to user and to privileged requests. */
const rows = [
  { what: 'all', kind: 1n, leaf: FS_LEAF, user: ALL, priv: ALL },
  { what: 'clean', kind: 1n, leaf: FS_LEAF & ~D, user: ALL, priv: ALL },
  { what: 'read only', kind: 1n, leaf: FS_LEAF & ~RW, user: READ_ONLY, priv: READ_ONLY },
  { what: 'read only, WPE clear', kind: 1n, leaf: FS_LEAF & ~RW & ~D, off: WPE, user: READ_ONLY, priv: ALL },
  { what: 'data', kind: 1n, leaf: FS_LEAF | XD, user: READ | WRITE, priv: READ | WRITE },
  { what: 'privileged', kind: 1n, leaf: FS_LEAF & ~US & ~D, user: 0, priv: ALL },
  { what: 'SMEP', kind: 1n, leaf: FS_LEAF, on: SMEP, user: ALL, priv: READ | WRITE },
  { what: 'SRE clear', kind: 1n, leaf: FS_LEAF, off: SRE, user: ALL, priv: 0 },
  { what: 'second stage', kind: 2n, leaf: 3n, user: ALL, priv: ALL },
  { what: 'second stage, read only', kind: 2n, leaf: 1n, user: READ_ONLY, priv: READ_ONLY },
  { what: 'second stage, write only', kind: 2n, leaf: 2n, user: WRITE, priv: WRITE },
] as const;

/** Another one for each. */
export const hpaOf = (index: number): bigint => BigInt(index + 5) << 30n;

export interface Mapped {
  readonly row: (typeof rows)[number];
  readonly pasid: number;
  readonly size: number;
  readonly hpa: bigint;
  /** Where the last entry is. */
  readonly at: bigint;
}

/** Every row with a page of every size, each for a PASID of its own; a domain has one second stage. */
export function build(world: World): Mapped[] {
  const mapped: Mapped[] = [];
  for (const row of rows) {
    for (const size of [12, 21, 30]) {
      const pasid = mapped.length + 1;
      const hpa = hpaOf(mapped.length);
      const root = world.table();
      const options = row.kind === 2n ? { ...SECOND, size } : { size };
      const at = mapPage(world, root, BASE, hpa | row.leaf, options).at(-1)!;
      const { off = 0n, on = 0n } = row as { off?: bigint; on?: bigint };
      const place = row.kind === 2n ? { second: root } : { first: root };
      const firstFlags = (FIRST_FLAGS & ~off) | on;
      const did = row.kind === 2n ? 5n + BigInt(pasid) : 5n;
      pasidEntry(world, context(world, { pasid }).entry, row.kind, { did, firstFlags, ...place });
      mapped.push({ row, pasid, size, hpa, at });
    }
  }
  return mapped;
}

/** What an answer must not keep of the one before it. */
const JUNK = { hpaHi: -1, hpaLo: -1, sizeLg2: 63, permitted: 8, reason: 0xff, recoverable: true };

export function said(world: World, iova: bigint, ask: Ask): unknown {
  Object.assign(world.request, JUNK);
  const hpa = world.ask(iova, ask);
  const { sizeLg2, permitted, reason, recoverable } = world.request;
  if (hpa !== null) return { hpa, sizeLg2, permitted, reason, recoverable };
  return { permitted, recoverable, hasReason: reason !== 0 && reason !== 0xff };
}

export const granted = (hpa: bigint, sizeLg2: number, permitted: number): unknown => ({
  hpa,
  sizeLg2,
  permitted,
  reason: 0,
  recoverable: false,
});
/** Not translated. */
export const itself = (iova: bigint, permitted: number): unknown => granted(iova, 12, permitted);
export const refused = (recoverable: boolean): unknown => ({ permitted: 0, recoverable, hasReason: true });

/** The same of {@link Requests.peek}. */
export function look(world: World, iova: bigint, { pasid = PASID, access = READ }: Ask = {}): unknown {
  const { request } = world;
  Object.assign(request, JUNK, { sourceId: SOURCE, pasid, access, addressType: 0 });
  Object.assign(request, { hi: Number(iova >> 32n) | 0, lo: Number(iova & 0xffff_ffffn) | 0 });
  if (!world.unit.peek(request)) return null;
  const { sizeLg2, permitted, reason, recoverable } = request;
  const hpa = (BigInt(request.hpaHi >>> 0) << 32n) | BigInt(request.hpaLo >>> 0);
  return { hpa, sizeLg2, permitted, reason, recoverable };
}

/** How often a unit asks what a requester and PASID mean while `body` runs. */
export function asked(body: () => void, listener: (row: number) => void = () => {}): number {
  const find = Contexts.prototype.find;
  let count = 0;
  Contexts.prototype.find = function counted(this: Contexts, ...who) {
    count += 1;
    const row = find.apply(this, who);
    listener(row);
    return row;
  };
  try {
    body();
  } finally {
    Contexts.prototype.find = find;
  }
  return count;
}
