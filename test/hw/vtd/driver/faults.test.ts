/** Faults and page requests: from the registers and the queue to the log, to the owner of the table, and back. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Bench, s1Data } from './bench.js';
import { CAP, ECAP, FS5LP } from './fake.js';
import type { PageFaultGroup } from '../../../../src/hw/iopf.js';
import { respondGroup } from '../../../../src/hw/iopf.js';
import type { NestedDomain, PagingDomain, ViommuCore } from '../../../../src/hw/unit.js';
import type { VtdDevice } from '../../../../src/hw/vtd/driver/device.js';

const RID = 0x0310;

let bench: Bench;
let device: VtdDevice;
beforeEach(() => {
  bench = new Bench();
  device = bench.device(RID);
});

const taken = (): string[] =>
  bench.hardware.take().map(({ type, qw0, qw1 }) => `${type} ${qw0.toString(16)} ${qw1.toString(16)}`);

describe('a fault', () => {
  test.each([
    [
      { sourceId: RID, reason: 0x71, address: 0x12_3000n },
      '[DMA Read NO_PASID] Request device [0000:03:02.0] fault addr 0x123000 [fault reason 0x71] SM: Present bit in first-level paging entry is clear',
    ],
    [
      { sourceId: 0xfffe, reason: 0x59, address: 0xffff_ffff_ffff_f000n, pasid: 0xfffff, isRead: false },
      '[DMA Write PASID 0xfffff] Request device [0000:ff:1f.6] fault addr 0xfffffffffffff000 [fault reason 0x59] SM: Present bit in PASID Table Entry is clear',
    ],
    [
      { sourceId: 0, reason: 0x2, address: 0n, pasid: 0 },
      '[DMA Read PASID 0x0] Request device [0000:00:00.0] fault addr 0x0 [fault reason 0x02] Present bit in context entry is clear',
    ],
    [
      { sourceId: 8, reason: 0x60, address: 0x1000n },
      '[DMA Read NO_PASID] Request device [0000:00:01.0] fault addr 0x1000 [fault reason 0x60] Unknown',
    ],
    [
      { sourceId: 8, reason: 0x22, address: 0x0042_0000_0000_0000n },
      '[INTR-REMAP] Request device [0000:00:01.0] fault index 0x42 [fault reason 0x22] Present field in the IRTE entry is clear',
    ],
  ])('%o is a line as Linux prints it', (fault, line) => {
    bench.hardware.fault(fault);
    expect(bench.log).toEqual(['DMAR: DRHD: handling fault status reg 2', `DMAR: ${line}`]);
    // F is cleared in the record, PPF in the status.
    expect(bench.hardware.read32(0x22c) >>> 31).toBe(0);
    expect(bench.hardware.read32(0x34) & 2).toBe(0);
  });

  test('comes where it stands in the ring of records, and all that follow are read', () => {
    for (let n = 0; n < 7; n += 1) bench.hardware.fault({ sourceId: n, reason: 0x41, address: 0n });
    const { interrupt } = bench.hardware;
    bench.hardware.interrupt = () => {};
    for (let n = 7; n < 10; n += 1) bench.hardware.fault({ sourceId: n, reason: 0x41, address: 0n });
    const before = bench.log.length;
    interrupt(0x31);
    const who = bench.log.slice(before).map((line) => /device \[0000:(.{7})\]/.exec(line)?.[1]);
    expect(who).toEqual([undefined, '00:00.7', '00:01.0', '00:01.1']);
  });

  test('overflow is cleared with it', () => {
    bench.hardware.setFaultStatus(1);
    bench.hardware.fault({ sourceId: 0, reason: 0x41, address: 0n });
    expect(bench.hardware.read32(0x34)).toBe(0);
  });

  test('of another message number is nobody’s', () => {
    bench.unit.interrupt(0x99);
    expect(bench.log).toEqual([]);
  });
});

describe("a fault of a guest's table", () => {
  /** What the guest got, and whether it listens. */
  let events: [type: number, data: Uint8Array][];
  let listens: boolean;
  let virtId: bigint | null;
  let nested: NestedDomain;
  beforeEach(() => {
    events = [];
    listens = true;
    virtId = 0x99n;
    const core: ViommuCore = {
      findDevice: () => null,
      virtIdOf: (of) => (of === device ? virtId : null),
      allocMmap: () => 0n,
      destroyMmap: () => {},
      reportEvent: (type, data) => events.push([type, data]),
      listens: (type) => listens && type === 0x10a50002,
    };
    const parent = bench.parent(device);
    const viommu = bench.unit.initViommu(core, parent, null);
    nested = viommu.allocNested!(0, s1Data());
    device.group.attachPasid(nested, device, 5, { domain: nested });
  });
  const fault = { sourceId: RID, reason: 0x71, address: 0x7000n, pasid: 5 };

  test('reaches it, with the number of the vDEVICE', () => {
    bench.hardware.fault({ ...fault, exec: true, priv: true });
    expect(events.length).toBe(1);
    const [type, data] = events[0]!;
    expect(type).toBe(0x10a50002);
    const view = new DataView(data.buffer);
    expect([data.length, view.getBigUint64(0, true), view.getBigUint64(8, true)]).toEqual([
      32,
      0x99n,
      0x7000n,
    ]);
    // PASID 5; PASID_VALID, READ, EXEC, PRIV; the reason.
    expect([16, 20, 24, 28].map((at) => view.getUint32(at, true))).toEqual([5, 1 | 2 | 4 | 8, 0x71, 0]);
    expect(bench.log.length).toBe(2);
  });

  test('by the requester id alone has no PASID', () => {
    device.group.attach(nested, { domain: nested });
    bench.hardware.fault({ sourceId: RID, reason: 0x85, address: 0n, isRead: false });
    const view = new DataView(events[0]![1].buffer);
    expect([16, 20, 24].map((at) => view.getUint32(at, true))).toEqual([0, 0, 0x85]);
  });

  test.each([
    ['nobody listens', () => (listens = false)],
    ['the device has no number there', () => (virtId = null)],
    ['the PASID is attached to nothing', () => device.group.detachPasid(5)],
  ])('is only logged when %s', (_why, change) => {
    change();
    bench.hardware.fault(fault);
    expect(events).toEqual([]);
    expect(bench.log.length).toBe(2);
  });

  test('is only logged when the table is nested without a vIOMMU, or is the host’s', () => {
    const direct = bench.nested(device, bench.parent(device));
    const own = bench.unit.allocPaging(device, 0, null);
    device.group.attachPasid(direct, device, 6, { domain: direct });
    device.group.attachPasid(own, device, 7, { domain: own });
    for (const pasid of [6, 7]) bench.hardware.fault({ ...fault, pasid });
    bench.hardware.fault({ ...fault, sourceId: 0x777 });
    expect(events).toEqual([]);
    expect(bench.log.length).toBe(6);
  });
});

describe('a page request', () => {
  let groups: PageFaultGroup[];
  let domain: PagingDomain;
  beforeEach(() => {
    groups = [];
    domain = bench.unit.allocPaging(device, 0, null);
    domain.iopfHandler = (group) => groups.push(group);
  });

  test('goes to the owner of the PASID, group by group, and the answer to the device', () => {
    device.group.attachPasid(domain, device, 5, { domain });
    bench.hardware.take();
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0x1000n, group: 3, last: false });
    expect(groups).toEqual([]);
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0x2000n, group: 3, access: 3 });
    expect(groups.length).toBe(1);
    expect(groups[0]!.faults).toEqual([
      { flags: 1, pasid: 5, grpid: 3, perm: 1, addr: 0x1000n },
      { flags: 3, pasid: 5, grpid: 3, perm: 3, addr: 0x2000n },
    ]);
    expect(taken()).toEqual([]);
    respondGroup(groups[0]!, 0);
    // PASID 5, RID, success, PASID present; group 3.
    expect(taken()).toEqual(['9 503100019 18']);
    respondGroup(groups[0]!, 1);
    respondGroup(groups[0]!, 2);
    // Invalid is 1, failure 15.
    expect(taken()).toEqual(['9 503101019 18', '9 50310f019 18']);
  });

  test('without PASID goes to the owner of the requester id, and is answered without', () => {
    device.group.attach(domain, { domain });
    bench.hardware.take();
    bench.hardware.pageRequest({ sourceId: RID, address: 0xffff_8000_0000_0000n, access: 2, group: 511 });
    expect(groups[0]!.faults).toEqual([
      { flags: 2, pasid: 0, grpid: 511, perm: 2, addr: 0xffff_8000_0000_0000n },
    ]);
    respondGroup(groups[0]!, 0);
    expect(taken()).toEqual(['9 3100009 ff8']);
  });

  test('that nobody waits for is INVALID at once', () => {
    bench.hardware.pageRequest({ sourceId: RID, pasid: 9, address: 0x1000n });
    expect(taken()).toEqual(['9 903101019 0']);
    const silent = bench.unit.allocPaging(device, 0, null);
    device.group.attachPasid(silent, device, 9, { domain: silent });
    bench.hardware.pageRequest({ sourceId: RID, pasid: 9, address: 0x1000n, group: 1 });
    expect(taken()).toEqual(['9 903101019 8']);
    expect(bench.log).toEqual([]);
  });

  test.each([
    [{ address: 0x0000_8000_0000_0000n }, 'Address is not canonical'],
    [{ address: 0xffff_7fff_ffff_f000n }, 'Address is not canonical'],
    [{ address: 0n, priv: true, access: 1 }, 'Page request in Privilege Mode'],
    [{ address: 0n, priv: true, access: 2 }, 'Page request in Privilege Mode'],
    [{ address: 0n, exec: true, access: 1 }, 'Execution request not supported'],
  ])('%o is refused, and logged as Linux does', (request, line) => {
    device.group.attachPasid(domain, device, 5, { domain });
    bench.hardware.take();
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, group: 2, ...request });
    expect(bench.log[0]).toBe(`IOMMU: dmar0: ${line}`);
    expect(bench.log[1]).toMatch(/^dmar0: Invalid page request: [0-9a-f]{8,16} [0-9a-f]{8,16}$/);
    expect(taken()).toEqual(['9 503101019 10']);
    // One that is not the last of its group is not answered.
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, last: false, ...request });
    expect(taken()).toEqual([]);
    expect(groups).toEqual([]);
  });

  test.each([
    { address: 0x0000_7fff_ffff_f000n },
    { address: 0xffff_8000_0000_0000n },
    { address: 0n, exec: true, access: 2 },
  ])('%o is not refused', (request) => {
    device.group.attachPasid(domain, device, 5, { domain });
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, ...request });
    expect(groups.length).toBe(1);
  });

  test.each([
    { address: 0x00ff_ffff_ffff_f000n, isTaken: true },
    { address: 0xff00_0000_0000_0000n, isTaken: true },
    { address: 0x0100_0000_0000_0000n, isTaken: false },
    { address: 0xfeff_ffff_ffff_f000n, isTaken: false },
  ])('$address is looked at as 57 bits where tables have five levels', ({ address, isTaken }) => {
    const wide = new Bench({ cap: CAP | FS5LP });
    const asking = wide.device(RID);
    const table = wide.unit.allocPaging(asking, 0, null);
    table.iopfHandler = (group) => groups.push(group);
    asking.group.attachPasid(table, asking, 5, { domain: table });
    wide.hardware.pageRequest({ sourceId: RID, pasid: 5, address });
    expect(groups.map(({ faults }) => faults[0]!.addr)).toEqual(isTaken ? [address] : []);
    expect(wide.log[0]).toBe(isTaken ? undefined : 'IOMMU: dmar0: Address is not canonical');
  });

  test('of nothing, which ends a stream, is dropped', () => {
    device.group.attachPasid(domain, device, 5, { domain });
    bench.hardware.take();
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0n, access: 0 });
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0n, access: 0, priv: true });
    expect([groups, taken(), bench.log]).toEqual([[], [], []]);
  });

  test('of a requester that is no device is refused', () => {
    bench.hardware.pageRequest({ sourceId: 0x999, address: 0x1000n });
    expect(bench.log.length).toBe(1);
    expect(taken()).toEqual(['9 9991009 0']);
  });

  test('lost for want of room is said, and what waits for it is forgotten', () => {
    device.group.attachPasid(domain, device, 5, { domain });
    bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0n, last: false });
    expect(device.faultParam!.partial.length).toBe(1);
    bench.hardware.overflow();
    expect(bench.log).toEqual(['IOMMU: dmar0: PRQ overflow detected', 'IOMMU: dmar0: PRQ overflow cleared']);
    expect(device.faultParam!.partial).toEqual([]);
    expect(bench.hardware.read32(0xdc)).toBe(0);
  });

  test('2,100 of them go once around the ring', () => {
    device.group.attachPasid(domain, device, 5, { domain });
    for (let n = 0; n < 2100; n += 1) {
      bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: BigInt(n) << 12n });
    }
    expect(groups.length).toBe(2100);
    expect(groups.at(-1)!.faults[0]!.addr).toBe(2099n << 12n);
    expect(bench.hardware.read64(0xc0)).toBe(bench.hardware.read64(0xc8));
  });

  test('is possible while a domain that waits for them is attached, and drained when one goes', () => {
    expect(device.faultParam).toBeNull();
    device.group.attachPasid(domain, device, 5, { domain });
    device.group.attachPasid(domain, device, 6, { domain });
    expect(device.faultParam).not.toBeNull();
    // In the queue, but not yet said.
    bench.hardware.pageRequest({ sourceId: RID, pasid: 6, address: 0x6000n }, false);
    bench.hardware.take();
    device.group.detachPasid(6);
    expect(groups.length).toBe(1);
    expect(taken().slice(3)).toEqual([
      // Fence; PASID-IOTLB with the requester id's domain id (none: 1), device TLB; wait with page-request drain.
      '5 200000045 0',
      '6 600010026 0',
      '8 603100008 7ffffffffffff800',
      expect.stringMatching(/^5 2000000a5 /),
    ]);
    expect(device.faultParam).not.toBeNull();
    device.group.detachPasid(5);
    expect(device.faultParam).toBeNull();
  });

  test('by the requester id is drained with its own domain id', () => {
    device.group.attach(domain, { domain });
    bench.hardware.take();
    device.group.detach();
    expect(taken().slice(3, 6)).toEqual(['5 200000045 0', '2 20022 0', '3 31000000003 7ffffffffffff001']);
    expect(device.faultParam).toBeNull();
  });

  test('is not possible any more after a replacement by a domain that does not wait', () => {
    const silent = bench.unit.allocPaging(device, 0, null);
    device.group.attach(domain, { domain });
    device.group.replace(silent, { domain: silent });
    expect(device.faultParam).toBeNull();
    device.group.replace(domain, { domain });
    expect(device.iopfUsers).toBe(1);
  });

  test('that comes while the driver invalidates is taken after that', () => {
    device.group.attachPasid(domain, device, 5, { domain });
    const during: number[] = [];
    bench.hardware.onDescriptor = ({ type }) => {
      if (type !== 8) return;
      bench.hardware.onDescriptor = () => {};
      bench.hardware.pageRequest({ sourceId: RID, pasid: 5, address: 0x1000n });
      during.push(groups.length);
    };
    domain.map(0n, 0n, 0x1000n, 3);
    domain.unmap(0n, 0x1000n);
    expect([during, groups.length]).toEqual([[0], 1]);
  });
});

test('a unit without page requests is told of no queue, and its devices have no PRE', () => {
  bench = new Bench({ ecap: ECAP & ~(1n << 29n) });
  device = bench.device(RID);
  expect(device.priEnabled).toBe(false);
  expect(bench.hardware.read64(0xd0)).toBe(0n);
  expect(bench.context(RID)[0]! & 0x10n).toBe(0n);
});
