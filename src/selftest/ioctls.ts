/** The ioctls of a machine that offers the mock IOMMU: all of iommufd's, and IOMMU_TEST_CMD. */
import type { MockUnit } from '../hw/mock/unit.js';
import { ioctlTable, type IoctlTable } from '../iommufd/dispatch.js';
import { rows } from '../iommufd/ioctls.js';
import { vfioIoctl } from '../iommufd/vfio-compat.js';
import { convertCopySource, selftestRow } from './commands.js';

/** Devices that programs make are behind `unit`. */
export const selftestIoctls = (unit: MockUnit): IoctlTable =>
  ioctlTable([...rows, selftestRow(unit)], vfioIoctl, convertCopySource);
