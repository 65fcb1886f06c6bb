/** Of <linux/kvm.h>, what memory slots need: the calls that ioasis' stand-in for /dev/kvm serves. */
import { struct, u32, u64, type Infer } from '../struct.js';

export const KVM_API_VERSION = 12;
export const KVM_GET_API_VERSION = 0xae00;
export const KVM_CREATE_VM = 0xae01;
export const KVM_CHECK_EXTENSION = 0xae03;
export const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
export const KVM_SET_USER_MEMORY_REGION2 = 0x40a0ae49;

export const KVM_CAP_USER_MEMORY = 3;
export const KVM_CAP_NR_MEMSLOTS = 10;
export const KVM_CAP_SYNC_MMU = 16;
export const KVM_CAP_DESTROY_MEMORY_REGION_WORKS = 21;
export const KVM_CAP_JOIN_MEMORY_REGIONS_WORKS = 30;
export const KVM_CAP_READONLY_MEM = 81;
export const KVM_CAP_USER_MEMORY2 = 231;

export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;

export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', 32, {
  slot: u32(0),
  flags: u32(4),
  guest_phys_addr: u64(8),
  memory_size: u64(16),
  userspace_addr: u64(24),
});
export type KvmUserspaceMemoryRegion = Infer<typeof kvm_userspace_memory_region>;

/** The first five fields are those of the older one; what follows is for guest_memfd, which the stand-in has not. */
export const kvm_userspace_memory_region2 = struct('kvm_userspace_memory_region2', 160, {
  slot: u32(0),
  flags: u32(4),
  guest_phys_addr: u64(8),
  memory_size: u64(16),
  userspace_addr: u64(24),
  guest_memfd_offset: u64(32),
  guest_memfd: u32(40),
});

/** For traces; `ioasis header` leaves them to Linux' own header. */
export const constants = {
  KVM_GET_API_VERSION,
  KVM_CREATE_VM,
  KVM_CHECK_EXTENSION,
  KVM_SET_USER_MEMORY_REGION,
  KVM_SET_USER_MEMORY_REGION2,
  KVM_CAP_USER_MEMORY,
  KVM_CAP_NR_MEMSLOTS,
  KVM_CAP_SYNC_MMU,
  KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
  KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
  KVM_CAP_READONLY_MEM,
  KVM_CAP_USER_MEMORY2,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEM_READONLY,
};
