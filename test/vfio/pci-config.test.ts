/** Configuration space as the user of a PCI device sees it. */
import { describe, expect, test } from 'vitest';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PciWorld } from './pci-world.js';
import { testConfig } from './test-model.js';

describe('configuration space', () => {
  test('has the device’s identity, and memory is enabled from the start', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    expect(w.readConfig(fd, 0, 4)).toBe(0x0a51_1b36);
    expect(w.readConfig(fd, 4, 2)).toBe(2);
    w.end();
  });

  test('BARs are the user’s: they are sized as hardware is, and the device’s own stay', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    for (const at of [0x10, 0x14, 0x18, 0x1c, 0x30]) w.writeConfig(fd, at, 4, 0xffff_ffff);
    const sizes = [0x10, 0x14, 0x18, 0x1c, 0x30].map((at) => w.readConfig(fd, at, 4));
    expect(sizes).toEqual([0xffff_c00c, 0xffff_ffff, 0xffff_0000, 0, 0]);
    w.writeConfig(fd, 0x10, 4, 0x1234_5678);
    expect(w.readConfig(fd, 0x10, 4)).toBe(0x1234_400c);
    expect(model.config.read(0x10, 4)).toBe(0xe000_000c);
    w.end();
  });

  test('a capability that VFIO does not know is out of the chain, and so is PASID', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    const chain: number[] = [];
    for (let at = w.readConfig(fd, 0x34, 1); at !== 0; at = w.readConfig(fd, at + 1, 1))
      chain.push(w.readConfig(fd, at, 1));
    expect(chain).toEqual([0x01, 0x05, 0x10, 0x11]);
    // The first of the second chain stays, as a link without a name.
    expect(w.readConfig(fd, 256, 4)).toBe(0x1500_0000);
    expect(w.readConfig(fd, 0x150, 4)).toBe(0x2001_000b);
    w.end();
  });

  test('MSI and MSI-X are enabled by SET_IRQS alone', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.writeConfig(fd, 0x4a, 2, 1);
    expect(model.config.read(0x4a, 2) & 1).toBe(0);
    w.writeConfig(fd, 0xb2, 2, 0x8000);
    expect(w.readConfig(fd, 0xb2, 2)).toBe(7);
    w.setIrqs(fd, v.VFIO_IRQ_SET_DATA_EVENTFD | v.VFIO_IRQ_SET_ACTION_TRIGGER, 2, w.eventfds(1).fds);
    expect(w.readConfig(fd, 0xb2, 2)).toBe(0x8007);
    w.end();
  });

  test('messages of MSI that the user asks for are no more than SET_IRQS has got', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.setIrqs(fd, v.VFIO_IRQ_SET_DATA_EVENTFD | v.VFIO_IRQ_SET_ACTION_TRIGGER, 1, w.eventfds(2).fds);
    w.writeConfig(fd, 0x4a, 2, 0x31);
    expect(model.config.read(0x4a, 2)).toBe(0x0184 | 0x11);
    w.end();
  });

  test('a function level reset by PCI Express resets, and the bit reads as zero', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.writeConfig(fd, 4, 2, 6);
    const { resets } = model;
    w.writeConfig(fd, 0x78, 2, 0x8000);
    expect(model.resets).toBe(resets + 1);
    expect(w.readConfig(fd, 0x78, 2) & 0x8000).toBe(0);
    expect(model.config.read(4, 2) & 6).toBe(6);
    w.end();
  });

  test('in D3hot nothing answers, and in D0 all is as before', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.writeConfig(fd, 0x44, 2, 3);
    expect(model.config.read(0x44, 2) & 3).toBe(3);
    expect(() => w.readBar(fd, 0, 0)).toThrow('load_disabled');
    w.writeConfig(fd, 0x44, 2, 0);
    expect(w.readBar(fd, 0, 24)).toBe(0);
    w.end();
  });

  test('vendor registers reach the device, in either chain', () => {
    const w = new PciWorld();
    const { fd, model } = w.openPci();
    w.writeConfig(fd, 0x158, 4, 0x1122_3344);
    expect(model.config.read(0x158, 4)).toBe(0x1122_3344);
    w.writeConfig(fd, 0x208, 4, 0xffff_ffff);
    expect(model.config.read(0x208, 4)).toBe(0x03ff_f031);
    w.end();
  });

  test('a virtual function’s memory is always enabled, and it has no line', () => {
    const w = new PciWorld();
    const config = testConfig().set(4, 2, 0, 4);
    const { fd } = w.openPci({ role: { kind: 'virtual', physical: null } }, config);
    expect(w.readConfig(fd, 4, 2)).toBe(2);
    w.writeConfig(fd, 4, 2, 0);
    expect(w.readBar(fd, 0, 24)).toBe(0);
    expect(w.irqInfo(fd, 0).count).toBe(0);
    w.end();
  });
});
