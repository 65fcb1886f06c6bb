/** A CXL device as a program meets it through VFIO: DVSECs in configuration space, component registers in a BAR. */
import { expect, test } from 'vitest';
import { createMachine } from '../../src/index.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';

const CONFIG = BigInt(v.VFIO_PCI_CONFIG_REGION_INDEX) << 40n;
const BAR2 = 2n << 40n;
const NAME = '0000:00:01.0';
const GIB = 2 ** 30;

/** A program that has the device, with 5 GiB of memory. */
function open(): { load: (at: bigint) => number; store: (at: bigint, value: number) => void } {
  const { client } = createMachine({ topology: { devices: { [NAME]: { cxlMemory: '5G' } } } });
  const fd = client.open('/dev/vfio/devices/vfio0');
  const bind = new Int32Array([16, 0, client.open('/dev/iommu'), 0]);
  client.ioctl(fd, v.VFIO_DEVICE_BIND_IOMMUFD, client.memory.store(new Uint8Array(bind.buffer)));
  return {
    load: (at) => new DataView(client.pread(fd, 4, at).buffer).getUint32(0, true),
    store: (at, value) => void client.pwrite(fd, new Uint8Array(new Uint32Array([value]).buffer), at),
  };
}

/** Where the DVSECs of CXL begin, by their ids. */
function dvsecs(load: (at: bigint) => number): Map<number, bigint> {
  const found = new Map<number, bigint>();
  for (let at = 0x100; at !== 0;) {
    const here = CONFIG + BigInt(at);
    const header = load(here);
    const isCxl = (header & 0xffff) === 0x23 && (load(here + 4n) & 0xffff) === 0x1e98;
    if (isCxl) found.set(load(here + 8n) & 0xffff, here);
    at = header >>> 20;
  }
  return found;
}

test("its DVSECs say what it is, and what may be written is the device's", () => {
  const { load, store } = open();
  const found = dvsecs(load);
  expect([...found.keys()]).toEqual([0, 7, 8]);
  const device = found.get(0)!;
  expect(load(device + 4n) >>> 16).toBe((0x3c << 4) | 2);
  // Cache, IO, memory, one range, in the upper half of the word that begins with the id.
  expect(load(device + 8n) >>> 16).toBe(0x17);
  expect((load(device + 0x18n) * 2 ** 32 + (load(device + 0x1cn) & 0xf000_0000)) >>> 0).toBe((5 * GIB) >>> 0);
  expect(load(device + 0x1cn) & 3).toBe(3);
  store(device + 0xcn, 0xffff);
  expect(load(device + 0xcn) & 0xffff).toBe(7);
  store(device + 0x24n, 0xffff_ffff);
  expect(load(device + 0x24n)).toBe(0xf000_0000);
  store(device + 0x1cn, 0);
  expect(load(device + 0x1cn) & 3).toBe(3);
  // Component registers: BAR 2, all of it.
  expect(load(found.get(8)! + 0xcn)).toBe(0x102);
});

test('its decoder commits what it is told to, in component registers where the list says', () => {
  const { load, store } = open();
  expect(load(BAR2 + 0x1000n)).toBe(0x0111_0001);
  const entry = load(BAR2 + 0x1004n);
  expect(entry & 0xffff).toBe(5);
  const decoder = BAR2 + 0x1000n + BigInt(entry >>> 20);
  store(decoder + 0x18n, 0x4000_0000);
  expect(load(decoder + 0x18n)).toBe(0x4000_0000);
  store(decoder + 0x20n, 1 << 9);
  expect(load(decoder + 0x20n) & (3 << 9)).toBe(3 << 9);
  store(decoder + 0x20n, 0);
  expect(load(decoder + 0x20n)).toBe(0);
});

test.each([
  ['another model', { '0000:00:01.0': { model: 'ioat', cxlMemory: '256M' } }, 'only a dma-test on PCI'],
  ['a platform device', { uart0: { cxlMemory: '256M' } }, 'only a dma-test on PCI'],
  ['an odd size', { '0000:00:01.0': { cxlMemory: '100M' } }, 'a multiple of 256M'],
] as const)('%s has none', (_, devices, text) => {
  expect(() => createMachine({ topology: { devices } })).toThrow(text);
});
