/**
 * Which bits of a capability are the user's to write, and which are kept in the virtual space instead of the device
 * (struct perm_bits and the tables of vfio_pci_config.c). All zero: readable, not writable, and read from the device.
 */
import { storeBytes } from '../../base/bytes.js';
import * as r from '../../bus/pci-registers.js';

/** How a piece of configuration space is accessed. */
export type Access =
  /** By the bits. */
  | 'bits'
  /** Read from the device, but for the link to the next capability; writes are dropped. */
  | 'direct'
  /** As `direct`, and written to the device. */
  | 'direct-write'
  /** The device, as it is. */
  | 'raw';

export interface Permissions {
  readonly access: Access;
  /** By byte: bits that lie in the virtual space, and bits that may be written. */
  readonly virt: Uint8Array;
  readonly write: Uint8Array;
}

const ALL = 0xffff_ffff;
/** Offset and width in bytes; bits that are virtual, bits that are writable. */
type Row = readonly [offset: number, width: 1 | 2 | 4, virt: number, write: number];

const NOTHING = new Uint8Array(0);
const without = (access: Access): Permissions => ({ access, virt: NOTHING, write: NOTHING });

function bits(size: number, rows: readonly Row[]): Permissions {
  const virt = new Uint8Array((size + 3) & ~3);
  const write = new Uint8Array(virt.length);
  for (const [offset, width, virtual, writable] of rows) {
    storeBytes(virt, offset, width, virtual);
    storeBytes(write, offset, width, writable);
  }
  return { access: 'bits', virt, write };
}

/** The link to the next capability is always virtual, so that one can be taken out. */
const NEXT: Row = [r.PCI_CAP_LIST_NEXT, 1, ALL, 0];
/** And so is the whole header of an extended one. */
const EXT_HEADER: Row = [0, 4, ALL, 0];

const bars = [0, 4, 8, 12, 16, 20].map((at): Row => [r.PCI_BASE_ADDRESS_0 + at, 4, ALL, ALL]);

export const basicPermissions = bits(r.PCI_STD_HEADER_SIZEOF, [
  [r.PCI_VENDOR_ID, 2, ALL, 0],
  [r.PCI_DEVICE_ID, 2, ALL, 0],
  [r.PCI_COMMAND, 2, r.PCI_COMMAND_INTX_DISABLE, ALL],
  [r.PCI_STATUS, 2, r.PCI_STATUS_CAP_LIST, 0],
  [r.PCI_CACHE_LINE_SIZE, 1, 0, ALL],
  [r.PCI_LATENCY_TIMER, 1, 0, ALL],
  [r.PCI_BIST, 1, 0, ALL],
  ...bars,
  [r.PCI_ROM_ADDRESS, 4, ALL, ALL],
  [r.PCI_CAPABILITY_LIST, 1, ALL, 0],
  [r.PCI_INTERRUPT_LINE, 1, ALL, ALL],
  [r.PCI_INTERRUPT_PIN, 1, ALL, 0],
]);

const pmEvents = r.PCI_PM_CTRL_PME_ENABLE | r.PCI_PM_CTRL_PME_STATUS;

const capabilities: Readonly<Record<number, Permissions>> = {
  [r.PCI_CAP_ID_PM]: bits(8, [
    NEXT,
    [r.PCI_PM_PMC, 2, r.PCI_PM_CAP_PME_MASK, 0],
    [r.PCI_PM_CTRL, 4, pmEvents, ~(pmEvents | r.PCI_PM_CTRL_STATE_MASK)],
  ]),
  [r.PCI_CAP_ID_VPD]: bits(8, [NEXT, [r.PCI_VPD_ADDR, 2, ALL, ALL], [r.PCI_VPD_DATA, 4, ALL, ALL]]),
  [r.PCI_CAP_ID_PCIX]: bits(24, [NEXT, [r.PCI_X_CMD, 2, 0, ALL], [r.PCI_X_ECC_CSR, 4, 0, ALL]]),
  [r.PCI_CAP_ID_VNDR]: without('direct-write'),
  [r.PCI_CAP_ID_EXP]: bits(0x34, [
    NEXT,
    [
      r.PCI_EXP_DEVCTL,
      2,
      r.PCI_EXP_DEVCTL_BCR_FLR | r.PCI_EXP_DEVCTL_PAYLOAD | r.PCI_EXP_DEVCTL_READRQ,
      ~r.PCI_EXP_DEVCTL_PHANTOM,
    ],
    [r.PCI_EXP_DEVCTL2, 2, 0, ~r.PCI_EXP_DEVCTL2_ARI],
  ]),
  [r.PCI_CAP_ID_AF]: bits(6, [NEXT, [r.PCI_AF_CTRL, 1, r.PCI_AF_CTRL_FLR, r.PCI_AF_CTRL_FLR]]),
};

/** All PCI_ERR_UNC_* and PCI_ERR_COR_* up to those that Linux lists there; ECRC generation and check. */
const UNCORRECTABLE = 0x03ff_f031;
const CORRECTABLE = 0xf1c1;
const ECRC = 0x140;

const extended: Readonly<Record<number, Permissions>> = {
  [r.PCI_EXT_CAP_ID_ERR]: bits(0x2c, [
    EXT_HEADER,
    [r.PCI_ERR_UNCOR_STATUS, 4, 0, UNCORRECTABLE],
    [r.PCI_ERR_UNCOR_MASK, 4, 0, UNCORRECTABLE],
    [r.PCI_ERR_UNCOR_SEVER, 4, 0, UNCORRECTABLE],
    [r.PCI_ERR_COR_STATUS, 4, 0, CORRECTABLE],
    [r.PCI_ERR_COR_MASK, 4, 0, CORRECTABLE],
    [r.PCI_ERR_CAP, 4, 0, ECRC],
  ]),
  [r.PCI_EXT_CAP_ID_PWR]: bits(16, [EXT_HEADER, [r.PCI_PWR_DATA, 1, 0, ALL]]),
  [r.PCI_EXT_CAP_ID_VNDR]: without('direct-write'),
  [r.PCI_EXT_CAP_ID_DVSEC]: without('direct-write'),
};

const direct = without('direct');

/** What nobody claims is the device's own. */
export const unassignedPermissions = without('raw');

export const capabilityPermissions = (cap: number): Permissions => capabilities[cap] ?? direct;
export const extendedPermissions = (cap: number): Permissions => extended[cap] ?? direct;

/** init_pci_cap_msi_perm: by what the device's MSI capability has. */
export function msiPermissions(length: number, flags: number): Permissions {
  const wide = (flags & r.PCI_MSI_FLAGS_64BIT) !== 0;
  const rows: Row[] = [NEXT, [r.PCI_MSI_FLAGS, 1, ALL, ALL], [r.PCI_MSI_ADDRESS_LO, 4, ALL, ALL]];
  if (wide) rows.push([r.PCI_MSI_ADDRESS_HI, 4, ALL, ALL]);
  rows.push([wide ? r.PCI_MSI_DATA_64 : r.PCI_MSI_DATA_32, 2, ALL, ALL]);
  if ((flags & r.PCI_MSI_FLAGS_MASKBIT) !== 0) {
    rows.push([wide ? r.PCI_MSI_MASK_64 : r.PCI_MSI_MASK_32, 4, 0, ALL]);
    rows.push([wide ? r.PCI_MSI_PENDING_64 : r.PCI_MSI_PENDING_32, 4, 0, ALL]);
  }
  return bits(length, rows);
}
