/**
 * Faults that ended a request: the fault event, the records in the registers, the lines in the log (VT-d 11.4.7;
 * Linux: dmar_fault), and the guest that owns the table, if one does.
 */
import { hex } from '../../../base/hex.js';
import { pciName } from '../../../bus/pci.js';
import { FSTS_FRI_SHIFT, FSTS_PFO, FSTS_PPF, FSTS_REG } from '../registers.js';
import { IOMMU_NO_PASID, type AttachHandle } from '../../group.js';
import type { Domain } from '../../unit.js';
import {
  IOASIS_VEVENTQ_TYPE_VTD,
  IOASIS_VTD_FAULT_EXEC,
  IOASIS_VTD_FAULT_PASID_VALID,
  IOASIS_VTD_FAULT_PRIV,
  IOASIS_VTD_FAULT_READ,
  ioasis_vevent_vtd_fault,
} from '../../../wire/uapi/ioasis.js';
import {
  IOMMU_FAULT_PERM_EXEC,
  IOMMU_FAULT_PERM_PRIV,
  IOMMU_FAULT_PERM_READ,
  IOMMU_FAULT_PERM_WRITE,
} from '../../../wire/uapi/iommu.js';
import type { VtdDevice } from './device.js';
import { isInterruptFault, neutralReason, reasonText } from './fault-reasons.js';
import { VtdNested } from './nested.js';
import type { VtdUnit } from './unit.js';

const RECORD = 16;
/** Fault recording register, word 3. */
const F = 1 << 31;
const T_READ = 1 << 30;
/** Word 2. */
const PASID_PRESENT = 1 << 31;
const EXECUTE = 1 << 30;
const PRIVILEGED = 1 << 29;

/** Page request overflow is reported here too (FSTS.PRO). */
const FSTS_PRO = 1 << 7;

interface FaultRecord {
  readonly reason: number;
  readonly isRead: boolean;
  /** -1: the request had none. */
  readonly pasid: number;
  readonly sourceId: number;
  readonly address: bigint;
  /** EXECUTE | PRIVILEGED. */
  readonly access: number;
}

/** Reads, clears and tells all faults that the registers hold. */
export function handleFaults(unit: VtdUnit): void {
  const { mmio, capabilities } = unit;
  const status = mmio.read32(FSTS_REG);
  if (status !== 0) unit.log('err', `DMAR: DRHD: handling fault status reg ${status.toString(16)}`);
  if ((status & FSTS_PPF) === 0) return;
  let index = (status >>> FSTS_FRI_SHIFT) & 0xff;
  for (;;) {
    const at = capabilities.faultRecordsAt + index * RECORD;
    const high = mmio.read32(at + 12);
    if ((high & F) === 0) break;
    const low = mmio.read32(at + 8);
    const address = mmio.read64(at) & ~0xfffn;
    mmio.write32(at + 12, F);
    tell(unit, {
      reason: high & 0xff,
      isRead: (high & T_READ) !== 0,
      pasid: (low & PASID_PRESENT) === 0 ? -1 : (high >>> 8) & 0xfffff,
      sourceId: low & 0xffff,
      address,
      access: low & (EXECUTE | PRIVILEGED),
    });
    index = index + 1 < capabilities.faultRecords ? index + 1 : 0;
  }
  mmio.write32(FSTS_REG, FSTS_PFO | FSTS_PPF | FSTS_PRO);
}

function tell(unit: VtdUnit, fault: FaultRecord): void {
  unit.log('err', `DMAR: ${describe(unit, fault)}`);
  const device = unit.deviceBySource(fault.sourceId);
  const handle = device?.group.handle(fault.pasid < 0 ? IOMMU_NO_PASID : fault.pasid) ?? null;
  if (device === null || handle === null) return;
  tellOwner(device, handle, fault);
  tellGuest(device, handle.domain, fault);
}

/** Whoever owns the table that the request went by. */
function tellOwner(device: VtdDevice, handle: AttachHandle, fault: FaultRecord): void {
  const { reason, isRead, pasid, address, access } = fault;
  handle.domain.faultHandler?.(handle, {
    device,
    reason: neutralReason(reason),
    pasid: pasid < 0 ? null : pasid,
    perm:
      (isRead ? IOMMU_FAULT_PERM_READ : IOMMU_FAULT_PERM_WRITE) |
      ((access & EXECUTE) !== 0 ? IOMMU_FAULT_PERM_EXEC : 0) |
      ((access & PRIVILEGED) !== 0 ? IOMMU_FAULT_PERM_PRIV : 0),
    addr: address,
  });
}

/** dmar_fault_do_one. */
function describe(unit: VtdUnit, { reason, isRead, pasid, sourceId, address }: FaultRecord): string {
  const device = `[${pciName(unit.segment, sourceId)}]`;
  const why = `[fault reason 0x${hex(reason, 2)}] ${reasonText(reason)}`;
  if (isInterruptFault(reason)) {
    const index = (address >> 48n).toString(16);
    return `[INTR-REMAP] Request device ${device} fault index 0x${index} ${why}`;
  }
  const access = isRead ? 'DMA Read' : 'DMA Write';
  const who = pasid < 0 ? 'NO_PASID' : `PASID 0x${pasid.toString(16)}`;
  return `[${access} ${who}] Request device ${device} fault addr 0x${address.toString(16)} ${why}`;
}

/** ioasis' own: a fault of a guest's table goes to that guest, under the number that the device has there. */
function tellGuest(device: VtdDevice, domain: Domain, fault: FaultRecord): void {
  const { reason, isRead, pasid, address, access } = fault;
  if (!(domain instanceof VtdNested) || domain.viommu === null) return;
  const virtId = domain.viommu.virtIdOf(device);
  if (virtId === null || !domain.viommu.listens(IOASIS_VEVENTQ_TYPE_VTD)) return;
  const data = new Uint8Array(ioasis_vevent_vtd_fault.size);
  const flags =
    (pasid < 0 ? 0 : IOASIS_VTD_FAULT_PASID_VALID) |
    (isRead ? IOASIS_VTD_FAULT_READ : 0) |
    ((access & EXECUTE) !== 0 ? IOASIS_VTD_FAULT_EXEC : 0) |
    ((access & PRIVILEGED) !== 0 ? IOASIS_VTD_FAULT_PRIV : 0);
  const event = { virt_id: virtId, addr: address, pasid: Math.max(0, pasid), flags, reason, __reserved: 0 };
  ioasis_vevent_vtd_fault.encode(event, data);
  domain.viommu.reportEvent(IOASIS_VEVENTQ_TYPE_VTD, data);
}
