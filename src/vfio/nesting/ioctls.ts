/** The calls of a nesting container: argsz, flags that say what it does, then the payload. And its capability. */
import { refuse } from '../../base/errno.js';
import type { Call } from '../../iommufd/call.js';
import { iommu_hw_info_vtd } from '../../wire/uapi/iommufd.gen.js';
import * as u from '../../wire/uapi/vfio-nesting.js';
import type { Type1 } from '../type1.js';
import type { Nesting } from './nesting.js';
import { copyIn, readBindData, readInvalidateInfo } from './payload.js';
import { rules } from './rules.js';

const HEAD = u.vfio_iommu_type1_bind.size;
const TOP_PASID = 0x7fffffff;
const FIRST_STAGE_BITS = 48;
const PASID_BITS = 20;

/** VFIO_IOMMU_PASID_REQUEST: the PASID of ALLOC. */
function pasidRequest(call: Call, nesting: Nesting): number {
  const struct = u.vfio_iommu_type1_pasid_request;
  const { argsz, flags, min, max } = struct.decode(copyIn(call, call.arg, struct.size));
  if (argsz < struct.size) refuse(rules.nesting_pasid_size, { argsz, least: struct.size });
  if (flags !== u.VFIO_IOMMU_PASID_ALLOC && flags !== u.VFIO_IOMMU_PASID_FREE)
    refuse(rules.nesting_pasid_flags, { flags });
  if (min > max || max > TOP_PASID) refuse(rules.nesting_pasid_range, { min, max });
  if (flags === u.VFIO_IOMMU_PASID_ALLOC) return nesting.allocPasid(min, max);
  nesting.freePasids(min, max);
  return 0;
}

/** VFIO_IOMMU_BIND */
function bind(call: Call, nesting: Nesting): number {
  const { argsz, flags } = head(call);
  if (flags !== u.VFIO_IOMMU_BIND_GUEST_PGTBL && flags !== u.VFIO_IOMMU_UNBIND_GUEST_PGTBL)
    refuse(rules.nesting_bind_flags, { flags });
  const data = readBindData(call, call.arg + BigInt(HEAD), argsz - HEAD);
  if (flags === u.VFIO_IOMMU_BIND_GUEST_PGTBL) nesting.bind(call, data);
  else nesting.unbind(Number(data.hpasid));
  return 0;
}

/** VFIO_IOMMU_CACHE_INVALIDATE */
function cacheInvalidate(call: Call, nesting: Nesting): number {
  const { argsz, flags } = head(call);
  if (flags !== 0) refuse(rules.nesting_cache_flags, { flags });
  nesting.invalidate(readInvalidateInfo(call, call.arg + BigInt(HEAD), argsz - HEAD));
  return 0;
}

function head(call: Call): { argsz: number; flags: number } {
  const found = u.vfio_iommu_type1_bind.decode(copyIn(call, call.arg, HEAD));
  if (found.argsz < HEAD) refuse(rules.nesting_size, { argsz: found.argsz, least: HEAD });
  return found;
}

/** What a container of this kind knows beside type1's own calls. */
export const nestingHandlers: Readonly<Record<number, (call: Call, nesting: Nesting) => number>> = {
  [u.VFIO_IOMMU_PASID_REQUEST]: pasidRequest,
  [u.VFIO_IOMMU_BIND]: bind,
  [u.VFIO_IOMMU_CACHE_INVALIDATE]: cacheInvalidate,
};

/** Of VFIO_IOMMU_GET_INFO: what can be bound, and which payloads say so. */
export function nestingCap({ devices }: Pick<Type1, 'devices'>): Uint8Array {
  const [device] = devices;
  const { data } = device!.unit.hwInfo(device!, 0);
  const { cap_reg, ecap_reg } = iommu_hw_info_vtd.decode(data);
  const struct = u.vfio_iommu_type1_info_cap_nesting;
  const bytes = new Uint8Array(struct.size);
  struct.encode(
    {
      id: u.VFIO_IOMMU_TYPE1_INFO_CAP_NESTING,
      version: 1,
      next: 0,
      argsz: struct.size - struct.fields.argsz.offset,
      flags: 0,
      format: u.IOMMU_PASID_FORMAT_INTEL_VTD,
      features:
        u.IOMMU_NESTING_FEAT_SYSWIDE_PASID |
        u.IOMMU_NESTING_FEAT_BIND_PGTBL |
        u.IOMMU_NESTING_FEAT_CACHE_INVLD,
      addr_width: FIRST_STAGE_BITS,
      pasid_bits: device!.maxPasids === 0 ? 0 : Math.min(PASID_BITS, 31 - Math.clz32(device!.maxPasids)),
      versions: 1 << u.IOMMU_GPASID_BIND_VERSION_1,
      layouts: u.IOMMU_NESTING_LAYOUT_ARGSZ | u.IOMMU_NESTING_LAYOUT_VERSION,
      cap_reg,
      ecap_reg,
    },
    bytes,
  );
  return bytes;
}
