/** Rules of VFIO's container ioctls and of the compatibility IOAS. */
import type { Struct } from '../../../src/wire/struct.js';
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../../src/wire/uapi/vfio.gen.js';
import { LOW, PAGE, type World } from '../world.js';
import { failingAt, refused, type Cases, type Prepare } from './case.js';

/** An ioctl whose struct lies at the address that `place` gives it. */
const at =
  (request: number, place: (w: World) => bigint): Prepare =>
  (w) => {
    const address = place(w);
    return () => w.client.ioctl(w.fd, request, address);
  };

/** Makes an IOAS the compatibility one. */
function compat(w: World): number {
  const ioas_id = w.ioas();
  w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_SET, ioas_id });
  return ioas_id;
}

const ioctl =
  <T>(
    request: number,
    struct: Struct<T>,
    values: (w: World) => Partial<T>,
    before: (w: World) => void = (w) => {
      compat(w);
    },
  ): Prepare =>
  (w) => {
    before(w);
    const address = w.put(struct, { argsz: struct.size, ...values(w) });
    return () => w.client.ioctl(w.fd, request, address);
  };

const map = (values: Partial<v.VfioIommuType1DmaMap>, before?: (w: World) => void): Prepare =>
  ioctl(
    v.VFIO_IOMMU_MAP_DMA,
    v.vfio_iommu_type1_dma_map,
    (w) => ({ flags: 3, vaddr: w.buffer(), iova: LOW, size: PAGE, ...values }),
    before,
  );

const unmap = (values: Partial<v.VfioIommuType1DmaUnmap>, before?: (w: World) => void): Prepare =>
  ioctl(
    v.VFIO_IOMMU_UNMAP_DMA,
    v.vfio_iommu_type1_dma_unmap,
    () => ({ iova: LOW, size: PAGE, ...values }),
    before,
  );

const info = (values: Partial<v.VfioIommuType1Info>, before?: (w: World) => void): Prepare =>
  ioctl(v.VFIO_IOMMU_GET_INFO, v.vfio_iommu_type1_info, () => values, before);

/** GET_INFO whose struct begins `bytes` before the end of mapped memory. */
const infoAtEdge = (bytes: bigint, argsz: number): Prepare =>
  at(v.VFIO_IOMMU_GET_INFO, (w) => {
    const ioas = compat(w);
    w.reserve(ioas, LOW, PAGE);
    const address = w.buffer(1) + PAGE - bytes;
    const struct = new Uint8Array(v.vfio_iommu_type1_info.size);
    v.vfio_iommu_type1_info.encode(v.vfio_iommu_type1_info.create({ argsz }), struct);
    w.client.memory.write(address, struct);
    return address;
  });

const nothing = (): void => {};
const vfioIoas =
  (values: Partial<u.IommuVfioIoas>): Prepare =>
  (w) => {
    compat(w);
    return () => w.call(u.IOMMU_VFIO_IOAS, values);
  };

/** A v1 container with four pages at LOW, prepared further by `more`; then two of them are unmapped. */
const cut = (
  more: (w: World, ioas: number) => void,
  values: Partial<v.VfioIommuType1DmaUnmap> = {},
): Prepare =>
  unmap({ size: 2n * PAGE, ...values }, (w) => {
    const ioas = compat(w);
    w.client.ioctl(w.fd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1_IOMMU));
    more(w, ioas);
  });

export const vfioCases: Cases = {
  vfio_ioas_reserved: refused('EOPNOTSUPP', vfioIoas({ __reserved: 1 })),
  vfio_ioas_none: refused('ENODEV', (w) => () => w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_GET })),
  vfio_ioas_ioas: refused('ENOENT', vfioIoas({ op: u.IOMMU_VFIO_IOAS_SET, ioas_id: 99 })),
  vfio_ioas_op: refused('EOPNOTSUPP', vfioIoas({ op: 3 })),
  vfio_ioctl_unknown: refused('ENOTTY', (w) => () => w.client.ioctl(w.fd, 0x3b7f, 0n)),
  vfio_cc_ioas: refused(
    'ENODEV',
    (w) => () => w.client.ioctl(w.fd, v.VFIO_CHECK_EXTENSION, BigInt(v.VFIO_DMA_CC_IOMMU)),
  ),
  vfio_set_iommu_type: refused('EINVAL', (w) => {
    compat(w);
    return () => w.client.ioctl(w.fd, v.VFIO_SET_IOMMU, 2n);
  }),
  vfio_set_iommu_ioas: refused(
    'ENODEV',
    (w) => () => w.client.ioctl(w.fd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1v2_IOMMU)),
  ),

  vfio_map_unreadable: refused(
    'EFAULT',
    at(v.VFIO_IOMMU_MAP_DMA, () => PAGE),
  ),
  vfio_map_argsz: refused('EINVAL', map({ argsz: 31 })),
  vfio_map_flags: refused('EINVAL', map({ flags: 4 })),
  vfio_map_ioas: refused('ENODEV', map({}, nothing)),
  page_table_prot: refused(
    'EINVAL',
    map({ flags: 0 }, (w) => {
      w.device(compat(w));
    }),
  ),

  vfio_unmap_unreadable: refused(
    'EFAULT',
    at(v.VFIO_IOMMU_UNMAP_DMA, () => PAGE),
  ),
  vfio_unmap_argsz: refused('EINVAL', unmap({ argsz: 23 })),
  vfio_unmap_flags: refused('EINVAL', unmap({ flags: 1 })),
  vfio_unmap_ioas: refused('ENODEV', unmap({}, nothing)),
  vfio_unmap_all_range: refused('EINVAL', unmap({ flags: v.VFIO_DMA_UNMAP_FLAG_ALL })),
  vfio_unmap_size: refused('EINVAL', unmap({ size: 0n })),
  vfio_unmap_wraps: refused('EOVERFLOW', unmap({ iova: (1n << 64n) - 1n })),
  vfio_unmap_unwritable: refused(
    'EFAULT',
    at(v.VFIO_IOMMU_UNMAP_DMA, (w) => {
      compat(w);
      return w.putReadOnly(v.vfio_iommu_type1_dma_unmap, { argsz: 24, iova: LOW, size: PAGE });
    }),
  ),
  cut_dma_buf: refused(
    'EOPNOTSUPP',
    cut((w, ioas) => w.mapFile(ioas, w.dmaBuf(), { length: 4n * PAGE })),
  ),
  cut_alignment: refused(
    'EINVAL',
    cut((w, ioas) => w.map(ioas), { size: 5n }),
  ),
  cut_accessed: refused(
    'EINVAL',
    cut((w, ioas) => {
      w.map(ioas);
      w.pin(w.access(ioas), LOW, PAGE);
    }),
  ),

  vfio_info_unreadable: refused(
    'EFAULT',
    at(v.VFIO_IOMMU_GET_INFO, () => PAGE),
  ),
  vfio_info_argsz: refused('EINVAL', info({ argsz: 15 })),
  vfio_info_ioas: refused('ENODEV', info({}, nothing)),
  vfio_info_unwritable: refused(
    'EFAULT',
    at(v.VFIO_IOMMU_GET_INFO, (w) => {
      compat(w);
      return w.putReadOnly(v.vfio_iommu_type1_info, { argsz: 24 });
    }),
  ),
  vfio_info_cap_unwritable: refused('EFAULT', infoAtEdge(24n, 4096)),
  vfio_info_ranges_unwritable: refused('EFAULT', infoAtEdge(56n, 4096)),
  vfio_info_part_unwritable: refused('EFAULT', infoAtEdge(56n, 72)),
  vfio_info_link_unwritable: refused('EFAULT', (w) => {
    const act = at(v.VFIO_IOMMU_GET_INFO, () => {
      compat(w);
      const address = w.buffer(1);
      w.client.memory.write(address, Uint8Array.of(0, 16, 0, 0));
      return address;
    })(w);
    return failingAt(w, 'vfio_info_link_unwritable', act);
  }),
};
