/**
 * How long the capabilities of a device are, as vfio_pci_config.c counts them. Length 0 takes a capability out of what
 * the user sees.
 */
import type { ConfigSpace } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';

/** Not in a table: the capability itself says. */
const VARIABLE = 0xff;

/** By id; what is missing is hidden. 0x02: AGP, 0x03: VPD. */
const capLengths: Readonly<Record<number, number>> = {
  [r.PCI_CAP_ID_PM]: 8,
  0x02: 12,
  [r.PCI_CAP_ID_VPD]: 8,
  [r.PCI_CAP_ID_MSI]: VARIABLE,
  [r.PCI_CAP_ID_PCIX]: VARIABLE,
  [r.PCI_CAP_ID_HT]: VARIABLE,
  [r.PCI_CAP_ID_VNDR]: VARIABLE,
  [r.PCI_CAP_ID_EXP]: VARIABLE,
  [r.PCI_CAP_ID_MSIX]: 12,
  [r.PCI_CAP_ID_SATA]: VARIABLE,
  [r.PCI_CAP_ID_AF]: 6,
};

/** Those of extended capabilities. 0x03: serial number, 0x0e: ARI, 0x10: SR-IOV, 0x12: multicast, 0x18: LTR. */
const extCapLengths: Readonly<Record<number, number>> = {
  [r.PCI_EXT_CAP_ID_ERR]: 0x2c,
  [r.PCI_EXT_CAP_ID_VC]: VARIABLE,
  0x03: 12,
  [r.PCI_EXT_CAP_ID_PWR]: 16,
  [r.PCI_EXT_CAP_ID_MFVC]: VARIABLE,
  [r.PCI_EXT_CAP_ID_VC9]: VARIABLE,
  [r.PCI_EXT_CAP_ID_VNDR]: VARIABLE,
  [r.PCI_EXT_CAP_ID_ACS]: VARIABLE,
  0x0e: 8,
  [r.PCI_EXT_CAP_ID_ATS]: 8,
  0x10: 64,
  0x12: 40,
  [r.PCI_EXT_CAP_ID_PRI]: 16,
  [r.PCI_EXT_CAP_ID_REBAR]: VARIABLE,
  [r.PCI_EXT_CAP_ID_DPA]: VARIABLE,
  [r.PCI_EXT_CAP_ID_TPH]: VARIABLE,
  0x18: 8,
  [r.PCI_EXT_CAP_ID_DVSEC]: VARIABLE,
};

export function capLength(config: ConfigSpace, cap: number, at: number): number {
  const length = capLengths[cap] ?? 0;
  return length === VARIABLE ? variableLength(config, cap, at) : length;
}

/** vfio_cap_len */
function variableLength(config: ConfigSpace, cap: number, at: number): number {
  switch (cap) {
    case r.PCI_CAP_ID_MSI:
      return msiLength(config.read(at + r.PCI_MSI_FLAGS, 2));
    case r.PCI_CAP_ID_PCIX:
      return (config.read(at + r.PCI_X_CMD, 2) & 0x3000) !== 0 ? 24 : 8;
    case r.PCI_CAP_ID_VNDR:
      return config.read(at + r.PCI_CAP_FLAGS, 1);
    case r.PCI_CAP_ID_EXP:
      return expressLength(config.read(at + r.PCI_EXP_FLAGS, 2));
    case r.PCI_CAP_ID_HT:
      return (config.read(at + 3, 1) & 0xe0) !== 0 ? 24 : 28;
    default:
      // Registers of SATA lie in configuration space or in a BAR.
      return (config.read(at + 4, 1) & 0xf) === 0xf ? 16 : 8;
  }
}

export function msiLength(flags: number): number {
  return (
    10 + ((flags & r.PCI_MSI_FLAGS_64BIT) !== 0 ? 4 : 0) + ((flags & r.PCI_MSI_FLAGS_MASKBIT) !== 0 ? 10 : 0)
  );
}

function expressLength(flags: number): number {
  const hasLink = (flags & r.PCI_EXP_FLAGS_TYPE) >>> 4 !== r.PCI_EXP_TYPE_RC_END;
  if ((flags & r.PCI_EXP_FLAGS_VERS) === 1) return hasLink ? 20 : 12;
  return hasLink ? 0x34 : 0x2c;
}

export function extCapLength(config: ConfigSpace, cap: number, at: number): number {
  const length = extCapLengths[cap] ?? 0;
  return length === VARIABLE ? variableExtLength(config, cap, at) : length;
}

/** vfio_ext_cap_len */
function variableExtLength(config: ConfigSpace, cap: number, at: number): number {
  switch (cap) {
    case r.PCI_EXT_CAP_ID_VNDR:
    case r.PCI_EXT_CAP_ID_DVSEC:
      return config.read(at + 4, 4) >>> 20;
    case r.PCI_EXT_CAP_ID_ACS:
      return acsLength(config, at);
    case r.PCI_EXT_CAP_ID_REBAR:
      return 4 + ((config.read(at + 8, 1) & 0xe0) >>> 5) * 8;
    case r.PCI_EXT_CAP_ID_DPA:
      return 16 + (config.read(at + 4, 1) & 0x1f) + 1;
    case r.PCI_EXT_CAP_ID_TPH:
      return tphLength(config.read(at + 4, 4));
    default:
      return channelsLength(config, at);
  }
}

function acsLength(config: ConfigSpace, at: number): number {
  if ((config.read(at + 4, 1) & 0x20) === 0) return 8;
  const bits = config.read(at + 5, 1);
  return 8 + (bits === 0 ? 256 : Math.ceil(bits / 32) * 32) / 8;
}

function tphLength(capability: number): number {
  // Where the table of steering tags lies in the capability itself.
  return (capability & 0x600) === 0x200 ? 12 + ((capability & 0x7ff_0000) >>> 16) * 2 + 2 : 12;
}

/** vfio_vc_cap_len: virtual channels. */
function channelsLength(config: ConfigSpace, at: number): number {
  const channels = 1 + (config.read(at + 4, 4) & 0x7);
  const capability = config.read(at + 8, 4);
  const phases = (capability & 8) !== 0 ? 128 : (capability & 4) !== 0 ? 64 : (capability & 2) !== 0 ? 32 : 0;
  const length = 0x10 + channels * 0xc;
  return phases === 0 ? length : Math.ceil(length / 16) * 16 + (phases * 4) / 8;
}
