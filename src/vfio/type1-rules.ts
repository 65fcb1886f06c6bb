/**
 * Why the type1 IOMMU driver refuses. The order within a call is Linux' (drivers/vfio/vfio_iommu_type1.c). What pinning
 * and page tables refuse has the rules of src/iommufd.
 */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  type1_ioctl: ['ENOTTY', 'type1 has no ioctl {cmd}'],

  // A group comes into a container with an IOMMU, or VFIO_SET_IOMMU
  type1_attach_vaddr: ['EBUSY', '{count} mappings have no user address now, and may be needed'],
  type1_attach_aperture: [
    'EINVAL',
    '{device} reaches {start} to {last}, which leaves out what is valid so far',
  ],
  type1_attach_mapped_below: ['EINVAL', '{device} reaches from {start} on, and {iova} is mapped'],
  type1_attach_mapped_above: ['EINVAL', '{device} reaches up to {last}, and {iova} is mapped'],
  type1_attach_reserved: ['EINVAL', '{device} cannot translate {start} to {last}, and {iova} is mapped'],
  type1_attach_no_room: ['EINVAL', 'with {device} no address is valid any more'],

  // VFIO_IOMMU_GET_INFO
  type1_info_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  type1_info_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  type1_info_caps_unwritable: ['EFAULT', 'the {length} bytes of capabilities cannot be written at {at}'],
  type1_info_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],

  // VFIO_IOMMU_MAP_DMA
  type1_map_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  type1_map_argsz: ['EINVAL', 'argsz {argsz} is below {least}'],
  type1_map_flags: ['EINVAL', 'flags {flags} has more than READ, WRITE and VADDR'],
  type1_map_size: ['EINVAL', 'size is 0'],
  type1_map_iova_wraps: ['EOVERFLOW', 'iova {iova} + size {size} is beyond 2^64'],
  type1_map_vaddr_wraps: ['EOVERFLOW', 'vaddr {vaddr} + size {size} is beyond 2^64'],
  type1_map_vaddr_access: ['EINVAL', 'VADDR changes an address, not the access: flags {flags}'],
  type1_map_access: ['EINVAL', 'flags {flags} has neither READ nor WRITE'],
  type1_map_alignment: [
    'EINVAL',
    'iova {iova}, vaddr {vaddr} and size {size} are not all multiples of {pgsize}',
  ],
  type1_vaddr_none: ['ENOENT', 'nothing is mapped at {iova} to {last}'],
  type1_vaddr_valid: ['EINVAL', 'the mapping at {iova} has its user address'],
  type1_vaddr_range: ['EINVAL', 'the mapping there is {start} to {end}, not {iova} to {last}'],
  type1_vaddr_memlock: ['ENOMEM', '{pages} pages more make {total} in the mm, and the limit is {limit}'],
  type1_map_exists: ['EEXIST', '{iova} to {last} overlaps the mapping at {start}'],
  type1_map_entries: ['ENOSPC', 'there are {entries} mappings, as many as a container may have'],
  type1_map_invalid: ['EINVAL', '{iova} to {last} is not in one range that all devices can use'],
  type1_map_memlock: [
    'ENOMEM',
    'the limit of {limit} pages locked is reached {pages} pages into the mapping',
  ],
  type1_map_dirty_size: ['EINVAL', '{pages} pages are more than a dirty bitmap of one mapping holds'],

  // VFIO_IOMMU_UNMAP_DMA
  type1_unmap_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  type1_unmap_argsz: ['EINVAL', 'argsz {argsz} is below {least}'],
  type1_unmap_flags: ['EINVAL', 'flags {flags} has more than GET_DIRTY_BITMAP, ALL and VADDR'],
  type1_unmap_dirty_flags: ['EINVAL', 'GET_DIRTY_BITMAP goes with neither ALL nor VADDR: flags {flags}'],
  type1_unmap_dirty_argsz: ['EINVAL', 'argsz {argsz} is below {least}, which a bitmap needs'],
  type1_unmap_dirty_unreadable: ['EFAULT', 'the {length} bytes of the bitmap at {at} cannot be read'],
  type1_unmap_dirty_address: ['EINVAL', 'the {size} bytes of bitmap at {data} are not in user memory'],
  type1_unmap_dirty_size: [
    'EINVAL',
    'a bitmap of {size} bytes is none, too large, or too small for {pages} pages',
  ],
  type1_unmap_alignment: ['EINVAL', 'iova {iova} is not a multiple of {pgsize}'],
  type1_unmap_all_range: ['EINVAL', 'ALL is set, and iova {iova} and size {size} are not both 0'],
  type1_unmap_size: ['EINVAL', 'size {size} is 0 or not a multiple of {pgsize}'],
  type1_unmap_wraps: ['EOVERFLOW', 'iova {iova} + size {size} is beyond 2^64'],
  type1_unmap_not_tracking: ['EINVAL', 'dirty pages are not tracked'],
  type1_unmap_dirty_pgsize: ['EINVAL', 'a bit of the bitmap is {given} bytes, not {pgsize}'],
  type1_unmap_cuts_first: ['EINVAL', '{iova} is inside the mapping at {start}'],
  type1_unmap_cuts_last: ['EINVAL', '{last} is not the end of the mapping at {start}'],
  type1_unmap_vaddr_gone: ['EINVAL', 'the mapping at {iova} has no user address already'],
  type1_unmap_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],

  // VFIO_IOMMU_DIRTY_PAGES
  type1_dirty_v1: ['EACCES', 'type1 v1 does not track dirty pages'],
  type1_dirty_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  type1_dirty_argsz: ['EINVAL', 'argsz {argsz} is below {least}'],
  type1_dirty_flags: ['EINVAL', 'flags {flags} has more than START, STOP and GET_BITMAP'],
  type1_dirty_one: ['EINVAL', 'flags {flags} is not one of START, STOP and GET_BITMAP'],
  type1_dirty_start_size: [
    'EINVAL',
    '{pages} pages at {iova} are more than a dirty bitmap of one mapping holds',
  ],
  type1_dirty_get_argsz: ['EINVAL', 'argsz {argsz} is below {least}, which a range needs'],
  type1_dirty_get_unreadable: ['EFAULT', 'the {length} bytes of the range at {at} cannot be read'],
  type1_dirty_get_size: ['EINVAL', 'size is 0'],
  type1_dirty_get_wraps: ['EOVERFLOW', 'iova {iova} + size {size} is beyond 2^64'],
  type1_dirty_get_address: ['EINVAL', 'the {size} bytes of bitmap at {data} are not in user memory'],
  type1_dirty_get_bitmap: [
    'EINVAL',
    'a bitmap of {size} bytes is none, too large, or too small for {pages} pages',
  ],
  type1_dirty_get_pgsize: ['EINVAL', 'a bit of the bitmap is {given} bytes, not {pgsize}'],
  type1_dirty_get_iova: ['EINVAL', 'iova {iova} is not a multiple of {pgsize}'],
  type1_dirty_get_length: ['EINVAL', 'size {size} is not a multiple of {pgsize}'],
  type1_dirty_get_not_tracking: ['EINVAL', 'dirty pages are not tracked'],
  type1_dirty_cuts_first: ['EINVAL', '{iova} is inside the mapping at {start}'],
  type1_dirty_cuts_last: ['EINVAL', '{last} is not the end of the mapping at {start}'],
  type1_bitmap_unreadable: ['EFAULT', 'the word of the bitmap at {at} cannot be read'],
  type1_bitmap_unwritable: ['EFAULT', 'the {length} bytes of bitmap at {at} cannot be written'],
});
