/** Where BARs are, and how large: `resource`, and a file for each. */
import { prefixedHex as hex } from '../../base/hex.js';
import { refuse } from '../../base/errno.js';
import type { ConfigSpace, PciModel } from '../../bus/model.js';
import { SRIOV_BARS } from '../../bus/pci-extended.js';
import * as r from '../../bus/pci-registers.js';
import type { SysFunction } from './pci-device.js';
import { rules } from './rules.js';
import type { SysTree } from './tree.js';

interface Resource {
  readonly start: bigint;
  readonly size: bigint;
  readonly flags: number;
}

/** BARs, the expansion ROM, and BARs of virtual functions (PCI_BRIDGE_RESOURCES). */
const BARS = 6;
const RESOURCES = 13;
const FIRST_VIRTUAL = 7;

const BAR_FLAGS = 0xf;
const BAR_64 = 0x4;
const BAR_PREFETCHABLE = 0x8;
const IORESOURCE_MEM = 0x200;
const IORESOURCE_PREFETCH = 0x2000;
const IORESOURCE_SIZEALIGN = 0x4_0000;
const IORESOURCE_MEM_64 = 0x10_0000;

const flagsOf = (bar: number): number =>
  (bar & BAR_FLAGS) |
  IORESOURCE_MEM |
  IORESOURCE_SIZEALIGN |
  ((bar & BAR_64) !== 0 ? IORESOURCE_MEM_64 : 0) |
  ((bar & BAR_PREFETCHABLE) !== 0 ? IORESOURCE_PREFETCH : 0);

/** The flags and the address in the BAR register at `offset`. */
function barAt(config: ConfigSpace, offset: number): { readonly start: bigint; readonly flags: number } {
  const low = config.read(offset, 4);
  const high = (low & BAR_64) !== 0 ? config.read(offset + 4, 4) : 0;
  return {
    start: (BigInt(high) << 32n) | BigInt((low & ~BAR_FLAGS) >>> 0),
    flags: flagsOf(low),
  };
}

/** BAR `index` of the first virtual function of `config`. */
const virtualBar = (config: ConfigSpace, index: number): ReturnType<typeof barAt> =>
  barAt(config, config.extendedCapability(r.PCI_EXT_CAP_ID_SRIOV) + SRIOV_BARS + 4 * index);

/** The BARs of a function, by index; null: none, or the upper half of the one before. */
function barsOf({ model, built, virtual }: SysFunction): (Resource | null)[] {
  return Array.from({ length: BARS }, (_, index) => {
    const region = model.regions[index] ?? null;
    if (region === null) return null;
    const size = BigInt(region.image.length);
    if (virtual !== null) {
      const { start, flags } = virtualBar((virtual.physical.model as PciModel).config, index);
      return { start: start + size * BigInt(virtual.index), size, flags };
    }
    const { flags } = barAt(model.config, r.PCI_BASE_ADDRESS_0 + 4 * index);
    // Not what the register says now: that is for the program which has the device to change.
    return { start: built.bars[index] ?? 0n, size, flags };
  });
}

/** What all virtual functions that there may be take. */
function virtualBars({ model, built }: SysFunction): (Resource | null)[] {
  const { virtualFunctions } = built.plan;
  if (virtualFunctions === null) return [];
  return Array.from({ length: BARS }, (_, index) => {
    const region = model.regions[index] ?? null;
    if (region === null) return null;
    const size = BigInt(region.image.length) * BigInt(virtualFunctions.total);
    return { ...virtualBar(model.config, index), size };
  });
}

export function describeResources(tree: SysTree, device: SysFunction): void {
  const { path } = device;
  const bars = barsOf(device);
  const all = [...bars, null, ...virtualBars(device)];
  const lines = Array.from({ length: RESOURCES }, (_, index) => {
    const { start, size, flags } = all[index] ?? { start: 0n, size: 0n, flags: 0 };
    return `${hex(start)} ${hex(size === 0n ? 0n : start + size - 1n)} ${hex(flags)}\n`;
  });
  tree.text(`${path}/resource`, lines.join(''));
  for (const [index, bar] of all.entries()) {
    if (bar === null || index >= FIRST_VIRTUAL) continue;
    const file = `resource${index}`;
    const refused = (): never => refuse(rules.sysfs_resource, { file });
    const node = { mode: 0o600, size: Number(bar.size), read: refused, write: refused };
    tree.file(`${path}/${file}`, node);
    if ((bar.flags & IORESOURCE_PREFETCH) !== 0) tree.file(`${path}/${file}_wc`, node);
  }
}
