/** Each rule of /dev/ioasid, of its stand-in for /dev/kvm and of tables that belong to somebody else, broken alone. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rules as kvmRules } from '../../src/ioasid/kvm-rules.js';
import { rules as ioasidRules } from '../../src/ioasid/rules.js';
import { rules as ownedRules } from '../../src/iommufd/owned-rules.js';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as o from '../../src/wire/uapi/ioasis.js';
import * as k from '../../src/wire/uapi/kvm.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { refusalOf } from '../refusal.js';
import { IoasidScene, PAGE } from './scene.js';

const IOVA = 0x40_0000_0000n;
const GPA = 0x1_0000_0000n;

let s: IoasidScene;
let device: number;
beforeEach(() => {
  s = new IoasidScene();
  device = s.device(0);
});
afterEach(() => void s.end());

const ioctl = (fd: number, cmd: number, arg = 0n): number => s.machine.client.ioctl(fd, cmd, arg);
const open = (path: string): number => s.machine.client.open(path);
const memfd = (): number => s.machine.client.memfd(4096).fd;
const eventfd = (): number => s.machine.client.eventfd().fd;
const words = (...values: number[]): bigint => s.memory.store(new Uint8Array(new Int32Array(values).buffer));

const map = (values: Partial<i.MapIoasid>): unknown =>
  s.call(s.fd, i.MAP_IOASID, i.map_ioasid, {
    flags: 3,
    ioasid: s.kernel(),
    iova: IOVA,
    user_va: s.memory.alloc(4096),
    length: PAGE,
    ...values,
  });
const unmap = (values: Partial<i.UnmapIoasid>): unknown =>
  s.call(s.fd, i.UNMAP_IOASID, i.unmap_ioasid, { ioasid: s.kernel(), iova: IOVA, length: PAGE, ...values });
const invalidate = (values: Partial<i.InvalidateIoasid>): unknown =>
  s.call(s.fd, i.INVALIDATE_IOASID, i.invalidate_ioasid, { ioasid: s.user(s.memory.alloc(4096)), ...values });
const authorize = (values: Partial<i.AuthorizeIoasid>): unknown =>
  s.call(device, i.AUTHORIZE_IOASID, i.authorize_ioasid, { ioasid: s.kernel(), ...values });
const ring = (values: Partial<i.FaultIoasid> = {}): number =>
  s.call(s.fd, i.FAULT_IOASID, i.fault_ioasid, {
    flags: i.IOASID_FAULT_RING,
    fault_eventfd: eventfd(),
    response_eventfd: eventfd(),
    ...values,
  }).out_fault_fd;
const mapRing = (values: { offset?: bigint; shared?: boolean }): unknown =>
  s.machine.client.mmap(ring(), { offset: 0n, length: 57344n, shared: true, exec: false, ...values });
const slot = (values: Partial<k.KvmUserspaceMemoryRegion>): void => {
  const vm = s.vm();
  s.slot(vm, 7, GPA, 2n * PAGE, PAGE);
  const region = {
    slot: 1,
    flags: 0,
    guest_phys_addr: 0n,
    memory_size: PAGE,
    userspace_addr: PAGE,
    ...values,
  };
  s.slot(vm, region.slot, region.guest_phys_addr, region.memory_size, region.userspace_addr, region.flags);
};

/** IOMMU_HWPT_ALLOC with a type of ioasis', on a /dev/iommu. */
function hwpt(type: number, data: readonly number[], values: Partial<u.IommuHwptAlloc> = {}): unknown {
  const fd = open('/dev/iommu');
  const file = open('/dev/vfio/devices/vfio1');
  const { out_devid: dev_id } = s.call(file, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, {
    iommufd: fd,
  });
  return s.call(fd, u.IOMMU_HWPT_ALLOC, u.iommu_hwpt_alloc, {
    dev_id,
    data_type: type,
    data_len: data.length * 4,
    data_uptr: words(...data),
    ...values,
  });
}

const cases: Readonly<Record<string, () => unknown>> = {
  ioasid_ioctl: () => ioctl(s.fd, 0xd200),
  ioasid_operation: () => map({ ioasid: s.sva() }),
  ioasid_alloc_flags: () => s.call(s.fd, i.ALLOC_IOASID, i.alloc_ioasid, { flags: 1 }),
  ioasid_alloc_reserved: () => s.call(s.fd, i.ALLOC_IOASID, i.alloc_ioasid, { __reserved: 1 }),
  ioasid_alloc_no_device: () => s.call(open('/dev/ioasid'), i.ALLOC_IOASID, i.alloc_ioasid),
  kvm_alloc_unreadable: () => ioctl(s.vm(), i.ALLOC_IOASID_KVM),
  kvm_alloc_size: () => ioctl(s.vm(), i.ALLOC_IOASID_KVM, words(15, 0, s.fd, 0)),
  kvm_alloc_fd: () => s.call(s.vm(), i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { fd: 99 }),
  kvm_alloc_file: () => s.call(s.vm(), i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { fd: device }),
  ioasid_alloc_data: () => s.user(0n, { data_len: 0 }),
  ioasid_alloc_parent: () => s.nested(99, 0n),
  ioasid_alloc_fault: () => s.user(0n, { flags: i.IOASID_FAULT, fault_id: 99 }),
  ioasid_fault_flags: () => ring({ flags: 2 }),
  ioasid_fault_eventfd: () => ring({ fault_eventfd: 99 }),
  ioasid_fault_eventfd_kind: () => ring({ response_eventfd: memfd() }),
  ring_read: () => s.machine.client.read(ring(), 64),
  ring_write: () => s.machine.client.write(ring(), new Uint8Array(32)),
  ring_private: () => mapRing({ shared: false }),
  ring_range: () => mapRing({ offset: PAGE }),
  ioasid_destroy: () => s.destroy(99),
  ioasid_destroy_busy: () => {
    const ioasid = s.kernel();
    s.authorize(device, ioasid);
    s.destroy(ioasid);
  },
  ioasid_map: () => map({ ioasid: 99 }),
  ioasid_map_flags: () => map({ flags: 4 }),
  ioasid_map_reserved: () => map({ __reserved: 1 }),
  ioasid_map_access: () => map({ flags: 0 }),
  ioasid_map_wraps: () => map({ iova: (1n << 64n) - PAGE, length: 2n * PAGE }),
  ioasid_unmap: () => unmap({ ioasid: 99 }),
  ioasid_unmap_length: () => unmap({ length: 0n }),
  ioasid_unmap_wraps: () => unmap({ iova: (1n << 64n) - PAGE, length: 2n * PAGE }),
  ioasid_unmap_nothing: () => unmap({}),
  ioasid_invalidate: () => invalidate({ ioasid: 99 }),
  ioasid_invalidate_reserved: () => invalidate({ __reserved: 1 }),
  ioasid_info: () => s.info(99),
  ioasid_authorize_unreadable: () => ioctl(device, i.AUTHORIZE_IOASID),
  ioasid_authorize_size: () => authorize({ argsz: 15 }),
  ioasid_authorize_flags: () => authorize({ flags: 2 }),
  ioasid_authorize_file: () => {
    const other = s.device(1, open('/dev/iommu'));
    s.authorize(other, 1);
  },
  ioasid_authorize_ioasid: () => authorize({ ioasid: 99 }),
  ioasid_authorize_pasid: () => authorize({ flags: i.IOASID_PASID, pasid: 1 << 20 }),
  ioasid_authorize_needless_pasid: () => authorize({ pasid: 1 }),
  ioasid_authorize_busy: () => {
    s.authorize(device, s.kernel());
    s.authorize(device, s.kernel());
  },
  ioasid_deauthorize_other: () => s.deauthorize(device, s.kernel()),

  kvm_ioctl: () => ioctl(open('/dev/kvm'), 0xae77),
  kvm_machine_ioctl: () => ioctl(s.vm(), 0xae41),
  kvm_argument: () => ioctl(open('/dev/kvm'), k.KVM_GET_API_VERSION, 1n),
  kvm_type: () => ioctl(open('/dev/kvm'), k.KVM_CREATE_VM, 1n),
  kvm_other_process: () => {
    const vm = s.machine.client.fileOf(s.vm()) as { ioctl(cmd: number, arg: bigint, task: unknown): number };
    vm.ioctl(k.KVM_CHECK_EXTENSION, 3n, s.machine.newClient());
  },
  kvm_read: () => s.machine.client.read(open('/dev/kvm'), 8),
  kvm_write: () => s.machine.client.write(s.vm(), new Uint8Array(8)),
  kvm_no_mmap: () => s.machine.client.mmap(s.vm(), { offset: 0n, length: PAGE, shared: true, exec: false }),
  kvm_unreadable: () => ioctl(s.vm(), k.KVM_SET_USER_MEMORY_REGION),
  kvm_slot: () => slot({ slot: 32764 }),
  kvm_flags: () => slot({ flags: 4 }),
  kvm_size: () => slot({ memory_size: 5n }),
  kvm_guest_address: () => slot({ guest_phys_addr: 1n }),
  kvm_user_address: () => slot({ userspace_addr: 1n << 63n }),
  kvm_address_space: () => slot({ slot: 1 << 16 }),
  kvm_wraps: () => slot({ guest_phys_addr: (1n << 64n) - PAGE, memory_size: 2n * PAGE }),
  kvm_too_large: () => slot({ memory_size: 1n << 43n }),
  kvm_nothing: () => slot({ memory_size: 0n }),
  kvm_change: () => slot({ slot: 7, guest_phys_addr: GPA }),
  kvm_overlap: () => slot({ guest_phys_addr: GPA + PAGE }),

  owned_target: () => hwpt(o.IOASIS_HWPT_DATA_SVA, [-1, 0], { pt_id: 1 }),
  owned_flags: () => hwpt(o.IOASIS_HWPT_DATA_SVA, [-1, 0], { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT }),
  owned_fault: () => hwpt(o.IOASIS_HWPT_DATA_SVA, [-1, 0], { flags: u.IOMMU_HWPT_FAULT_ID_VALID }),
  owned_reserved: () => hwpt(o.IOASIS_HWPT_DATA_SVA, [-1, 1]),
  owned_process: () => hwpt(o.IOASIS_HWPT_DATA_SVA, [99, 0]),
  owned_kvm_fd: () => hwpt(o.IOASIS_HWPT_DATA_KVM, [99, 0]),
  owned_kvm_file: () => hwpt(o.IOASIS_HWPT_DATA_KVM, [memfd(), 0]),
  owned_kvm_kind: () => hwpt(o.IOASIS_HWPT_DATA_KVM, [device, 0]),
};

/** What no program here can bring about, and why. */
const unreachable: Readonly<Record<string, string>> = {
  ioasid_fault_memory: 'memory that can be mapped runs out with descriptors of the daemon only',
  kvm_descriptors: 'a client in this process has a million descriptors',
  owned_unit: 'VT-d has such tables; the mock, which has none, has no devices for VFIO',
  owned_user_unit: 'as above',
  owned_process_forbidden:
    'clients in this process have no users; test/robust/owners.test.ts has a program of another',
  owned_spaces: 'it takes a million; test/mem/providers.test.ts',
  owned_kvm_process: 'a machine of another process is refused by its own file first',
};

test('every rule has its case, or a reason why it has none', () => {
  const all = [ioasidRules, kvmRules, ownedRules].flatMap((catalogue) => Object.keys(catalogue));
  expect([...Object.keys(cases), ...Object.keys(unreachable)].toSorted()).toEqual(all.toSorted());
});

test.each(Object.entries(cases))('%s', (id, act) => {
  const refusal = refusalOf(act);
  expect(refusal?.rule).toBe(id);
  expect(refusal?.reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
});
