/** Each rule of groups and containers is broken once, alone: the refusal names it and leaves nothing behind. */
import { expect, test } from 'vitest';
import type { ErrnoName } from '../../src/base/errno.js';
import { rules as container } from '../../src/vfio/container-rules.js';
import { rules as group } from '../../src/vfio/group-rules.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { refusalOf } from '../refusal.js';
import { PAGE } from '../iommufd/world.js';
import { ContainerWorld, V2 } from './container-world.js';

type Break = (w: ContainerWorld) => () => unknown;
type Case = readonly [ErrnoName, Break];

const REQUEST = { offset: 0n, length: PAGE, shared: true, exec: false };

const onGroup =
  (act: (w: ContainerWorld, fd: number) => unknown): Break =>
  (w) => {
    const fd = w.openGroup(w.newDevice().group);
    return () => act(w, fd);
  };

/** An open group whose only device has lost its driver. */
const onDeserted =
  (act: (w: ContainerWorld, fd: number) => unknown): Break =>
  (w) => {
    const { group: it, vfio } = w.newDevice();
    const fd = w.openGroup(it);
    it.unregister(vfio);
    return () => act(w, fd);
  };

const onContainer =
  (act: (w: ContainerWorld, fd: number) => unknown): Break =>
  (w) => {
    const fd = w.openContainer();
    return () => act(w, fd);
  };

/** GET_DEVICE_FD with what follows the name of the device. */
const named =
  (suffix: string): Break =>
  (w) => {
    const { groupFd, device } = w.inContainer();
    return () => w.deviceFd(groupFd, device.name + suffix);
  };

const groupCases: Readonly<Record<keyof typeof group, Case>> = {
  group_no_device: [
    'ENODEV',
    (w) => {
      const { group: it, vfio } = w.newDevice();
      it.unregister(vfio);
      return () => w.openGroup(it);
    },
  ],
  group_cdev_open: [
    'EBUSY',
    (w) => {
      const { group: it } = w.bound();
      return () => w.openGroup(it);
    },
  ],
  group_open: [
    'EBUSY',
    (w) => {
      const { group: it } = w.newDevice();
      w.openGroup(it);
      return () => w.openGroup(it);
    },
  ],
  group_bind: [
    'EBUSY',
    (w) => {
      const { group: it, vfio } = w.newDevice();
      w.openGroup(it);
      const fd = w.openDevice(vfio);
      return () => w.bindFile(fd);
    },
  ],
  group_ioctl: ['ENOTTY', onGroup((w, fd) => w.client.ioctl(fd, v.VFIO_GET_API_VERSION, 0n))],
  group_read: ['EINVAL', onGroup((w, fd) => w.client.read(fd, 8))],
  group_write: ['EINVAL', onGroup((w, fd) => w.client.write(fd, new Uint8Array(8)))],
  group_mmap: ['ENODEV', onGroup((w, fd) => w.client.mmap(fd, REQUEST))],

  status_unreadable: ['EFAULT', onGroup((w, fd) => w.client.ioctl(fd, v.VFIO_GROUP_GET_STATUS, 0n))],
  status_no_device: ['ENODEV', onDeserted((w, fd) => w.status(fd))],
  status_size: [
    'EINVAL',
    onGroup((w, fd) =>
      w.deviceCall(fd, v.VFIO_GROUP_GET_STATUS, v.vfio_group_status, {
        argsz: 7,
      } as Partial<v.VfioGroupStatus>),
    ),
  ],
  status_unwritable: [
    'EFAULT',
    (w) => {
      const fd = w.openGroup(w.newDevice().group);
      const at = w.putReadOnly(v.vfio_group_status, { argsz: 8 });
      return () => w.client.ioctl(fd, v.VFIO_GROUP_GET_STATUS, at);
    },
  ],

  set_container_unreadable: [
    'EFAULT',
    onGroup((w, fd) => w.client.ioctl(fd, v.VFIO_GROUP_SET_CONTAINER, 0n)),
  ],
  set_container_fd: ['EBADF', onGroup((w, fd) => w.setContainer(fd, 99))],
  set_container_no_device: ['ENODEV', onDeserted((w, fd) => w.setContainer(fd, w.openContainer()))],
  set_container_twice: [
    'EINVAL',
    (w) => {
      const { groupFd, containerFd } = w.inContainer(null);
      return () => w.setContainer(groupFd, containerFd);
    },
  ],
  set_container_kind: ['EBADFD', onGroup((w, fd) => w.setContainer(fd, fd))],
  unset_container_none: ['EINVAL', onGroup((w, fd) => w.client.ioctl(fd, v.VFIO_GROUP_UNSET_CONTAINER, 0n))],
  unset_container_busy: [
    'EBUSY',
    (w) => {
      const { groupFd, device } = w.inContainer();
      w.deviceFd(groupFd, device.name);
      return () => w.client.ioctl(groupFd, v.VFIO_GROUP_UNSET_CONTAINER, 0n);
    },
  ],

  device_name_unreadable: ['EFAULT', onGroup((w, fd) => w.client.ioctl(fd, v.VFIO_GROUP_GET_DEVICE_FD, 0n))],
  device_name_length: [
    'EINVAL',
    (w) => {
      const fd = w.openGroup(w.newDevice().group);
      const at = w.client.memory.store(new Uint8Array(2 * Number(PAGE)).fill(0x61));
      return () => w.client.ioctl(fd, v.VFIO_GROUP_GET_DEVICE_FD, at);
    },
  ],
  device_name: ['ENODEV', named('x')],
  device_option: ['EINVAL', named(' force')],
  device_token_short: ['EINVAL', named(' vf_token=bd8d9d2b')],
  device_token_form: ['EINVAL', named(' vf_token=bd8d9d2b_5a5f-4f5a-a211-f591514ba1f3')],
  device_descriptors: [
    'EMFILE',
    (w) => {
      const { groupFd, device } = w.inContainer();
      return () => {
        w.client.full = true;
        w.deviceFd(groupFd, device.name);
      };
    },
  ],
  device_no_container: [
    'EINVAL',
    (w) => {
      const { group: it, device } = w.newDevice();
      const fd = w.openGroup(it);
      return () => w.deviceFd(fd, device.name);
    },
  ],
  device_no_iommu: [
    'EINVAL',
    (w) => {
      const { groupFd, device } = w.inContainer(null);
      return () => w.deviceFd(groupFd, device.name);
    },
  ],
  device_no_ioas: [
    'ENODEV',
    (w) => {
      const { group: it, device } = w.newDevice();
      const fd = w.openGroup(it);
      w.setContainer(fd, w.fd);
      w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_CLEAR });
      return () => w.deviceFd(fd, device.name);
    },
  ],
};

const containerCases: Readonly<Record<keyof typeof container, Case>> = {
  container_ioctl: ['EINVAL', onContainer((w, fd) => w.mapDma(fd))],
  container_set_empty: ['EINVAL', onContainer((w, fd) => w.setIommu(fd))],
  container_set_twice: [
    'EINVAL',
    (w) => {
      const { containerFd } = w.inContainer();
      return () => w.setIommu(containerFd);
    },
  ],
  container_set_type: [
    'ENODEV',
    (w) => {
      const { containerFd } = w.inContainer(null);
      return () => w.setIommu(containerFd, v.__VFIO_RESERVED_TYPE1_NESTING_IOMMU);
    },
  ],
  container_read: ['EINVAL', onContainer((w, fd) => w.client.read(fd, 8))],
  container_write: ['EINVAL', onContainer((w, fd) => w.client.write(fd, new Uint8Array(8)))],
  container_mmap: ['ENODEV', onContainer((w, fd) => w.client.mmap(fd, REQUEST))],
};

test.for(Object.entries({ ...groupCases, ...containerCases }))('%s', ([id, [code, arrange]]) => {
  const w = new ContainerWorld();
  const act = arrange(w);
  const before = w.snapshot();
  expect(refusalOf(act)).toMatchObject({ rule: id, code });
  expect(w.snapshot()).toEqual(before);
  w.end();
});

test('a token in its form is the driver’s to judge, and the name alone will do', () => {
  const w = new ContainerWorld();
  const { groupFd, device } = w.inContainer(V2);
  const token = 'vf_token=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3';
  expect(() => w.deviceFd(groupFd, `${device.name}  ${token} `)).toThrow('token_needless');
  expect(w.deviceFd(groupFd, device.name)).toBeGreaterThan(0);
  w.end();
});
