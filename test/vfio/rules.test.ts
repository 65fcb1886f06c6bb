/** Each rule of a device file is broken once, alone: the refusal names it and leaves nothing behind. */
import { expect, test } from 'vitest';
import { Errno, type ErrnoName } from '../../src/base/errno.js';
import { VfioDeviceFile } from '../../src/vfio/device-file.js';
import { rules } from '../../src/vfio/rules.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { LOW, MAX, PAGE } from '../iommufd/world.js';
import { PciWorld } from './pci-world.js';
import type { DeviceOptions } from './world.js';

type Break = (w: PciWorld) => () => unknown;
type Case = readonly [ErrnoName, Break];

const BIND = v.VFIO_DEVICE_BIND_IOMMUFD;
const ATTACH = v.VFIO_DEVICE_ATTACH_IOMMUFD_PT;
const DETACH = v.VFIO_DEVICE_DETACH_IOMMUFD_PT;
const bindStruct = v.vfio_device_bind_iommufd;
const attachStruct = v.vfio_device_attach_iommufd_pt;
const detachStruct = v.vfio_device_detach_iommufd_pt;
const PASID = v.VFIO_DEVICE_ATTACH_PASID;
const TOKEN = v.VFIO_DEVICE_BIND_FLAG_TOKEN;

/** A call with an address of the caller's choice. */
const raw =
  (cmd: number, at: (w: PciWorld) => bigint): Break =>
  (w) => {
    const { fd } = w.bound();
    const arg = at(w);
    return () => w.client.ioctl(fd, cmd, arg);
  };

const unbound =
  (act: (w: PciWorld, fd: number) => unknown): Break =>
  (w) => {
    const fd = w.openDevice(w.newDevice().vfio);
    return () => act(w, fd);
  };

const binding = (values: Partial<v.VfioDeviceBindIommufd>, bus: 'pci' | 'platform' = 'pci'): Break => {
  return (w) => {
    const fd = w.openDevice(w.newDevice(bus).vfio);
    return () => w.bindFile(fd, values);
  };
};

const attaching = (values: Partial<v.VfioDeviceAttachIommufdPt>, bus: 'pci' | 'platform' = 'pci'): Break => {
  return (w) => {
    const { fd } = w.bound(bus);
    const ioas = w.ioas();
    return () => w.attach(fd, ioas, values);
  };
};

const detaching = (values: Partial<v.VfioDeviceDetachIommufdPt>, bus: 'pci' | 'platform' = 'pci'): Break => {
  return (w) => {
    const { fd } = w.bound(bus);
    return () => w.detach(fd, values);
  };
};

/** An operation of a device that is attached to four pages at LOW. */
const dma = (values: Partial<d.IoasisDma>, options: DeviceOptions = {}): Break => {
  return (w) => {
    const { fd } = attached(w, options);
    return () => w.dma(fd, { iova: LOW, length: 8n, ...values });
  };
};

function attached(
  w: PciWorld,
  options: DeviceOptions = {},
): { fd: number; fault: { id: number; fd: number } } {
  const { fd, devid } = w.bound('pci', options);
  const ioas = w.ioas();
  w.map(ioas);
  const fault = w.fault();
  w.attach(fd, w.hwpt(devid, ioas, { flags: 4, fault_id: fault.id }));
  return { fd, fault };
}

const ALL = d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI;

/** One operation that waits for a page and then gets it. */
function pendingThenOver(w: PciWorld, data_uptr: bigint): number {
  const { fd, devid } = w.bound();
  const ioas = w.ioas();
  const fault = w.fault();
  w.attach(fd, w.hwpt(devid, ioas, { flags: 4, fault_id: fault.id }));
  expect(w.dma(fd, { iova: LOW, length: 8n, data_uptr, flags: ALL }).out_state).toBe(d.IOASIS_DMA_PENDING);
  w.map(ioas);
  w.client.read(fault.fd, 40);
  w.client.write(fault.fd, new Uint8Array(new Uint32Array([1, 0]).buffer));
  return fd;
}

const cases: Readonly<Record<keyof typeof rules, Case>> = {
  vfio_not_bound: ['EINVAL', unbound((w, fd) => w.client.ioctl(fd, v.VFIO_DEVICE_GET_INFO, w.buffer()))],
  vfio_device_ioctl: ['ENOTTY', raw(v.VFIO_IOMMU_ENABLE, (w) => w.buffer())],
  vfio_read_not_bound: ['EINVAL', unbound((w, fd) => w.client.read(fd, 40))],
  vfio_write_not_bound: ['EINVAL', unbound((w, fd) => w.client.write(fd, new Uint8Array(4)))],
  vfio_mmap_not_bound: [
    'EINVAL',
    unbound((w, fd) => w.client.mmap(fd, { offset: 0n, length: PAGE, shared: true, exec: false })),
  ],

  bind_size_unreadable: ['EFAULT', raw(BIND, () => 0n)],
  bind_size: ['EINVAL', binding({ argsz: 15 })],
  bind_flags: ['EINVAL', binding({ flags: 2 })],
  bind_fd_negative: ['EINVAL', binding({ iommufd: -1 })],
  bind_group_file: [
    'EINVAL',
    (w) => {
      const { vfio, group } = w.newDevice();
      const file = new VfioDeviceFile(w.env, vfio, group);
      const fd = w.client.installFd(file)!;
      return () => w.bindFile(fd);
    },
  ],
  bind_twice: [
    'EINVAL',
    (w) => {
      const { fd } = w.bound();
      return () => w.bindFile(fd);
    },
  ],
  bind_token: ['EINVAL', binding({ flags: TOKEN }, 'platform')],
  bind_token_unreadable: [
    'EFAULT',
    (w) => {
      const fd = w.openDevice(w.newPci().vfio);
      return () => w.bindFile(fd, { flags: TOKEN, token_uuid_ptr: 8n });
    },
  ],
  bind_fd: ['EBADF', binding({ iommufd: 99 })],
  bind_fd_kind: [
    'EBADFD',
    (w) => {
      const fd = w.openDevice(w.newDevice().vfio);
      return () => w.bindFile(fd, { iommufd: fd });
    },
  ],
  bind_device_open: [
    'EINVAL',
    (w) => {
      const { vfio } = w.bound();
      const fd = w.openDevice(vfio);
      return () => w.bindFile(fd);
    },
  ],
  bind_unwritable: [
    'EFAULT',
    (w) => {
      const fd = w.openDevice(w.newDevice().vfio);
      const at = w.putReadOnly(bindStruct, { argsz: 24, iommufd: w.fd });
      return () => w.client.ioctl(fd, BIND, at);
    },
  ],

  attach_unreadable: ['EFAULT', raw(ATTACH, (w) => w.putAtEdge(attachStruct, { argsz: 16 }, 5))],
  attach_size: ['EINVAL', attaching({ argsz: 11 })],
  attach_flags: ['EINVAL', attaching({ flags: 2 })],
  attach_no_pasid: ['EOPNOTSUPP', attaching({ flags: PASID, pasid: 1 }, 'platform')],
  attach_pasid_size: ['EINVAL', attaching({ flags: PASID, argsz: 15 })],
  attach_pasid_unreadable: [
    'EFAULT',
    raw(ATTACH, (w) => w.putAtEdge(attachStruct, { argsz: 16, flags: PASID, pt_id: w.ioas() }, 4)),
  ],
  attach_pasid_range: ['ENOSPC', attaching({ flags: PASID, pasid: 0x80000000 })],
  attach_unwritable: [
    'EFAULT',
    raw(ATTACH, (w) => w.putReadOnly(attachStruct, { argsz: 16, pt_id: w.ioas() })),
  ],
  detach_unreadable: ['EFAULT', raw(DETACH, (w) => w.putAtEdge(detachStruct, { argsz: 12 }, 5))],
  detach_size: ['EINVAL', detaching({ argsz: 7 })],
  detach_flags: ['EINVAL', detaching({ flags: 2 })],
  detach_no_pasid: ['EOPNOTSUPP', detaching({ flags: PASID }, 'platform')],
  detach_pasid_size: ['EINVAL', detaching({ flags: PASID, argsz: 11 })],
  detach_pasid_unreadable: [
    'EFAULT',
    raw(DETACH, (w) => w.putAtEdge(detachStruct, { argsz: 12, flags: PASID }, 4)),
  ],

  dma_size_unreadable: ['EFAULT', raw(d.IOASIS_DMA, () => 0n)],
  dma_size: ['EINVAL', dma({ size: 111 })],
  dma_flags: ['EOPNOTSUPP', dma({ flags: 32 })],
  dma_op: ['EOPNOTSUPP', dma({ op: 9 })],
  dma_reserved: ['EOPNOTSUPP', dma({ __reserved: 1 })],
  dma_ats: ['EOPNOTSUPP', dma({ flags: d.IOASIS_DMA_ATS }, { ats: false, pri: false })],
  dma_pri: ['EOPNOTSUPP', dma({ flags: ALL }, { pri: false })],
  dma_pri_without_ats: ['EINVAL', dma({ flags: d.IOASIS_DMA_PRI })],
  dma_exec: ['EINVAL', dma({ op: d.IOASIS_DMA_OP_FILL, flags: d.IOASIS_DMA_EXEC })],
  dma_pasid_flag: ['EINVAL', dma({ pasid: 1 })],
  dma_pasid: ['EINVAL', dma({ flags: d.IOASIS_DMA_PASID, pasid: 16 }, { maxPasids: 16 })],
  dma_length: ['EINVAL', dma({ length: (1n << 24n) + 1n })],
  dma_wraps: ['EOVERFLOW', dma({ iova: MAX, length: 2n })],
  dma_target_wraps: ['EOVERFLOW', dma({ op: d.IOASIS_DMA_OP_COPY, iova2: MAX, length: 2n })],
  dma_width: ['EINVAL', dma({ op: d.IOASIS_DMA_OP_FETCH_ADD, length: 2n })],
  dma_segment_count: ['EINVAL', dma({ op: d.IOASIS_DMA_OP_GATHER, nr_segments: 1025 })],
  dma_segments_unreadable: ['EFAULT', dma({ op: d.IOASIS_DMA_OP_GATHER, nr_segments: 1, data_uptr: 8n })],
  dma_segment: ['EINVAL', (w) => segments(w, { iova: MAX, length: 2n })],
  dma_segment_sum: ['EINVAL', (w) => segments(w, { iova: LOW, length: 7n })],
  dma_data_unreadable: ['EFAULT', dma({ op: d.IOASIS_DMA_OP_WRITE, data_uptr: 8n })],
  dma_data_unwritable: ['EFAULT', dma({ op: d.IOASIS_DMA_OP_READ, data_uptr: 8n })],
  dma_busy: [
    'EBUSY',
    (w) => {
      const { fd } = attached(w);
      const next = (): unknown => w.dma(fd, { iova: LOW + 64n * PAGE, length: 8n, flags: ALL });
      for (let i = 0; i < 64; i++) next();
      return next;
    },
  ],
  dma_answer_unwritable: [
    'EFAULT',
    raw(d.IOASIS_DMA, (w) =>
      w.putReadOnly(d.ioasis_dma, { size: 112, op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 8n }),
    ),
  ],
  dma_read_count: [
    'EINVAL',
    (w) => {
      const { fd } = w.bound();
      return () => w.client.read(fd, 39);
    },
  ],
  dma_read_unwritable: [
    'EFAULT',
    (w) => {
      const fd = pendingThenOver(w, w.buffer());
      return () => w.file(fd).read(8n, 40, w.client);
    },
  ],
  dma_read_data_unwritable: [
    'EFAULT',
    (w) => {
      const fd = pendingThenOver(w, 8n);
      return () => w.client.read(fd, 40);
    },
  ],
};

function segments(w: PciWorld, segment: d.IoasisDmaSegment): () => unknown {
  const { fd } = attached(w);
  const data_uptr = w.put(d.ioasis_dma_segment, segment);
  return () => w.dma(fd, { op: d.IOASIS_DMA_OP_SCATTER, iova: LOW, length: 8n, nr_segments: 1, data_uptr });
}

test.each(Object.entries(cases))('%s refuses, says why, and changes nothing', (rule, [code, prepare]) => {
  const w = new PciWorld();
  const act = prepare(w);
  const before = w.snapshot();
  let error: unknown = null;
  try {
    act();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(Errno);
  expect(error).toMatchObject({ rule, code });
  expect((error as Errno).reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
  expect(w.snapshot()).toEqual(before);
  w.end();
});

test('every rule has a case', () => {
  expect(Object.keys(cases).toSorted()).toEqual(Object.keys(rules).toSorted());
});
