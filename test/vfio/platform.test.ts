/** vfio-platform: its registers and its interrupt, and each of its rules broken once. */
import { describe, expect, test } from 'vitest';
import { Errno, type ErrnoName } from '../../src/base/errno.js';
import { Interrupts } from '../../src/bus/interrupts.js';
import type { DeviceModel } from '../../src/bus/model.js';
import { VfioDevice } from '../../src/vfio/driver.js';
import { VfioPlatformDriver } from '../../src/vfio/platform/driver.js';
import { rules } from '../../src/vfio/platform/rules.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PAGE } from '../iommufd/world.js';
import { bar, PciWorld } from './pci-world.js';
import { TestModel } from './test-model.js';

const TRIGGER = v.VFIO_IRQ_SET_ACTION_TRIGGER;
const [MASK, UNMASK] = [v.VFIO_IRQ_SET_ACTION_MASK, v.VFIO_IRQ_SET_ACTION_UNMASK];
const [NONE, EVENTFD] = [v.VFIO_IRQ_SET_DATA_NONE, v.VFIO_IRQ_SET_DATA_EVENTFD];

interface Opened {
  readonly fd: number;
  readonly model: TestModel;
}

/** A device with the registers of the test device and a line, its file bound. */
function open(w: PciWorld, mapsRegisters = true): Opened {
  const { vfio: donor, model } = w.newPci();
  const { name, regions, endpoint } = model;
  const interrupts = new Interrupts({ intx: true, msi: 0, msix: 0 });
  Object.assign(model, { interrupts });
  const made: DeviceModel = {
    name,
    endpoint,
    regions: [regions[0]!, regions[2]!],
    interrupts,
    pending: 0,
    reset: () => model.registers.image.fill(0),
  };
  const vfio = new VfioDevice(
    donor.path,
    'platform',
    donor.device,
    new VfioPlatformDriver(made, mapsRegisters),
  );
  const fd = w.openDevice(vfio);
  w.bindFile(fd);
  return { fd, model };
}

describe('a platform device', () => {
  test('has its resources as regions, and one level as interrupt', () => {
    const w = new PciWorld();
    const { fd, model } = open(w);
    expect(w.regionInfo(fd, 1)).toMatchObject({ size: 0x10000n, flags: 7, offset: 1n << 40n });
    expect(w.irqInfo(fd, 0)).toMatchObject({ flags: 7, count: 1 });
    w.client.pwrite(fd, Uint8Array.from({ length: 8 }), bar(0, 24));
    expect(model.stores.map(({ offset, width }) => [offset, width])).toEqual([
      [24, 4],
      [28, 4],
    ]);
    const pages = w.client.mmap(fd, { offset: bar(1), length: PAGE, shared: true, exec: false });
    pages.bytes[5] = 9;
    expect(w.readBar(fd, 1, 4)).toBe(0x900);
    pages.closed();
    w.end();
  });

  test('tells of the level when it goes up, and again when it is unmasked while it is up', () => {
    const w = new PciWorld();
    const { fd } = open(w);
    const { fds, events } = w.eventfds(2);
    w.setIrqs(fd, EVENTFD | TRIGGER, 0, [fds[0]!]);
    w.setIrqs(fd, EVENTFD | UNMASK, 0, [fds[1]!]);
    w.writeBar(fd, 0, 16, 1);
    expect(events[0]!.take()).toBe(1n);
    events[1]!.add(1n);
    expect(events.map((event) => event.take())).toEqual([1n, 0n]);
    w.writeBar(fd, 0, 16, 0);
    events[1]!.add(1n);
    expect(events[0]!.take()).toBe(0n);
    w.setIrqs(fd, NONE | MASK, 0, [], { count: 1 });
    w.writeBar(fd, 0, 16, 1);
    expect(events[0]!.take()).toBe(0n);
    w.client.close(fd);
    expect(events.map((event) => event.holders)).toEqual([0, 0]);
    w.end();
  });
});

type Act = (w: PciWorld, device: Opened) => unknown;

const edge = (w: PciWorld, length: number): bigint => w.client.memory.alloc(4096) + 4096n - BigInt(length);
const readOnly = (w: PciWorld): bigint => w.client.memory.alloc(4096, { writable: false });
const file = (w: PciWorld, fd: number): any => w.client.fileOf(fd);
const mapped =
  (offset: bigint, length = PAGE, shared = true): Act =>
  (w, { fd }) =>
    w.client.mmap(fd, { offset, length, shared, exec: false });
const raw =
  (cmd: number, at: (w: PciWorld) => bigint): Act =>
  (w, { fd }) =>
    w.client.ioctl(fd, cmd, at(w));
const two =
  (flags: number): Act =>
  (w, { fd }) =>
    w.setIrqs(fd, flags, 0, [], { count: 0 });

const cases: Readonly<Record<keyof typeof rules, readonly [ErrnoName, Act]>> = {
  platform_info_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_GET_INFO, (w) => edge(w, 15))],
  platform_info_size: [
    'EINVAL',
    raw(v.VFIO_DEVICE_GET_INFO, (w) => w.put(v.vfio_device_info, { argsz: 15 })),
  ],
  platform_info_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_INFO, (w) => w.putReadOnly(v.vfio_device_info, { argsz: 24 })),
  ],
  platform_irq_info_unreadable: ['EFAULT', raw(v.VFIO_DEVICE_GET_IRQ_INFO, (w) => edge(w, 15))],
  platform_irq_info_size: ['EINVAL', (w, { fd }) => w.irqInfo(fd, 0, { argsz: 15 })],
  platform_irq_info_index: ['EINVAL', (w, { fd }) => w.irqInfo(fd, 1)],
  platform_irq_info_unwritable: [
    'EFAULT',
    raw(v.VFIO_DEVICE_GET_IRQ_INFO, (w) => w.putReadOnly(v.vfio_irq_info, { argsz: 16 })),
  ],
  platform_region: ['EINVAL', (w, { fd }) => w.regionInfo(fd, 2)],
  platform_irqs_action: ['ENOTTY', two(NONE)],
  platform_mask: ['EINVAL', two(NONE | MASK)],
  platform_unmask: ['EINVAL', two(NONE | UNMASK)],
  platform_trigger: ['EINVAL', two(EVENTFD | TRIGGER)],
  platform_read_region: ['EINVAL', (w, { fd }) => w.readBar(fd, 2, 0)],
  platform_read_offset: ['EINVAL', (w, { fd }) => w.readBar(fd, 0, 0x4000)],
  platform_read_unwritable: ['EFAULT', (w, { fd }) => file(w, fd).readAt(0n, readOnly(w), 4, w.client)],
  platform_write_region: ['EINVAL', (w, { fd }) => w.writeBar(fd, 2, 0, 0)],
  platform_write_offset: ['EINVAL', (w, { fd }) => w.writeBar(fd, 0, 0x4000, 0)],
  platform_write_unreadable: ['EFAULT', (w, { fd }) => file(w, fd).writeAt(0n, 8n, 4, w.client)],
  platform_map_private: ['EINVAL', mapped(0n, PAGE, false)],
  platform_map_region: ['EINVAL', mapped(bar(2))],
  platform_map_registers: [
    'EINVAL',
    (w, { fd }) => {
      w.client.close(fd);
      return mapped(0n)(w, open(w, false));
    },
  ],
  platform_map_range: ['EINVAL', mapped(bar(0, 0x3000), 2n * PAGE)],
};

describe.each(Object.entries(cases))('%s', (rule, [code, act]) => {
  test('refuses and says why', () => {
    const w = new PciWorld();
    const device = open(w);
    let error: unknown = null;
    try {
      act(w, device);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ rule, code });
    expect((error as Errno).reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
    w.end();
  });
});

test('every rule has a case', () => {
  expect(Object.keys(cases).toSorted()).toEqual(Object.keys(rules).toSorted());
});
