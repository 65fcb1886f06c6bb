/** The ioctls of /dev/ioasid, and the file itself: a context of iommufd behind other calls. */
import { refuse } from '../base/errno.js';
import { Context } from '../iommufd/context.js';
import { ioctlTable, row, type IoctlTable } from '../iommufd/dispatch.js';
import type { Env } from '../iommufd/env.js';
import * as uapi from '../wire/uapi/ioasid.js';
import {
  allocIoasid,
  allocIoasidKvm,
  allocIoasidNested,
  allocIoasidSva,
  allocIoasidUser,
  faultIoasid,
} from './alloc.js';
import { destroyIoasid, infoIoasid, invalidateIoasid, mapIoasid, unmapIoasid } from './operations.js';
import { rules } from './rules.js';

const ioctls: IoctlTable = ioctlTable(
  [
    row('ALLOC_IOASID', uapi.ALLOC_IOASID, uapi.alloc_ioasid, '__reserved', allocIoasid),
    row('ALLOC_IOASID_SVA', uapi.ALLOC_IOASID_SVA, uapi.alloc_ioasid_sva, 'out_ioasid', allocIoasidSva),
    row('ALLOC_IOASID_KVM', uapi.ALLOC_IOASID_KVM, uapi.alloc_ioasid_kvm, 'out_ioasid', allocIoasidKvm),
    row(
      'ALLOC_IOASID_USER_PAGE_TABLE',
      uapi.ALLOC_IOASID_USER_PAGE_TABLE,
      uapi.alloc_ioasid_user_page_table,
      '__reserved',
      allocIoasidUser,
    ),
    row(
      'ALLOC_IOASID_NESTED_PAGE_TABLE',
      uapi.ALLOC_IOASID_NESTED_PAGE_TABLE,
      uapi.alloc_ioasid_nested_page_table,
      '__reserved',
      allocIoasidNested,
    ),
    row('DESTROY_IOASID', uapi.DESTROY_IOASID, uapi.destroy_ioasid, 'ioasid', destroyIoasid),
    row('MAP_IOASID', uapi.MAP_IOASID, uapi.map_ioasid, 'iova', mapIoasid),
    row('UNMAP_IOASID', uapi.UNMAP_IOASID, uapi.unmap_ioasid, 'length', unmapIoasid),
    row('INVALIDATE_IOASID', uapi.INVALIDATE_IOASID, uapi.invalidate_ioasid, '__reserved', invalidateIoasid),
    row('INFO_IOASID', uapi.INFO_IOASID, uapi.info_ioasid, 'iova_last', infoIoasid),
    row('FAULT_IOASID', uapi.FAULT_IOASID, uapi.fault_ioasid, 'out_length', faultIoasid),
  ],
  (_context, cmd) => refuse(rules.ioasid_ioctl, { cmd: BigInt(cmd >>> 0) }),
);

/** One open of /dev/ioasid: the ioasids of one virtual machine. */
export class IoasidFile extends Context {
  override readonly name = '/dev/ioasid';

  constructor(env: Env, onEnd: () => void) {
    super(env, ioctls, onEnd);
  }
}
