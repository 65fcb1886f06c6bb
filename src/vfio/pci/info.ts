/** VFIO_DEVICE_GET_INFO and VFIO_DEVICE_GET_IRQ_INFO of vfio-pci. */
import { refuse } from '../../base/errno.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { extraCounts, type ExtraRegions } from '../extra-regions.js';
import type { PciIrqs } from './irqs.js';
import { rules } from './rules.js';

const INFO_LEAST = v.vfio_device_info.endOf('num_irqs');
const IRQ_LEAST = v.vfio_irq_info.endOf('count');

/** vfio_pci_ioctl_get_info. No root port here completes atomic operations, so there is no capability to tell. */
export function getInfo(user: UserMemory, arg: bigint, extra: ExtraRegions | null): number {
  const { argsz } = user.copyHead(v.vfio_device_info, arg, INFO_LEAST, rules.pci_info_unreadable);
  if (argsz < INFO_LEAST) refuse(rules.pci_info_size, { argsz, least: INFO_LEAST });
  const info = v.vfio_device_info.create({
    argsz,
    flags: v.VFIO_DEVICE_FLAGS_PCI | v.VFIO_DEVICE_FLAGS_RESET,
    num_regions: v.VFIO_PCI_NUM_REGIONS + extraCounts(extra).regions,
    num_irqs: v.VFIO_PCI_NUM_IRQS + extraCounts(extra).irqs,
  });
  const bytes = new Uint8Array(v.vfio_device_info.size);
  v.vfio_device_info.encode(info, bytes);
  user.copyOut(arg, bytes.subarray(0, Math.min(argsz, bytes.length)), rules.pci_info_unwritable);
  return 0;
}

/** vfio_pci_ioctl_get_irq_info */
export function getIrqInfo(user: UserMemory, arg: bigint, irqs: PciIrqs): number {
  const request = v.vfio_irq_info.decode(user.copyIn(arg, IRQ_LEAST, rules.irq_info_unreadable));
  const { argsz, index } = request;
  if (argsz < IRQ_LEAST) refuse(rules.irq_info_size, { argsz, least: IRQ_LEAST });
  if (index >= v.VFIO_PCI_NUM_IRQS) refuse(rules.irq_info_index, { index });
  if (index === v.VFIO_PCI_ERR_IRQ_INDEX && !irqs.isExpress) refuse(rules.irq_info_err, {});
  let flags = v.VFIO_IRQ_INFO_EVENTFD;
  if (index === v.VFIO_PCI_INTX_IRQ_INDEX) {
    flags |= v.VFIO_IRQ_INFO_MASKABLE | v.VFIO_IRQ_INFO_AUTOMASKED;
    // Messages of MSI-X are allocated one by one, when they are wanted.
  } else if (index !== v.VFIO_PCI_MSIX_IRQ_INDEX) flags |= v.VFIO_IRQ_INFO_NORESIZE;
  const bytes = new Uint8Array(v.vfio_irq_info.size);
  v.vfio_irq_info.encode({ argsz, flags, index, count: irqs.count(index) }, bytes);
  user.copyOut(arg, bytes, rules.irq_info_unwritable);
  return 0;
}
