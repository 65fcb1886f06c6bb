/** What is written to /sys: each rule is broken once, alone; the refusal names it, and /sys says the same as before. */
import { expect, test } from 'vitest';
import type { ErrnoName } from '../../../src/base/errno.js';
import { rules } from '../../../src/machine/sysfs/rules.js';
import { refusalOf } from '../../refusal.js';
import { Sys } from './world.js';

const A = '0000:00:01.0';
const B = '0000:00:02.0';
const PF = '0000:00:04.0';
const device = (name: string): string => `/sys/bus/pci/devices/${name}`;
const VFIO = '/sys/bus/pci/drivers/vfio-pci';

type Break = (sys: Sys) => () => unknown;

const writing =
  (path: string, text: string, before: (sys: Sys) => void = () => {}): Break =>
  (sys) => {
    before(sys);
    return () => sys.write(path, text);
  };
const unbound = (sys: Sys): void => sys.write(`${VFIO}/unbind`, A);

const cases: Readonly<Record<keyof typeof rules, readonly [ErrnoName, Break]>> = {
  sysfs_unbind: ['ENODEV', writing(`${VFIO}/unbind`, A, unbound)],
  sysfs_unbind_open: ['EBUSY', writing(`${VFIO}/unbind`, A, (sys) => sys.bindDevice(A))],
  sysfs_bind_match: ['ENODEV', writing(`${VFIO}/bind`, '0000:00:09.0')],
  sysfs_bind_bound: ['EBUSY', writing(`${VFIO}/bind`, A)],
  sysfs_bind_group: [
    'EBUSY',
    writing('/sys/bus/pci/drivers/ioatdma/bind', A, (sys) => {
      unbound(sys);
      sys.write(`${device(A)}/driver_override`, 'ioatdma');
      sys.bindDevice(B);
    }),
  ],
  sysfs_probe: ['ENODEV', writing('/sys/bus/pci/drivers_probe', '0000:00:09.0')],
  sysfs_id: ['EINVAL', writing(`${VFIO}/new_id`, '8086')],
  sysfs_id_exists: [
    'EEXIST',
    writing(`${VFIO}/new_id`, '8086 2021', (sys) => sys.write(`${VFIO}/new_id`, '8086 2021')),
  ],
  sysfs_id_none: ['ENODEV', writing(`${VFIO}/remove_id`, '8086 2021')],
  sysfs_enable_driver: ['EBUSY', writing(`${device(A)}/enable`, '1')],
  sysfs_enable_off: ['EIO', writing(`${device(A)}/enable`, '0', unbound)],
  sysfs_reset_none: [
    'ENOTTY',
    writing(`${device(A)}/reset`, '1', (sys) => sys.write(`${device(A)}/reset_method`, '')),
  ],
  sysfs_remove_open: ['EBUSY', writing(`${device(A)}/remove`, '1', (sys) => sys.bindDevice(A))],
  sysfs_resource: ['EIO', (sys) => () => sys.read(`${device(A)}/resource0`)],
  sysfs_numvfs_driver: [
    'ENOENT',
    writing(`${device(PF)}/sriov_numvfs`, '1', (sys) => sys.write(`${VFIO}/unbind`, PF)),
  ],
  sysfs_numvfs_disabled: [
    'ENOENT',
    writing(`${device(PF)}/sriov_numvfs`, '1', (sys) =>
      sys.write('/sys/module/vfio_pci/parameters/enable_sriov', 'N'),
    ),
  ],
  sysfs_reset_value: ['EINVAL', writing(`${device(A)}/reset`, '2')],
  sysfs_numvfs_value: ['EINVAL', writing(`${device(PF)}/sriov_numvfs`, '65536')],
  sysfs_switch: ['EINVAL', writing('/sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'maybe')],
  sysfs_number: ['EINVAL', writing(`${device(A)}/msi_bus`, 'one')],
  sysfs_choice: ['EINVAL', writing(`${device(A)}/power/control`, 'off')],
};

test.each(Object.entries(cases))('%s refuses, says why, and changes nothing', (rule, [errno, prepare]) => {
  const sys = new Sys({
    version: 1,
    devices: {
      [A]: { model: 'ioat', group: 'pair' },
      [B]: { group: 'pair' },
      [PF]: { model: 'ioat', virtualFunctions: 2 },
    },
  });
  const act = prepare(sys);
  const before = sys.everything();
  expect(refusalOf(act)).toMatchObject({ code: errno, rule });
  expect(sys.everything()).toEqual(before);
});
