/**
 * An IOMMU group: the devices that cannot be told apart or kept apart, who owns their DMA, and which domain the
 * requester id and each PASID uses. The generic half of Linux' drivers/iommu/iommu.c; a unit does the rest.
 */
import { refuse, Errno } from '../base/errno.js';
import { PagedMap } from '../base/paged-map.js';
import type { DmaDevice, Domain } from './unit.js';
import { rules } from './rules.js';

/** The key of the requester id itself in tables by PASID. */
export const IOMMU_NO_PASID = 0;

/** One attachment of a domain; page requests carry it to whoever answers them. */
export interface AttachHandle {
  domain: Domain;
}

let nextGroupId = 0;

export class IommuGroup {
  readonly devices: DmaDevice[] = [];
  #owner: object | null = null;
  #claims = 0;
  #domain: Domain | null = null;
  readonly #handles = new PagedMap<AttachHandle>();

  /** A machine numbers its own; those that tests make are numbered as they come. */
  constructor(readonly id: number = nextGroupId++) {}

  get domain(): Domain {
    return this.#domain ?? this.#first().unit.blockedDomain;
  }

  #first(): DmaDevice {
    return this.devices[0]!;
  }

  /** Makes `owner` the only one who may attach. EPERM when there is another. */
  claimDmaOwner(owner: object): void {
    if (this.#owner !== null && this.#owner !== owner) {
      refuse(rules.group_other_owner, { device: this.#first().name });
    }
    this.#owner = owner;
    this.#claims += 1;
  }

  releaseDmaOwner(): void {
    this.#claims -= 1;
    if (this.#claims === 0) this.#owner = null;
  }

  /** Somebody has claimed its DMA. */
  get isOwned(): boolean {
    return this.#claims > 0;
  }

  isOwnedBy(owner: object): boolean {
    return this.#owner === owner;
  }

  /** Whether its requester id or a PASID has a domain. */
  get isAttached(): boolean {
    return this.#handles.size > 0;
  }

  handle(pasid: number): AttachHandle | null {
    return this.#handles.get(pasid) ?? null;
  }

  /** First attachment of the requester id: EBUSY when it has one, EINVAL for a domain of another kind of unit. */
  attach(domain: Domain, handle: AttachHandle): void {
    const device = this.#first();
    if (this.#handles.has(IOMMU_NO_PASID)) refuse(rules.group_busy, { device: device.name });
    this.#checkUnit(domain);
    this.#setDomain(domain);
    this.#handles.set(IOMMU_NO_PASID, handle);
  }

  /** Switches without passing through the blocked state; on error the old domain stays. */
  replace(domain: Domain, handle: AttachHandle): void {
    this.#setDomain(domain);
    this.#handles.set(IOMMU_NO_PASID, handle);
  }

  detach(): void {
    this.#setDomain(this.#first().unit.blockedDomain);
    this.#handles.delete(IOMMU_NO_PASID);
  }

  #checkUnit(domain: Domain): void {
    const { unit, name } = this.#first();
    if (domain.unit.ops === unit.ops) return;
    refuse(rules.group_foreign_domain, { device: name, domain: domain.unit.name, unit: unit.name });
  }

  #setDomain(domain: Domain): void {
    const old = this.domain;
    if (old === domain) return;
    this.#forAll(
      (device) => device.unit.attach(domain, device, old),
      (device) => device.unit.attach(old, device, domain),
    );
    this.#domain = domain;
  }

  attachPasid(domain: Domain, device: DmaDevice, pasid: number, handle: AttachHandle): void {
    this.#checkPasidUnit(domain, device, pasid);
    for (const { maxPasids, name } of this.devices) {
      if (maxPasids > 0 && pasid >= maxPasids) {
        refuse(rules.pasid_too_large, { pasid, maxPasids, device: name });
      }
    }
    if (this.#handles.has(pasid)) refuse(rules.pasid_busy, { pasid, device: device.name });
    this.#setPasid(domain, pasid, null);
    this.#handles.set(pasid, handle);
  }

  replacePasid(domain: Domain, device: DmaDevice, pasid: number, handle: AttachHandle): void {
    this.#checkPasidUnit(domain, device, pasid);
    const current = this.#handles.get(pasid);
    if (current === undefined) refuse(rules.pasid_not_attached, { pasid, device: device.name });
    if (current.domain !== domain) this.#setPasid(domain, pasid, current.domain);
    this.#handles.set(pasid, handle);
  }

  detachPasid(pasid: number): void {
    const current = this.#handles.get(pasid);
    for (const device of this.#withPasid()) {
      device.unit.setDevPasid(device.unit.blockedDomain, device, pasid, current?.domain ?? null);
    }
    this.#handles.delete(pasid);
  }

  #checkPasidUnit(domain: Domain, device: DmaDevice, pasid: number): void {
    if (domain.unit.ops === device.unit.ops) return;
    refuse(rules.pasid_foreign_domain, {
      pasid,
      device: device.name,
      domain: domain.unit.name,
      unit: device.unit.name,
    });
  }

  /** Devices without PASID cannot send one, so they have no say in it. */
  #withPasid(): DmaDevice[] {
    return this.devices.filter((device) => device.maxPasids > 0);
  }

  #setPasid(domain: Domain, pasid: number, old: Domain | null): void {
    this.#forAll(
      (device) => device.unit.setDevPasid(domain, device, pasid, old),
      (device) => device.unit.setDevPasid(old ?? device.unit.blockedDomain, device, pasid, domain),
      this.#withPasid(),
    );
  }

  /** Does `step` to every device, or undoes those done when one refuses. */
  #forAll(
    step: (device: DmaDevice) => void,
    undo: (device: DmaDevice) => void,
    devices: readonly DmaDevice[] = this.devices,
  ): void {
    const done: DmaDevice[] = [];
    for (const device of devices) {
      try {
        step(device);
      } catch (error) {
        if (error instanceof Errno) for (const earlier of done) undo(earlier);
        throw error;
      }
      done.push(device);
    }
  }
}
