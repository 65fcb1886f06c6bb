/** IOMMU_GET_HW_INFO: what the unit in front of a device is, as its driver describes it. */
import { refuse } from '../base/errno.js';
import {
  IOMMU_HW_CAP_DIRTY_TRACKING,
  IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED,
  IOMMU_HW_INFO_FLAG_INPUT_TYPE,
  IOMMU_HW_INFO_TYPE_DEFAULT,
  iommu_hw_info,
  type IommuHwInfo,
} from '../wire/uapi/iommufd.gen.js';
import type { Call } from './call.js';
import type { Device } from './device.js';
import { rules } from './rules.js';

/** The zeros behind the data are written in pieces, so that an absurd length costs no memory. */
const ZEROS = new Uint8Array(1 << 16);

export function getHwInfo(call: Call, cmd: IommuHwInfo): void {
  const { flags, data_len: room, data_uptr: at } = cmd;
  if ((flags & ~IOMMU_HW_INFO_FLAG_INPUT_TYPE) !== 0) refuse(rules.hw_info_flags, { flags });
  if (cmd.__reserved.some((byte) => byte !== 0))
    refuse(rules.hw_info_reserved, { __reserved: cmd.__reserved.join(' ') });
  const wanted =
    (flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE) !== 0 ? cmd.in_data_type : IOMMU_HW_INFO_TYPE_DEFAULT;
  const { device } = call.context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.hw_info_device);
  call.alloc('hw_info');
  const { type, data } = device.unit.hwInfo(device, wanted);
  const copied = Math.min(room, data.length);
  call.copyOut(at, data.subarray(0, copied), rules.hw_info_unwritable);
  for (let done = copied; done < room; done += ZEROS.length) {
    const zeros = ZEROS.subarray(0, Math.min(ZEROS.length, room - done));
    call.copyOut(at + BigInt(done), zeros, rules.hw_info_tail_unwritable);
  }
  let capabilities = 0;
  if (device.capable('DIRTY_TRACKING')) capabilities |= IOMMU_HW_CAP_DIRTY_TRACKING;
  if (!device.capable('PCI_ATS_SUPPORTED')) capabilities |= IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;
  call.respond(iommu_hw_info, {
    ...cmd,
    data_len: data.length,
    in_data_type: type,
    out_data_type: type,
    out_max_pasid_log2: device.maxPasids === 0 ? 0 : 31 - Math.clz32(device.maxPasids),
    out_capabilities: BigInt(capabilities),
  });
}
