/** Each rule of vfio-pci, and of what all drivers have in common, is broken once, alone. */
import { describe, expect, test } from 'vitest';
import { Errno, type ErrnoName } from '../../src/base/errno.js';
import { rules as callRules } from '../../src/vfio/call-rules.js';
import { rules as pciRules } from '../../src/vfio/pci/rules.js';
import { VfToken } from '../../src/vfio/pci/token.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PAGE } from '../iommufd/world.js';
import { bar, CONFIG, PciWorld, type PciDevice } from './pci-world.js';
import { testConfig } from './test-model.js';

type Opened = PciDevice & { fd: number };
type Case = readonly [ErrnoName, (w: PciWorld) => () => unknown];

/** With a device that is open, its memory enabled. */
const open =
  (act: (w: PciWorld, device: Opened) => unknown, before: (w: PciWorld, device: Opened) => void = () => {}) =>
  (w: PciWorld): (() => unknown) => {
    const device = w.openPci();
    before(w, device);
    return () => act(w, device);
  };

/** A call with an address of the caller's choice. */
const raw = (cmd: number, at: (w: PciWorld) => bigint): Case[1] =>
  open((w, { fd }) => w.client.ioctl(fd, cmd, at(w)));

const TRIGGER = v.VFIO_IRQ_SET_ACTION_TRIGGER;
const [NONE, BOOL, EVENTFD] = [
  v.VFIO_IRQ_SET_DATA_NONE,
  v.VFIO_IRQ_SET_DATA_BOOL,
  v.VFIO_IRQ_SET_DATA_EVENTFD,
];
const [INTX, MSI, MSIX, ERR, REQ] = [0, 1, 2, 3, 4];

/** SET_IRQS, once a state is reached. */
const irqs = (
  flags: number,
  index: number,
  data: readonly number[] = [],
  values: Partial<v.VfioIrqSet> = {},
  before: (w: PciWorld, fd: number) => void = () => {},
): Case[1] =>
  open(
    (w, { fd }) => w.setIrqs(fd, flags, index, data, values),
    (w, { fd }) => before(w, fd),
  );

const useIntx = (w: PciWorld, fd: number): unknown =>
  w.setIrqs(fd, EVENTFD | TRIGGER, INTX, w.eventfds(1).fds);
const useMsi = (w: PciWorld, fd: number): unknown => w.setIrqs(fd, EVENTFD | TRIGGER, MSI, w.eventfds(1).fds);

const memory =
  (enabled: boolean) =>
  (w: PciWorld, { fd }: Opened): void =>
    w.writeConfig(fd, 4, 2, enabled ? 2 : 0);

const feature = (flags: number, argsz = 8): Case[1] =>
  open((w, { fd }) => w.deviceCall(fd, v.VFIO_DEVICE_FEATURE, v.vfio_device_feature, { argsz, flags }));

const mapped = (offset: bigint, length = PAGE, shared = true): Case[1] =>
  open((w, { fd }) => w.client.mmap(fd, { offset, length, shared, exec: false }));

/** Memory that ends, or cannot be written. */
const edge = (w: PciWorld, length: number): bigint => w.client.memory.alloc(4096) + 4096n - BigInt(length);
const readOnly = (w: PciWorld): bigint => w.client.memory.alloc(4096, { writable: false });
const file = (w: PciWorld, fd: number): any => w.client.fileOf(fd);
const readAt = (w: PciWorld, fd: number, position: bigint, at: bigint, count: number): unknown =>
  file(w, fd).readAt(position, at, count, w.client);
const writeAt = (w: PciWorld, fd: number, position: bigint, at: bigint, count: number): unknown =>
  file(w, fd).writeAt(position, at, count, w.client);

const binds = (make: (w: PciWorld) => PciDevice, token: Uint8Array | null): Case[1] => {
  return (w) => {
    const fd = w.openDevice(make(w).vfio);
    const flags = token === null ? 0 : v.VFIO_DEVICE_BIND_FLAG_TOKEN;
    const token_uuid_ptr = token === null ? 0n : w.client.memory.store(token);
    return () => w.bindFile(fd, { flags, token_uuid_ptr });
  };
};
const SECRET = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const OTHER = new Uint8Array(16);
const virtual = (physical: VfToken | null) => (w: PciWorld) =>
  w.newPci({ role: { kind: 'virtual', physical } });
const physical = (w: PciWorld): PciDevice => {
  const own = new VfToken(SECRET);
  own.users = 1;
  return w.newPci({ role: { kind: 'physical', own } });
};

const HOT_INFO = v.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
const HOT_RESET = v.VFIO_DEVICE_PCI_HOT_RESET;

/** With a device that stands below a port. */
const onBus =
  (prepare: (w: PciWorld, device: Opened) => () => unknown): Case[1] =>
  (w) => {
    const device = w.openPci();
    device.driver.resetSet = [w.memberOf(device, 0x100)];
    return prepare(w, device);
  };

/** The same, opened through its group. */
const grouped =
  (prepare: (w: PciWorld, fd: number) => () => unknown): Case[1] =>
  (w) => {
    const device = w.newPci();
    device.driver.resetSet = [w.memberOf(device, 0x100)];
    return prepare(w, w.openThroughGroup(device.vfio).fd);
  };

const enterLowPower = (w: PciWorld, { fd }: Opened): unknown => {
  const flags = v.VFIO_DEVICE_FEATURE_SET | v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
  return w.deviceCall(fd, v.VFIO_DEVICE_FEATURE, v.vfio_device_feature, { argsz: 8, flags });
};

/** A request to set `feature`, of `argsz` bytes, of which 8 are there. */
function featureAtEdge(w: PciWorld, number: number, argsz: number): bigint {
  const at = edge(w, 8);
  const words = [argsz, v.VFIO_DEVICE_FEATURE_SET | number];
  w.client.memory.write(at, new Uint8Array(new Uint32Array(words).buffer));
  return at;
}

const callCases: Readonly<Record<keyof typeof callRules, Case>> = {
  region_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_GET_REGION_INFO, (w) => edge(w, 31))],
  region_size: ['EINVAL', open((w, { fd }) => w.regionInfo(fd, 0, { argsz: 31 }))],
  region_caps_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_REGION_INFO, (w) => {
      const at = edge(w, 32);
      w.client.memory.write(at, new Uint8Array(new Uint32Array([40, 0, 0, 0, 0, 0, 0, 0]).buffer));
      return at;
    }),
  ],
  region_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_REGION_INFO, (w) => w.putReadOnly(v.vfio_region_info, { argsz: 32 })),
  ],
  irqs_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_SET_IRQS, (w) => edge(w, 19))],
  irqs_size: ['EINVAL', irqs(NONE | TRIGGER, MSIX, [], { argsz: 19 })],
  irqs_index: ['EINVAL', irqs(NONE | TRIGGER, 5)],
  irqs_wraps: ['EINVAL', irqs(NONE | TRIGGER, MSIX, [], { start: 1, count: 0xffff_fffe })],
  irqs_flags: ['EINVAL', irqs(NONE | TRIGGER | 0x40, MSIX)],
  irqs_start: ['EINVAL', irqs(NONE | TRIGGER, MSIX, [], { start: 8 })],
  irqs_count: ['EINVAL', irqs(NONE | TRIGGER, MSIX, [], { start: 7, count: 2 })],
  irqs_data_kind: ['EINVAL', irqs(NONE | BOOL | TRIGGER, MSIX)],
  irqs_data_size: ['EINVAL', irqs(EVENTFD | TRIGGER, MSIX, [-1, -1], { argsz: 27 })],
  irqs_data_unreadable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_SET_IRQS, (w) => {
      const at = edge(w, 20);
      w.client.memory.write(at, new Uint8Array(new Uint32Array([24, EVENTFD | TRIGGER, MSIX, 0, 1]).buffer));
      return at;
    }),
  ],
  eventfd_closed: ['EBADF', irqs(EVENTFD | TRIGGER, MSIX, [99])],
  eventfd_own_file: ['EINVAL', open((w, { fd }) => w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, [w.fd]))],
  eventfd_kind: [
    'EINVAL',
    open((w, { fd }) => w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, [w.client.memfd(4096).fd])),
  ],
  virqfd_busy: [
    'EBUSY',
    (w) => {
      const { fd } = w.openPci();
      useIntx(w, fd);
      const { fds } = w.eventfds(2);
      const unmask = EVENTFD | v.VFIO_IRQ_SET_ACTION_UNMASK;
      w.setIrqs(fd, unmask, INTX, [fds[0]!]);
      return () => w.setIrqs(fd, unmask, INTX, [fds[1]!]);
    },
  ],
  feature_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_FEATURE, (w) => edge(w, 7))],
  feature_size: ['EINVAL', feature(0, 7)],
  feature_flags: ['EINVAL', feature(0x8_0000)],
  feature_both_ways: ['EINVAL', feature(v.VFIO_DEVICE_FEATURE_GET | v.VFIO_DEVICE_FEATURE_SET)],
  feature_precopy: ['EINVAL', feature(v.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2)],
  feature_unknown: ['ENOTTY', feature(v.VFIO_DEVICE_FEATURE_GET | 0xfff)],
  feature_way: ['EINVAL', feature(v.VFIO_DEVICE_FEATURE_GET | v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)],
  feature_no_way: ['EINVAL', feature(v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)],
  feature_data_size: [
    'EINVAL',
    feature(v.VFIO_DEVICE_FEATURE_SET | v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, 15),
  ],
};

const pciCases: Readonly<Record<keyof typeof pciRules, Case>> = {
  pci_info_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_GET_INFO, (w) => edge(w, 15))],
  pci_info_size: ['EINVAL', raw(v.VFIO_DEVICE_GET_INFO, (w) => w.put(v.vfio_device_info, { argsz: 15 }))],
  pci_info_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_INFO, (w) => w.putReadOnly(v.vfio_device_info, { argsz: 24 })),
  ],
  region_vga: ['EINVAL', open((w, { fd }) => w.regionInfo(fd, 8))],
  region_index: ['EINVAL', open((w, { fd }) => w.regionInfo(fd, 9))],
  irq_info_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_GET_IRQ_INFO, (w) => edge(w, 15))],
  irq_info_size: ['EINVAL', open((w, { fd }) => w.irqInfo(fd, 0, { argsz: 15 }))],
  irq_info_index: ['EINVAL', open((w, { fd }) => w.irqInfo(fd, 5))],
  irq_info_err: [
    'EINVAL',
    (w) => {
      // The chain ends before PCI Express.
      const { fd } = w.openPci({}, testConfig().set(0x49, 1, 0));
      return () => w.irqInfo(fd, ERR);
    },
  ],
  irq_info_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_IRQ_INFO, (w) => w.putReadOnly(v.vfio_irq_info, { argsz: 16 })),
  ],
  irqs_action: ['ENOTTY', irqs(NONE | v.VFIO_IRQ_SET_ACTION_MASK, MSIX, [], { count: 1 })],
  intx_unmask: ['EINVAL', irqs(NONE | v.VFIO_IRQ_SET_ACTION_UNMASK, INTX, [], { count: 1 })],
  intx_mask: ['EINVAL', irqs(NONE | v.VFIO_IRQ_SET_ACTION_MASK, INTX, [], { count: 1 })],
  intx_mask_eventfd: ['ENOTTY', irqs(EVENTFD | v.VFIO_IRQ_SET_ACTION_MASK, INTX, [-1], {}, useIntx)],
  intx_trigger: ['EINVAL', irqs(EVENTFD | TRIGGER, INTX, [-1], {}, useMsi)],
  intx_trigger_off: ['EINVAL', irqs(BOOL | TRIGGER, INTX, [1])],
  messages_other: ['EINVAL', irqs(EVENTFD | TRIGGER, MSIX, [-1], {}, useMsi)],
  messages_none: ['ERANGE', irqs(EVENTFD | TRIGGER, MSI)],
  messages_power: [
    'EINVAL',
    irqs(EVENTFD | TRIGGER, MSI, [-1], {}, (w, fd) => w.writeConfig(fd, 0x44, 2, 3)),
  ],
  messages_off: ['EINVAL', irqs(BOOL | TRIGGER, MSI, [1])],
  single_unset: ['EINVAL', irqs(NONE | TRIGGER, ERR)],
  single_no_bool: ['EINVAL', irqs(BOOL | TRIGGER, ERR)],
  single_no_eventfd: ['EINVAL', irqs(EVENTFD | TRIGGER, REQ)],
  single_eventfd: ['EINVAL', irqs(EVENTFD | TRIGGER, REQ, [-2])],
  hot_info_unreadable: ['EFAULT', raw(HOT_INFO, (w) => edge(w, 11))],
  hot_info_size: ['EINVAL', raw(HOT_INFO, (w) => w.put(v.vfio_pci_hot_reset_info, { argsz: 11 }))],
  hot_info_root: ['ENODEV', raw(HOT_INFO, (w) => w.put(v.vfio_pci_hot_reset_info, { argsz: 20 }))],
  hot_info_devices_unwritable: [
    'EFAULT',
    onBus((w, { fd }) => {
      const at = edge(w, 12);
      w.client.memory.write(at, new Uint8Array(new Uint32Array([20, 0, 0]).buffer));
      return () => w.client.ioctl(fd, HOT_INFO, at);
    }),
  ],
  hot_info_unwritable: [
    'EFAULT',
    onBus((w, { fd }) => {
      const at = w.putReadOnly(v.vfio_pci_hot_reset_info, { argsz: 12 });
      return () => w.client.ioctl(fd, HOT_INFO, at);
    }),
  ],
  hot_info_room: [
    'ENOSPC',
    onBus((w, { fd }) => {
      const at = w.put(v.vfio_pci_hot_reset_info, { argsz: 19 });
      return () => w.client.ioctl(fd, HOT_INFO, at);
    }),
  ],
  hot_reset_unreadable: ['EFAULT', raw(HOT_RESET, (w) => edge(w, 11))],
  hot_reset_size: ['EINVAL', raw(HOT_RESET, (w) => w.put(v.vfio_pci_hot_reset, { argsz: 11 }))],
  hot_reset_flags: ['EINVAL', raw(HOT_RESET, (w) => w.put(v.vfio_pci_hot_reset, { argsz: 12, flags: 1 }))],
  hot_reset_way: ['EINVAL', raw(HOT_RESET, (w) => w.put(v.vfio_pci_hot_reset, { argsz: 16, count: 1 }))],
  hot_reset_root: ['ENODEV', raw(HOT_RESET, (w) => w.put(v.vfio_pci_hot_reset, { argsz: 12 }))],
  hot_reset_not_owned: [
    'EINVAL',
    onBus((w, device) => {
      const other = w.newPci();
      device.driver.resetSet = [...device.driver.resetSet!, w.memberOf(other, 0x101)];
      return () => w.deviceCall(device.fd, HOT_RESET, v.vfio_pci_hot_reset, { argsz: 12 });
    }),
  ],
  hot_reset_groups: ['EINVAL', grouped((w, fd) => () => w.hotReset(fd, [1, 2]))],
  hot_reset_groups_unreadable: [
    'EFAULT',
    grouped((w, fd) => {
      const at = edge(w, 12);
      w.client.memory.write(at, new Uint8Array(new Uint32Array([16, 0, 1]).buffer));
      return () => w.client.ioctl(fd, HOT_RESET, at);
    }),
  ],
  hot_reset_group_fd: ['EBADF', grouped((w, fd) => () => w.hotReset(fd, [99]))],
  hot_reset_group_kind: ['EINVAL', grouped((w, fd) => () => w.hotReset(fd, [w.fd]))],
  ioeventfd_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_IOEVENTFD, (w) => edge(w, 27))],
  ioeventfd_size: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { argsz: 27 }))],
  ioeventfd_flags: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { flags: 16 | 4 }))],
  ioeventfd_width: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { flags: 6 }))],
  ioeventfd_fd: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { fd: -2 }))],
  ioeventfd_region: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { offset: CONFIG }))],
  ioeventfd_range: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { offset: 0x3ffdn }))],
  ioeventfd_table: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { offset: 0x1ffdn }))],
  ioeventfd_wide: ['EINVAL', open((w, { fd }) => w.ioeventfd(fd, { flags: 8 }))],
  ioeventfd_exists: [
    'EEXIST',
    open(
      (w, { fd }) => w.ioeventfd(fd, { fd: w.eventfds(1).fds[0]! }),
      (w, { fd }) => w.ioeventfd(fd, { fd: w.eventfds(1).fds[0]! }),
    ),
  ],
  ioeventfd_none: ['ENODEV', open((w, { fd }) => w.ioeventfd(fd, { fd: -1 }))],
  ioeventfd_most: [
    'ENOSPC',
    open(
      (w, { fd }) => w.ioeventfd(fd, { fd: w.eventfds(1).fds[0]!, data: 1000n }),
      (w, { fd }) => {
        const event = w.eventfds(1).fds[0]!;
        for (let data = 0n; data < 1000n; data++) w.ioeventfd(fd, { fd: event, data });
      },
    ),
  ],
  low_power_twice: ['EINVAL', open(enterLowPower, enterLowPower)],
  low_power_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_FEATURE, (w) => featureAtEdge(w, 4, 16))],
  low_power_eventfd: [
    'EINVAL',
    raw(v.VFIO_DEVICE_FEATURE, (w) => {
      const flags = v.VFIO_DEVICE_FEATURE_SET | v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
      return w.client.memory.store(new Uint8Array(new Int32Array([16, flags, -1, 0]).buffer));
    }),
  ],
  token_unreadable: [
    'EFAULT',
    (w) => {
      const { fd } = w.openPci({ role: { kind: 'physical', own: new VfToken(SECRET) } });
      const at = featureAtEdge(w, v.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, 24);
      return () => w.client.ioctl(fd, v.VFIO_DEVICE_FEATURE, at);
    },
  ],
  token_needless: ['EINVAL', binds((w) => w.newPci(), SECRET)],
  token_no_physical: ['EINVAL', binds(virtual(null), SECRET)],
  token_missing: ['EACCES', binds(virtual(new VfToken(SECRET)), null)],
  token_wrong: ['EACCES', binds(virtual(new VfToken(SECRET)), OTHER)],
  token_missing_physical: ['EACCES', binds(physical, null)],
  token_wrong_physical: ['EACCES', binds(physical, OTHER)],
  read_index: ['EINVAL', open((w, { fd }) => w.client.pread(fd, 4, bar(9)))],
  write_index: ['EINVAL', open((w, { fd }) => w.writeBar(fd, 9, 0, 0))],
  read_vga: ['EINVAL', open((w, { fd }) => w.client.pread(fd, 4, bar(8, 0xa0000)))],
  write_vga: ['EINVAL', open((w, { fd }) => w.writeBar(fd, 8, 0xa0000, 0))],
  write_rom: ['EINVAL', open((w, { fd }) => w.writeBar(fd, 6, 0, 0))],
  config_range: ['EFAULT', open((w, { fd }) => w.client.pread(fd, 5, CONFIG + 4092n))],
  config_unwritable: ['EFAULT', open((w, { fd }) => readAt(w, fd, CONFIG, readOnly(w), 4))],
  config_unreadable: ['EFAULT', open((w, { fd }) => writeAt(w, fd, CONFIG, 8n, 4))],
  load_none: ['EINVAL', open((w, { fd }) => w.client.pread(fd, 4, bar(1)))],
  load_offset: ['EINVAL', open((w, { fd }) => w.client.pread(fd, 4, bar(0, 0x4000)))],
  load_disabled: ['EIO', open((w, { fd }) => w.client.pread(fd, 4, 0n), memory(false))],
  load_unwritable: ['EFAULT', open((w, { fd }) => readAt(w, fd, 0n, readOnly(w), 4), memory(true))],
  load_table_unwritable: [
    'EFAULT',
    open((w, { fd }) => readAt(w, fd, 0x2000n, readOnly(w), 4), memory(true)),
  ],
  store_none: ['EINVAL', open((w, { fd }) => w.writeBar(fd, 1, 0, 0))],
  store_offset: ['EINVAL', open((w, { fd }) => w.writeBar(fd, 0, 0x4000, 0))],
  store_disabled: ['EIO', open((w, { fd }) => w.writeBar(fd, 0, 0, 0), memory(false))],
  store_disabled_unreadable: ['EFAULT', open((w, { fd }) => writeAt(w, fd, 0n, 8n, 4), memory(false))],
  store_unreadable: ['EFAULT', open((w, { fd }) => writeAt(w, fd, 0n, 8n, 4), memory(true))],
  map_index: ['EINVAL', mapped(bar(9))],
  map_private: ['EINVAL', mapped(bar(0), PAGE, false)],
  map_kind: ['EINVAL', mapped(CONFIG)],
  map_bar: ['EINVAL', mapped(bar(1))],
  map_range: ['EINVAL', mapped(bar(0, 0x3000), 2n * PAGE)],
};

const cases = Object.entries({ ...callCases, ...pciCases });

describe.each(cases)('%s', (rule, [code, prepare]) => {
  test('refuses, says why, and changes nothing', () => {
    const w = new PciWorld();
    const act = prepare(w);
    const before = w.snapshot();
    let error: unknown = null;
    try {
      act();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(Errno);
    expect(error).toMatchObject({ rule, code });
    expect((error as Errno).reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
    expect(w.snapshot()).toEqual(before);
    w.end();
  });
});

test('every rule has a case', () => {
  const names = Object.keys({ ...callRules, ...pciRules });
  expect(cases.map(([name]) => name).toSorted()).toEqual(names.toSorted());
});
