/** Virtual functions (drivers/pci/iov.c): how many there may be and are, and links between them and the physical one. */
import { refuse } from '../../base/errno.js';
import * as r from '../../bus/pci-registers.js';
import type { BuiltDevice } from '../build.js';
import { flag, parseNumber } from './parse.js';
import type { PciActions, SysFunction } from './pci-device.js';
import { rules } from './rules.js';
import type { SysTree } from './tree.js';

const OFFSET = 0x14;
const STRIDE = 0x16;
const VF_DEVICE = 0x1a;
const U16_MAX = 0xffff;

/** vfio_pci.enable_sriov */
const ENABLE_SRIOV = '/sys/module/vfio_pci/parameters/enable_sriov';

export interface SriovActions extends PciActions {
  /** What is written to sriov_numvfs: ERANGE, EBUSY, or virtual functions come, or all of them go. */
  setNumVfs(device: BuiltDevice, count: number): void;
}

/** `virtual`: the functions that there are. */
export function describeSriov(
  tree: SysTree,
  device: SysFunction,
  virtual: readonly SysFunction[],
  actions: SriovActions,
): void {
  const { path, model, built } = device;
  for (const [index, { path: target }] of virtual.entries()) {
    tree.link(`${path}/virtfn${index}`, target);
    tree.link(`${target}/physfn`, path);
  }
  const { virtualFunctions } = built.plan;
  if (virtualFunctions === null) return;
  const { config } = model;
  const at = config.extendedCapability(r.PCI_EXT_CAP_ID_SRIOV);
  tree.text(`${path}/sriov_totalvfs`, `${virtualFunctions.total}\n`);
  tree.attribute(`${path}/sriov_numvfs`, {
    show: () => String(virtual.length),
    store: (text) => setCount(tree, device, virtual.length, parseNumber('sriov_numvfs', text), actions),
  });
  tree.text(`${path}/sriov_offset`, `${config.read(at + OFFSET, 2)}\n`);
  tree.text(`${path}/sriov_stride`, `${config.read(at + STRIDE, 2)}\n`);
  tree.text(`${path}/sriov_vf_device`, `${config.read(at + VF_DEVICE, 2).toString(16)}\n`);
  tree.text(`${path}/sriov_vf_total_msix`, '0\n');
  tree.setting(`${path}/sriov_drivers_autoprobe`, '1', flag('sriov_drivers_autoprobe'));
}

function setCount(
  { settings }: SysTree,
  { name, built }: SysFunction,
  present: number,
  count: number,
  { bindings, setNumVfs }: SriovActions,
): void {
  if (count > U16_MAX) refuse(rules.sysfs_numvfs_value, { count });
  const isAsked = count !== present && count <= built.plan.virtualFunctions!.total;
  if (isAsked && bindings.driverOf(name) === null) refuse(rules.sysfs_numvfs_driver, { device: name });
  if (isAsked && settings.get(ENABLE_SRIOV) === 'N') refuse(rules.sysfs_numvfs_disabled, {});
  setNumVfs(built, count);
}
