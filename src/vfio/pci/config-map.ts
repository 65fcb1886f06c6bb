/**
 * What each byte of a device's configuration space belongs to, and the first contents of the virtual space that the user
 * sees in its place (vfio_config_init): capabilities that are not the user's are taken out of the chains.
 * Invariant: capabilities that lie beyond the space or over each other, as a device may claim, end at its end.
 */
import { get16, get32, put16, put32, storeBytes, widthAt } from '../../base/bytes.js';
import type { ConfigSpace } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import { capLength, extCapLength } from './config-lengths.js';

/** The header. */
export const CAP_BASIC = 0;
/** Nothing that anybody claims. */
export const CAP_NONE = 0xff;

export interface ConfigMap {
  /** By byte: the id of the capability that it lies in. */
  readonly owner: Uint8Array;
  readonly virtual: Uint8Array;
}

/** vfio_fill_vconfig_bytes, in the largest aligned pieces. */
function fill({ virtual }: ConfigMap, config: ConfigSpace, from: number, size: number): void {
  const end = Math.min(from + size, virtual.length);
  for (let at = from; at < end;) {
    const width = widthAt(at, end - at, 4);
    storeBytes(virtual, at, width, config.read(at, width));
    at += width;
  }
}

/** The map of `config` as it is now. */
export function mapConfig(config: ConfigSpace): ConfigMap {
  const map = { owner: new Uint8Array(config.size), virtual: new Uint8Array(config.size) };
  map.owner.fill(CAP_NONE, r.PCI_STD_HEADER_SIZEOF);
  fill(map, config, 0, r.PCI_STD_HEADER_SIZEOF);
  return map;
}

/** vfio_cap_init. Ids above those that are known, and 0, are hidden as well. */
export function mapCapabilities(map: ConfigMap, config: ConfigSpace): void {
  const { owner, virtual } = map;
  if ((config.read(r.PCI_STATUS, 2) & r.PCI_STATUS_CAP_LIST) === 0) return;
  let at = config.read(r.PCI_CAPABILITY_LIST, 1);
  let previous = r.PCI_CAPABILITY_LIST;
  let shown = 0;
  const most = (r.PCI_CFG_SPACE_SIZE - r.PCI_STD_HEADER_SIZEOF) / r.PCI_CAP_SIZEOF;
  for (let i = 0; at !== 0 && i < most; i++) {
    const cap = config.read(at, 1);
    const next = config.read(at + r.PCI_CAP_LIST_NEXT, 1);
    const length = capLength(config, cap, at);
    if (length === 0) virtual[previous] = next;
    else {
      owner.fill(cap, at, at + length);
      fill(map, config, at, length);
      if (cap === r.PCI_CAP_ID_PM) hidePowerEvents(virtual, at);
      previous = at + r.PCI_CAP_LIST_NEXT;
      shown += 1;
    }
    at = next;
  }
  if (shown === 0) put16(virtual, r.PCI_STATUS, get16(virtual, r.PCI_STATUS) & ~r.PCI_STATUS_CAP_LIST);
}

/** vfio_update_pm_vconfig_bytes: the host handles events of power management. */
function hidePowerEvents(virtual: Uint8Array, at: number): void {
  const events = r.PCI_PM_CTRL_PME_ENABLE | r.PCI_PM_CTRL_PME_STATUS;
  put16(virtual, at + r.PCI_PM_PMC, get16(virtual, at + r.PCI_PM_PMC) & ~r.PCI_PM_CAP_PME_MASK);
  put16(virtual, at + r.PCI_PM_CTRL, get16(virtual, at + r.PCI_PM_CTRL) & ~events);
}

const NEXT_MASK = 0xffc0_0000 | 0;

/** vfio_ecap_init. A hidden one at the start of the chain stays as a link without a name. */
export function mapExtendedCapabilities(map: ConfigMap, config: ConfigSpace): void {
  const { owner, virtual } = map;
  let at = r.PCI_CFG_SPACE_SIZE;
  let previous = -1;
  let shown = 0;
  const most = (config.size - r.PCI_CFG_SPACE_SIZE) / r.PCI_CAP_SIZEOF;
  for (let i = 0; i < most && at >= r.PCI_CFG_SPACE_SIZE; i++) {
    const header = config.read(at, 4);
    const cap = header & 0xffff;
    const next = (header >>> 20) & 0xffc;
    const length = extCapLength(config, cap, at);
    if (length === 0 && previous >= 0) {
      put32(virtual, previous, (get32(virtual, previous) & ~NEXT_MASK) | (next << 20));
      at = next;
      continue;
    }
    owner.fill(cap, at, at + (length === 0 ? r.PCI_CAP_SIZEOF : length));
    fill(map, config, at, length === 0 ? r.PCI_CAP_SIZEOF : length);
    if (length === 0) put32(virtual, at, get32(virtual, at) & NEXT_MASK);
    else shown += 1;
    previous = at;
    at = next;
  }
  if (shown === 0) put32(virtual, r.PCI_CFG_SPACE_SIZE, 0);
}
