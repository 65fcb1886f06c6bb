/** IOMMU groups (drivers/iommu/iommu.c) and units (iommu-sysfs.c, intel/iommu.c) in /sys. */
import { prefixedHex as hex } from '../../base/hex.js';
import * as reg from '../../hw/vtd/registers.js';
import type { BuiltUnit } from '../build.js';
import type { SysDevice } from './device.js';
import { groupPath, unitPath } from './device.js';
import type { SysTree } from './tree.js';

export function describeGroup(tree: SysTree, members: readonly SysDevice[]): void {
  const at = groupPath(members[0]!);
  for (const { name, path } of members) tree.link(`${at}/devices/${name}`, path);
  tree.attribute(`${at}/reserved_regions`, { show: () => reservedRegions(members).join('\n') });
  // What a kernel that maps for its own drivers would use; here nobody does.
  tree.text(`${at}/type`, 'DMA-FQ\n');
}

/** Of all members, each once, by address. */
function reservedRegions(members: readonly SysDevice[]): string[] {
  const regions = members.flatMap(({ built }) => built.iommu.resvRegions);
  const lines = regions
    .toSorted((one, other) => (one.start < other.start ? -1 : 1))
    .map(({ start, last, type }) => `${hex(start)} ${hex(last)} ${type}`);
  return [...new Set(lines)];
}

/** Where the registers of unit `index` lie, as firmware would say: nothing looks there. */
export const registersAt = (index: number): string => (0xfed9_0000 + index * 0x1000).toString(16);

export function describeUnit(
  tree: SysTree,
  index: number,
  unit: BuiltUnit,
  devices: readonly SysDevice[],
): void {
  const name = `dmar${index}`;
  const at = unitPath(name);
  const { hardware, driver } = unit;
  const intel = `${at}/intel-iommu`;
  tree.link(`/sys/class/iommu/${name}`, at);
  tree.link(`${at}/subsystem`, '/sys/class/iommu');
  for (const device of devices) tree.link(`${at}/devices/${device.name}`, device.path);
  tree.text(`${intel}/address`, `${registersAt(index)}\n`);
  tree.attribute(`${intel}/cap`, { show: () => hardware.read64(reg.CAP_REG).toString(16) });
  tree.attribute(`${intel}/ecap`, { show: () => hardware.read64(reg.ECAP_REG).toString(16) });
  tree.attribute(`${intel}/version`, { show: () => version(hardware.read32(reg.VER_REG)) });
  tree.attribute(`${intel}/domains_supported`, { show: () => String(driver.capabilities.domainIds) });
  tree.attribute(`${intel}/domains_used`, { show: () => String(driver.domainIds.used) });
}

const version = (value: number): string => `${(value >>> 4) & 15}:${value & 15}`;
