/**
 * Capabilities of the first chain, each with the bits that a store changes: power management, MSI, MSI-X, PCI Express.
 * Chapters: PCI Power Management 1.2, 3.2; PCI Local Bus 3.0, 6.8; PCI Express Base 5.0, 7.5.3.
 */
import type { PciConfig } from './pci-config.js';
import * as r from './pci-registers.js';
import type { Registers } from './registers.js';

const PM_BYTES = 8;
const PM_VERSION = 3;
const PM_D3HOT = 3;
const PM_NO_SOFT_RESET = 1 << 3;

/** D0 and D3hot, and the way back keeps everything. `act` runs when the state may have changed. */
export function addPowerManagement(config: PciConfig, act: () => void): void {
  const at = config.addCapability(r.PCI_CAP_ID_PM, PM_BYTES);
  const control = at + r.PCI_PM_CTRL;
  config.define(at + 2, 2, { reset: PM_VERSION });
  config.define(control, 2, { reset: PM_NO_SOFT_RESET, writable: r.PCI_PM_CTRL_STATE_MASK }, () => {
    const { registers } = config;
    const asked = registers.get(control, 2) & r.PCI_PM_CTRL_STATE_MASK;
    // A state that there is none of is not entered.
    if (asked === 0 || asked === PM_D3HOT) config.powerState = asked;
    registers.set(control, 2, PM_NO_SOFT_RESET | config.powerState);
    act();
  });
}

export interface MsiOptions {
  /** A power of two up to 32. */
  readonly vectors: number;
  readonly is64: boolean;
  readonly hasMasks: boolean;
}

export function addMsi(config: PciConfig, { vectors, is64, hasMasks }: MsiOptions): void {
  const data = is64 ? 12 : 8;
  const at = config.addCapability(r.PCI_CAP_ID_MSI, hasMasks ? data + 12 : data + 2);
  const says =
    (Math.log2(vectors) << 1) | (is64 ? r.PCI_MSI_FLAGS_64BIT : 0) | (hasMasks ? r.PCI_MSI_FLAGS_MASKBIT : 0);
  config.define(at + 2, 2, { reset: says, writable: r.PCI_MSI_FLAGS_ENABLE | r.PCI_MSI_FLAGS_QSIZE });
  config.define(at + 4, 4, { writable: 0xffff_fffc });
  if (is64) config.define(at + 8, 4, { writable: 0xffff_ffff });
  config.define(at + data, 2, { writable: 0xffff });
  if (!hasMasks) return;
  config.define(at + data + 4, 4, { writable: 2 ** vectors - 1 });
  config.define(at + data + 8, 4, {});
}

/** Where the tables are: both in one BAR. */
export interface MsixPlace {
  /** 1 to 2048. */
  readonly vectors: number;
  readonly bar: number;
  readonly table: number;
  readonly pending: number;
}

const MSIX_BYTES = 12;
const MSIX_MASK_ALL = 1 << 14;

export function addMsix(config: PciConfig, { vectors, bar, table, pending }: MsixPlace): void {
  const at = config.addCapability(r.PCI_CAP_ID_MSIX, MSIX_BYTES);
  config.define(at + 2, 2, { reset: vectors - 1, writable: r.PCI_MSIX_FLAGS_ENABLE | MSIX_MASK_ALL });
  config.define(at + 4, 4, { reset: table | bar });
  config.define(at + 8, 4, { reset: pending | bar });
}

/** The table itself: every vector is masked, and says nothing else. */
export function defineMsixTable(registers: Registers, { vectors, table }: MsixPlace): void {
  for (let vector = 0; vector < vectors; vector++) {
    const at = table + vector * r.PCI_MSIX_ENTRY_SIZE;
    registers.define(at, 4, { writable: 0xffff_fffc });
    registers.define(at + 4, 4, { writable: 0xffff_ffff });
    registers.define(at + 8, 4, { writable: 0xffff_ffff });
    registers.define(at + 12, 4, { reset: 1, writable: 1 });
  }
}

const EXPRESS_BYTES = 60;
const EXPRESS_VERSION = 2;
/** Device/port type: one that is part of the root complex, so that there is no link to describe. */
const EXPRESS_INTEGRATED = 9 << 4;
const DEVICE_STATUS = 10;
/** 256 bytes of payload, extended tags, role-based errors, function level reset. */
const DEVICE_CAPABILITIES = 1 | (1 << 5) | (1 << 15) | (1 << 28);
/** What is enabled at power-on: relaxed ordering, no snoop, reads of 512 bytes. */
const DEVICE_CONTROL_RESET = 0x2810;
const DEVICE_CONTROL_WRITABLE = 0x79ff;
const DEVICE_ERRORS = 0xf;
const DEVICE_CAPABILITIES_2 = 0x24;
/** Completion timeouts: can be disabled. */
const TIMEOUT_DISABLE = 1 << 4;
/** One end-to-end prefix: the PASID. */
const ONE_PREFIX = (1 << 21) | (1 << 22);

/** `reset` runs when a store asks for a function level reset. */
export function addExpress(config: PciConfig, hasPasid: boolean, reset: () => void): void {
  const at = config.addCapability(r.PCI_CAP_ID_EXP, EXPRESS_BYTES);
  config.define(at + 2, 2, { reset: EXPRESS_VERSION | EXPRESS_INTEGRATED });
  config.define(at + 4, 4, { reset: DEVICE_CAPABILITIES });
  const control = at + r.PCI_EXP_DEVCTL;
  const bits = { reset: DEVICE_CONTROL_RESET, writable: DEVICE_CONTROL_WRITABLE | r.PCI_EXP_DEVCTL_BCR_FLR };
  config.define(control, 2, bits, () => {
    const stored = config.registers.get(control, 2);
    if ((stored & r.PCI_EXP_DEVCTL_BCR_FLR) === 0) return;
    config.registers.set(control, 2, stored & ~r.PCI_EXP_DEVCTL_BCR_FLR);
    reset();
  });
  config.define(at + DEVICE_STATUS, 2, { clears: DEVICE_ERRORS });
  const prefixes = hasPasid ? ONE_PREFIX : 0;
  config.define(at + DEVICE_CAPABILITIES_2, 4, { reset: TIMEOUT_DISABLE | prefixes });
  config.define(at + r.PCI_EXP_DEVCTL2, 2, { writable: TIMEOUT_DISABLE });
}
