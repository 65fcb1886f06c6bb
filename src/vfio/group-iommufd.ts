/** A group whose container is an iommufd: its devices are attached to the context's compatibility IOAS. */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { Call } from '../iommufd/call.js';
import type { Context } from '../iommufd/context.js';
import { finish } from '../iommufd/dispatch.js';
import { Ioas } from '../iommufd/ioas.js';
import type { Task } from '../mem/task.js';
import { bindDevice, type Binding } from './bind.js';
import type { VfioDevice } from './driver.js';
import { rules } from './group-rules.js';

/** iommufd_vfio_compat_ioas_create: what there is already is kept. */
export function createCompatIoas(context: Context, task: Task): void {
  const call = new Call(context, task, 0n, 0);
  finish(call, () => {
    if (context.vfioIoas === null) context.vfioIoas = call.reserve(new Ioas(context));
    return 0;
  });
}

/** vfio_df_iommufd_bind, then vfio_iommufd_compat_attach_ioas */
export function bindToCompatIoas(context: Context, device: VfioDevice, task: Task): Binding {
  const call = new Call(context, task, 0n, 0);
  const binding = bindDevice(call, device, null);
  try {
    const ioas = context.vfioIoas ?? refuse(rules.device_no_ioas, { group: device.device.group.id });
    finish(call, () => binding.bound.attach(call, IOMMU_NO_PASID, ioas.id));
    binding.isAttached = true;
  } catch (error) {
    binding.end();
    throw error;
  }
  return binding;
}
