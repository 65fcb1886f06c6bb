/**
 * Where a domain is attached: by unit, which requester ids and PASIDs (Linux: iommu_array, devices, dev_pasids and the
 * cache tags of a dmar_domain). What a domain has to invalidate follows from this alone.
 * A place is one number, so that a million of them are a set of numbers.
 */
import type { VtdDevice } from './device.js';
import type { VtdUnit } from './unit.js';

const PASIDS = 2 ** 20;

/** The places of a domain behind one unit; there while it has any. */
class UnitPlaces {
  /** In order of attachment. */
  readonly all = new Set<number>();
  /** By PASID: how many devices. Caches of the unit are tagged by domain id and PASID, not by device. */
  readonly byPasid = new Map<number, number>();
  /** How many are of devices with a cache of their own. */
  withDeviceTlb = 0;

  constructor(
    readonly unit: VtdUnit,
    readonly did: number,
  ) {}
}

export type { UnitPlaces };

export class Places {
  /** Most domains are behind one unit. */
  readonly byUnit: UnitPlaces[] = [];

  of(unit: VtdUnit): UnitPlaces | null {
    for (const places of this.byUnit) if (places.unit === unit) return places;
    return null;
  }

  /** The domain is now attached to `pasid` of `device`; takes a domain id with the first place behind a unit. */
  add(device: VtdDevice, pasid: number): UnitPlaces {
    let places = this.of(device.unit);
    if (places === null) {
      places = new UnitPlaces(device.unit, device.unit.domainIds.take());
      this.byUnit.push(places);
    }
    places.all.add(placeOf(device, pasid));
    places.byPasid.set(pasid, (places.byPasid.get(pasid) ?? 0) + 1);
    if (device.atsEnabled) places.withDeviceTlb += 1;
    return places;
  }

  remove(device: VtdDevice, pasid: number): void {
    const places = this.of(device.unit)!;
    places.all.delete(placeOf(device, pasid));
    const left = places.byPasid.get(pasid)! - 1;
    if (left === 0) places.byPasid.delete(pasid);
    else places.byPasid.set(pasid, left);
    if (device.atsEnabled) places.withDeviceTlb -= 1;
    if (places.all.size > 0) return;
    device.unit.domainIds.give(places.did);
    this.byUnit.splice(this.byUnit.indexOf(places), 1);
  }
}

function placeOf(device: VtdDevice, pasid: number): number {
  return device.index * PASIDS + pasid;
}

export function deviceAt(unit: VtdUnit, place: number): VtdDevice {
  return unit.deviceOf(Math.floor(place / PASIDS));
}

export function pasidAt(place: number): number {
  return place % PASIDS;
}
