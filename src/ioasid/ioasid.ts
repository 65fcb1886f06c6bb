/**
 * An I/O address space of /dev/ioasid: one page table of one kind, chosen by the call that made it. Underneath are the
 * objects of iommufd, under ids that the file does not show: this only says which.
 */
import { Errno } from '../base/errno.js';
import type { Call } from '../iommufd/call.js';
import type { Context } from '../iommufd/context.js';
import type { Device } from '../iommufd/device.js';
import { allocPaging, HwptPaging, type Hwpt } from '../iommufd/hwpt.js';
import type { Ioas } from '../iommufd/ioas.js';
import { IommufdObject } from '../iommufd/object.js';
import { IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID } from '../wire/uapi/iommufd.gen.js';
import type { IoasidKind } from './legality.js';

abstract class IoasidCommon extends IommufdObject {
  readonly type = 'IOASID';

  constructor(readonly context: Context) {
    super();
  }

  /** Everything that was made for it goes, unless somebody uses it. */
  protected drop(object: IommufdObject): void {
    this.context.objects.putAndDestroy(object);
  }
}

/** A table that ioasis fills: in as many formats as the units of its devices need. */
export class KernelIoasid extends IoasidCommon {
  readonly kind: IoasidKind = 'kernel';
  readonly tables: HwptPaging[] = [];

  constructor(
    context: Context,
    readonly ioas: Ioas,
  ) {
    super(context);
    ioas.users += 1;
  }

  /** What stands on a table of its counts there too, and is an ioasid of its own, a user of this one. */
  get attachments(): number {
    const users = this.tables.reduce((sum, table) => sum + table.users - 2, 0);
    return users - (this.users - 1);
  }

  isShownBy(table: Hwpt): boolean {
    return this.tables.includes(table as HwptPaging);
  }

  /** Attaches `device`, or a PASID of it, to the first table that suits it, or to a new one. */
  attach(call: Call, device: Device, pasid: number): void {
    for (const table of this.tables) {
      const outcome = call.tx.attempt(() => device.attach(call, pasid, table.id));
      if (!(outcome instanceof Errno)) return;
      if (outcome.code !== 'EINVAL') throw outcome;
    }
    device.attach(call, pasid, this.#makeTable(call, device).id);
  }

  /** A table that first stages of `device` can stand on. */
  parentFor(call: Call, device: Device): HwptPaging {
    const { ops } = device.device.unit;
    const known = this.tables.find(({ domain, nestParent }) => nestParent && domain.unit.ops === ops);
    return known ?? this.#makeTable(call, device);
  }

  /** With all that the unit can, so that one table serves devices, PASIDs, and first stages on top of it. */
  #makeTable(call: Call, device: Device): HwptPaging {
    const { device: hardware } = device;
    const pasid = hardware.maxPasids > 0 ? IOMMU_HWPT_ALLOC_PASID : 0;
    let table: HwptPaging | Errno | null = null;
    if (hardware.unit.allocNested !== undefined) {
      const flags = IOMMU_HWPT_ALLOC_NEST_PARENT | pasid;
      table = call.tx.attempt(() => allocPaging(call, this.ioas, device, flags, null));
      if (table instanceof Errno && table.code === 'ENOMEM') throw table;
    }
    if (!(table instanceof HwptPaging)) table = allocPaging(call, this.ioas, device, pasid, null);
    const made = table;
    made.users += 1;
    call.publishEarly(made);
    this.tables.push(made);
    call.tx.onAbort(() => {
      this.tables.splice(this.tables.indexOf(made), 1);
      made.users -= 1;
    });
    return made;
  }

  destroy(): void {
    for (const table of this.tables) this.drop(table);
    this.drop(this.ioas);
  }
}

/** A table of somebody else's. */
export class OwnedIoasid extends IoasidCommon {
  constructor(
    context: Context,
    readonly kind: IoasidKind,
    readonly table: Exclude<Hwpt, HwptPaging>,
    /** What it is nested on. */
    readonly parent: KernelIoasid | null,
  ) {
    super(context);
    table.users += 1;
    if (parent !== null) parent.users += 1;
  }

  get attachments(): number {
    return this.table.users - 2;
  }

  isShownBy(table: Hwpt): boolean {
    return this.table === table;
  }

  attach(call: Call, device: Device, pasid: number): void {
    device.attach(call, pasid, this.table.id);
  }

  destroy(): void {
    this.drop(this.table);
    if (this.parent !== null) this.parent.users -= 1;
  }
}

export type Ioasid = KernelIoasid | OwnedIoasid;
