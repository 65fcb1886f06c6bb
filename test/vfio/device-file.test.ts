import { describe, expect, test } from 'vitest';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf } from '../refusal.js';
import { LOW, PAGE } from '../iommufd/world.js';
import { VfioWorld } from './world.js';

const PASID = v.VFIO_DEVICE_ATTACH_PASID;
const ALL = d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI;

describe('binding', () => {
  test('gives the device an id in the context, which DESTROY cannot take', () => {
    const w = new VfioWorld();
    const { devid } = w.bound();
    expect(w.call(u.IOMMU_GET_HW_INFO, { dev_id: devid }).out_data_type).not.toBe(0);
    expect(errnoOf(() => w.call(u.IOMMU_DESTROY, { id: devid }))).toBe('EBUSY');
    w.end();
  });

  test('takes the first version of the struct, a longer one with zeros, and none with a byte behind', () => {
    const w = new VfioWorld();
    const at = w.buffer();
    const write = (argsz: number): bigint => {
      w.client.memory.write(at, new Uint8Array(new Uint32Array([argsz, 0, w.fd, 0, 0, 0, 0]).buffer));
      return at;
    };
    for (const argsz of [16, 24, 4096]) {
      const fd = w.openDevice(w.newDevice().vfio);
      expect(w.client.ioctl(fd, v.VFIO_DEVICE_BIND_IOMMUFD, write(argsz))).toBe(0);
    }
    const fd = w.openDevice(w.newDevice().vfio);
    write(4096);
    w.client.memory.write(at + 4095n, Uint8Array.of(1));
    expect(errnoOf(() => w.client.ioctl(fd, v.VFIO_DEVICE_BIND_IOMMUFD, at))).toBe('E2BIG');
    w.end();
  });

  test('R42: ends with the file, and the device can be bound again, elsewhere too', () => {
    const w = new VfioWorld();
    const { fd, vfio } = w.bound();
    w.client.close(fd);
    const again = w.openDevice(vfio);
    w.bindFile(again);
    w.client.close(again);
    expect(w.context.groups.size).toBe(0);
    w.end();
  });

  test('R42: holds the context when /dev/iommu is closed first, and DMA goes on', () => {
    const w = new VfioWorld();
    const { fd } = w.bound();
    const ioas = w.ioas();
    const va = w.map(ioas);
    w.attach(fd, ioas);
    w.client.close(w.fd);
    expect(w.dma(fd, { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 4n, value: 7n }).out_state).toBe(
      d.IOASIS_DMA_DONE,
    );
    expect(w.client.memory.load(va, 4)).toEqual(Uint8Array.of(7, 7, 7, 7));
    w.client.close(fd);
    w.end();
  });
});

describe('attaching', () => {
  test('an IOAS returns its page table, and attaching again is replacing', () => {
    const w = new VfioWorld();
    const { fd, device } = w.bound();
    const [a, b] = [w.ioas(), w.ioas()];
    const first = w.attach(fd, a);
    expect(first).not.toBe(a);
    expect(w.attach(fd, a)).toBe(first);
    const second = w.attach(fd, b);
    expect(second).not.toBe(first);
    expect(errnoOf(() => w.call(u.IOMMU_DESTROY, { id: first }))).toBe('ENOENT');
    w.detach(fd);
    w.detach(fd);
    expect(device.group.domain.kind).toBe('blocked');
    w.end();
  });

  test('a PASID has its own page table; detaching it leaves the others', () => {
    const w = new VfioWorld();
    const { fd, devid, device } = w.bound();
    const ioas = w.ioas();
    const hwpt = w.hwpt(devid, ioas, { flags: u.IOMMU_HWPT_ALLOC_PASID });
    expect(w.attach(fd, hwpt)).toBe(hwpt);
    for (const pasid of [5, 7]) w.attach(fd, hwpt, { flags: PASID, pasid });
    w.attach(fd, w.hwpt(devid, ioas, { flags: u.IOMMU_HWPT_ALLOC_PASID }), { flags: PASID, pasid: 7 });
    w.detach(fd, { flags: PASID, pasid: 5 });
    w.detach(fd, { flags: PASID, pasid: 6 });
    expect([0, 5, 7].map((pasid) => device.group.handle(pasid) !== null)).toEqual([true, false, true]);
    expect(errnoOf(() => w.attach(fd, hwpt, { flags: PASID, pasid: 1 << 20 }))).toBe('EINVAL');
    w.end();
  });

  test('PASID 0 is not refused: it is the requester id, and busy when that is attached', () => {
    const w = new VfioWorld();
    const { fd, devid, device } = w.bound();
    const hwpt = w.hwpt(devid, w.ioas(), { flags: u.IOMMU_HWPT_ALLOC_PASID });
    w.attach(fd, hwpt, { flags: PASID, pasid: 0 });
    expect(device.group.handle(0)).not.toBeNull();
    w.detach(fd);
    expect(device.group.handle(0)).not.toBeNull();
    expect(errnoOf(() => w.attach(fd, hwpt))).toBe('EBUSY');
    w.detach(fd, { flags: PASID, pasid: 0 });
    expect(device.group.handle(0)).toBeNull();
    w.end();
  });

  test('a pt_id that cannot be written back takes the requester id away, of a PASID too', () => {
    const w = new VfioWorld();
    const { fd, devid, device } = w.bound();
    const hwpt = w.hwpt(devid, w.ioas(), { flags: u.IOMMU_HWPT_ALLOC_PASID });
    w.attach(fd, hwpt);
    const values = { argsz: 16, pt_id: hwpt, flags: PASID, pasid: 3 };
    const at = w.putReadOnly(v.vfio_device_attach_iommufd_pt, values);
    expect(errnoOf(() => w.client.ioctl(fd, v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, at))).toBe('EFAULT');
    expect(device.group.handle(0)).toBeNull();
    expect(device.group.handle(3)).not.toBeNull();
    w.end();
  });

  test('a refused attachment leaves the old one', () => {
    const w = new VfioWorld();
    const { fd, device } = w.bound();
    w.attach(fd, w.ioas());
    const before = device.group.domain;
    expect(errnoOf(() => w.attach(fd, 999))).toBe('ENOENT');
    expect(device.group.domain).toBe(before);
    w.end();
  });
});

test.each([
  ['pci', 24, v.VFIO_DEVICE_FLAGS_PCI | v.VFIO_DEVICE_FLAGS_RESET, [0, 0]],
  ['pci', 16, v.VFIO_DEVICE_FLAGS_PCI | v.VFIO_DEVICE_FLAGS_RESET, [9, 9]],
  ['platform', 24, v.VFIO_DEVICE_FLAGS_PLATFORM | v.VFIO_DEVICE_FLAGS_RESET, [9, 9]],
] as const)('GET_INFO of a %s device with argsz %i', (bus, argsz, flags, tail) => {
  const w = new VfioWorld();
  const { fd } = w.bound(bus);
  const values = { argsz, cap_offset: 9, pad: 9, num_regions: 9, num_irqs: 9 };
  const info = w.deviceCall(fd, v.VFIO_DEVICE_GET_INFO, v.vfio_device_info, values);
  const [num_regions, num_irqs] = bus === 'pci' ? [9, 5] : [0, 0];
  expect(info).toEqual({ argsz, flags, num_regions, num_irqs, cap_offset: tail[0], pad: tail[1] });
  w.end();
});

describe('IOASIS_DMA', () => {
  test('does what it says, at once', () => {
    const w = new VfioWorld();
    const { fd } = w.bound();
    const ioas = w.ioas();
    const va = w.map(ioas);
    w.attach(fd, ioas);
    const data = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);
    const data_uptr = w.client.memory.store(data);
    const length = 5000n;
    const run = (values: Partial<d.IoasisDma>): d.IoasisDma => w.dma(fd, { iova: LOW, length, ...values });
    expect(run({ op: d.IOASIS_DMA_OP_WRITE, data_uptr })).toMatchObject({
      out_state: d.IOASIS_DMA_DONE,
      out_bytes: 5000n,
    });
    expect(w.client.memory.load(va, 5000)).toEqual(data);
    run({ op: d.IOASIS_DMA_OP_COPY, iova2: LOW + 2n * PAGE });
    const back = w.buffer();
    run({ op: d.IOASIS_DMA_OP_READ, iova: LOW + 2n * PAGE, data_uptr: back });
    expect(w.client.memory.load(back, 5000)).toEqual(data);
    expect(run({ op: d.IOASIS_DMA_OP_COMPARE, data_uptr }).out_state).toBe(d.IOASIS_DMA_DONE);
    w.client.memory.write(va + 10n, Uint8Array.of(99));
    expect(run({ op: d.IOASIS_DMA_OP_COMPARE, data_uptr })).toMatchObject({
      out_state: d.IOASIS_DMA_FAILED,
      out_fault_reason: d.IOASIS_DMA_MISMATCH,
      out_bytes: 10n,
      out_fault_iova: LOW + 10n,
    });
    const add = { op: d.IOASIS_DMA_OP_FETCH_ADD, length: 8n, value: 3n, iova: LOW + 3n * PAGE + 8n };
    const first = run(add).out_old;
    expect(run(add).out_old).toBe(first + 3n);
    const swap = { ...add, op: d.IOASIS_DMA_OP_COMPARE_AND_SWAP, value: 1n, expected: first + 6n };
    expect(run(swap).out_old).toBe(first + 6n);
    expect(run(swap).out_old).toBe(1n);
    w.end();
  });

  test('a refused translation is the answer, with address, access and reason', () => {
    const w = new VfioWorld();
    const { fd } = w.bound();
    expect(w.dma(fd, { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 8n })).toMatchObject({
      out_state: d.IOASIS_DMA_FAULTED,
      out_bytes: 0n,
      out_fault_iova: LOW,
      out_fault_access: d.IOASIS_DMA_ACCESS_WRITE,
      out_fault_reason: 0x77,
    });
    w.end();
  });

  test('what waits for a page polls readable when it is over, and its record comes with the data', () => {
    const w = new VfioWorld();
    const { fd, devid } = w.bound();
    const ioas = w.ioas();
    const fault = w.fault();
    w.attach(fd, w.hwpt(devid, ioas, { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: fault.id }));
    const data_uptr = w.buffer();
    let changes = 0;
    w.file(fd).onReadableChange = () => (changes += 1);
    const started = w.dma(fd, { iova: LOW + 8n, length: 8n, data_uptr, flags: ALL });
    expect(started.out_state).toBe(d.IOASIS_DMA_PENDING);
    expect(w.client.isReadable(fd)).toBe(false);
    expect(w.completion(fd)).toBeNull();
    const record = u.iommu_hwpt_pgfault.decode(w.client.read(fault.fd, 40));
    expect(record).toMatchObject({ dev_id: devid, addr: LOW, perm: u.IOMMU_PGFAULT_PERM_READ, pasid: 0 });
    const va = w.map(ioas);
    w.client.memory.write(va + 8n, Uint8Array.of(1, 2, 3));
    w.client.write(fault.fd, new Uint8Array(new Uint32Array([record.cookie, 0]).buffer));
    expect(w.client.isReadable(fd)).toBe(true);
    expect(w.completion(fd)).toMatchObject({ job: started.out_job, state: d.IOASIS_DMA_DONE, bytes: 8n });
    expect([...w.client.memory.load(data_uptr, 4)]).toEqual([1, 2, 3, 0]);
    expect(w.client.isReadable(fd)).toBe(false);
    expect(changes).toBe(2);
    w.end();
  });

  test('a response INVALID, and a detachment, end what waits', () => {
    const w = new VfioWorld();
    const { fd, devid } = w.bound();
    const fault = w.fault();
    const hwpt = w.hwpt(devid, w.ioas(), { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: fault.id });
    w.attach(fd, hwpt);
    const operation = { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 8n, flags: ALL };
    w.dma(fd, operation);
    const { cookie } = u.iommu_hwpt_pgfault.decode(w.client.read(fault.fd, 40));
    w.client.write(fault.fd, new Uint8Array(new Uint32Array([cookie, 1]).buffer));
    w.dma(fd, operation);
    w.detach(fd);
    for (let i = 0; i < 2; i++) {
      expect(w.completion(fd)).toMatchObject({
        state: d.IOASIS_DMA_FAILED,
        fault_reason: d.IOASIS_DMA_PAGE_INVALID,
      });
    }
    w.end();
  });

  test('two PASIDs wait at once, and each gets its own page', () => {
    const w = new VfioWorld();
    const { fd, devid } = w.bound();
    const fault = w.fault();
    const spaces = [11, 12].map((pasid) => {
      const ioas = w.ioas();
      const flags = u.IOMMU_HWPT_FAULT_ID_VALID | u.IOMMU_HWPT_ALLOC_PASID;
      w.attach(fd, w.hwpt(devid, ioas, { flags, fault_id: fault.id }), { flags: PASID, pasid });
      return { pasid, ioas };
    });
    for (const { pasid } of spaces) {
      const flags = ALL | d.IOASIS_DMA_PASID;
      w.dma(fd, { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 4n, value: BigInt(pasid), flags, pasid });
    }
    const bytes = w.client.read(fault.fd, 80);
    const records = [0, 40].map((at) => u.iommu_hwpt_pgfault.decode(bytes, at));
    expect(records.map((record) => record.pasid)).toEqual([11, 12]);
    const pages = spaces.map(({ ioas }) => w.map(ioas));
    for (const { cookie } of records.toReversed())
      w.client.write(fault.fd, new Uint8Array(new Uint32Array([cookie, 0]).buffer));
    expect(pages.map((va) => w.client.memory.load(va, 1)[0])).toEqual([11, 12]);
    const both = w.client.read(fd, 100);
    expect(both.length).toBe(80);
    w.end();
  });

  test('closing the file ends what waits, and a late response is nobody’s', () => {
    const w = new VfioWorld();
    const { fd, devid, vfio, engine } = w.bound();
    const fault = w.fault();
    const ioas = w.ioas();
    w.attach(fd, w.hwpt(devid, ioas, { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: fault.id }));
    w.dma(fd, { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 4n, flags: ALL });
    w.client.close(fd);
    expect(engine).toMatchObject({ pending: 0 });
    const again = w.openDevice(vfio);
    w.bindFile(again);
    expect(w.completion(again)).toBeNull();
    w.end();
  });
});
