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

/** What no device and no container here has: other architectures, graphics, the first version of migration; and texts. */
const foreign =
  /spapr|eeh|gfx|zpci|nvlink|_ccw_|_ap_|migration_info|device_state_v1|region_(sub)?type|_string$/i;
/** Numbers to ask with, which name what is foreign. */
const questions = /^(VFIO_SPAPR_TCE(_v2)?_IOMMU|VFIO_EEH)$/;
const isOurs = (name: string): boolean =>
  /^(__)?vfio_/i.test(name) && (!foreign.test(name) || questions.test(name));

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
    what: 'of <linux/vfio.h> all but what other architectures and graphics have',
    takesStruct: isOurs,
    takesConstant: isOurs,
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
