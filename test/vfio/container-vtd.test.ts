/** Containers over VT-d units of two widths: one address space, a page table for each kind, and what is valid for all. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { Topology } from '../../src/machine/topology.js';
import type { Struct } from '../../src/wire/struct.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { ruleOf } from '../refusal.js';

const PAGE = 4096n;
const LOW = 0x10_0000n;
/** What 39 bits do not reach. */
const HIGH = 1n << 40n;
const RW = v.VFIO_DMA_MAP_FLAG_READ | v.VFIO_DMA_MAP_FLAG_WRITE;
const WIDE = '0000:00:01.0';
const NARROW = '0001:00:01.0';
const PAIR = ['0000:00:02.0', '0000:00:03.0'] as const;

const topology: Topology = {
  units: { wide: { addressWidth: 48 }, narrow: { addressWidth: 39 } },
  buses: {
    first: { type: 'pci', unit: 'wide', segment: 0 },
    second: { type: 'pci', unit: 'narrow', segment: 1 },
  },
  devices: { [WIDE]: {}, [NARROW]: {}, [PAIR[0]]: { group: 'pair' }, [PAIR[1]]: { group: 'pair' } },
};

let machine: Machine;
let container: number;
beforeEach(() => {
  machine = createMachine({ topology });
  container = machine.client.open('/dev/vfio/vfio');
});
afterEach(() => {
  machine.client.exit();
  expect(Object.values(machine.leaks())).toEqual(Object.values(machine.leaks()).map(() => 0));
});

function call<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T>): T {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create({ argsz: struct.size, ...values } as Partial<T>), bytes);
  const at = machine.memory.store(bytes);
  machine.client.ioctl(fd, cmd, at);
  return struct.decode(machine.memory.load(at, struct.size));
}

/** Puts the group into the container; returns its file. */
function join(number: number): number {
  const fd = machine.client.open(`/dev/vfio/${number}`);
  const at = machine.memory.store(new Uint8Array(new Int32Array([container]).buffer));
  try {
    machine.client.ioctl(fd, v.VFIO_GROUP_SET_CONTAINER, at);
  } catch (error) {
    machine.client.close(fd);
    throw error;
  }
  return fd;
}

const setIommu = (): number =>
  machine.client.ioctl(container, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1v2_IOMMU));

function map(iova: bigint): bigint {
  const vaddr = machine.memory.alloc(Number(PAGE));
  const values = { flags: RW, vaddr, iova, size: PAGE };
  call(container, v.VFIO_IOMMU_MAP_DMA, v.vfio_iommu_type1_dma_map, values);
  return vaddr;
}

const unmap = (iova: bigint): bigint =>
  call(container, v.VFIO_IOMMU_UNMAP_DMA, v.vfio_iommu_type1_dma_unmap, { iova, size: PAGE }).size;

const reads = (device: string, iova: bigint): string =>
  machine.device(device).dma.submit({ kind: 'read', iova, length: 4 }).state;

test('every device of a group reaches what is mapped, and nothing once the group is out', () => {
  const group = join(2);
  setIommu();
  map(LOW);
  expect(PAIR.map((device) => reads(device, LOW))).toEqual(['done', 'done']);
  expect(reads(WIDE, LOW)).toBe('faulted');
  const coherent = machine.client.ioctl(container, v.VFIO_CHECK_EXTENSION, BigInt(v.VFIO_DMA_CC_IOMMU));
  expect(coherent).toBe(1);
  machine.client.ioctl(group, v.VFIO_GROUP_UNSET_CONTAINER, 0n);
  expect(PAIR.map((device) => reads(device, LOW))).toEqual(['faulted', 'faulted']);
});

test('a unit that reaches less makes less valid, unless something is mapped there; what it took comes back', () => {
  join(0);
  setIommu();
  map(LOW);
  map(HIGH);
  expect(ruleOf(() => join(1))).toBe('type1_attach_mapped_above');
  expect(unmap(HIGH)).toBe(PAGE);
  const narrow = join(1);
  expect([reads(WIDE, LOW), reads(NARROW, LOW)]).toEqual(['done', 'done']);
  expect(ruleOf(() => map(HIGH))).toBe('type1_map_invalid');
  expect(unmap(LOW)).toBe(PAGE);
  expect([reads(WIDE, LOW), reads(NARROW, LOW)]).toEqual(['faulted', 'faulted']);
  machine.client.close(narrow);
  map(HIGH);
  expect(reads(WIDE, HIGH)).toBe('done');
});

test('the group that was first may go first: the mappings stay for the others, in tables of their own', () => {
  const wide = join(0);
  setIommu();
  const vaddr = map(LOW);
  join(1);
  machine.client.close(wide);
  expect([reads(WIDE, LOW), reads(NARROW, LOW)]).toEqual(['faulted', 'done']);
  machine.device(NARROW).dma.submit({ kind: 'fill', iova: LOW, length: 4, value: 9n });
  expect(machine.memory.load(vaddr, 1)[0]).toBe(9);
});
