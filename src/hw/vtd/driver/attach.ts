/**
 * Pointing a requester id or a PASID at a domain, and away (Linux: intel_iommu_attach_device, intel_nested_attach_dev,
 * intel_iommu_set_dev_pasid and their like). Everything that can be refused is asked first, in Linux' order; then the
 * old entry goes and the new one comes. OURS: Linux blocks a requester id before it asks; here the old domain stays.
 */
import { refuse } from '../../../base/errno.js';
import { IOMMU_NO_PASID } from '../../group.js';
import type { VtdDevice } from './device.js';
import type { VtdDomain } from './domain.js';
import { setUpEntry, tearDownEntry } from './entry.js';
import { rules } from './rules.js';

export function attachRid(device: VtdDevice, domain: VtdDomain): void {
  const old = device.ridDomain;
  domain.checkCompatible(device);
  // As it happens, Linux asks in another order for a nested table.
  if (domain.kind === 'nested') checkDomainId(device, domain, old);
  checkPageRequests(device, domain);
  if (domain.kind !== 'nested') checkDomainId(device, domain, old);
  domain.checkEntry(device);
  reserveEntry(device, IOMMU_NO_PASID);

  if (old !== null) leaveRid(device, old);
  enter(device, domain, IOMMU_NO_PASID);
  device.ridDomain = domain;
  setUpEntry(device, IOMMU_NO_PASID, domain.entryFor(device));
  if (old !== null) endPageRequests(device, old);
}

export function blockRid(device: VtdDevice): void {
  const old = device.ridDomain;
  if (old === null) return;
  leaveRid(device, old);
  endPageRequests(device, old);
}

/** `old`: what the PASID is attached to now; null or blocked: nothing. */
export function attachPasid(
  device: VtdDevice,
  pasid: number,
  domain: VtdDomain,
  old: VtdDomain | null,
): void {
  const { unit } = device;
  if (!unit.capabilities.pasid) refuse(rules.vtd_no_pasid, { unit: unit.name });
  domain.checkCompatible(device);
  // That of the old domain is no help: see below.
  checkDomainId(device, domain, null);
  checkPageRequests(device, domain);
  domain.checkEntry(device);
  reserveEntry(device, pasid);

  // Linux attaches to both for a moment, so the new domain has its id before the old one gives up its own.
  domain.places.open(unit);
  if (old !== null) {
    tearDownEntry(device, pasid);
    leavePlace(device, old, pasid);
  }
  enter(device, domain, pasid);
  setUpEntry(device, pasid, domain.entryFor(device));
  if (old !== null) endPageRequests(device, old);
}

export function blockPasid(device: VtdDevice, pasid: number, old: VtdDomain | null): void {
  tearDownEntry(device, pasid);
  if (old === null) return;
  endPageRequests(device, old);
  leavePlace(device, old, pasid);
}

function checkDomainId(device: VtdDevice, domain: VtdDomain, leaving: VtdDomain | null): void {
  const { domainIds, capabilities } = device.unit;
  if (domain.places.of(device.unit) !== null || domainIds.free > 0) return;
  if (leaving?.places.of(device.unit)?.count === 1) return;
  refuse(rules.vtd_no_domain_id, { unit: device.unit.name, count: capabilities.domainIds });
}

/** A provider may resolve faults in ways of its own, so its space needs no page requests. */
function wantsPageRequests(device: VtdDevice, domain: VtdDomain): boolean {
  return domain.iopfHandler !== null && (domain.kind !== 'provided' || device.priEnabled);
}

function checkPageRequests(device: VtdDevice, domain: VtdDomain): void {
  if (wantsPageRequests(device, domain) && !device.priEnabled) {
    refuse(rules.vtd_no_page_requests, { device: device.name });
  }
}

function reserveEntry(device: VtdDevice, pasid: number): void {
  if (!device.pasids.reserve(pasid)) refuse(rules.vtd_pasid_table_memory, { device: device.name, pasid });
}

function enter(device: VtdDevice, domain: VtdDomain, pasid: number): void {
  domain.places.add(device, pasid);
  if (domain.kind === 'provided') domain.placesChanged();
  if (wantsPageRequests(device, domain)) device.enableFaults();
}

function leaveRid(device: VtdDevice, old: VtdDomain): void {
  tearDownEntry(device, IOMMU_NO_PASID);
  leavePlace(device, old, IOMMU_NO_PASID);
  device.ridDomain = null;
}

function leavePlace(device: VtdDevice, domain: VtdDomain, pasid: number): void {
  domain.places.remove(device, pasid);
  if (domain.kind === 'provided') domain.placesChanged();
}

function endPageRequests(device: VtdDevice, domain: VtdDomain): void {
  if (wantsPageRequests(device, domain)) device.disableFaults();
}
