/** VFIO_DEVICE_IOEVENTFD (vfio_pci_ioeventfd): a store to a BAR each time that the user signals an eventfd. */
import { refuse } from '../../base/errno.js';
import type { PciModel } from '../../bus/model.js';
import type { StoreWidth } from '../../bus/region.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { Virqfd } from '../eventfd.js';
import { indexOf, withinRegion } from '../region-info.js';
import { barLength } from './bars.js';
import type { PciRegions } from './regions.js';
import { rules } from './rules.js';

const LEAST = v.vfio_device_ioeventfd.endOf('fd');
/** VFIO_PCI_IOEVENTFD_MAX */
const MOST = 1000;

interface Entry {
  readonly bar: number;
  readonly offset: number;
  readonly width: StoreWidth;
  readonly data: bigint;
  readonly watched: Virqfd;
}

const isSame = (a: Entry, b: Omit<Entry, 'watched'>): boolean =>
  a.bar === b.bar && a.offset === b.offset && a.width === b.width && a.data === b.data;

export class IoEventFds {
  readonly #model: PciModel;
  readonly #regions: PciRegions;
  readonly #entries: Entry[] = [];

  constructor(model: PciModel, regions: PciRegions) {
    this.#model = model;
    this.#regions = regions;
  }

  /** vfio_pci_ioctl_ioeventfd */
  set(user: UserMemory, arg: bigint): number {
    const request = user.copyHead(v.vfio_device_ioeventfd, arg, LEAST, rules.ioeventfd_unreadable);
    const { argsz, flags, fd, data } = request;
    if (argsz < LEAST) refuse(rules.ioeventfd_size, { argsz, least: LEAST });
    if ((flags & ~v.VFIO_DEVICE_IOEVENTFD_SIZE_MASK) !== 0) refuse(rules.ioeventfd_flags, { flags });
    const width = flags;
    if (width !== 1 && width !== 2 && width !== 4 && width !== 8) refuse(rules.ioeventfd_width, { flags });
    if (fd < -1) refuse(rules.ioeventfd_fd, { fd });
    const bar = indexOf(request.offset);
    const offset = withinRegion(request.offset);
    this.#check(bar, offset, width);
    this.#place(user, { bar, offset, width, data }, fd);
    return 0;
  }

  /** Into a BAR, not into the MSI-X table, and not 8 bytes at once. */
  #check(bar: number, offset: number, width: StoreWidth): void {
    if (bar > v.VFIO_PCI_BAR5_REGION_INDEX) refuse(rules.ioeventfd_region, { bar });
    const size = barLength(this.#model, bar);
    if (offset + width > size) refuse(rules.ioeventfd_range, { offset, width, size });
    const { msixBar, msixStart, msixEnd } = this.#regions;
    const isApart = offset + width <= msixStart || offset >= msixEnd;
    if (bar === msixBar && !isApart) refuse(rules.ioeventfd_table, { offset, width });
    if (width === 8) refuse(rules.ioeventfd_wide, {});
  }

  #place(user: UserMemory, wanted: Omit<Entry, 'watched'>, fd: number): void {
    const at = this.#entries.findIndex((entry) => isSame(entry, wanted));
    if (at >= 0) {
      if (fd >= 0) refuse(rules.ioeventfd_exists, wanted);
      this.#entries[at]!.watched.disable();
      this.#entries.splice(at, 1);
      return;
    }
    if (fd < 0) refuse(rules.ioeventfd_none, wanted);
    if (this.#entries.length >= MOST) refuse(rules.ioeventfd_most, { most: MOST });
    user.alloc('vfio_pci_ioeventfd');
    const { bar, offset, width, data } = wanted;
    const lo = Number(BigInt.asIntN(32, BigInt.asUintN(8 * width, data)));
    const watched = new Virqfd(() => this.#regions.storeOne(bar, offset, width, lo));
    watched.enable(user, fd);
    this.#entries.push({ ...wanted, watched });
  }

  end(): void {
    for (const { watched } of this.#entries) watched.disable();
    this.#entries.length = 0;
  }
}
