/** From ioctls to bytes that a device reads: driver and hardware together, meeting in registers and memory only. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Errno } from '../../../../src/base/errno.js';
import type { StaleHit } from '../../../../src/base/events.js';
import { respondGroup } from '../../../../src/hw/iopf.js';
import * as u from '../../../../src/wire/uapi/iommufd.gen.js';
import { ioasis_hwpt_invalidate_range, ioasis_vevent_vtd_fault } from '../../../../src/wire/uapi/ioasis.js';
import { Machine } from './machine.js';

const RID = 0x0310;
const PASID = 3;
const NEST_PARENT = 1;
const ALLOC_PASID = 8;
const FAULT_ID_VALID = 4;
const RANGE = 0x10a50000;
const VIOMMU_VTD = 0x10a50001;
const VEVENTQ_VTD = 0x10a50002;

let machine: Machine;
let device: ReturnType<Machine['device']>;
let ioas: number;
beforeEach(() => {
  machine = new Machine();
  device = machine.device(RID);
  ioas = machine.ioas();
});
afterEach(() => {
  expect(machine.end()).toEqual({ tables: 0, windows: 0, pinned: 0 });
});

function pages(addr: bigint, npages: bigint): Uint8Array {
  const bytes = new Uint8Array(24);
  u.iommu_hwpt_vtd_s1_invalidate.encode({ addr, npages, flags: 0, __reserved: 0 }, bytes);
  return bytes;
}

function range(start: bigint, last: bigint, size = 24): Uint8Array {
  const bytes = new Uint8Array(size);
  ioasis_hwpt_invalidate_range.encode({ start, last, flags: 0, __reserved: 0 }, bytes);
  return bytes;
}

/** Descriptors by type: so many more PASID-based invalidations of the unit and of devices, and nothing else. */
const more = (before: readonly number[], by: number): number[] =>
  before.map((n, type) => (type === 6 || type === 8 ? n + by : n));

describe('a kernel-managed table', () => {
  test('lets a device read what is mapped for it, and nothing before, after or beside it', () => {
    expect(device.read(0x1000n)).toBeNull();
    const hwpt = machine.hwpt(device.bound.id, ioas);
    machine.attach(device.bound, hwpt);
    const at = machine.map(ioas, 0x1000n);
    machine.store(at, 0x1122_3344n);
    expect(device.read(0x1000n)).toBe(0x1122_3344n);
    expect(device.read(0x2000n)).toBeNull();
    expect(device.read(0x1000n, PASID)).toBeNull();
    machine.call(u.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova: 0x1000n, length: 0x1000n });
    expect(device.read(0x1000n)).toBeNull();
    expect(machine.log.filter((line) => !line.includes('handling'))).toEqual([
      'DMAR: [DMA Read NO_PASID] Request device [0000:03:02.0] fault addr 0x1000 [fault reason 0x51] SM: Present bit in Directory Entry is clear',
      'DMAR: [DMA Read NO_PASID] Request device [0000:03:02.0] fault addr 0x2000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear',
      'DMAR: [DMA Read PASID 0x3] Request device [0000:03:02.0] fault addr 0x1000 [fault reason 0x59] SM: Present bit in PASID Table Entry is clear',
      'DMAR: [DMA Read NO_PASID] Request device [0000:03:02.0] fault addr 0x1000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear',
    ]);
  });

  test('R38: is one for all devices of a descriptor that are attached to it', () => {
    const other = machine.device(0x0420);
    const hwpt = machine.hwpt(device.bound.id, ioas);
    for (const { bound } of [device, other]) machine.attach(bound, hwpt);
    const at = machine.map(ioas, 0x1000n);
    machine.store(at, 7n);
    expect([device.read(0x1000n), other.read(0x1000n)]).toEqual([7n, 7n]);
    machine.call(u.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova: 0x1000n, length: 0x1000n });
    expect([device.read(0x1000n), other.read(0x1000n)]).toEqual([null, null]);
  });

  test('is told to the device that caches it, when it changes and when it goes', () => {
    const hwpt = machine.hwpt(device.bound.id, ioas, { flags: ALLOC_PASID });
    machine.attach(device.bound, hwpt, PASID);
    machine.map(ioas, 0n, 4);
    device.dropped.length = 0;
    machine.call(u.IOMMU_IOAS_UNMAP, { ioas_id: ioas, iova: 0n, length: 0x4000n });
    expect(device.dropped).toEqual([[PASID, 14]]);
    device.bound.detach(PASID);
    expect(device.dropped).toEqual([
      [PASID, 14],
      [PASID, 64],
    ]);
  });

  test('says which pages were written, from the bits that the unit sets, once it tracks', () => {
    const hwpt = machine.hwpt(device.bound.id, ioas, { flags: 2 });
    machine.attach(device.bound, hwpt);
    machine.map(ioas, 0x10000n, 4);
    const dirty = (): number => {
      const data = machine.client.memory.store(new Uint8Array(8));
      const of = { hwpt_id: hwpt, iova: 0x10000n, length: 0x4000n, page_size: 0x1000n, data };
      machine.call(u.IOMMU_HWPT_GET_DIRTY_BITMAP, of);
      return machine.client.memory.load(data, 1)[0]!;
    };
    device.translate(0x10000n, { access: 2 });
    expect(dirty()).toBe(0);
    machine.call(u.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: hwpt, flags: 1 });
    device.translate(0x11000n, { access: 2 });
    device.translate(0x12000n, { access: 1 });
    device.translate(0x13000n, { access: 2 });
    expect(dirty()).toBe(0b1010);
    expect(dirty()).toBe(0);
    // What is cached would not set the bit again, had it not been invalidated.
    device.translate(0x11000n, { access: 2 });
    expect(dirty()).toBe(0b0010);
  });
});

describe("a guest's table", () => {
  /** Guest memory from GPA 0 on: four tables, a table of another, two pages of data. */
  let guest: bigint;
  let parent: number;
  beforeEach(() => {
    parent = machine.hwpt(device.bound.id, ioas, { flags: NEST_PARENT | ALLOC_PASID });
    guest = machine.map(ioas, 0n, 8);
    // P, RW, US; levels 4 to 1 at 0x0000 to 0x3000; iova 0x5000 is GPA 0x6000.
    machine.store(guest, 0x1007n);
    machine.store(guest + 0x1000n, 0x2007n);
    machine.store(guest + 0x2000n, 0x3007n);
    machine.store(guest + 0x3028n, 0x6007n);
    machine.store(guest + 0x6000n, 0xaaaan);
    machine.store(guest + 0x7000n, 0xbbbbn);
  });

  test.each([0, PASID])('R5, R17: at %i: both stages, a stale hit, both invalidations', (pasid) => {
    const nested = machine.nested(device.bound.id, parent, 0n, { flags: ALLOC_PASID });
    machine.attach(device.bound, nested, pasid);
    const read = (): bigint | null => device.read(0x5000n, pasid === 0 ? -1 : pasid);
    machine.hardware.checking = true;
    expect(read()).toBe(0xaaaan);
    machine.store(guest + 0x3028n, 0x7007n);
    expect(read()).toBe(0xaaaan);
    const stale = machine.events.recent.filter((event): event is StaleHit => event.kind === 'stale-hit');
    expect(stale.length).toBe(1);
    expect(machine.invalidate(nested, 0, pages(0x5000n, 1n))).toBe(1);
    expect(read()).toBe(0xbbbbn);
    machine.store(guest + 0x3028n, 0x6007n);
    expect(read()).toBe(0xbbbbn);
    expect(machine.invalidate(nested, RANGE, range(0x5000n, 0x5fffn))).toBe(1);
    expect(read()).toBe(0xaaaan);
  });

  test('is found wherever it is attached: neutral invalidations, counted', () => {
    const other = machine.device(0x0418);
    const nested = machine.nested(device.bound.id, parent, 0n, { flags: ALLOC_PASID });
    const unrelated = machine.nested(device.bound.id, parent, 0n, { flags: ALLOC_PASID });
    machine.attach(device.bound, nested, 1);
    machine.attach(device.bound, nested, 2);
    machine.attach(other.bound, nested, 1);
    machine.attach(device.bound, unrelated, 4);
    /** Descriptors by type, without the waits for them. */
    const count = (): number[] =>
      Array.from(machine.hardware.statistics.descriptors, (n, type) => (type === 5 ? 0 : n));
    for (const [from, pasid] of [
      [device, 1],
      [device, 2],
      [other, 1],
      [device, 4],
    ] as const) {
      expect(from.read(0x5000n, pasid)).toBe(0xaaaan);
    }
    const before = count();
    device.dropped.length = 0;
    machine.store(guest + 0x3028n, 0x7007n);
    expect(machine.invalidate(nested, RANGE, range(0x5000n, 0x5fffn))).toBe(1);
    expect(count()).toEqual(more(before, 3));
    expect([device.dropped, other.dropped]).toEqual([
      [
        [1, 12],
        [2, 12],
      ],
      [[1, 12]],
    ]);
    expect([device.read(0x5000n, 1), device.read(0x5000n, 2), other.read(0x5000n, 1)]).toEqual([
      0xbbbbn,
      0xbbbbn,
      0xbbbbn,
    ]);
    // Of the other address space nothing was dropped: it still serves what it had.
    expect(device.read(0x5000n, 4)).toBe(0xaaaan);
    device.bound.detach(2);
    const now = count();
    machine.invalidate(nested, RANGE, range(0n, (1n << 64n) - 1n));
    expect(count()).toEqual(more(now, 2));
  });

  test('R22, R23, R24: takes invalidations that grow, of both tags, and none that it does not know', () => {
    const nested = machine.nested(device.bound.id, parent, 0n);
    machine.attach(device.bound, nested);
    const refused = (type: number, entry: Uint8Array): string => {
      const before = machine.hardware.statistics.descriptors[6];
      try {
        machine.invalidate(nested, type, entry);
      } catch (error) {
        expect(machine.hardware.statistics.descriptors[6]).toBe(before);
        return `${(error as Errno).code} ${(error as Errno).rule}`;
      }
      return 'done';
    };
    expect(refused(RANGE, range(0n, 1n, 24))).toBe('done');
    expect(refused(RANGE, range(0n, 1n, 64))).toBe('done');
    expect(refused(RANGE, range(0n, 1n, 25).fill(1, 24))).toBe('E2BIG struct_tail_not_zero');
    expect(refused(RANGE, range(0n, 1n, 24).subarray(0, 23))).toBe('EINVAL user_array_entry_length');
    expect(refused(RANGE + 7, range(0n, 1n))).toBe('EOPNOTSUPP ioasis_invalidate_type');
    expect(refused(1, pages(0n, 1n))).toBe('EINVAL vtd_invalidate_type');
    expect(refused(0, pages(0n, 1n))).toBe('done');
    // Linux' own struct may not be longer.
    expect(refused(0, new Uint8Array(32))).toBe('EINVAL user_data_length');
  });

  test('R14, R15, R19, R20: asks its owner for what is missing, who answers, and then it is there', () => {
    const { out_fault_id: fault_id, out_fault_fd: fd } = machine.call(u.IOMMU_FAULT_QUEUE_ALLOC);
    const nested = machine.nested(device.bound.id, parent, 0n, {
      flags: ALLOC_PASID | FAULT_ID_VALID,
      fault_id,
    });
    for (const pasid of [1, 2]) machine.attach(device.bound, nested, pasid);
    // As ATS asks: refused without a record.
    expect(device.translate(0x6000n, { pasid: 2, at: 1 })).toBeNull();
    expect(machine.log).toEqual([]);
    device.pageRequest(0x6000n, 2, 9);
    const fault = u.iommu_hwpt_pgfault.decode(machine.client.read(fd, u.iommu_hwpt_pgfault.size));
    expect(fault).toMatchObject({
      flags: 3,
      dev_id: device.bound.id,
      pasid: 2,
      grpid: 9,
      perm: 1,
      addr: 0x6000n,
    });
    machine.store(guest + 0x3030n, 0x7007n);
    const answer = new Uint8Array(u.iommu_hwpt_page_response.size);
    u.iommu_hwpt_page_response.encode({ cookie: fault.cookie, code: 0 }, answer);
    machine.client.write(fd, answer);
    expect(device.responses).toEqual([[2, 9, 0]]);
    expect(device.read(0x6000n, 2)).toBe(0xbbbbn);
    // Nobody waits for the requester id's; and one that is pending at the end is answered for its owner.
    device.pageRequest(0x6000n);
    expect(device.responses[1]).toEqual([-1, 0, 1]);
    device.pageRequest(0x9000n, 1, 4);
    device.bound.detach(1);
    expect(device.responses[2]).toEqual([1, 4, 1]);
    device.bound.detach(2);
    expect(device.dma.faultParam).toBeNull();
  });

  test('R19: tells its guest of faults that end a request, under the number of the vDEVICE', () => {
    const { out_viommu_id: viommu_id } = machine.call(u.IOMMU_VIOMMU_ALLOC, {
      type: VIOMMU_VTD,
      dev_id: device.bound.id,
      hwpt_id: parent,
    });
    machine.call(u.IOMMU_VDEVICE_ALLOC, { viommu_id, dev_id: device.bound.id, virt_id: 0x99n });
    const { out_veventq_fd: fd } = machine.call(u.IOMMU_VEVENTQ_ALLOC, {
      type: VEVENTQ_VTD,
      viommu_id,
      veventq_depth: 2,
    });
    const nested = machine.nested(device.bound.id, viommu_id, 0n, { flags: ALLOC_PASID });
    machine.attach(device.bound, nested, PASID);
    expect(device.read(0x5000n, PASID)).toBe(0xaaaan);
    expect(device.read(0xa_b000n, PASID)).toBeNull();
    const bytes = machine.client.read(fd, 8 + 32);
    expect(ioasis_vevent_vtd_fault.decode(bytes, 8)).toEqual({
      virt_id: 0x99n,
      addr: 0xa_b000n,
      pasid: PASID,
      flags: 1 | 2,
      reason: 0x71,
      __reserved: 0,
    });
    expect(device.reason).toBe(0x71);
    expect(machine.log.length).toBe(2);
  });

  test("has no vIOMMU of Linux' types, as on Linux 7.2", () => {
    for (const type of [1, 2, VIOMMU_VTD + 1]) {
      expect(() =>
        machine.call(u.IOMMU_VIOMMU_ALLOC, { type, dev_id: device.bound.id, hwpt_id: parent }),
      ).toThrow(/EOPNOTSUPP/);
    }
  });

  test('takes nothing into its parent that it could not write (ERRATA_772415_SPR17)', () => {
    const user_va = machine.client.memory.alloc(4096);
    const flags = u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE;
    const values = { flags, ioas_id: ioas, user_va, length: 0x1000n, iova: 0x10_0000n };
    expect(() => machine.call(u.IOMMU_IOAS_MAP, values)).toThrow(/EINVAL.*page_table_prot/);
    expect(machine.log[0]).toContain('Read-only mapping is disallowed');
  });
});

test('R12, R17: an address space whose owner answers, by PASID and by requester id alone', () => {
  const at = machine.map(ioas, 0n);
  const keeper = machine.hwpt(device.bound.id, ioas, { flags: ALLOC_PASID });
  machine.store(at, 0x77n);
  machine.attach(device.bound, keeper, 5);
  const hpa = device.translate(0n, { pasid: 5 })!;
  let there = true;
  const provider = {
    name: 'process 17',
    onInvalidate: null as ((start: bigint, last: bigint) => void) | null,
    translate: (
      _hi: number,
      _lo: number,
      _access: number,
      page: { hpaHi: number; hpaLo: number; permitted: number },
    ) => {
      page.hpaHi = Number(BigInt.asIntN(32, hpa >> 32n));
      page.hpaLo = Number(BigInt.asIntN(32, hpa));
      page.permitted = 3;
      return there;
    },
  };
  const domain = machine.unit.allocProvided(provider);
  domain.iopfHandler = (group) => {
    there = true;
    respondGroup(group, 0);
  };
  const { group } = device.dma;
  group.attach(domain, { domain });
  group.attachPasid(domain, device.dma, 2, { domain });
  expect([device.read(0x4000n), device.read(0x8000n, 2)]).toEqual([0x77n, 0x77n]);
  there = false;
  expect(device.read(0x4000n)).toBe(0x77n);
  provider.onInvalidate!(0n, (1n << 47n) - 1n);
  expect([device.read(0x4000n), device.read(0x8000n, 2)]).toEqual([null, null]);
  device.pageRequest(0x8000n, 2, 7);
  expect(device.responses).toEqual([[2, 7, 0]]);
  expect(device.read(0x8000n, 2)).toBe(0x77n);
  group.detachPasid(2);
  group.detach();
  domain.free();
  expect(machine.memory.providers.live).toBe(0);
});
