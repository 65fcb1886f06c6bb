/** Configuration space beside what the specifications say of it; offsets and bits are given anew here. */
import { describe, expect, test } from 'vitest';
import { PciConfig } from '../../src/bus/pci-config.js';
import { addExpress, addMsi, addMsix, addPowerManagement } from '../../src/bus/pci-capabilities.js';
import {
  addAts,
  addErrorReporting,
  addPageRequests,
  addPasid,
  addSerialNumber,
  addSriov,
  setVirtualFunctions,
} from '../../src/bus/pci-extended.js';
import { dice } from '../dice.js';

const identity = {
  vendor: 0x8086,
  device: 0x2021,
  revision: 4,
  classCode: 0x088000,
  subsystemVendor: 0x1234,
  subsystem: 0x5678,
};
const physical = { isVirtual: false, isMultiFunction: true };

function make(): PciConfig {
  const config = new PciConfig(identity, physical);
  config.addBar(0, 0x4000, { is64: true, isPrefetchable: false });
  config.addBar(2, 0x1000, { is64: false, isPrefetchable: true });
  return config;
}

test('the header says who it is', () => {
  const config = make();
  expect(config.read(0x00, 4)).toBe(0x2021_8086);
  expect(config.read(0x08, 4)).toBe(0x0880_0004);
  expect(config.read(0x0e, 1)).toBe(0x80);
  expect(config.read(0x2c, 4)).toBe(0x5678_1234);
  expect(config.read(0x3d, 1)).toBe(1);
  config.write(0x00, 4, 0xffff_ffff);
  config.write(0x08, 4, 0);
  expect(config.read(0x00, 4)).toBe(0x2021_8086);
  expect(config.read(0x08, 4)).toBe(0x0880_0004);
});

test('BARs answer ones with their size, and keep an address', () => {
  const config = make();
  for (const [at, answer] of [
    [0x10, 0xffff_c004],
    [0x14, 0xffff_ffff],
    [0x18, 0xffff_f008],
    [0x1c, 0],
  ] as const) {
    config.write(at, 4, 0xffff_ffff);
    expect(config.read(at, 4)).toBe(answer);
  }
  config.placeBar(0, 0x38_1234_4000n);
  expect([config.read(0x10, 4), config.read(0x14, 4)]).toEqual([0x1234_4004, 0x38]);
  config.write(0x11, 1, 0);
  expect(config.read(0x10, 4)).toBe(0x1234_0004);
  config.reset();
  expect([config.read(0x10, 4), config.read(0x14, 4)]).toEqual([0x1234_4004, 0x38]);
});

test('the command register takes what there is, and errors in the status are cleared by ones', () => {
  const config = make();
  config.write(0x04, 2, 0xffff);
  expect(config.read(0x04, 2)).toBe(0x0546);
  config.registers.set(0x06, 2, 0x8110);
  config.write(0x06, 2, 0x8000);
  expect(config.read(0x06, 2)).toBe(0x0110);
  config.write(0x04, 4, 0xffff_0000);
  expect([config.read(0x04, 2), config.read(0x06, 2)]).toEqual([0, 0x0010]);
  const virtual = new PciConfig(identity, { isVirtual: true, isMultiFunction: false });
  virtual.write(0x04, 2, 0xffff);
  expect(virtual.read(0x04, 2)).toBe(4);
  expect(virtual.read(0x3d, 1)).toBe(0);
});

describe('capabilities', () => {
  test('are chains, in order of their making', () => {
    const config = make();
    addPowerManagement(config, () => {});
    addMsi(config, { vectors: 8, is64: true, hasMasks: true });
    addMsix(config, { vectors: 65, bar: 2, table: 0x2000, pending: 0x3000 });
    addErrorReporting(config);
    config.skipExtended(0x200);
    addSerialNumber(config, 0x1122_3344, 0x5566_7788);
    const ids: number[] = [];
    for (let at = config.read(0x34, 1); at !== 0; at = config.read(at + 1, 1)) ids.push(config.read(at, 1));
    expect(ids).toEqual([1, 5, 0x11]);
    const extended: number[] = [];
    for (let at = 0x100; at !== 0; at = config.read(at, 4) >>> 20) extended.push(config.read(at, 2));
    expect(extended).toEqual([1, 3]);
    expect(config.capability(5)).toBe(0x48);
    expect(config.capability(9)).toBe(0);
    expect(config.extendedCapability(3)).toBe(0x200);
    expect(config.extendedCapability(0x1b)).toBe(0);
    expect(config.read(0x204, 4)).toBe(0x5566_7788);
  });

  test.each([
    [false, false, 10, 8],
    [true, false, 14, 12],
    [false, true, 20, 8],
    [true, true, 24, 12],
  ])('MSI with 64 bits: %s, with masks: %s', (is64, hasMasks, _length, data) => {
    const config = make();
    addMsi(config, { vectors: 4, is64, hasMasks });
    const at = config.capability(5);
    expect(config.read(at + 2, 2)).toBe(0x0004 | (is64 ? 0x80 : 0) | (hasMasks ? 0x100 : 0));
    config.write(at + 2, 2, 0xffff);
    expect(config.read(at + 2, 2) & 0x71).toBe(0x71);
    config.write(at + 4, 4, 0xffff_ffff);
    expect(config.read(at + 4, 4)).toBe(0xffff_fffc);
    config.write(at + data, 2, 0xabcd);
    expect(config.read(at + data, 2)).toBe(0xabcd);
    if (!hasMasks) return;
    config.write(at + data + 4, 4, 0xffff_ffff);
    config.write(at + data + 8, 4, 0xffff_ffff);
    expect([config.read(at + data + 4, 4), config.read(at + data + 8, 4)]).toEqual([0xf, 0]);
  });

  test('power states: D0 and D3hot, and no other', () => {
    const config = make();
    let acts = 0;
    addPowerManagement(config, () => (acts += 1));
    const at = config.capability(1) + 4;
    config.write(at, 2, 3);
    expect(config.powerState).toBe(3);
    config.write(at, 2, 1);
    expect([config.powerState, config.read(at, 2)]).toEqual([3, 0xb]);
    config.write(at, 2, 0);
    expect([config.powerState, acts]).toEqual([0, 3]);
  });

  test('a function level reset is asked for by a bit that reads 0', () => {
    const config = make();
    let resets = 0;
    addExpress(config, true, () => (resets += 1));
    const at = config.capability(0x10);
    expect(config.read(at + 4, 4) & (1 << 28)).not.toBe(0);
    config.write(at + 8, 2, 0x2810);
    expect(resets).toBe(0);
    config.write(at + 8, 2, 0xa810);
    expect([resets, config.read(at + 8, 2)]).toEqual([1, 0x2810]);
    config.write(at + 9, 1, 0x80);
    expect(resets).toBe(2);
  });

  test('address services and virtual functions', () => {
    const config = make();
    addErrorReporting(config);
    addAts(config);
    addPageRequests(config, 32, true);
    addPasid(config, 20);
    const kind = { is64: true, isPrefetchable: false };
    addSriov(config, {
      total: 7,
      offset: 8,
      stride: 1,
      device: 0x2021,
      bars: [{ size: 0x4000, kind }, null],
    });
    expect(config.read(config.extendedCapability(0x0f) + 6, 2)).toBe(0x8000);
    const pri = config.extendedCapability(0x13);
    expect([config.read(pri + 4, 2), config.read(pri + 6, 2), config.read(pri + 8, 4)]).toEqual([
      1, 0x8000, 32,
    ]);
    expect(config.read(config.extendedCapability(0x1b) + 4, 2)).toBe(0x1406);
    const sriov = config.extendedCapability(0x10);
    config.write(sriov + 0x24, 4, 0xffff_ffff);
    expect(config.read(sriov + 0x24, 4)).toBe(0xffff_c004);
    expect([config.read(sriov + 0x0e, 2), config.read(sriov + 0x14, 2)]).toEqual([7, 8]);
    setVirtualFunctions(config, 3);
    expect([config.read(sriov + 0x08, 2), config.read(sriov + 0x10, 2)]).toEqual([9, 3]);
  });
});

test('what no store changes is the same after any stores, and a reset brings the rest back', () => {
  const next = dice(99);
  const config = make();
  addPowerManagement(config, () => {});
  addMsi(config, { vectors: 1, is64: true, hasMasks: false });
  addExpress(config, false, () => {});
  addErrorReporting(config);
  const before = config.registers.image.slice();
  for (let i = 0; i < 20_000; i++) {
    const length = 1 << next(3);
    config.write(next(4096 / length) * length, length, next(2 ** 31));
  }
  const after = config.registers.image.slice();
  const isChanged = (from: number, last: number): boolean =>
    after.subarray(from, last + 1).some((byte, i) => byte !== before[from + i]);
  expect(isChanged(0x00, 0x03)).toBe(false);
  expect(isChanged(0x34, 0x3b)).toBe(false);
  expect(isChanged(0x148, 0xfff)).toBe(false);
  expect(isChanged(0x10, 0x1b)).toBe(true);
  config.reset();
  expect(config.registers.image).toEqual(before);
});
