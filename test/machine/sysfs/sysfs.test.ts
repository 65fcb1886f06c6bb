/** What a machine shows below /sys, and what becomes of it when it is written to. */
import * as r from '../../../src/bus/pci-registers.js';
import { describe, expect, test } from 'vitest';
import * as v from '../../../src/wire/uapi/vfio.gen.js';
import { scene } from '../vtd-machine.js';
import { Sys } from './world.js';

const A = '0000:00:01.0';
const B = '0000:00:02.0';
const PF = '0000:00:04.0';
const device = (name: string): string => `/sys/devices/pci0000:00/${name}`;
const EVENTFD_TRIGGER = v.VFIO_IRQ_SET_DATA_EVENTFD | v.VFIO_IRQ_SET_ACTION_TRIGGER;
const VFIO = '/sys/bus/pci/drivers/vfio-pci';

const machine = (): Sys =>
  new Sys({
    version: 1,
    devices: {
      [A]: { group: 'pair' },
      [B]: { group: 'pair' },
      [PF]: { model: 'ioat', virtualFunctions: 2 },
      uart0: {},
    },
  });

describe('the tree', () => {
  test('has every directory on the way, and no link that leads nowhere', () => {
    const sys = machine();
    const { sysfs } = sys.machine.engine;
    for (const [path, node] of sys.nodes) {
      const parent = path.slice(0, path.lastIndexOf('/'));
      if (parent !== '') expect(sys.nodes.get(parent), path).toMatchObject({ kind: 'directory' });
      if (node.kind !== 'link') continue;
      const target = new URL(node.target, `file://${path}`).pathname.replace(/\/$/, '');
      expect(sys.nodes.get(decodeURIComponent(target)), `${path} -> ${node.target}`).toBeDefined();
    }
    expect(sysfs!.file('/sys/bus/pci/devices/0000:00:01.0/iommu_group/reserved_regions')).not.toBeNull();
  });

  test('says of a function what its configuration space says', () => {
    const sys = machine();
    const { model } = sys.machine.device(PF);
    const { config } = model as unknown as { config: { read(at: number, length: number): number } };
    expect(sys.read(`${device(PF)}/vendor`)).toBe('0x8086\n');
    expect(Number(sys.read(`${device(PF)}/device`))).toBe(config.read(r.PCI_DEVICE_ID, 2));
    expect(Number(sys.read(`${device(PF)}/class`))).toBe(config.read(r.PCI_CLASS_REVISION, 4) >>> 8);
    const bytes = sys.bytes(`${device(PF)}/config`);
    expect(bytes.length).toBe(4096);
    for (let at = 0; at < bytes.length; at++) expect(bytes[at]).toBe(config.read(at, 1));
    expect(sys.read(`${device(PF)}/uevent`)).toContain('PCI_ID=8086:2021\n');
  });

  test('names the group of each device, and what it cannot translate', () => {
    const sys = machine();
    expect(sys.link(`${device(A)}/iommu_group`)).toBe('../../../kernel/iommu_groups/0');
    expect(sys.link(`${device(B)}/iommu_group`)).toBe('../../../kernel/iommu_groups/0');
    expect(sys.link('/sys/kernel/iommu_groups/0/devices/0000:00:02.0')).toBe(
      '../../../../devices/pci0000:00/0000:00:02.0',
    );
    expect(sys.read('/sys/kernel/iommu_groups/0/reserved_regions')).toBe(
      '0x00000000fee00000 0x00000000feefffff msi\n',
    );
  });
});

describe('a driver', () => {
  test('that loses a device takes its file and its group along, and brings both back', () => {
    const sys = machine();
    const before = sys.everything();
    sys.write(`${VFIO}/unbind`, PF);
    expect(sys.devices).not.toContain('/dev/vfio/devices/vfio2');
    expect(sys.devices).not.toContain('/dev/vfio/1');
    expect(sys.link(`${device(PF)}/driver`)).toBeNull();
    expect(() => sys.machine.client.open('/dev/vfio/devices/vfio2')).toThrow('no device file');
    sys.write(`${VFIO}/bind`, PF);
    expect(sys.everything()).toEqual(before);
    expect(sys.bindDevice(PF)).toBeGreaterThan(0);
  });

  test('is refused a device that a program has open, and the program is told', () => {
    const sys = machine();
    const fd = sys.bindDevice(PF);
    const { client } = sys.machine;
    const eventfd = client.eventfd();
    const set = new Int32Array([24, EVENTFD_TRIGGER, v.VFIO_PCI_REQ_IRQ_INDEX, 0, 1, eventfd.fd]);
    client.ioctl(fd, v.VFIO_DEVICE_SET_IRQS, client.memory.store(new Uint8Array(set.buffer)));
    expect(() => sys.write(`${VFIO}/unbind`, PF)).toThrow('sysfs_unbind_open');
    expect(() => sys.write(`${device(PF)}/remove`, '1')).toThrow('sysfs_remove_open');
    expect(eventfd.event.take()).toBe(2n);
  });

  test('of the kernel keeps the whole group from VFIO', () => {
    const sys = machine();
    sys.write(`${VFIO}/unbind`, A);
    sys.write(`${device(A)}/driver_override`, 'ioatdma');
    sys.write('/sys/bus/pci/drivers_probe', A);
    expect(sys.link(`${device(A)}/driver`)).toBe('../../../bus/pci/drivers/ioatdma');
    expect(() => sys.bindDevice(B)).toThrow('group_other_owner');
    sys.write('/sys/bus/pci/drivers/ioatdma/unbind', A);
    expect(sys.bindDevice(B)).toBeGreaterThan(0);
  });

  test('is found for a device by what it was told to take', () => {
    const sys = machine();
    sys.write(`${VFIO}/unbind`, PF);
    sys.write(`${device(PF)}/driver_override`, 'nvme');
    sys.write('/sys/bus/pci/drivers/nvme/new_id', '8086 2021');
    expect(sys.link(`${device(PF)}/driver`)).toBe('../../../bus/pci/drivers/nvme');
    sys.write('/sys/bus/pci/drivers/nvme/remove_id', '8086 2021');
    sys.write('/sys/bus/pci/drivers/nvme/unbind', PF);
    sys.write(`${device(PF)}/driver_override`, '');
    expect(sys.read(`${device(PF)}/driver_override`)).toBe('(null)\n');
  });
});

describe('a function', () => {
  test('has its configuration space written in pieces of any alignment', () => {
    const sys = machine();
    sys.poke(`${device(PF)}/config`, Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x06, 0x00), 0);
    expect([...sys.bytes(`${device(PF)}/config`).subarray(0, 6)]).toEqual([0x86, 0x80, 0x21, 0x20, 6, 0]);
    sys.poke(`${device(PF)}/config`, Uint8Array.of(0x5a), r.PCI_INTERRUPT_LINE);
    expect(sys.read(`${device(PF)}/irq`)).toBe('90\n');
    sys.write(`${device(PF)}/reset`, '1');
    expect(sys.bytes(`${device(PF)}/config`)[r.PCI_COMMAND]).toBe(0);
  });

  test('is taken off the bus, and found again', () => {
    const sys = machine();
    const before = sys.everything();
    sys.write(`${device(A)}/remove`, '1');
    expect(sys.everything().filter((line) => line.includes(A))).toEqual([]);
    sys.write('/sys/bus/pci/rescan', '1');
    expect(sys.everything()).toEqual(before);
  });

  test('gets virtual functions with groups and files of their own, and loses them', () => {
    const sys = machine();
    const before = sys.everything();
    sys.write(`${device(PF)}/sriov_numvfs`, '2');
    const first = sys.link(`${device(PF)}/virtfn0`)!.slice('../'.length);
    expect(sys.link(`${device(first)}/physfn`)).toBe(`../${PF}`);
    expect(sys.link(`${device(first)}/driver`)).toBe('../../../bus/pci/drivers/vfio-pci');
    expect(sys.link(`/sys/bus/pci/devices/${first}`)).not.toBeNull();
    expect(sys.devices).toContain('/dev/vfio/devices/vfio5');
    expect(sys.read(`${device(PF)}/sriov_numvfs`)).toBe('2\n');
    expect(() => sys.write(`${device(PF)}/sriov_numvfs`, '1')).toThrow('sriov_busy');
    expect(() => sys.write(`${device(PF)}/sriov_numvfs`, '3')).toThrow('sriov_range');
    sys.write(`${device(PF)}/sriov_numvfs`, '0');
    expect(sys.everything()).toEqual(before);
  });

  test('gets them in process, too, and is described as it then is', () => {
    const sys = machine();
    const before = sys.everything();
    sys.machine.setNumVfs(PF, 2);
    expect(sys.read(`${device(PF)}/sriov_numvfs`)).toBe('2\n');
    expect(sys.link(`${device(PF)}/virtfn1`)).not.toBeNull();
    expect(sys.devices).toContain('/dev/vfio/devices/vfio5');
    sys.machine.setNumVfs(PF, 0);
    expect(sys.everything()).toEqual(before);
  });
});

describe('the files for debugging', () => {
  test('show the page table of a device, entry by entry, as it is in memory', () => {
    const { machine: made, ioas, bind } = scene({ topology: { version: 1 } });
    const { sysfs } = made.engine;
    const file = sysfs!.file(`/sys/kernel/debug/iommu/intel/${A}/domain_translation_struct`)!;
    const text = (): string => new TextDecoder().decode(file.read!());
    const { id } = ioas(0x1234_5000n, 3);
    expect(text()).not.toContain('0x0000000012345 |');
    bind(A).attach(id);
    const lines = text().split('\n');
    expect(lines[0]).toMatch(/^Device 0000:00:01\.0 with pasid 0 @0x[0-9a-f]+$/);
    const leaves = lines.filter((line) => line.startsWith('0x00000000123'));
    expect(leaves.map((line) => line.split(' ')[0])).toEqual([
      '0x0000000012345',
      '0x0000000012346',
      '0x0000000012347',
    ]);
    const columns = leaves[0]!.split(/[|\s]+/);
    expect(columns).toHaveLength(6);
    const pte = BigInt(columns[5]!);
    const walked = made.walk(A, 0x1234_5000n);
    expect(JSON.stringify(walked)).toContain((pte & 0xf_ffff_ffff_f000n).toString(16));
  });
});
