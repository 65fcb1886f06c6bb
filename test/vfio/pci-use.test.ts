/** What a driver does with a PCI device, and what is left when it goes. */
import { describe, expect, test } from 'vitest';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PAGE } from '../iommufd/world.js';
import { bar, PciWorld } from './pci-world.js';

const TRIGGER = v.VFIO_IRQ_SET_ACTION_TRIGGER;
const UNMASK = v.VFIO_IRQ_SET_ACTION_UNMASK;
const [NONE, BOOL, EVENTFD] = [
  v.VFIO_IRQ_SET_DATA_NONE,
  v.VFIO_IRQ_SET_DATA_BOOL,
  v.VFIO_IRQ_SET_DATA_EVENTFD,
];
const [INTX, MSIX, ERR, REQ] = [0, 2, 3, 4];

describe('INTx', () => {
  test('is told once, masked, and told again when it is unmasked while it is up', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const { fds, events } = w.eventfds(2);
    w.setIrqs(fd, EVENTFD | TRIGGER, INTX, [fds[0]!]);
    w.writeBar(fd, 0, 16, 1);
    w.writeBar(fd, 0, 16, 0);
    w.writeBar(fd, 0, 16, 1);
    expect(events[0]!.take()).toBe(1n);
    w.setIrqs(fd, NONE | UNMASK, INTX, [], { count: 1 });
    expect(events[0]!.take()).toBe(1n);
    w.setIrqs(fd, EVENTFD | UNMASK, INTX, [fds[1]!]);
    events[1]!.add(3n);
    expect(events.map((event) => event.take())).toEqual([1n, 0n]);
    w.writeBar(fd, 0, 16, 0);
    w.setIrqs(fd, BOOL | UNMASK, INTX, [1]);
    expect(events[0]!.take()).toBe(0n);
    w.writeBar(fd, 0, 16, 1);
    expect(events[0]!.take()).toBe(1n);
    w.end();
  });

  test('INTX_DISABLE of the command register masks it, and tells when it is taken back', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const { fds, events } = w.eventfds(1);
    w.setIrqs(fd, EVENTFD | TRIGGER, INTX, fds);
    w.writeConfig(fd, 4, 2, 0x402);
    w.writeBar(fd, 0, 16, 1);
    expect(events[0]!.take()).toBe(0n);
    w.writeConfig(fd, 4, 2, 2);
    expect(events[0]!.take()).toBe(1n);
    w.end();
  });
});

describe('the table of MSI-X', () => {
  test('reads as ones, and writes to it are lost', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    expect([...w.client.pread(fd, 8, bar(0, 0x1ffc))]).toEqual([0, 0, 0, 0, 255, 255, 255, 255]);
    expect(w.client.pwrite(fd, new Uint8Array(16), bar(0, 0x2078))).toBe(16);
    expect(model.stores.map(({ offset, width }) => [offset, width])).toEqual([[0x2080, 8]]);
    w.end();
  });

  test('its messages come one by one, without those that are in use going', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const { fds, events } = w.eventfds(3);
    w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, [fds[0]!]);
    w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, [fds[1]!], { start: 7 });
    expect(() => w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, [fds[2]!, 99], { start: 3 })).toThrow(
      'eventfd_closed',
    );
    for (const vector of [0, 3, 7]) w.writeBar(fd, 0, 8, vector);
    expect(events.map((event) => [event.take(), event.holders])).toEqual([
      [1n, 1],
      [1n, 1],
      [0n, 0],
    ]);
    expect(w.irqInfo(fd, MSIX)).toMatchObject({ count: 8, flags: v.VFIO_IRQ_INFO_EVENTFD });
    w.end();
  });
});

test('a mapping shows what the device keeps current, and its stores act', () => {
  const w = new PciWorld();
  const { fd, model } = w.openPci();
  const pages = w.client.mmap(fd, { offset: bar(0, 0x1000), length: PAGE, shared: true, exec: false });
  model.registers.image[0x1004] = 7;
  expect(pages.bytes[4]).toBe(7);
  pages.store!(8, 8, 1, 2);
  expect(model.stores).toEqual([{ offset: 0x1008, width: 8, lo: 1, hi: 2 }]);
  w.writeConfig(fd, 4, 2, 0);
  pages.store!(8, 4, 1, 0);
  expect(model.stores.length).toBe(1);
  const memory = w.client.mmap(fd, { offset: bar(2), length: PAGE, shared: true, exec: false });
  expect(memory.store).toBeUndefined();
  w.end();
});

test('a store through a mapping that outlives its device is lost', () => {
  const w = new PciWorld();
  const { fd, model } = w.openPci();
  const pages = w.client.mmap(fd, { offset: bar(0, 0x1000), length: PAGE, shared: true, exec: false });
  w.client.close(fd);
  pages.store!(8, 4, 1, 0);
  expect(model.stores).toEqual([]);
  w.end();
});

test('an eventfd stores what it was told to, until it is taken away', () => {
  const w = new PciWorld();
  const { fd, model } = w.openPci();
  const { fds, events } = w.eventfds(1);
  w.ioeventfd(fd, { fd: fds[0]!, data: 0xffff_0000_8000_0001n });
  events[0]!.add(1n);
  expect(model.stores).toEqual([{ offset: 24, width: 4, lo: 0x8000_0001 | 0, hi: 0 }]);
  w.ioeventfd(fd, { data: 0xffff_0000_8000_0001n });
  events[0]!.add(1n);
  expect(model.stores.length).toBe(1);
  expect(events[0]!.holders).toBe(0);
  w.end();
});

test('errors and requests have an eventfd each, and can be tried', () => {
  const w = new PciWorld();
  const { fd, driver } = w.openPci();
  const { fds, events } = w.eventfds(2);
  w.setIrqs(fd, EVENTFD | TRIGGER, REQ, [fds[1]!]);
  driver.request();
  expect(events[1]!.take()).toBe(1n);
  w.setIrqs(fd, EVENTFD | TRIGGER, ERR, [fds[0]!]);
  w.setIrqs(fd, BOOL | TRIGGER, ERR, [1]);
  expect(events[0]!.take()).toBe(1n);
  w.setIrqs(fd, EVENTFD | TRIGGER, ERR, [-1]);
  expect(events[0]!.holders).toBe(0);
  w.end();
});

test('a wake-up is told with the next call, and low power is over', () => {
  const w = new PciWorld();
  const { fd } = w.openPci();
  const { fds, events } = w.eventfds(1);
  const flags = v.VFIO_DEVICE_FEATURE_SET | v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
  const words = new Int32Array([16, flags, fds[0]!, 0]);
  w.client.ioctl(fd, v.VFIO_DEVICE_FEATURE, w.client.memory.store(new Uint8Array(words.buffer)));
  expect([events[0]!.take(), events[0]!.holders]).toEqual([0n, 1]);
  w.readConfig(fd, 0, 2);
  expect([events[0]!.take(), events[0]!.holders]).toEqual([1n, 0]);
  w.end();
});

describe('a hot reset', () => {
  test('resets all functions of the bus, if all of them are bound to the same iommufd', () => {
    const w = new PciWorld();
    const [a, b] = [w.openPci(), w.openPci()];
    a.driver.resetSet = [w.memberOf(a, 0x100), w.memberOf(b, 0x108)];
    const info = w.client.memory.store(new Uint8Array(new Uint32Array([28, 0, 0, 0, 0, 0, 0]).buffer));
    w.client.ioctl(a.fd, v.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info);
    const words = new Uint32Array(w.client.memory.load(info, 28).buffer);
    expect([...words]).toEqual([28, 3, 2, a.vfio.bound!.id, 0x0001_0000, b.vfio.bound!.id, 0x0801_0000]);
    const before = [a.model.resets, b.model.resets];
    w.hotReset(a.fd, []);
    expect([a.model.resets, b.model.resets]).toEqual(before.map((count) => count + 1));
    w.end();
  });

  test('by groups needs the descriptor of each', () => {
    const w = new PciWorld();
    const a = w.newPci();
    a.driver.resetSet = [w.memberOf(a, 0x100)];
    const { fd, groupFd } = w.openThroughGroup(a.vfio);
    const before = a.model.resets;
    w.hotReset(fd, [groupFd]);
    expect(a.model.resets).toBe(before + 1);
    for (const each of [fd, groupFd]) w.client.close(each);
    w.end();
  });
});

test('closing ends what the user had: eventfds, bus mastering, masks', () => {
  const w = new PciWorld();
  const { fd, model, vfio } = w.openPci();
  const { fds, events } = w.eventfds(3);
  w.writeConfig(fd, 4, 2, 0x406);
  w.setIrqs(fd, EVENTFD | TRIGGER, MSIX, fds.slice(0, 2));
  w.ioeventfd(fd, { fd: fds[2]! });
  w.client.close(fd);
  expect(events.map(({ holders }) => holders)).toEqual([0, 0, 0]);
  expect(model.config.read(4, 2) & 4).toBe(0);
  expect(model.interrupts.sink).toBeNull();
  expect(model.interrupts.mode).toBe('none');
  const again = w.openDevice(vfio);
  w.bindFile(again);
  expect(w.readConfig(again, 4, 2)).toBe(2);
  w.end();
});
