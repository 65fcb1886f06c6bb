/**
 * Which parts of which Linux header become which generated file. A part names what it takes; the header says what
 * that looks like.
 */

export interface Part {
  /** Basename of `src/wire/uapi/<file>.gen.ts`. */
  readonly file: string;
  /** As a C program includes it. */
  readonly include: string;
  /** Where the text lies: below the include folder of linux-libc-dev, or below the root of Linux' source. */
  readonly from: 'headers' | 'source';
  /** What the header is, for the generated file's own header. */
  readonly what: string;
  takesStruct(name: string): boolean;
  takesConstant(name: string): boolean;
}

const everything = (): boolean => true;

/** What drivers/iommu/iommufd/vfio_compat.c answers, what a VFIO device file answers, and the numbers to ask with. */
const vfioConstants =
  /^(VFIO_API_VERSION|VFIO_TYPE|VFIO_BASE|VFIO_GET_API_VERSION|VFIO_CHECK_EXTENSION|VFIO_SET_IOMMU|VFIO_EEH|VFIO_UNMAP_ALL|VFIO_UPDATE_VADDR|(__)?VFIO_(?!IOMMU)\w+_IOMMU|VFIO_IOMMU_(?!SPAPR)\w+|VFIO_DMA_(UN)?MAP_FLAG_\w+|VFIO_DEVICE_(GET_INFO|FLAGS_\w+|BIND_\w+|ATTACH_\w+|DETACH_\w+))$/;
const vfioStructs =
  /^vfio_(info_cap_header|iova_range|bitmap|iommu_type1_\w+|device_info|device_\w+_iommufd(_pt)?)$/;

export const parts: readonly Part[] = [
  {
    file: 'iommufd',
    include: 'linux/iommufd.h',
    from: 'headers',
    what: 'the whole of <linux/iommufd.h>',
    takesStruct: everything,
    takesConstant: everything,
  },
  {
    file: 'vfio',
    include: 'linux/vfio.h',
    from: 'headers',
    what: "the part of <linux/vfio.h> that iommufd's VFIO compatibility and a device file answer",
    takesStruct: (name) => vfioStructs.test(name),
    takesConstant: (name) => vfioConstants.test(name),
  },
  {
    file: 'iommufd_test',
    include: 'drivers/iommu/iommufd/iommufd_test.h',
    from: 'source',
    what: 'the whole of drivers/iommu/iommufd/iommufd_test.h; of each arm of the union in iommu_test_cmd, a view',
    takesStruct: everything,
    takesConstant: everything,
  },
];
