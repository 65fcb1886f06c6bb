import { describe, expect, test } from 'vitest';
import { createMachine, type Machine } from '../../src/index.js';
import type { PciModel } from '../../src/bus/model.js';
import { planMachine, tryPlan } from '../../src/machine/plan.js';
import { ruleOf } from '../refusal.js';

const PF = '0000:00:04.1';
const VFS = ['0000:00:07.0', '0000:00:07.1', '0000:00:07.2'];

/** Devices at 00:05 and 00:06 are in the way of virtual functions, which begin 8 above their physical one at the least. */
const machine = (): Machine =>
  createMachine({
    topology: {
      devices: {
        '0000:00:04.0': { model: 'ioat' },
        [PF]: { model: 'ioat', virtualFunctions: 3 },
        '0000:00:05.2': {},
        '0000:00:06.1': {},
        '0000:00:07.3': {},
      },
    },
  });

describe('setNumVfs', () => {
  test('makes functions with requester ids, files and groups, and takes them away', () => {
    const m = machine();
    const before = m.leaks();
    let changes = 0;
    m.engine.built.onChange.add(() => (changes += 1));
    m.setNumVfs(PF, 3);
    const pf = m.device(PF);
    const made = m.engine.built.virtualFunctions(pf);
    expect(made.map(({ plan }) => plan.name)).toEqual(VFS);
    expect(made.map(({ iommu }) => iommu.sourceId)).toEqual([0x38, 0x39, 0x3a]);
    expect(new Set(made.map(({ iommu }) => iommu.group)).size).toBe(3);
    for (const { vfio } of made) expect(m.engine.built.files.has(vfio.path)).toBe(true);
    const { config } = pf.model as PciModel;
    const at = config.extendedCapability(0x10);
    expect([config.read(at + 8, 2) & 1, config.read(at + 0x10, 2)]).toEqual([1, 3]);
    m.setNumVfs(PF, 3);
    expect(changes).toBe(1);
    m.setNumVfs(PF, 0);
    expect(changes).toBe(2);
    for (const name of VFS) expect(() => m.device(name)).toThrow('no device');
    expect(config.read(at + 8, 2)).toBe(0);
    expect(m.leaks()).toEqual(before);
    m.setNumVfs(PF, 1);
    expect(m.device(VFS[0]!).vfio.path).toBe('/dev/vfio/devices/vfio5');
  });

  test('refuses as Linux does', () => {
    const m = machine();
    expect(ruleOf(() => m.setNumVfs('0000:00:04.0', 1))).toBe('sriov_none');
    expect(ruleOf(() => m.setNumVfs(PF, 4))).toBe('sriov_range');
    m.setNumVfs(PF, 2);
    expect(ruleOf(() => m.setNumVfs(PF, 3))).toBe('sriov_busy');
    m.device(VFS[1]!).vfio.group!.open();
    expect(ruleOf(() => m.setNumVfs(PF, 0))).toBe('sriov_in_use');
  });
});

test('firmware gives every BAR a place of its own', () => {
  const m = createMachine({
    topology: {
      devices: { '0000:00:01.0': {}, '0000:00:02.0': { model: 'ioat', virtualFunctions: 4 }, p: {} },
    },
  });
  expect(m.device('0000:00:01.0').bars).toEqual([0xc000_0000n]);
  expect(m.device('0000:00:02.0').bars).toEqual([0x3800_0000_0000n, null]);
  expect(m.device('p').bars).toEqual([]);
  const { config } = m.device('0000:00:02.0').model as PciModel;
  expect(config.read(0x10, 4)).toBe(0x0000_0004);
  expect(config.read(config.extendedCapability(0x10) + 0x24, 4)).toBe(0x0000_4004);
});

const texts = (devices: Parameters<typeof planMachine>[0]['devices']): string[] =>
  tryPlan({ devices: devices! }).problems.map(({ path, text }) => `${path.join(' ')}: ${text}`);

test('what cannot be planned is said', () => {
  expect(texts({ p: { model: 'ioat' } })).toEqual(['devices p model: expected a PCI address for ioat']);
  expect(texts({ '0000:00:01.0': { model: 'ioat', ats: true, pri: true, pasidBits: 3 } })).toHaveLength(3);
  expect(texts({ '0000:00:01.0': { namespaces: [] } })[0]).toMatch('only an nvme has namespaces');
  expect(texts({ '0000:00:01.0': { virtualFunction: true, virtualFunctions: 1 } })[0]).toMatch('has none');
  expect(texts({ p: { virtualFunctions: 1 } })[0]).toMatch('only a function on PCI');
  expect(texts({ '0000:00:1e.0': { virtualFunctions: 9 } })[0]).toMatch('room for 9 on the bus');
  const nvme = (namespaces: object[]): string[] => texts({ '0000:00:01.0': { model: 'nvme', namespaces } });
  expect(nvme([{}])[0]).toMatch('expected size, or file');
  expect(nvme([{ size: 1000 }])[0]).toMatch('a multiple of 512');
  const plan = planMachine({ devices: { '0000:00:01.0': { model: 'nvme', namespaces: [{ size: '3M' }] } } });
  expect(plan.devices[0]!.namespaces).toEqual([{ size: 3 * 2 ** 20, file: null }]);
});
