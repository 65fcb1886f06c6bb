/**
 * An address space from outside: whoever implements an AddressSpaceProvider can put it in front of a device, or of one of
 * its PASIDs, and answers the page requests that it causes. What a process (SVA) and a virtual machine are to Linux.
 */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { respondGroup, type PageFaultGroup, type PageRequest } from '../hw/iopf.js';
import { PageResponseCode } from '../hw/unit.js';
import type { AddressSpaceProvider } from '../mem/providers.js';
import type { BuiltDevice } from './build.js';
import { rules } from './machine-rules.js';

/** Page requests of one group, and the one answer to them. */
export interface ProvidedFault {
  readonly device: string;
  /** Null: the requester id alone. */
  readonly pasid: number | null;
  readonly requests: readonly PageRequest[];
  /** Once: `success` makes the device try again. */
  respond(answer: 'success' | 'invalid' | 'failure'): void;
}

export interface ProvideOptions {
  /** Default: the requester id alone. */
  readonly pasid?: number;
  /** Without it page requests are answered INVALID at once. */
  readonly onFault?: (fault: ProvidedFault) => void;
}

/** An address space in front of a device. */
export interface ProvidedSpace {
  /** Takes it away; the device is blocked again. */
  detach(): void;
}

const codes = {
  success: PageResponseCode.SUCCESS,
  invalid: PageResponseCode.INVALID,
  failure: PageResponseCode.FAILURE,
};

/** Attaches `provider` to `device`; Errno with the rule where that cannot be. */
export function provide(
  { iommu, unit }: BuiltDevice,
  provider: AddressSpaceProvider,
  { pasid, onFault }: ProvideOptions,
): ProvidedSpace {
  const { group } = iommu;
  if (pasid !== undefined && !(pasid > 0 && pasid < iommu.maxPasids)) {
    refuse(rules.provide_pasid, { pasid, device: iommu.name, limit: iommu.maxPasids });
  }
  const owner = {};
  group.claimDmaOwner(owner);
  const domain = unit.driver.allocProvided(provider);
  const waiting = new Set<PageFaultGroup>();
  if (onFault !== undefined) domain.iopfHandler = (faults) => onFault(faultOf(faults, pasid, waiting));
  try {
    const handle = { domain };
    if (pasid === undefined) group.attach(domain, handle);
    else group.attachPasid(domain, iommu, pasid, handle);
  } catch (error) {
    domain.free();
    group.releaseDmaOwner();
    throw error;
  }
  return {
    detach() {
      if (group.handle(pasid ?? IOMMU_NO_PASID)?.domain !== domain) return;
      if (pasid === undefined) group.detach();
      else group.detachPasid(pasid);
      // Nobody will answer any more, and a device must not wait for ever.
      for (const faults of waiting) respondGroup(faults, PageResponseCode.INVALID);
      waiting.clear();
      domain.free();
      group.releaseDmaOwner();
    },
  };
}

function faultOf(
  faults: PageFaultGroup,
  pasid: number | undefined,
  waiting: Set<PageFaultGroup>,
): ProvidedFault {
  waiting.add(faults);
  return {
    device: faults.device.name,
    pasid: pasid ?? null,
    requests: faults.faults,
    respond(answer) {
      if (waiting.delete(faults)) respondGroup(faults, codes[answer]);
    },
  };
}
