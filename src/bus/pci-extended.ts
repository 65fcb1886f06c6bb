/**
 * Capabilities of the second chain, each with the bits that a store changes. Chapters: PCI Express Base 5.0, 7.8.4 (AER),
 * 7.7.8 (ACS), 7.9.3 (serial number), 10.5 (ATS, PRI), 7.8.8 (PASID); SR-IOV 1.1, 3.3.
 */
import { defineBar, placeBar, type BarKind, type PciConfig } from './pci-config.js';
import * as r from './pci-registers.js';

const AER_BYTES = 0x48;
/** Uncorrectable errors that there are, those that are fatal, and what correctable ones there are. */
const UNCORRECTABLE = 0x07ff_f030;
const FATAL = 0x0046_2030;
const CORRECTABLE = 0xf1c1;
const ADVISORY = 1 << 13;

export function addErrorReporting(config: PciConfig): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_ERR, 2, AER_BYTES);
  config.define(at + 0x04, 4, { clears: UNCORRECTABLE });
  config.define(at + 0x08, 4, { writable: UNCORRECTABLE });
  config.define(at + 0x0c, 4, { reset: FATAL, writable: UNCORRECTABLE });
  config.define(at + 0x10, 4, { clears: CORRECTABLE });
  config.define(at + 0x14, 4, { reset: ADVISORY, writable: CORRECTABLE });
}

export function addSerialNumber(config: PciConfig, high: number, low: number): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_DSN, 1, 12);
  config.define(at + 4, 4, { reset: low });
  config.define(at + 8, 4, { reset: high });
}

/** Redirection of requests and completions, and direct translated requests: what functions of one device can have. */
const ACS_FUNCTION = (1 << 2) | (1 << 3) | (1 << 6);

export function addAccessControl(config: PciConfig): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_ACS, 1, 8);
  config.define(at + 4, 2, { reset: ACS_FUNCTION });
  // As Linux sets them where there is a unit: peers are reached through it only.
  config.define(at + 6, 2, { reset: ACS_FUNCTION & ~(1 << 6), writable: ACS_FUNCTION });
}

const ATS_QUEUE_DEPTH = 0x1f;
const ATS_ALIGNED = 1 << 5;
const ATS_UNIT = 0x1f;
const ATS_ENABLE = 1 << 15;

/** Enabled, as Linux leaves it where the unit takes part; so are page requests and PASIDs. */
export function addAts(config: PciConfig): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_ATS, 1, 8);
  config.define(at + 4, 2, { reset: ATS_QUEUE_DEPTH | ATS_ALIGNED });
  config.define(at + 6, 2, { reset: ATS_ENABLE, writable: ATS_ENABLE | ATS_UNIT });
}

const PRI_ENABLE = 1;
const PRI_NEEDS_PASID = 1 << 15;
const PRI_FAILURES = 3;

export function addPageRequests(config: PciConfig, outstanding: number, hasPasid: boolean): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_PRI, 1, 16);
  config.define(at + 4, 2, { reset: PRI_ENABLE, writable: PRI_ENABLE });
  config.define(at + 6, 2, { reset: hasPasid ? PRI_NEEDS_PASID : 0, clears: PRI_FAILURES });
  config.define(at + 8, 4, { reset: outstanding });
  config.define(at + 12, 4, { reset: outstanding, writable: 0xffff_ffff });
}

const PASID_ENABLE = 1;
const PASID_EXECUTE = 1 << 1;
const PASID_PRIVILEGED = 1 << 2;

export function addPasid(config: PciConfig, bits: number): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_PASID, 1, 8);
  config.define(at + 4, 2, { reset: PASID_EXECUTE | PASID_PRIVILEGED | (bits << 8) });
  const writable = PASID_ENABLE | PASID_EXECUTE | PASID_PRIVILEGED;
  config.define(at + 6, 2, { reset: PASID_ENABLE, writable });
}

/** Virtual functions that a function can have, and what they are like. */
export interface SriovPlan {
  readonly total: number;
  /** From the requester id of the physical function to that of the first, and from each to the next. */
  readonly offset: number;
  readonly stride: number;
  readonly device: number;
  /** Sizes of the BARs that each of them has, by index; null: none, or the upper half of the one before. */
  readonly bars: readonly ({ readonly size: number; readonly kind: BarKind } | null)[];
}

const SRIOV_BYTES = 0x40;
const SRIOV_CONTROL = 0x08;
const SRIOV_COUNT = 0x10;
export const SRIOV_BARS = 0x24;
const VF_ENABLE = 1;
const VF_MEMORY = 1 << 3;
const PAGES_4K = 1;

export function addSriov(config: PciConfig, { total, offset, stride, device, bars }: SriovPlan): void {
  const at = config.addExtended(r.PCI_EXT_CAP_ID_SRIOV, 1, SRIOV_BYTES);
  config.define(at + SRIOV_CONTROL, 2, { writable: VF_ENABLE | VF_MEMORY });
  config.define(at + 0x0c, 2, { reset: total });
  config.define(at + 0x0e, 2, { reset: total });
  config.define(at + SRIOV_COUNT, 2, { writable: 0xffff });
  config.define(at + 0x14, 2, { reset: offset });
  config.define(at + 0x16, 2, { reset: stride });
  config.define(at + 0x1a, 2, { reset: device });
  config.define(at + 0x1c, 4, { reset: PAGES_4K });
  config.define(at + 0x20, 4, { reset: PAGES_4K, writable: PAGES_4K });
  for (const [index, bar] of bars.entries()) {
    if (bar !== null) defineBar(config.registers, at + SRIOV_BARS + 4 * index, bar.size, bar.kind);
  }
}

/** Where firmware has put BAR `index` of the first virtual function; those of the others follow. */
export function placeVirtualBar(config: PciConfig, index: number, address: bigint): void {
  placeBar(
    config.registers,
    config.extendedCapability(r.PCI_EXT_CAP_ID_SRIOV) + SRIOV_BARS + 4 * index,
    address,
  );
}

/** What the control register says of virtual functions: as Linux sets it when there are `count`. */
export function setVirtualFunctions(config: PciConfig, count: number): void {
  const at = config.extendedCapability(r.PCI_EXT_CAP_ID_SRIOV);
  config.registers.fix(at + SRIOV_CONTROL, 2, count > 0 ? VF_ENABLE | VF_MEMORY : 0);
  config.registers.fix(at + SRIOV_COUNT, 2, count);
}
