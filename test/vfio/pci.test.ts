import { describe, expect, test } from 'vitest';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PciWorld } from './pci-world.js';

const { READ, WRITE, MMAP, CAPS } = {
  READ: v.VFIO_REGION_INFO_FLAG_READ,
  WRITE: v.VFIO_REGION_INFO_FLAG_WRITE,
  MMAP: v.VFIO_REGION_INFO_FLAG_MMAP,
  CAPS: v.VFIO_REGION_INFO_FLAG_CAPS,
};
const EVENTFD = v.VFIO_IRQ_SET_DATA_EVENTFD | v.VFIO_IRQ_SET_ACTION_TRIGGER;
const NONE = v.VFIO_IRQ_SET_DATA_NONE | v.VFIO_IRQ_SET_ACTION_TRIGGER;

describe('what a PCI device says of itself', () => {
  test('nine regions, five kinds of interrupts, and that it can be reset', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const info = w.deviceCall(fd, v.VFIO_DEVICE_GET_INFO, v.vfio_device_info, {});
    expect(info).toMatchObject({
      flags: v.VFIO_DEVICE_FLAGS_PCI | v.VFIO_DEVICE_FLAGS_RESET,
      num_regions: 9,
      num_irqs: 5,
    });
    w.end();
  });

  test('where regions lie, how large they are, and what can be done with them', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    expect(w.regionInfo(fd, 0)).toMatchObject({
      size: 0x4000n,
      offset: 0n,
      flags: READ | WRITE | MMAP | CAPS,
      argsz: 40,
      cap_offset: 0,
    });
    expect(w.regionInfo(fd, 1)).toMatchObject({ size: 0n, flags: 0, offset: 1n << 40n });
    expect(w.regionInfo(fd, 2)).toMatchObject({ size: 0x10000n, flags: READ | WRITE | MMAP, argsz: 32 });
    expect(w.regionInfo(fd, 6)).toMatchObject({ size: 0n, flags: 0 });
    expect(w.regionInfo(fd, 7)).toMatchObject({ size: 4096n, flags: READ | WRITE, offset: 7n << 40n });
    w.end();
  });
});

describe('BARs', () => {
  test('where nobody catches stores only memory can be mapped', () => {
    const w = new PciWorld();
    const { fd } = w.openPci({ mapsRegisters: false });
    expect(w.regionInfo(fd, 0)).toMatchObject({ size: 0x4000n, flags: READ | WRITE });
    expect(w.regionInfo(fd, 2)).toMatchObject({ flags: READ | WRITE | MMAP });
    const map = (offset: bigint) => w.client.mmap(fd, { offset, length: 4096n, shared: true, exec: false });
    expect(() => map(0n)).toThrow(/map_bar/);
    expect(map(2n << 40n).store).toBeUndefined();
    w.end();
  });

  test('loads read the image, and stores act in the largest aligned pieces', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.writeConfig(fd, 4, 2, 2);
    w.writeBar(fd, 0, 24, 0x1234_5678);
    expect(w.readBar(fd, 0, 24)).toBe(0x1234_5678);
    expect(w.readBar(fd, 0, 0)).toBe(1);
    w.client.pwrite(
      fd,
      Uint8Array.from({ length: 15 }, (_, i) => i),
      0x101n,
    );
    expect(model.stores.slice(1).map(({ offset, width }) => [offset, width])).toEqual([
      [0x101, 1],
      [0x102, 2],
      [0x104, 4],
      [0x108, 8],
    ]);
    w.end();
  });
});

describe('messages', () => {
  test('signal the eventfd of their vector, and none when there is none', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const { fds, events } = w.eventfds(2);
    w.setIrqs(fd, EVENTFD, v.VFIO_PCI_MSIX_IRQ_INDEX, [fds[0]!, -1, fds[1]!]);
    for (const vector of [0, 1, 2, 2]) w.writeBar(fd, 0, 8, vector);
    expect(events.map((event) => event.take())).toEqual([1n, 2n]);
    w.setIrqs(fd, NONE, v.VFIO_PCI_MSIX_IRQ_INDEX);
    w.writeBar(fd, 0, 8, 0);
    expect(events.map((event) => [event.take(), event.holders])).toEqual([
      [0n, 0],
      [0n, 0],
    ]);
    w.end();
  });
});
