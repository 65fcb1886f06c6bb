/** Device files over a VT-d unit, hardware and driver: what is attached is translated, and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { IommufdClient } from '../../src/machine/iommufd-client.js';
import type { Struct } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';

const PAGE = 4096n;
const IOVA = 0x10_0000n;
const { VFIO_DEVICE_ATTACH_PASID: PASID } = v;

let machine: Machine;
let iommufd: IommufdClient;
let fd: number;
let devid: number;
beforeEach(() => {
  machine = createMachine({ topology: {} });
  iommufd = machine.open('/dev/iommu');
  fd = machine.client.open('/dev/vfio/devices/vfio0');
  devid = call(v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, { iommufd: iommufd.fd }).out_devid;
});
afterEach(() => {
  machine.client.exit();
  expect(Object.values(machine.leaks())).toEqual(Object.values(machine.leaks()).map(() => 0));
});

function call<T>(cmd: number, struct: Struct<T>, values: Partial<T>): T {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create({ argsz: struct.size, ...values } as Partial<T>), bytes);
  const at = machine.memory.store(bytes);
  machine.client.ioctl(fd, cmd, at);
  return struct.decode(machine.memory.load(at, struct.size));
}

function space(flags: number, fault_id = 0): { ioas: number; hwpt: number } {
  const ioas = iommufd.call(u.IOMMU_IOAS_ALLOC).out_ioas_id;
  const hwpt = iommufd.call(u.IOMMU_HWPT_ALLOC, { flags, dev_id: devid, pt_id: ioas, fault_id }).out_hwpt_id;
  return { ioas, hwpt };
}

function map(ioas_id: number, pages = 1n): bigint {
  const user_va = machine.memory.alloc(Number(pages * PAGE));
  const flags = u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE | u.IOMMU_IOAS_MAP_WRITEABLE;
  iommufd.call(u.IOMMU_IOAS_MAP, { flags, ioas_id, user_va, length: pages * PAGE, iova: IOVA });
  return user_va;
}

const attach = (pt_id: number, pasid?: number): unknown =>
  call(v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, v.vfio_device_attach_iommufd_pt, {
    pt_id,
    ...(pasid === undefined ? {} : { flags: PASID, pasid }),
  });
const detach = (pasid?: number): unknown =>
  call(v.VFIO_DEVICE_DETACH_IOMMUFD_PT, v.vfio_device_detach_iommufd_pt, {
    ...(pasid === undefined ? {} : { flags: PASID, pasid }),
  });

/** The device stores `value`; the state that it ends in. */
function fill(value: bigint, pasid?: number, flags = 0): number {
  return call(d.IOASIS_DMA, d.ioasis_dma, {
    size: d.ioasis_dma.size,
    op: d.IOASIS_DMA_OP_FILL,
    iova: IOVA,
    length: 8n,
    value,
    flags: flags | (pasid === undefined ? 0 : d.IOASIS_DMA_PASID),
    pasid: pasid ?? 0,
  }).out_state;
}

const { IOASIS_DMA_DONE: DONE, IOASIS_DMA_FAULTED: FAULTED, IOASIS_DMA_PENDING: PENDING } = d;

describe('a PASID', () => {
  test('R41: is blocked until it is attached, translated then, and blocked again when it is taken back', () => {
    const { ioas, hwpt } = space(u.IOMMU_HWPT_ALLOC_PASID);
    const va = map(ioas);
    expect(fill(1n, 9)).toBe(FAULTED);
    attach(hwpt, 9);
    expect(fill(2n, 9)).toBe(DONE);
    expect(machine.memory.load(va, 1)[0]).toBe(2);
    expect([fill(3n, 8), fill(3n)]).toEqual([FAULTED, FAULTED]);
    detach(9);
    expect(fill(4n, 9)).toBe(FAULTED);
    expect(machine.memory.load(va, 1)[0]).toBe(2);
  });

  test('R43: is attached while another of the device waits for a page', () => {
    const { out_fault_id, out_fault_fd } = iommufd.call(u.IOMMU_FAULT_QUEUE_ALLOC);
    const flags = u.IOMMU_HWPT_ALLOC_PASID | u.IOMMU_HWPT_FAULT_ID_VALID;
    const waiting = space(flags, out_fault_id);
    attach(waiting.hwpt, 3);
    expect(fill(5n, 3, d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI)).toBe(PENDING);
    const other = space(u.IOMMU_HWPT_ALLOC_PASID);
    const va = map(other.ioas);
    attach(other.hwpt, 4);
    expect(fill(6n, 4, d.IOASIS_DMA_ATS)).toBe(DONE);
    expect(machine.memory.load(va, 1)[0]).toBe(6);
    const late = map(waiting.ioas);
    const { cookie, pasid } = u.iommu_hwpt_pgfault.decode(machine.client.read(out_fault_fd, 40));
    expect(pasid).toBe(3);
    machine.client.write(out_fault_fd, new Uint8Array(new Uint32Array([cookie, 0]).buffer));
    expect(machine.client.isReadable(fd)).toBe(true);
    expect(machine.memory.load(late, 1)[0]).toBe(5);
  });
});

describe('the two descriptors', () => {
  test.each(['the device', 'the iommufd'])(
    'are closed in any order: %s first, with everything attached',
    (first) => {
      const { ioas, hwpt } = space(u.IOMMU_HWPT_ALLOC_PASID);
      map(ioas);
      attach(hwpt);
      attach(hwpt, 5);
      expect([fill(1n), fill(1n, 5)]).toEqual([DONE, DONE]);
      if (first === 'the device') {
        machine.client.close(fd);
        expect(() => iommufd.call(u.IOMMU_DESTROY, { id: devid })).toThrow('ENOENT');
        iommufd.close();
      } else {
        iommufd.close();
        expect(fill(2n, 5)).toBe(DONE);
        machine.client.close(fd);
      }
      expect(machine.leaks()).toMatchObject({ contexts: 0, pinnedPages: 0, attachments: 0 });
    },
  );

  test('R42: each step is undone in reverse, and can be done again', () => {
    for (let round = 0; round < 3; round++) {
      const { ioas, hwpt } = space(u.IOMMU_HWPT_ALLOC_PASID);
      map(ioas);
      attach(hwpt);
      attach(hwpt, 5);
      expect([fill(1n), fill(1n, 5)]).toEqual([DONE, DONE]);
      detach(5);
      detach();
      expect([fill(1n), fill(1n, 5)]).toEqual([FAULTED, FAULTED]);
      iommufd.call(u.IOMMU_DESTROY, { id: hwpt });
      iommufd.call(u.IOMMU_DESTROY, { id: ioas });
      machine.client.close(fd);
      fd = machine.client.open('/dev/vfio/devices/vfio0');
      devid = call(v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, { iommufd: iommufd.fd }).out_devid;
    }
  });
});
