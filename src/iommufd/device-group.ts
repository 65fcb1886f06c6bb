/**
 * What a context knows of an IOMMU group: for the requester id and for each PASID, the HWPT that the group is
 * attached to and the devices that asked for it. The first device of a group does the attaching, the last one
 * undoes it.
 */
import { PagedMap } from '../base/paged-map.js';
import type { IommuGroup } from '../hw/group.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import type { Hwpt } from './hwpt.js';

interface Attachment {
  hwpt: Hwpt;
  /** Never changed, but replaced. */
  devices: readonly Device[];
}

export class DeviceGroup {
  /** By PASID; 0 is the requester id. */
  readonly attachments = new PagedMap<Attachment>();
  #users = 0;

  private constructor(
    readonly context: Context,
    readonly group: IommuGroup,
  ) {}

  /** The one of this context for `group`, with one more user. */
  static get(context: Context, group: IommuGroup): DeviceGroup {
    let known = context.groups.get(group);
    if (known === undefined) {
      known = new DeviceGroup(context, group);
      context.groups.set(group, known);
    }
    known.#users += 1;
    return known;
  }

  put(): void {
    this.#users -= 1;
    if (this.#users === 0) this.context.groups.delete(this.group);
  }

  /** Whether any PASID, the requester id not counted, is attached. */
  get hasPasids(): boolean {
    return this.attachments.size > (this.attachments.has(0) ? 1 : 0);
  }
}
