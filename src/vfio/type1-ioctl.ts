/** The ioctls of a container whose IOMMU is type1, and what type1 can (vfio_iommu_type1_ioctl). */
import { refuse } from '../base/errno.js';
import { Call } from '../iommufd/call.js';
import { finish } from '../iommufd/dispatch.js';
import type { Task } from '../mem/task.js';
import {
  VFIO_DMA_CC_IOMMU,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_TYPE1_IOMMU,
  VFIO_TYPE1v2_IOMMU,
  VFIO_UNMAP_ALL,
  VFIO_UPDATE_VADDR,
} from '../wire/uapi/vfio.gen.js';
import { nestingHandlers } from './nesting/ioctls.js';
import { VFIO_TYPE1_NESTING_IOMMU } from '../wire/uapi/vfio-nesting.js';
import type { Type1 } from './type1.js';
import { dirtyPages } from './type1-dirty.js';
import { getInfo } from './type1-info.js';
import { mapDma } from './type1-map.js';
import { unmapDma } from './type1-unmap.js';
import { rules } from './type1-rules.js';

/** Null: no IOMMU is set, and the question is what type1 could. */
export function checkExtension(type1: Type1 | null, extension: bigint, canNest: boolean): number {
  switch (extension) {
    case BigInt(VFIO_TYPE1_NESTING_IOMMU):
      return canNest ? 1 : 0;
    case BigInt(VFIO_TYPE1_IOMMU):
    case BigInt(VFIO_TYPE1v2_IOMMU):
    case BigInt(VFIO_UNMAP_ALL):
      return 1;
    case BigInt(VFIO_UPDATE_VADDR):
      return type1 === null ? 0 : 1;
    case BigInt(VFIO_DMA_CC_IOMMU):
      return type1 !== null && type1.enforcesCoherency ? 1 : 0;
    default:
      return 0;
  }
}

const handlers: Readonly<Record<number, (call: Call, type1: Type1) => number>> = {
  [VFIO_IOMMU_GET_INFO]: getInfo,
  [VFIO_IOMMU_MAP_DMA]: mapDma,
  [VFIO_IOMMU_UNMAP_DMA]: unmapDma,
  [VFIO_IOMMU_DIRTY_PAGES]: dirtyPages,
};

export function type1Ioctl(type1: Type1, cmd: number, arg: bigint, task: Task): number {
  const { nesting } = type1;
  const call = new Call(type1.context, task, arg, 0);
  const nests = nesting === null ? undefined : nestingHandlers[cmd];
  if (nests !== undefined) return finish(call, () => nests(call, nesting!));
  const handler = handlers[cmd] ?? refuse(rules.type1_ioctl, { cmd: BigInt(cmd >>> 0) });
  return finish(call, () => handler(call, type1));
}
