/**
 * Virtual machines, as far as a device's page table is made of them: which guest-physical address is what. Where the
 * system has no /dev/kvm there is a stand-in, whose machines have memory slots and no processors. Where it has one, the
 * machine is the kernel's, and a {@link SystemMachine} follows what the kernel did.
 */
import { refuse } from '../base/errno.js';
import type { Env } from '../iommufd/env.js';
import { UserMemory } from '../iommufd/user-memory.js';
import type { LivePages } from '../mem/live-space.js';
import { O_CLOEXEC, O_RDWR, type OpenFile, type Task } from '../mem/task.js';
import * as uapi from '../wire/uapi/kvm.js';
import { GuestPages, MemorySlots, USER_SLOTS } from './slots.js';
import { rules } from './kvm-rules.js';

/** What KVM_CHECK_EXTENSION answers; 0 to all others. */
const extensions: Readonly<Record<number, number>> = {
  [uapi.KVM_CAP_USER_MEMORY]: 1,
  [uapi.KVM_CAP_NR_MEMSLOTS]: USER_SLOTS,
  [uapi.KVM_CAP_SYNC_MMU]: 1,
  [uapi.KVM_CAP_DESTROY_MEMORY_REGION_WORKS]: 1,
  [uapi.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS]: 1,
  [uapi.KVM_CAP_READONLY_MEM]: 1,
  [uapi.KVM_CAP_USER_MEMORY2]: 1,
};

/** An ioctl of a machine's file that KVM does not know: its number, argument and caller. */
export type MachineIoctl = (machine: VirtualMachine, cmd: number, arg: bigint, task: Task) => number;

abstract class KvmFileCommon implements OpenFile {
  readonly isEngineFile = true;
  abstract readonly name: string;
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;

  abstract ioctl(cmd: number, arg: bigint, task: Task): number;

  read(): number {
    refuse(rules.kvm_read, { file: this.name });
  }

  write(): number {
    refuse(rules.kvm_write, { file: this.name });
  }

  mmap(): never {
    refuse(rules.kvm_no_mmap, { file: this.name });
  }

  release(): void {}
}

/** An open /dev/kvm. */
export class KvmFile extends KvmFileCommon {
  readonly name = '/dev/kvm';

  constructor(
    readonly env: Env,
    /** What else a machine's file is asked. */
    readonly others: MachineIoctl,
  ) {
    super();
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    if (cmd === uapi.KVM_GET_API_VERSION) {
      if (arg !== 0n) refuse(rules.kvm_argument, { arg });
      return uapi.KVM_API_VERSION;
    }
    if (cmd === uapi.KVM_CHECK_EXTENSION) return extensions[Number(arg)] ?? 0;
    if (cmd !== uapi.KVM_CREATE_VM) refuse(rules.kvm_ioctl, { file: this.name, cmd: BigInt(cmd >>> 0) });
    if (arg !== 0n) refuse(rules.kvm_type, { type: arg });
    const fd = task.installFd(new VirtualMachine(this.env, task, this.others), O_RDWR | O_CLOEXEC);
    return fd ?? refuse(rules.kvm_descriptors, {});
  }
}

/** What the descriptor of a machine is called in /proc/PID/fd. */
export const MACHINE_NAME = 'anon_inode:kvm-vm';

let machines = 0;

/** What KVM_CREATE_VM makes. */
export class VirtualMachine extends KvmFileCommon {
  readonly name: string = MACHINE_NAME;
  readonly #number = ++machines;
  readonly #owner: Task['mm'];

  constructor(
    readonly env: Env,
    task: Task,
    readonly others: MachineIoctl,
    readonly slots = new MemorySlots(),
  ) {
    super();
    this.#owner = task.mm;
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    if (task.mm !== this.#owner) refuse(rules.kvm_other_process, {});
    if (cmd === uapi.KVM_CHECK_EXTENSION) return extensions[Number(arg)] ?? 0;
    const struct =
      cmd === uapi.KVM_SET_USER_MEMORY_REGION
        ? uapi.kvm_userspace_memory_region
        : cmd === uapi.KVM_SET_USER_MEMORY_REGION2
          ? uapi.kvm_userspace_memory_region2
          : null;
    if (struct === null) return this.others(this, cmd, arg, task);
    const user = new UserMemory(this.env, task);
    const bytes = user.copyIn(arg, struct.size, rules.kvm_unreadable);
    this.setSlot(uapi.kvm_userspace_memory_region.decode(bytes));
    return 0;
  }

  protected setSlot(region: uapi.KvmUserspaceMemoryRegion): void {
    this.slots.set(region);
  }

  /** Its memory as devices see it, for its own process. */
  addressSpace(task: Task): LivePages | null {
    const process = task.mm === this.#owner ? task.processPages(-1) : null;
    return process === null || process === 'forbidden'
      ? null
      : new GuestPages(`virtual machine ${this.#number}`, this.slots, process);
  }

  override release(): void {
    this.slots.end();
  }
}

/** A machine of the system's KVM: its calls come here after the kernel has done them, and what failed there does not. */
export class SystemMachine extends VirtualMachine {
  constructor(env: Env, task: Task, others: MachineIoctl, isOpen: () => boolean) {
    super(env, task, others, new MemorySlots(isOpen));
  }

  protected override setSlot(region: uapi.KvmUserspaceMemoryRegion): void {
    this.slots.follow(region);
  }
}
