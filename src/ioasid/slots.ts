/**
 * The memory slots of a virtual machine, with KVM's rules (kvm_set_memory_region), and its guest-physical addresses as a
 * device sees them: what the slots say at that moment, and behind them what the machine's process has there.
 */
import { refuse } from '../base/errno.js';
import { TASK_SIZE } from '../iommufd/user-memory.js';
import type { Backing } from '../mem/client.js';
import type { LivePages, LiveWatcher } from '../mem/live-space.js';
import {
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
  type KvmUserspaceMemoryRegion,
} from '../wire/uapi/kvm.js';
import { rules } from './kvm-rules.js';

/** KVM_USER_MEM_SLOTS: what KVM_CAP_NR_MEMSLOTS says. */
export const USER_SLOTS = 32764;
const TOP = 1n << 64n;
const PAGE_MASK = 4095n;
const PAGE = 4096n;
/** KVM_MEM_MAX_NR_PAGES */
const MOST_PAGES = (1n << 31n) - 1n;
/** Of an access. */
const WRITE = 2;

/** Slots from here on are of another address space: what a processor sees in system management mode. */
const OTHER_SPACE = 0x10000;

export class MemorySlots {
  readonly #slots = new Map<number, KvmUserspaceMemoryRegion>();
  readonly #watchers = new Set<LiveWatcher>();

  /** `isOpen`: whether the machine is there still. Default: until {@link end}. */
  constructor(readonly isOpen: () => boolean = () => true) {}

  /** Adds, moves, changes or (size 0) deletes a slot, if KVM would. */
  set(region: KvmUserspaceMemoryRegion): void {
    const { slot, flags, guest_phys_addr, memory_size, userspace_addr } = region;
    if (slot % OTHER_SPACE >= USER_SLOTS) refuse(rules.kvm_slot, { slot, slots: USER_SLOTS });
    if ((flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) !== 0) refuse(rules.kvm_flags, { flags });
    if ((memory_size & PAGE_MASK) !== 0n) refuse(rules.kvm_size, { memory_size });
    if ((guest_phys_addr & PAGE_MASK) !== 0n) refuse(rules.kvm_guest_address, { guest_phys_addr });
    if ((userspace_addr & PAGE_MASK) !== 0n || userspace_addr + memory_size > TASK_SIZE)
      refuse(rules.kvm_user_address, { userspace_addr, memory_size });
    if (slot >= OTHER_SPACE) refuse(rules.kvm_address_space, { slot });
    if (guest_phys_addr + memory_size >= TOP) refuse(rules.kvm_wraps, { guest_phys_addr, memory_size });
    if (memory_size >> 12n > MOST_PAGES) refuse(rules.kvm_too_large, { memory_size });
    const old = this.#slots.get(slot);
    if (memory_size === 0n) {
      if (old === undefined) refuse(rules.kvm_nothing, { slot });
    } else {
      if (old !== undefined) this.#checkChange(old, region);
      if (old?.guest_phys_addr !== guest_phys_addr) this.#checkOverlap(region);
    }
    this.follow(region);
  }

  /** The same, when it has been decided already: devices see what processors see, outside of system management mode. */
  follow(region: KvmUserspaceMemoryRegion): void {
    const { slot, memory_size } = region;
    if (slot >= OTHER_SPACE) return;
    const old = this.#slots.get(slot);
    if (old !== undefined) this.#changed(old);
    if (memory_size === 0n) this.#slots.delete(slot);
    else this.#slots.set(slot, region);
  }

  #checkChange(old: KvmUserspaceMemoryRegion, { slot, flags, ...region }: KvmUserspaceMemoryRegion): void {
    const isSame =
      old.userspace_addr === region.userspace_addr &&
      old.memory_size === region.memory_size &&
      ((old.flags ^ flags) & KVM_MEM_READONLY) === 0;
    if (!isSame) refuse(rules.kvm_change, { slot });
  }

  #checkOverlap(region: KvmUserspaceMemoryRegion): void {
    const last = region.guest_phys_addr + region.memory_size;
    for (const other of this.#slots.values()) {
      if (other.slot === region.slot) continue;
      if (region.guest_phys_addr < other.guest_phys_addr + other.memory_size && other.guest_phys_addr < last)
        refuse(rules.kvm_overlap, { slot: region.slot, other: other.slot });
    }
  }

  /** Before it does, so that nobody refills a cache from what was. */
  #changed({ guest_phys_addr, memory_size }: KvmUserspaceMemoryRegion): void {
    for (const watcher of this.#watchers)
      watcher.changed(guest_phys_addr, guest_phys_addr + memory_size - 1n);
  }

  /** The slot around a guest-physical address, or null. */
  at(gpa: bigint): KvmUserspaceMemoryRegion | null {
    if (!this.isOpen()) return null;
    for (const slot of this.#slots.values())
      if (gpa >= slot.guest_phys_addr && gpa - slot.guest_phys_addr < slot.memory_size) return slot;
    return null;
  }

  watch(watcher: LiveWatcher): void {
    this.#watchers.add(watcher);
  }

  unwatch(watcher: LiveWatcher): void {
    this.#watchers.delete(watcher);
  }

  /** The machine is no more. */
  end(): void {
    for (const watcher of [...this.#watchers]) watcher.ended();
    this.#slots.clear();
  }
}

/** A machine's guest-physical addresses, over the pages of its process. */
export class GuestPages implements LivePages {
  readonly name: string;
  readonly bytes: Backing;
  #watcher: LiveWatcher | null = null;

  constructor(
    name: string,
    readonly slots: MemorySlots,
    readonly process: LivePages,
  ) {
    this.name = name;
    const { bytes } = process;
    this.bytes = {
      id: bytes.id,
      read: (offset, into) =>
        this.#each(offset, into.length, false, (at, from, to) => bytes.read(at, into.subarray(from, to))),
      write: (offset, from) =>
        this.#each(offset, from.length, true, (at, start, to) => bytes.write(at, from.subarray(start, to))),
    };
  }

  /** Does `copy` for each slot of a range; false where there is none, or none that may be written. */
  #each(
    gpa: bigint,
    length: number,
    writing: boolean,
    copy: (at: bigint, from: number, to: number) => boolean,
  ): boolean {
    for (let done = 0; done < length;) {
      const at = gpa + BigInt(done);
      const slot = this.slots.at(at);
      if (slot === null || (writing && (slot.flags & KVM_MEM_READONLY) !== 0)) return false;
      const inside = at - slot.guest_phys_addr;
      const room = slot.memory_size - inside;
      const to = room < BigInt(length - done) ? done + Number(room) : length;
      if (!copy(slot.userspace_addr + inside, done, to)) return false;
      done = to;
    }
    return true;
  }

  /** The process's address of a guest's, for `access`; null where the machine has nothing for it. */
  #userAddress(gpa: bigint, access: number): bigint | null {
    const slot = this.slots.at(gpa);
    if (slot === null || ((access & WRITE) !== 0 && (slot.flags & KVM_MEM_READONLY) !== 0)) return null;
    return slot.userspace_addr + (gpa - slot.guest_phys_addr);
  }

  there(gpa: bigint, start: bigint, pages: number, access: number): number {
    const slot = this.slots.at(gpa);
    const at = this.#userAddress(gpa, access);
    if (slot === null || at === null) return 0;
    const { guest_phys_addr, memory_size } = slot;
    const isInside =
      start >= guest_phys_addr && start + BigInt(pages) * PAGE <= guest_phys_addr + memory_size;
    return isInside
      ? this.process.there(at, at - (gpa - start), pages, access)
      : this.process.there(at, at & -PAGE, 1, access);
  }

  faultIn(gpa: bigint, access: number): boolean {
    const at = this.#userAddress(gpa, access);
    return at !== null && this.process.faultIn(at, access);
  }

  watch(watcher: LiveWatcher): void {
    this.#watcher = watcher;
    this.slots.watch(watcher);
    // What the process changes at its own addresses is not told by guest address, but its end is the machine's.
    this.process.watch({ changed: () => {}, ended: () => watcher.ended() });
  }

  release(): void {
    if (this.#watcher !== null) this.slots.unwatch(this.#watcher);
    this.process.release();
  }
}
