/**
 * What is written into a PASID entry, and what has to be invalidated when it changes (VT-d 9.6 and 6.5.3.3; Linux:
 * drivers/iommu/intel/pasid.c).
 * Invariant: an entry is made from nothing or taken away whole; in place only the bits for snooping and for dirty
 * tracking change.
 */
import { invariant } from '../../../base/errno.js';
import { IOMMU_NO_PASID } from '../../group.js';
import {
  PE_AW_SHIFT,
  PE_FSPM_SHIFT,
  PE_PGSNP,
  PE_PGTT_MASK,
  PE_PGTT_SHIFT,
  PE_PWSNP,
  PE_SSADE,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  PRESENT,
} from '../structures.js';
import { EVERYTHING } from './commands.js';
import type { VtdDevice } from './device.js';
import { NO_ENTRY, type PasidEntry } from './pasid-table.js';

/** A root pointer: the words of a 4 KiB aligned HPA (of a nested first stage: GPA). */
export interface Root {
  readonly rootHi: number;
  readonly rootLo: number;
}

export interface SecondStageRoot extends Root {
  /** AW. */
  readonly addressWidth: number;
  readonly tracksDirty: boolean;
}

export interface FirstStageRoot extends Root {
  readonly levels: 4 | 5;
  /** SRE, WPE, EAFE. */
  readonly flags: number;
}

/** What both stages have: domain id, PWSNP (walks are coherent), PGSNP (accesses are made to be). */
export interface Tags {
  readonly did: number;
  readonly coherentWalk: boolean;
  readonly forceSnoop: boolean;
}

function tags({ did, coherentWalk, forceSnoop }: Tags): number {
  return did | (coherentWalk ? PE_PWSNP : 0) | (forceSnoop ? PE_PGSNP : 0);
}

function firstStageWord({ rootLo, levels, flags }: FirstStageRoot): number {
  return rootLo | flags | ((levels === 5 ? 1 : 0) << PE_FSPM_SHIFT);
}

function kind(pgtt: number, addressWidth: number): number {
  return PRESENT | (addressWidth << PE_AW_SHIFT) | (pgtt << PE_PGTT_SHIFT);
}

/** `addressWidth`: the unit's own, which means nothing here but is written. */
export function firstStageEntry(root: FirstStageRoot, addressWidth: number, with_: Tags): PasidEntry {
  return {
    w0: kind(PGTT_FIRST_STAGE, addressWidth),
    w1: 0,
    w2: tags(with_),
    w4: firstStageWord(root),
    w5: root.rootHi,
  };
}

export function secondStageEntry(root: SecondStageRoot, with_: Tags): PasidEntry {
  return {
    w0: kind(PGTT_SECOND_STAGE, root.addressWidth) | root.rootLo | (root.tracksDirty ? PE_SSADE : 0),
    w1: root.rootHi,
    w2: tags(with_),
    w4: 0,
    w5: 0,
  };
}

export function nestedEntry(first: FirstStageRoot, second: SecondStageRoot, with_: Tags): PasidEntry {
  return {
    w0: kind(PGTT_NESTED, second.addressWidth) | second.rootLo | (second.tracksDirty ? PE_SSADE : 0),
    w1: second.rootHi,
    w2: tags(with_),
    w4: firstStageWord(first),
    w5: first.rootHi,
  };
}

/** Writes an entry where none is. The unit does not cache that nothing was there, unless it says so (CAP.CM). */
export function setUpEntry(device: VtdDevice, pasid: number, entry: PasidEntry): void {
  const { unit, pasids } = device;
  invariant(!pasids.isPresent(pasid), `PASID ${pasid} of ${device.name} has an entry already`);
  pasids.write(pasid, entry);
  if (!unit.cachingMode) return;
  const did = pasids.did(pasid);
  unit.commands.pasidCache(did, pasid);
  unit.queue.sync();
  unit.commands.pasidIotlb(did, pasid, 0, 0, EVERYTHING, false);
  unit.queue.sync();
}

/** Blocks `pasid`, and returns when nothing remembers what was there and no page request of it is on its way. */
export function tearDownEntry(device: VtdDevice, pasid: number): void {
  const { unit, pasids } = device;
  if (!pasids.isPresent(pasid)) return;
  const w0 = pasids.word(pasid, 0);
  const did = pasids.did(pasid);
  pasids.setWord(pasid, 0, w0 & ~PRESENT);
  unit.commands.pasidCache(did, pasid);
  unit.queue.sync();
  const pgtt = (w0 >>> PE_PGTT_SHIFT) & PE_PGTT_MASK;
  if (pgtt === PGTT_FIRST_STAGE || pgtt === PGTT_PASS_THROUGH) {
    unit.commands.pasidIotlb(did, pasid, 0, 0, EVERYTHING, false);
  } else {
    unit.commands.iotlbOf(did);
  }
  unit.queue.sync();
  flushDevice(device, pasid);
  pasids.write(pasid, NO_ENTRY);
  drainPageRequests(device, pasid);
}

/** Sets or clears one bit of an entry in use; `word` is 0 or 2. */
function changeBit(device: VtdDevice, pasid: number, word: number, bit: number, isSet: boolean): boolean {
  const old = device.pasids.word(pasid, word);
  if (((old & bit) !== 0) === isSet) return false;
  device.pasids.setWord(pasid, word, isSet ? old | bit : old & ~bit);
  return true;
}

/** intel_pasid_setup_dirty_tracking: of an entry with a second stage. */
export function setEntryTracking(device: VtdDevice, pasid: number, enable: boolean): void {
  if (!changeBit(device, pasid, 0, PE_SSADE, enable)) return;
  const { unit } = device;
  const did = device.pasids.did(pasid);
  unit.commands.pasidCache(did, pasid);
  unit.queue.sync();
  unit.commands.iotlbOf(did);
  unit.queue.sync();
  flushDevice(device, pasid);
}

/** intel_pasid_setup_page_snoop_control: of a first-stage entry. */
export function forceEntrySnoop(device: VtdDevice, pasid: number): void {
  changeBit(device, pasid, 2, PE_PGSNP, true);
  const { unit } = device;
  const did = device.pasids.did(pasid);
  unit.commands.pasidCache(did, pasid);
  unit.queue.sync();
  unit.commands.pasidIotlb(did, pasid, 0, 0, EVERYTHING, false);
  unit.queue.sync();
  flushDevice(device, pasid);
}

function flushDevice(device: VtdDevice, pasid: number): void {
  if (!device.atsEnabled) return;
  device.unit.commands.deviceTlb(device.sourceId, pasid, 0, 0, EVERYTHING);
  device.unit.queue.sync();
}

/**
 * intel_iommu_drain_pasid_prq: page requests of `pasid` that are in the queue are handled, and those in the hardware
 * have reached it. As in Linux the domain id is that of the requester id's domain, whatever the PASID.
 */
function drainPageRequests(device: VtdDevice, pasid: number): void {
  if (device.iopfUsers === 0) return;
  const { unit } = device;
  unit.pageRequests.handle();
  const did = device.ridDid;
  unit.queue.appendFence();
  if (pasid === IOMMU_NO_PASID) unit.commands.iotlbOf(did);
  else unit.commands.pasidIotlb(did, pasid, 0, 0, EVERYTHING, false);
  unit.commands.deviceTlb(device.sourceId, pasid, 0, 0, EVERYTHING);
  unit.queue.sync(true);
}
