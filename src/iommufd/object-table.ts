/**
 * The ids of one context. An object is reserved (its id is taken, nobody sees it), filled, then published; or
 * aborted. A removed object's id is free again at once, except when a tombstone keeps it until the context ends.
 */
import { refuse, invariant } from '../base/errno.js';
import { IdTable } from '../base/id-table.js';
import type { Call } from './call.js';
import { Unmade, type IommufdObject, type ObjectType } from './object.js';
import type { Limits } from './env.js';
import { rules } from './rules.js';

export class ObjectTable {
  readonly #ids = new IdTable<IommufdObject | Unmade>();
  #reserved = 0;

  constructor(readonly limits: Limits) {}

  /** Nothing at all in the table, not even a reservation. */
  get empty(): boolean {
    return this.#ids.size === 0 && this.#reserved === 0;
  }

  /** Where Linux allocates an object before it asks a driver: refuses when there is no room for one more. */
  checkRoom(call: Call, what: string): void {
    call.alloc(what);
    if (this.#ids.size + this.#reserved >= this.limits.objects) {
      refuse(rules.object_limit, { limit: this.limits.objects });
    }
  }

  /** Takes the lowest free id for `object`, which is then published or aborted. */
  reserve(call: Call, object: IommufdObject): void {
    object.id = this.reserveId(call, object.type);
  }

  /** {@link reserve} for an object of `type` that is not there yet. */
  reserveId(call: Call, type: ObjectType): number {
    this.checkRoom(call, type);
    call.alloc(`${type} id`);
    const id = this.#ids.reserve();
    if (id === null) refuse(rules.object_ids, {});
    this.#reserved += 1;
    return id;
  }

  /** The call that reserved the id has failed: it is free again. */
  abort(id: number): void {
    this.#ids.abort(id);
    this.#reserved -= 1;
  }

  /** Makes a reserved object visible. From here on it can only be destroyed. */
  publish(object: IommufdObject): void {
    this.publishAs(object.id, object);
    object.published = true;
  }

  publishAs(id: number, object: IommufdObject | Unmade): void {
    this.#ids.publish(id, object);
    this.#reserved -= 1;
  }

  #make(id: number, unmade: Unmade): IommufdObject {
    const object = unmade.make();
    object.id = id;
    object.published = true;
    this.#ids.replace(id, object);
    return object;
  }

  /** Takes back a {@link publish} whose call has failed; nobody has come to use the object since. */
  retract(object: IommufdObject): void {
    this.#ids.erase(object.id);
  }

  /** Any published object; undefined for ids that are free, reserved or tombstones. */
  peek(id: number): IommufdObject | undefined {
    const found = this.#ids.get(id);
    return found instanceof Unmade ? this.#make(id, found) : found;
  }

  /** Whether `object` is published here now. */
  holds(object: IommufdObject): boolean {
    return this.#ids.get(object.id) === object;
  }

  /**
   * iommufd_object_remove() on behalf of a holder: gives up the caller's own reference, then destroys the object
   * if the table is its only user. Returns whether it went.
   */
  putAndDestroy(object: IommufdObject, tombstone = false): boolean {
    object.preDestroy();
    object.users -= 1;
    return this.#removeUnused(object, tombstone);
  }

  /** Destroys an object that nobody has asked for; false: it is no such object. */
  destroyUnmade(id: number): boolean {
    if (!(this.#ids.get(id) instanceof Unmade)) return false;
    this.#ids.erase(id);
    return true;
  }

  /** The same without a reference of the caller's: what DESTROY does. */
  destroy(object: IommufdObject): boolean {
    return this.#removeUnused(object, false);
  }

  #removeUnused(object: IommufdObject, tombstone: boolean): boolean {
    if (object.users !== 1) return false;
    invariant(this.holds(object), `${object.type} ${object.id} is destroyed twice`);
    object.users = 0;
    if (tombstone) this.#ids.entomb(object.id);
    else this.#ids.erase(object.id);
    object.destroy();
    return true;
  }

  *objects(): Generator<IommufdObject> {
    for (const [id, object] of this.#ids.entries()) {
      yield object instanceof Unmade ? this.#make(id, object) : object;
    }
  }

  /** Destroys everything, leaves first, as closing the file does. */
  destroyAll(): void {
    while (this.#ids.size > 0) {
      let destroyed = 0;
      for (const [id, object] of [...this.#ids.entries()]) {
        if (object instanceof Unmade) destroyed += Number(this.destroyUnmade(id));
        else if (object.users === 1 && this.holds(object) && this.#removeUnused(object, false))
          destroyed += 1;
      }
      if (destroyed === 0) this.#forceOne();
    }
  }

  /** Reached when something keeps a reference that cannot end; Linux leaks what is left, and warns. */
  #forceOne(): void {
    for (const object of this.objects()) {
      object.users = 1;
      this.#removeUnused(object, false);
      return;
    }
  }
}
