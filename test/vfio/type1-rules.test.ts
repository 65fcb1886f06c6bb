/** Each rule of type1 is broken once, alone: the refusal names it and leaves nothing behind. */
import { expect, test } from 'vitest';
import type { ErrnoName } from '../../src/base/errno.js';
import type { MockDomain } from '../../src/hw/mock/domain.js';
import type { ResvRegion } from '../../src/hw/unit.js';
import { rules } from '../../src/vfio/type1-rules.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { refusalOf } from '../refusal.js';
import { LOW, MAX, PAGE } from '../iommufd/world.js';
import { ContainerWorld, RW, V1, type Opened } from './container-world.js';
import type { TestDevice } from './world.js';

/** `fd` is a container with an IOMMU of v2; its group is open, and four pages are mapped at LOW. */
type Act = (w: ContainerWorld, fd: number, opened: Opened) => unknown;
type Case = readonly [ErrnoName, Act, ((w: ContainerWorld, fd: number) => void)?];

const { VFIO_DMA_UNMAP_FLAG_ALL: ALL, VFIO_DMA_UNMAP_FLAG_VADDR: UNMAP_VADDR } = v;
const MAP_VADDR = v.VFIO_DMA_MAP_FLAG_VADDR;
const START = v.VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
const FREE = LOW + 64n * PAGE;
/** 2^31 pages: one more than a bitmap has bits. */
const TOO_LARGE = 1n << 43n;

const raw =
  (cmd: number, at: (w: ContainerWorld) => bigint): Act =>
  (w, fd) =>
    w.client.ioctl(fd, cmd, at(w));

const map =
  (values: Partial<v.VfioIommuType1DmaMap>): Act =>
  (w, fd) =>
    w.mapDma(fd, { iova: FREE, ...values });

const unmap =
  (values: Partial<v.VfioIommuType1DmaUnmap>): Act =>
  (w, fd) =>
    w.unmapDma(fd, values);

const unmapDirty =
  (values: Partial<v.VfioIommuType1DmaUnmap>, bitmap: Partial<v.VfioBitmap> = {}): Act =>
  (w, fd) =>
    w.unmapDirty(fd, values, { data: w.buffer(), ...bitmap });

const getBitmap =
  (range: { iova?: bigint; size?: bigint }, bitmap: Partial<v.VfioBitmap> = {}, argsz?: number): Act =>
  (w, fd) =>
    w.getBitmap(fd, range, { data: w.buffer(), ...bitmap }, argsz);

const tracking = (w: ContainerWorld, fd: number): void => w.dirty(fd, START);

const withoutAddress = (w: ContainerWorld, fd: number): void => void w.unmapDma(fd, { flags: UNMAP_VADDR });

/** A group that cannot come into the container, because of what `change` does to its device. */
const joining =
  (change: (made: TestDevice, w: ContainerWorld) => void): Act =>
  (w, fd) => {
    const made = w.newDevice();
    change(made, w);
    const groupFd = w.openGroup(made.group);
    try {
      w.setContainer(groupFd, fd);
    } finally {
      expect(made.device.group.isOwned).toBe(false);
      w.client.close(groupFd);
    }
  };

const aperture =
  (start: bigint, last: bigint) =>
  ({ device }: TestDevice): void => {
    const { unit } = device;
    const alloc = unit.allocPaging.bind(unit);
    unit.allocPaging = (...args) => {
      unit.allocPaging = alloc;
      const domain = alloc(...args) as MockDomain;
      return Object.assign(domain, { apertureStart: start, apertureLast: last });
    };
  };

const reserved =
  (start: bigint, last: bigint) =>
  ({ device }: TestDevice): void => {
    (device.resvRegions as ResvRegion[]).push({ type: 'reserved', start, last });
  };

const info = v.VFIO_IOMMU_GET_INFO;
const infoStruct = v.vfio_iommu_type1_info;
const mapStruct = v.vfio_iommu_type1_dma_map;
const unmapStruct = v.vfio_iommu_type1_dma_unmap;

const cases: Readonly<Record<keyof typeof rules, Case>> = {
  type1_ioctl: ['ENOTTY', raw(v.VFIO_GROUP_GET_STATUS, () => 0n)],

  type1_attach_vaddr: ['EBUSY', joining(() => {}), withoutAddress],
  type1_attach_aperture: ['EINVAL', joining(aperture(1n << 40n, 1n << 41n))],
  type1_attach_mapped_below: ['EINVAL', joining(aperture(FREE, MAX >> 8n))],
  type1_attach_mapped_above: ['EINVAL', joining(aperture(0n, LOW + PAGE - 1n))],
  type1_attach_reserved: ['EINVAL', joining(reserved(LOW + PAGE, LOW + 2n * PAGE - 1n))],
  type1_attach_no_room: ['EINVAL', joining(reserved(0n, MAX)), (w, fd) => void w.unmapDma(fd)],

  type1_info_unreadable: ['EFAULT', raw(info, () => 0n)],
  type1_info_size: ['EINVAL', raw(info, (w) => w.put(infoStruct, { argsz: 15 }))],
  type1_info_caps_unwritable: ['EFAULT', raw(info, (w) => w.putAtEdge(infoStruct, { argsz: 4096 }))],
  type1_info_unwritable: ['EFAULT', raw(info, (w) => w.putReadOnly(infoStruct, { argsz: 24 }))],

  type1_map_unreadable: ['EFAULT', raw(v.VFIO_IOMMU_MAP_DMA, () => 0n)],
  type1_map_argsz: ['EINVAL', map({ argsz: mapStruct.size - 1 })],
  type1_map_flags: ['EINVAL', map({ flags: RW | 8 })],
  type1_map_size: ['EINVAL', map({ size: 0n, vaddr: PAGE })],
  type1_map_iova_wraps: ['EOVERFLOW', map({ iova: MAX - PAGE + 1n, size: 2n * PAGE })],
  type1_map_vaddr_wraps: ['EOVERFLOW', map({ vaddr: MAX - PAGE + 1n, size: 2n * PAGE })],
  type1_map_vaddr_access: ['EINVAL', map({ flags: RW | MAP_VADDR })],
  type1_map_access: ['EINVAL', map({ flags: 0 })],
  type1_map_alignment: ['EINVAL', map({ iova: FREE + 2048n })],
  type1_vaddr_none: ['ENOENT', map({ flags: MAP_VADDR })],
  type1_vaddr_valid: ['EINVAL', map({ flags: MAP_VADDR, iova: LOW })],
  type1_vaddr_range: ['EINVAL', map({ flags: MAP_VADDR, iova: LOW, size: PAGE }), withoutAddress],
  type1_vaddr_memlock: [
    'ENOMEM',
    (w, fd) => {
      const poor = w.other({ capabilities: [], memlockLimit: PAGE });
      const file = w.client.fileOf(fd)!;
      const at = poor.client.memory.store(
        encodeMap({ flags: MAP_VADDR, iova: LOW, size: 4n * PAGE, vaddr: 0n }),
      );
      return poor.client.ioctl(poor.client.installFd(file as never)!, v.VFIO_IOMMU_MAP_DMA, at);
    },
    withoutAddress,
  ],
  type1_map_exists: ['EEXIST', map({ iova: LOW + 3n * PAGE })],
  type1_map_entries: [
    'ENOSPC',
    (w, fd) => {
      const { iommu } = w.container(fd);
      Object.defineProperty(iommu, 'room', { get: () => 0 });
      return w.mapDma(fd, { iova: FREE });
    },
  ],
  type1_map_invalid: ['EINVAL', map({ iova: 0n })],
  type1_map_memlock: ['ENOMEM', map({ size: 64n * PAGE })],
  type1_map_dirty_size: [
    'EINVAL',
    (w, fd) => {
      // More than any table of the mock shows.
      const { table } = w.container(fd).iommu!;
      Object.assign(table, { mapUser: () => 0n });
      Object.assign(table.reserved, { overlaps: () => false });
      return w.mapDma(fd, { iova: FREE, size: TOO_LARGE, vaddr: PAGE });
    },
    tracking,
  ],

  type1_unmap_unreadable: ['EFAULT', raw(v.VFIO_IOMMU_UNMAP_DMA, () => 0n)],
  type1_unmap_argsz: ['EINVAL', unmap({ argsz: unmapStruct.size - 1 })],
  type1_unmap_flags: ['EINVAL', unmap({ flags: 8 })],
  type1_unmap_dirty_flags: ['EINVAL', unmapDirty({ flags: 1 | ALL }), tracking],
  type1_unmap_dirty_argsz: ['EINVAL', unmapDirty({ argsz: 47 }), tracking],
  type1_unmap_dirty_unreadable: [
    'EFAULT',
    raw(v.VFIO_IOMMU_UNMAP_DMA, (w) =>
      w.putAtEdge(unmapStruct, { argsz: 48, flags: 1, iova: LOW, size: 4n * PAGE }),
    ),
    tracking,
  ],
  type1_unmap_dirty_address: ['EINVAL', unmapDirty({}, { data: MAX }), tracking],
  type1_unmap_dirty_size: ['EINVAL', unmapDirty({}, { size: 7n }), tracking],
  type1_unmap_alignment: ['EINVAL', unmap({ iova: LOW + 1n })],
  type1_unmap_all_range: ['EINVAL', unmap({ flags: ALL })],
  type1_unmap_size: ['EINVAL', unmap({ size: 0n })],
  type1_unmap_wraps: ['EOVERFLOW', unmap({ iova: MAX - PAGE + 1n, size: 2n * PAGE })],
  type1_unmap_not_tracking: ['EINVAL', unmapDirty({})],
  type1_unmap_dirty_pgsize: ['EINVAL', unmapDirty({}, { pgsize: 2n * PAGE }), tracking],
  type1_unmap_cuts_first: ['EINVAL', unmap({ iova: LOW + PAGE })],
  type1_unmap_cuts_last: ['EINVAL', unmap({ size: PAGE })],
  type1_unmap_vaddr_gone: ['EINVAL', unmap({ flags: UNMAP_VADDR }), withoutAddress],
  type1_unmap_unwritable: [
    'EFAULT',
    raw(v.VFIO_IOMMU_UNMAP_DMA, (w) => w.putReadOnly(unmapStruct, { argsz: 24, iova: FREE, size: PAGE })),
  ],

  type1_dirty_v1: [
    'EACCES',
    (w) => {
      const { containerFd, groupFd } = w.inContainer(V1);
      try {
        w.dirty(containerFd, START);
      } finally {
        w.client.close(groupFd);
      }
    },
  ],
  type1_dirty_unreadable: ['EFAULT', raw(v.VFIO_IOMMU_DIRTY_PAGES, () => 0n)],
  type1_dirty_argsz: ['EINVAL', (w, fd) => w.dirty(fd, START, 7)],
  type1_dirty_flags: ['EINVAL', (w, fd) => w.dirty(fd, 8)],
  type1_dirty_one: ['EINVAL', (w, fd) => w.dirty(fd, 3)],
  type1_dirty_start_size: [
    'EINVAL',
    (w, fd) => {
      const { table } = w.container(fd).iommu!;
      const areas = table.areas.bind(table);
      table.areas = () => {
        table.areas = areas;
        return [{ iova: 0n, length: TOO_LARGE }] as never;
      };
      w.dirty(fd, START);
    },
  ],
  type1_dirty_get_argsz: ['EINVAL', getBitmap({}, {}, 47), tracking],
  type1_dirty_get_unreadable: [
    'EFAULT',
    raw(v.VFIO_IOMMU_DIRTY_PAGES, (w) =>
      w.putAtEdge(v.vfio_iommu_type1_dirty_bitmap, { argsz: 48, flags: 4 }),
    ),
    tracking,
  ],
  type1_dirty_get_size: ['EINVAL', getBitmap({ size: 0n }), tracking],
  type1_dirty_get_wraps: ['EOVERFLOW', getBitmap({ iova: MAX - PAGE + 1n, size: 2n * PAGE }), tracking],
  type1_dirty_get_address: ['EINVAL', getBitmap({}, { data: MAX }), tracking],
  type1_dirty_get_bitmap: ['EINVAL', getBitmap({}, { size: 0n }), tracking],
  type1_dirty_get_pgsize: ['EINVAL', getBitmap({}, { pgsize: PAGE / 2n }), tracking],
  type1_dirty_get_iova: ['EINVAL', getBitmap({ iova: LOW + 1n }), tracking],
  type1_dirty_get_length: ['EINVAL', getBitmap({ size: PAGE + 1n }), tracking],
  type1_dirty_get_not_tracking: ['EINVAL', getBitmap({})],
  type1_dirty_cuts_first: ['EINVAL', getBitmap({ iova: LOW + PAGE, size: 3n * PAGE }), tracking],
  type1_dirty_cuts_last: ['EINVAL', getBitmap({ size: 3n * PAGE }), tracking],
  type1_bitmap_unreadable: [
    'EFAULT',
    getBitmap({ iova: LOW - PAGE, size: 5n * PAGE }, { data: 8n * PAGE }),
    tracking,
  ],
  type1_bitmap_unwritable: ['EFAULT', getBitmap({}, { data: 8n * PAGE }), tracking],
};

function encodeMap(values: Partial<v.VfioIommuType1DmaMap>): Uint8Array {
  const bytes = new Uint8Array(mapStruct.size);
  mapStruct.encode(mapStruct.create({ argsz: mapStruct.size, ...values }), bytes);
  return bytes;
}

/** What of a container a refusal could have changed. */
function stateOf(w: ContainerWorld, fd: number): unknown {
  const { iommu } = w.container(fd);
  const areas = [...iommu!.table.areas()].map((area) => [
    area.iova,
    area.last,
    iommu!.withoutAddress.has(area),
  ]);
  const holes = [...iommu!.table.reserved.holes()];
  const { lockedVm, pinnedVm } = w.client.mm.account;
  return { areas, holes, lockedVm, pinnedVm, tracks: iommu!.tracksDirty, pinned: w.env.pins.pinnedPages };
}

test.for(Object.entries(cases))('%s', ([id, [code, act, prepare]]) => {
  const w = new ContainerWorld({ capabilities: [], memlockLimit: 32n * PAGE });
  const opened = w.inContainer();
  const fd = opened.containerFd;
  w.mapDma(fd);
  prepare?.(w, fd);
  const before = stateOf(w, fd);
  expect(refusalOf(() => act(w, fd, opened))).toMatchObject({ rule: id, code });
  expect(stateOf(w, fd)).toEqual(before);
  w.end();
});
