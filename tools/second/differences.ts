/**
 * Where the two implementations differ, each time with the reason why that is no mistake of ours. What no row explains
 * fails the run.
 */
import type { Access, Outcome } from './side.js';
import type { Scene } from './scenes.js';

export interface Difference {
  readonly name: string;
  readonly why: string;
  readonly explains: (ours: Outcome, theirs: Outcome, access: Access, scene: Scene) => boolean;
}

/** Scalable mode's fault reasons, and the legacy ones that QEMU records for them. */
const LEGACY_NUMBERS: Readonly<Record<number, readonly number[]>> = {
  0x38: [0x08],
  0x39: [0x01],
  0x3a: [0x0a],
  0x40: [0x09],
  0x41: [0x02],
  0x42: [0x0b],
  0x78: [0x07],
  0x79: [0x05, 0x06],
  0x7a: [0x0c],
  0x7b: [0x03],
  0x84: [0x04],
  0x85: [0x05],
  0x86: [0x06],
};
/** What says that no memory is where a table should be. */
const NO_TABLE = new Set([0x07, 0x08, 0x09, 0x38, 0x40, 0x50, 0x58, 0x70, 0x73, 0x78, 0x7b]);

const isInterrupt = (address: bigint): boolean => address >> 20n === 0xfeen;
const reasonOf = ({ fault }: Outcome): number => fault?.reason ?? 0;
const isRefused = ({ data, fault }: Outcome): boolean => data === null && fault !== null;

/** What only a cache can have caused: asked again with nothing cached, ioasis answers as QEMU does. */
export const CACHED = {
  name: 'two tables under one domain id',
  why: 'we tag by domain id and PASID (6.2.1), so one requester finds what another one cached; QEMU adds the requester',
} as const;

/** The first row that explains a difference is its reason. */
export const differences: readonly Difference[] = [
  {
    name: 'legacy numbers in scalable mode',
    why: 'QEMU refuses the same request in the same place, but records the legacy reason; chapter 7 has others',
    explains: (ours, theirs) =>
      isRefused(ours) &&
      isRefused(theirs) &&
      LEGACY_NUMBERS[reasonOf(ours)]?.includes(reasonOf(theirs)) === true &&
      ours.fault!.source === theirs.fault!.source &&
      ours.fault!.address === theirs.fault!.address &&
      ours.fault!.isRead === theirs.fault!.isRead,
  },
  {
    name: 'reads of the interrupt window',
    why: 'QEMU answers them with an error of the bus, and records no fault',
    explains: (ours, theirs, { iova, isWrite }) =>
      !isWrite &&
      isInterrupt(iova) &&
      [0x0e, 0x87].includes(reasonOf(ours)) &&
      theirs.data === null &&
      theirs.fault === null,
  },
  {
    name: 'pass-through beyond the address width',
    why: 'QEMU takes translation out of the way of a device that passes through, and looks at no address',
    explains: (ours, theirs, { iova }) =>
      iova >> 48n !== 0n && [0x04, 0x83].includes(reasonOf(ours)) && theirs.fault === null,
  },
  {
    name: 'both halves of a root entry',
    why: 'QEMU refuses every device of a bus when either half has reserved bits; a request uses one half (9.2)',
    explains: (ours, theirs, _access, { mode }) =>
      mode !== 'legacy' && reasonOf(ours) !== 0x3a && reasonOf(theirs) === 0x0a,
  },
  {
    name: 'fields of a context entry that this unit lacks',
    why: 'PASIDE, DTE, PRE and RID_PASID are reserved without their capability; QEMU does not look at them',
    explains: (ours) => reasonOf(ours) === 0x42,
  },
  {
    name: 'reserved bits of a PASID directory entry',
    why: 'QEMU does not check them',
    explains: (ours) => reasonOf(ours) === 0x52,
  },
  {
    name: 'reserved bits of a PASID entry',
    why: 'QEMU does not check them',
    explains: (ours) => reasonOf(ours) === 0x5a,
  },
  {
    name: 'type before presence of a PASID entry',
    why: 'QEMU looks at PGTT and AW first; an entry that is not present says nothing',
    explains: (ours, theirs) => reasonOf(ours) === 0x59 && reasonOf(theirs) === 0x5b,
  },
  {
    name: 'permission before presence and reserved bits',
    why: 'QEMU ends a walk at the first entry without W or U; we walk to the end, as a CPU does, and then judge',
    explains: (ours, theirs, _access, { mode }) =>
      mode === 'first'
        ? [0x70, 0x71, 0x72].includes(reasonOf(ours)) && [0x81, 0x85].includes(reasonOf(theirs))
        : [0x0c, 0x7a, 0x78, 0x07].includes(reasonOf(ours)) && [0x05, 0x06].includes(reasonOf(theirs)),
  },
  {
    name: 'large pages with the interrupt window in them',
    why: 'QEMU refuses all of such a page; we cut it, since only an address in the window is one (3.15)',
    explains: (ours, theirs) => ours.fault === null && [0x0e, 0x87].includes(reasonOf(theirs)),
  },
  {
    name: 'tables in the interrupt window',
    why: "QEMU's walk reads the registers of its APIC there; we have no memory in that place",
    explains: (ours, _theirs, _access, { spoils }) =>
      NO_TABLE.has(reasonOf(ours)) && spoils.some((value) => isInterrupt(value)),
  },
];
