/** Rules of the frame that every ioctl has, of driver data, and of the files. */
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import { FIXED, LOW, PAGE, RW, type World } from '../world.js';
import { failingAt, refused, type Cases } from './case.js';

const page = Number(PAGE);

/** A struct of `size` bytes, the last of them `tail`, of which only the first `there` bytes are mapped. */
function sized(w: World, size: number, tail: number, there = size): bigint {
  const bytes = new Uint8Array(size);
  u.iommu_ioas_alloc.encode({ size, flags: 0, out_ioas_id: 0 }, bytes);
  bytes[size - 1] = tail;
  const at = w.buffer(2) + 2n * PAGE - BigInt(there);
  w.client.memory.write(at, bytes.subarray(0, there));
  return at;
}

/** A guest with a nested table in its vIOMMU, and one entry of an invalidation at `data_uptr`. */
function invalidation(w: World, values: Partial<u.IommuHwptInvalidate>): () => unknown {
  const { viommu } = w.guest();
  const data_uptr = w.put(t.iommu_viommu_invalidate_selftest, {});
  const entry_len = t.iommu_viommu_invalidate_selftest.size;
  const data_type = t.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
  return () =>
    w.call(u.IOMMU_HWPT_INVALIDATE, {
      hwpt_id: viommu,
      data_type,
      data_uptr,
      entry_len,
      entry_num: 1,
      ...values,
    });
}

function hwptData(w: World, values: Partial<u.IommuHwptAlloc>): () => unknown {
  const ioas = w.ioas();
  const { dev } = w.device(ioas);
  return () => w.nested(dev, ioas, values);
}

export const frameCases: Cases = {
  size_unreadable: refused('EFAULT', (w) => () => w.client.ioctl(w.fd, u.IOMMU_DESTROY, 0n)),
  ioctl_unknown: refused('ENOTTY', (w) => {
    const at = w.put(u.iommu_destroy, { size: 8 });
    return () => w.client.ioctl(w.fd, u.IOMMU_DESTROY | 0x10000, at);
  }),
  size_too_small: refused('EINVAL', (w) => () => w.call(u.IOMMU_IOAS_ALLOC, { size: 11 })),
  struct_unreadable: refused('EFAULT', (w) => {
    const at = sized(w, 12, 0, 8);
    return () => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, at);
  }),
  struct_tail_unreadable: refused('EFAULT', (w) => {
    const at = sized(w, 100, 0, 60);
    return () => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, at);
  }),
  struct_beyond_memory: refused('EFAULT', (w) => {
    // Memory that says of itself, wherever it lies, that it is a struct of 4 GiB.
    w.client.memory.read = (_at, into) => into.fill(0xff).length > 0;
    return () => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, 0x7fff_ffff_0000n);
  }),
  struct_tail_not_zero: refused('E2BIG', (w) => {
    const at = sized(w, 5000, 1);
    return () => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, at);
  }),
  answer_unwritable: refused('EFAULT', (w) => {
    const at = w.putReadOnly(u.iommu_ioas_alloc, { size: 12 });
    return () => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, at);
  }),
  no_memory: refused('ENOMEM', (w) => failingAt(w, 'IOAS', () => w.ioas())),
  object_limit: refused(
    'ENOMEM',
    (w) => {
      w.ioas();
      w.ioas();
      return () => w.ioas();
    },
    { options: { limits: { objects: 2 } } },
  ),

  user_data_length: refused('EINVAL', (w) => hwptData(w, { data_len: 3 })),
  user_data_unwritable: refused('EFAULT', (w) => {
    const ioas = w.ioas();
    const { dev } = w.device(ioas);
    const parent = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT });
    const data_uptr = w.putReadOnly(t.iommu_viommu_selftest, { in_data: 5 });
    return () => w.viommu(dev, parent, { data_uptr, data_len: t.iommu_viommu_selftest.size });
  }),
  user_array_type: refused('EINVAL', (w) => invalidation(w, { data_type: 77 })),
  user_array_unreadable: refused('EFAULT', (w) => invalidation(w, { data_uptr: PAGE })),

  iommufd_read: refused('EINVAL', (w) => () => w.client.read(w.fd, 8)),
  iommufd_write: refused('EINVAL', (w) => () => w.client.write(w.fd, new Uint8Array(8))),
  ...mmapCases(),
  event_file_descriptors: refused('EMFILE', (w) => {
    w.client.full = true;
    return () => w.fault();
  }),
  event_file_ioctl: refused('ENOTTY', (w) => {
    const { fd } = w.fault();
    return () => w.client.ioctl(fd, u.IOMMU_DESTROY, 0n);
  }),
  event_file_mmap: refused('ENODEV', (w) => {
    const { fd } = w.fault();
    return () => w.client.mmap(fd, { offset: 0n, length: PAGE, shared: true, exec: false });
  }),
  dma_buf_ioctl: refused('ENOTTY', (w) => {
    const fd = w.dmaBuf();
    return () => w.client.ioctl(fd, u.IOMMU_DESTROY, 0n);
  }),
  dma_buf_read: refused('EINVAL', (w) => {
    const fd = w.dmaBuf();
    return () => w.client.read(fd, 8);
  }),
  dma_buf_write: refused('EINVAL', (w) => {
    const fd = w.dmaBuf();
    return () => w.client.write(fd, new Uint8Array(8));
  }),
  dma_buf_mmap: refused('EINVAL', (w) => {
    const fd = w.dmaBuf();
    return () => w.client.mmap(fd, { offset: 0n, length: PAGE, shared: true, exec: false });
  }),
  dma_buf_no_hpa: refused('ENOMEM', (w) => {
    w.physical.window = () => null;
    return () => w.dmaBuf();
  }),

  destroy_id: refused('ENOENT', (w) => () => w.call(u.IOMMU_DESTROY, { id: 1 })),
  destroy_in_use: refused('EBUSY', (w) => {
    const id = w.ioas();
    w.device(id);
    return () => w.call(u.IOMMU_DESTROY, { id });
  }),
  area_limit: refused(
    'ENOMEM',
    (w) => {
      const ioas = w.ioas();
      w.map(ioas);
      return () => w.map(ioas, LOW * 2n);
    },
    { options: { limits: { areas: 1 } } },
  ),
  range_limit: refused(
    'ENOMEM',
    (w) => {
      const ioas = w.ioas();
      w.reserve(ioas, 0n, PAGE);
      return () => w.reserve(ioas, LOW, PAGE);
    },
    { options: { limits: { ranges: 1 } } },
  ),
  option_unwritable: refused('EFAULT', (w) => {
    const at = w.putReadOnly(u.iommu_option, {
      size: u.iommu_option.size,
      option_id: u.IOMMU_OPTION_RLIMIT_MODE,
      op: u.IOMMU_OPTION_OP_GET,
    });
    return () => w.client.ioctl(w.fd, u.IOMMU_OPTION, at);
  }),
  pin_failed: refused('EFAULT', (w) => {
    const ioas = w.ioas();
    w.device(ioas);
    const user_va = w.buffer();
    const values = { flags: RW | FIXED, ioas_id: ioas, user_va, length: PAGE, iova: LOW };
    return failingAt(w, 'pin_user_pages', () => w.call(u.IOMMU_IOAS_MAP, values));
  }),
};

/** A vIOMMU that offers two pages; returns their offset. */
function offered(w: World): bigint {
  const ioas = w.ioas();
  const { dev } = w.device(ioas);
  const parent = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT });
  const data_uptr = w.put(t.iommu_viommu_selftest, { in_data: 5 });
  w.viommu(dev, parent, { data_uptr, data_len: t.iommu_viommu_selftest.size });
  const bytes = w.client.memory.load(data_uptr, t.iommu_viommu_selftest.size);
  return t.iommu_viommu_selftest.decode(bytes).out_mmap_offset;
}

/** Each asks for something a little different from what is offered. */
function mmapCases(): Cases {
  const right = { length: 2n * PAGE, shared: true, exec: false };
  return {
    mmap_length: refused('EINVAL', (w) => {
      const offset = offered(w);
      return () => w.client.mmap(w.fd, { ...right, offset, length: 5n });
    }),
    mmap_private: refused('EINVAL', (w) => {
      const offset = offered(w);
      return () => w.client.mmap(w.fd, { ...right, offset, shared: false });
    }),
    mmap_exec: refused('EPERM', (w) => {
      const offset = offered(w);
      return () => w.client.mmap(w.fd, { ...right, offset, exec: true });
    }),
    mmap_offset: refused('ENXIO', (w) => {
      offered(w);
      return () => w.client.mmap(w.fd, { ...right, offset: 0n });
    }),
    mmap_partial: refused('ENXIO', (w) => {
      const offset = offered(w);
      return () => w.client.mmap(w.fd, { ...right, offset, length: BigInt(page) });
    }),
  };
}
