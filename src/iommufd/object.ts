/**
 * What all objects of a context share: an id, a type, and a count of users. `users` starts at 1, the table's own;
 * whoever keeps a reference adds one, and DESTROY works only on an object that nobody but the table uses.
 */

export type ObjectType =
  | 'DEVICE'
  | 'HWPT_PAGING'
  | 'HWPT_NESTED'
  | 'HWPT_OWNED'
  | 'IOAS'
  | 'ACCESS'
  | 'FAULT'
  | 'VIOMMU'
  | 'VDEVICE'
  | 'VEVENTQ'
  | 'HW_QUEUE'
  | 'IOASID'
  | 'SELFTEST';

/**
 * Stands in the table for every object of one kind that nobody has asked for since it came: it is made when somebody
 * does. Until then an id is all that it costs, and the collector has nothing to move.
 */
export class Unmade {
  constructor(
    readonly type: ObjectType,
    readonly make: () => IommufdObject,
  ) {}
}

export abstract class IommufdObject {
  abstract readonly type: ObjectType;
  /** Given by the table when the object is reserved; 0 before. */
  id = 0;
  users = 1;
  /** In the table for everybody to see; until then only its maker knows it. */
  published = false;

  /** Releases what the object holds. Called once, when it is out of the table or was never in it. Never fails. */
  abstract destroy(): void;

  /** Ends what else keeps the object before it can go (iommufd_object_ops.pre_destroy). */
  preDestroy(): void {}
}
