/**
 * Where a domain is attached: by unit, which requester ids and PASIDs (Linux: iommu_array, devices, dev_pasids and the
 * cache tags of a dmar_domain). What a domain has to invalidate follows from this alone.
 * A place is a number of its unit's {@link PlaceTable}, a row of words: a million of them are no objects.
 */
import type { VtdDevice } from './device.js';
import type { VtdUnit } from './unit.js';

/** All places behind one unit, in lists by domain. Place 0 is none. */
export class PlaceTable {
  #device = new Int32Array(64);
  #pasid = new Int32Array(64);
  /** Of the domain that the place belongs to. */
  #did = new Int32Array(64);
  #next = new Int32Array(64);
  #previous = new Int32Array(64);
  /** First of those that are free again, linked by `#next`. */
  #free = 0;
  #fresh = 1;

  deviceIndexAt(place: number): number {
    return this.#device[place]!;
  }

  pasidAt(place: number): number {
    return this.#pasid[place]!;
  }

  didAt(place: number): number {
    return this.#did[place]!;
  }

  nextOf(place: number): number {
    return this.#next[place]!;
  }

  /** A place behind `last`. */
  append(device: number, pasid: number, did: number, last: number): number {
    const place = this.#free === 0 ? this.#takeFresh() : this.#free;
    if (place === this.#free) this.#free = this.#next[place]!;
    this.#device[place] = device;
    this.#pasid[place] = pasid;
    this.#did[place] = did;
    this.#next[place] = 0;
    this.#previous[place] = last;
    if (last !== 0) this.#next[last] = place;
    return place;
  }

  previousOf(place: number): number {
    return this.#previous[place]!;
  }

  /** Frees a place; its neighbours are neighbours now. */
  unlink(place: number): void {
    const next = this.#next[place]!;
    const previous = this.#previous[place]!;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    this.#next[place] = this.#free;
    this.#free = place;
  }

  #takeFresh(): number {
    if (this.#fresh === this.#device.length) {
      this.#device = doubled(this.#device);
      this.#pasid = doubled(this.#pasid);
      this.#did = doubled(this.#did);
      this.#next = doubled(this.#next);
      this.#previous = doubled(this.#previous);
    }
    this.#fresh += 1;
    return this.#fresh - 1;
  }
}

function doubled(from: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const into = new Int32Array(from.length * 2);
  into.set(from);
  return into;
}

const PAGE_LG2 = 10;
const PAGE_MASK = (1 << PAGE_LG2) - 1;

/** A number for each PASID of a device that has one, 0 for others; in pages, which exist where something is not 0. */
export class PasidWords {
  readonly #pages: (Int32Array | undefined)[] = [];

  get(pasid: number): number {
    return this.#pages[pasid >>> PAGE_LG2]?.[pasid & PAGE_MASK] ?? 0;
  }

  set(pasid: number, value: number): void {
    const page = (this.#pages[pasid >>> PAGE_LG2] ??= new Int32Array(PAGE_MASK + 1));
    page[pasid & PAGE_MASK] = value;
  }
}

/** The places of a domain behind one unit, in order of attachment; there while it has any. */
export class UnitPlaces {
  first = 0;
  last = 0;
  count = 0;
  /** How many are of devices with a cache of their own. */
  withDeviceTlb = 0;
  /** The devices among them, and how often each. */
  readonly devices: { readonly device: VtdDevice; count: number }[] = [];

  constructor(
    readonly unit: VtdUnit,
    readonly did: number,
  ) {}

  /**
   * Whether `place` stands for its PASID: caches of the unit are tagged by domain id and PASID, so one invalidation
   * serves all devices that have this domain at that PASID.
   */
  isFirstOfPasid(place: number): boolean {
    if (this.devices.length === 1) return true;
    const { places } = this.unit;
    const pasid = places.pasidAt(place);
    for (const { device } of this.devices) {
      const other = device.places.get(pasid);
      if (other === place) return true;
      if (other !== 0 && places.didAt(other) === this.did) return false;
    }
    return true;
  }
}

export class Places {
  /** Most domains are behind one unit. */
  readonly byUnit: UnitPlaces[] = [];

  of(unit: VtdUnit): UnitPlaces | null {
    for (const places of this.byUnit) if (places.unit === unit) return places;
    return null;
  }

  /** The places behind `unit`, with a domain id from now on; {@link add} has to follow. */
  open(unit: VtdUnit): UnitPlaces {
    const known = this.of(unit);
    if (known !== null) return known;
    const places = new UnitPlaces(unit, unit.domainIds.take());
    this.byUnit.push(places);
    return places;
  }

  /** The domain is now attached to `pasid` of `device`, which nothing else is. */
  add(device: VtdDevice, pasid: number): void {
    const at = this.open(device.unit);
    const place = device.unit.places.append(device.index, pasid, at.did, at.last);
    if (at.first === 0) at.first = place;
    at.last = place;
    at.count += 1;
    if (device.atsEnabled) at.withDeviceTlb += 1;
    device.places.set(pasid, place);
    const user = at.devices.find((each) => each.device === device);
    if (user === undefined) at.devices.push({ device, count: 1 });
    else user.count += 1;
  }

  remove(device: VtdDevice, pasid: number): void {
    const at = this.of(device.unit)!;
    const { places, domainIds } = device.unit;
    const place = device.places.get(pasid);
    if (at.first === place) at.first = places.nextOf(place);
    if (at.last === place) at.last = places.previousOf(place);
    places.unlink(place);
    device.places.set(pasid, 0);
    at.count -= 1;
    if (device.atsEnabled) at.withDeviceTlb -= 1;
    const user = at.devices.findIndex((each) => each.device === device);
    if ((at.devices[user]!.count -= 1) === 0) at.devices.splice(user, 1);
    if (at.count > 0) return;
    domainIds.give(at.did);
    this.byUnit.splice(this.byUnit.indexOf(at), 1);
  }
}
