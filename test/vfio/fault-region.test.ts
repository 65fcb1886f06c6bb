/** R16: faults as regions of a VFIO device, on PCI and off it, with a PASID and without. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LocalEventFd } from '../../src/machine/local-eventfd.js';
import type { Topology } from '../../src/machine/topology.js';
import type { SharedPages } from '../../src/mem/task.js';
import type { VfioDeviceFile } from '../../src/vfio/device-file.js';
import { rules } from '../../src/vfio/nesting/fault-rules.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as f from '../../src/wire/uapi/iommu.js';
import * as n from '../../src/wire/uapi/vfio-nesting.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf, ruleOf } from '../refusal.js';
import { encode, GUEST, IOVA, NestingScene, PAGE, table } from './nesting-scene.js';

const PRI = d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI;
const TRIGGER = v.VFIO_IRQ_SET_ACTION_TRIGGER;
const EVENTFD = v.VFIO_IRQ_SET_DATA_EVENTFD | TRIGGER;
const FAULT_SIZE = 4096 + 512 * 64;
const RESPONSE_SIZE = 4096 + 512 * 24;

const withoutRings = (length: number): Uint8Array | null =>
  length === FAULT_SIZE + RESPONSE_SIZE ? null : new Uint8Array(length);

interface Cap {
  readonly id: number;
  readonly at: number;
}

/** What a program sees of the two regions. */
class Regions {
  readonly base: number;
  readonly irq: number;
  readonly event: LocalEventFd;
  readonly eventFd: number;

  constructor(readonly s: NestingScene) {
    const info = this.#answer(v.VFIO_DEVICE_GET_INFO, encode(v.vfio_device_info, { argsz: 16 }));
    const { num_regions, num_irqs } = v.vfio_device_info.decode(info);
    this.base = num_regions - 2;
    this.irq = num_irqs - 1;
    const made = s.machine.client.eventfd();
    this.event = made.event;
    this.eventFd = made.fd;
  }

  #answer(cmd: number, bytes: Uint8Array, room = bytes.length): Uint8Array {
    const whole = new Uint8Array(Math.max(room, v.vfio_device_info.size));
    whole.set(bytes);
    const at = this.s.store(whole);
    this.s.machine.client.ioctl(this.s.device, cmd, at);
    return this.s.machine.memory.load(at, whole.length);
  }

  regionInfo(which: number, argsz = 256): Uint8Array {
    const request = encode(v.vfio_region_info, { argsz, index: this.base + which });
    return this.#answer(v.VFIO_DEVICE_GET_REGION_INFO, request, 256);
  }

  irqInfo(argsz = 64, index = this.irq): Uint8Array {
    return this.#answer(v.VFIO_DEVICE_GET_IRQ_INFO, encode(v.vfio_irq_info, { argsz, index }), 64);
  }

  /** Ids of a chain of capabilities. */
  caps(bytes: Uint8Array, first: number): Cap[] {
    const found: Cap[] = [];
    for (let at = first; at !== 0; at = v.vfio_info_cap_header.decode(bytes, at).next)
      found.push({ id: v.vfio_info_cap_header.decode(bytes, at).id, at });
    return found;
  }

  setIrq(flags: number, start: number, values: number[], count = values.length): void {
    const bytes = new Uint8Array(20 + values.length * 4);
    v.vfio_irq_set.encode({ argsz: bytes.length, flags, index: this.irq, start, count }, bytes);
    bytes.set(new Uint8Array(new Int32Array(values).buffer), 20);
    this.s.machine.client.ioctl(this.s.device, v.VFIO_DEVICE_SET_IRQS, this.s.store(bytes));
  }

  listen(): this {
    this.setIrq(EVENTFD, 0, [this.eventFd]);
    return this;
  }

  position(which: number, offset = 0): bigint {
    return (BigInt(this.base + which) << 40n) + BigInt(offset);
  }

  map(which: number, offset = 4096, length = this.size(which) - 4096, shared = true): SharedPages {
    const request = { offset: this.position(which, offset), length: BigInt(length), shared, exec: false };
    return this.s.machine.client.mmap(this.s.device, request);
  }

  size(which: number): number {
    return which === 0 ? FAULT_SIZE : RESPONSE_SIZE;
  }

  /** Words of a header. */
  header(which: number): number[] {
    const bytes = this.s.machine.client.pread(this.s.device, 24, this.position(which));
    return [...new Uint32Array(bytes.buffer, bytes.byteOffset, 6)];
  }

  setIndex(which: number, index: number): void {
    const bytes = new Uint8Array(new Uint32Array([index]).buffer);
    this.s.machine.client.pwrite(this.s.device, bytes, this.position(which));
  }

  request(index: number): f.IommuFaultPrm {
    return f.iommu_fault_prm.decode(this.map(0).bytes, index * 64);
  }

  unrecoverable(index: number): f.IommuFaultUnrecov {
    return f.iommu_fault_unrecov.decode(this.map(0).bytes, index * 64);
  }

  respond({ flags, pasid, grpid }: f.IommuFaultPrm, code: number): void {
    const [head = 0] = this.header(1);
    const response = { argsz: 24, version: 1, flags: flags & 1, pasid, grpid, code };
    f.iommu_page_response.encode(response, this.map(1).bytes, head * 24);
    this.setIndex(1, (head + 1) % 512);
  }
}

const platform: Topology = {
  buses: { soc: { type: 'platform' } },
  devices: { dma0: { bus: 'soc', sourceId: 0xf000 } },
};
let s: NestingScene;
let r: Regions;
const start = (made: NestingScene): void => {
  s = made;
  r = new Regions(s);
};
afterEach(() => {
  const left = s.end();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

/** An address with so many bytes behind it and no more, which hold `bytes`. */
const atEnd = (left: number, bytes: Uint8Array): bigint => {
  const at = s.machine.memory.alloc(4096) + PAGE - BigInt(left);
  s.machine.memory.write(at, bytes.subarray(0, left));
  return at;
};
const file = (): VfioDeviceFile => s.machine.client.fileOf(s.device) as VfioDeviceFile;

const irqInfoAt = (left: number, argsz: number): number => {
  const bytes = encode(v.vfio_irq_info, { argsz, index: r.irq });
  return s.machine.client.ioctl(s.device, v.VFIO_DEVICE_GET_IRQ_INFO, atEnd(left, bytes));
};

const buses = [
  ['on PCI', () => new NestingScene()],
  ['on a platform bus', () => new NestingScene('dma0', platform)],
] as const;
const requesters = [
  ['of a PASID', 1],
  ['of the requester id', 0],
] as const;
const all = buses.flatMap(([bus, make]) =>
  requesters.map(([who, pasid]) => [bus, who, make, pasid] as const),
);

describe.each(all)('R16, R17, R18: a device %s, a fault %s', (_bus, _who, make, pasid) => {
  beforeEach(() => {
    start(make());
    if (pasid !== 0) s.request(n.VFIO_IOMMU_PASID_ALLOC, pasid, pasid);
    s.bind(table(pasid));
  });

  test('is in the ring, the eventfd says so, and the device goes on after the response', () => {
    r.listen();
    expect(s.dma(pasid, IOVA + PAGE, PRI).out_state).toBe(d.IOASIS_DMA_PENDING);
    expect(r.header(0)).toEqual([0, 64, 512, 4096, 1, 0]);
    expect(r.event.value).toBe(1n);
    const request = r.request(0);
    expect(request).toEqual({
      type: f.IOMMU_FAULT_PAGE_REQ,
      dev_id: 0,
      pasid,
      grpid: request.grpid,
      addr: IOVA + PAGE,
      perm: f.IOMMU_FAULT_PERM_WRITE,
      flags: f.IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE | (pasid === 0 ? 0 : 1),
    });
    r.setIndex(0, 1);
    s.setEntry(3n, (GUEST + 9n * PAGE) | 7n, 1n);
    r.respond(request, f.IOMMU_PAGE_RESP_SUCCESS);
    expect(s.completion()?.state).toBe(d.IOASIS_DMA_DONE);
    expect(s.byteOf(9n)).toBe(5);
    expect(r.header(1)).toEqual([1, 24, 512, 4096, 1, 0]);
  });

  test('R19: that ends a request is in the ring too', () => {
    r.listen();
    expect(s.dma(pasid, IOVA + PAGE).out_state).toBe(d.IOASIS_DMA_FAULTED);
    expect(r.unrecoverable(0)).toMatchObject({
      type: f.IOMMU_FAULT_DMA_UNRECOV,
      reason: f.IOMMU_FAULT_REASON_PTE_FETCH,
      flags: f.IOMMU_FAULT_UNRECOV_ADDR_VALID | (pasid === 0 ? 0 : 1),
      pasid,
      addr: IOVA + PAGE,
    });
  });

  test('R20: that nobody listens to, or whose table is taken away, is completed with a failure', () => {
    expect(s.dma(pasid, IOVA + PAGE, PRI).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
    expect(r.header(0)[4]).toBe(0);
    r.listen();
    s.dma(pasid, IOVA + PAGE, PRI);
    s.unbind(pasid);
    expect(s.completion()?.fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
    r.setIrq(TRIGGER | v.VFIO_IRQ_SET_DATA_NONE, 0, []);
    s.bind(table(pasid));
    expect(s.dma(pasid, IOVA + PAGE, PRI).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });

  test('goes by the table that is bound, and no longer by it once it is not', () => {
    expect(s.fill(pasid)).toBe(d.IOASIS_DMA_DONE);
    expect(s.byteOf(8n)).toBe(5);
    s.unbind(pasid);
    expect(s.fill(pasid)).toBe(d.IOASIS_DMA_FAULTED);
    // The requester id is back in the container's own space.
    const own = pasid === 0 ? d.IOASIS_DMA_DONE : d.IOASIS_DMA_FAULTED;
    expect(s.dma(pasid, GUEST).out_state).toBe(own);
  });
});

describe('a full ring', () => {
  test('R21: holds nobody up, and what is lost is counted', () => {
    start(new NestingScene());
    s.bind(table(0));
    r.listen();
    for (let fault = 0; fault < 511; fault++) s.dma(0, IOVA + PAGE);
    expect(r.header(0).slice(4)).toEqual([511, 0]);
    s.dma(0, IOVA + PAGE);
    expect(s.dma(0, IOVA + PAGE, PRI).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_FAILURE);
    expect(r.header(0).slice(4)).toEqual([511, 2]);
    r.setIndex(0, 100);
    s.dma(0, IOVA + PAGE);
    expect(r.header(0).slice(4)).toEqual([0, 2]);
  });
});

describe('the regions', () => {
  beforeEach(() => start(new NestingScene()));

  test('say what they are, by capabilities', () => {
    expect([r.base, r.irq]).toEqual([v.VFIO_PCI_NUM_REGIONS, v.VFIO_PCI_NUM_IRQS]);
    for (const which of [0, 1]) {
      const bytes = r.regionInfo(which);
      const info = v.vfio_region_info.decode(bytes);
      expect(info).toMatchObject({ flags: 15, size: BigInt(r.size(which)), offset: r.position(which) });
      const [sparse, type, fault] = r.caps(bytes, info.cap_offset);
      expect([sparse?.id, type?.id, fault?.id]).toEqual([
        v.VFIO_REGION_INFO_CAP_SPARSE_MMAP,
        v.VFIO_REGION_INFO_CAP_TYPE,
        which === 0 ? n.VFIO_REGION_INFO_CAP_DMA_FAULT : n.VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE,
      ]);
      const area = v.vfio_region_sparse_mmap_area.decode(bytes, sparse!.at + 16);
      expect(area).toEqual({ offset: 4096n, size: BigInt(r.size(which) - 4096) });
      expect(v.vfio_region_info_cap_type.decode(bytes, type!.at)).toMatchObject({
        type: n.VFIO_REGION_TYPE_NESTED,
        subtype: which + 1,
      });
      expect(n.vfio_region_info_cap_fault.decode(bytes, fault!.at).version).toBe(1);
      expect(v.vfio_region_info.decode(r.regionInfo(which, 32))).toMatchObject({
        argsz: 32 + 32 + 16 + 16,
        cap_offset: 0,
      });
    }
  });

  test('have an interrupt that says what it is', () => {
    const bytes = r.irqInfo();
    const info = n.vfio_irq_info_caps.decode(bytes);
    expect(info).toMatchObject({ argsz: 64, count: 1, flags: 1 | 8 | 16, cap_offset: 24 });
    expect(n.vfio_irq_info_cap_type.decode(bytes, 24)).toMatchObject({
      header: { id: n.VFIO_IRQ_INFO_CAP_TYPE },
      type: n.VFIO_IRQ_TYPE_NESTED,
      subtype: n.VFIO_IRQ_SUBTYPE_DMA_FAULT,
    });
    expect(n.vfio_irq_info_caps.decode(r.irqInfo(16))).toMatchObject({ argsz: 40, cap_offset: 0 });
    expect(errnoOf(() => r.irqInfo(16, r.irq + 1))).toBe('EINVAL');
    expect(v.vfio_irq_info.decode(r.irqInfo(16, 0)).argsz).toBe(16);
  });

  test('are of the device that faulted, and end with its file', () => {
    s.bind(table(0));
    r.listen();
    s.dma(0, IOVA + PAGE, PRI);
    expect(r.header(0)[4]).toBe(1);
    s.machine.client.close(s.device);
    const again = s.open(s.name);
    const header = s.machine.client.pread(again, 24, r.position(0));
    expect([...new Uint32Array(header.buffer)]).toEqual([0, 64, 512, 4096, 0, 0]);
    expect(s.dma(0, IOVA + PAGE, PRI, again).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });

  test('count a response that nobody waits for', () => {
    s.bind(table(0));
    r.listen();
    s.dma(0, IOVA + PAGE, PRI);
    const request = r.request(0);
    r.respond({ ...request, grpid: request.grpid ^ 1 }, 0);
    r.respond(request, 3);
    expect(r.header(1)[5]).toBe(2);
    r.respond(request, f.IOMMU_PAGE_RESP_INVALID);
    expect(s.completion()?.fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });

  const broken: Readonly<Record<string, () => unknown>> = {
    nesting_fault_read: () => s.machine.client.pread(s.device, 4, r.position(0, FAULT_SIZE)),
    nesting_fault_unwritable: () => file().readAt(r.position(0), 0n, 24, s.machine.client),
    nesting_fault_write: () => s.machine.client.pwrite(s.device, new Uint8Array(4), r.position(0, 4096)),
    nesting_fault_unreadable: () => file().writeAt(r.position(0), 0n, 4, s.machine.client),
    nesting_fault_index: () => r.setIndex(0, 512),
    nesting_fault_private: () => r.map(0, 4096, 4096, false),
    nesting_fault_range: () => r.map(0, 0, 4096),
    nesting_irq_unreadable: () => irqInfoAt(12, 16),
    nesting_irq_size: () => r.irqInfo(15),
    nesting_irq_caps_unwritable: () => irqInfoAt(24, 64),
    nesting_irq_unwritable: () => irqInfoAt(16, 24),
    nesting_fault_action: () => r.setIrq(v.VFIO_IRQ_SET_ACTION_MASK | v.VFIO_IRQ_SET_DATA_NONE, 0, [], 1),
    nesting_fault_eventfd: () => r.setIrq(TRIGGER | v.VFIO_IRQ_SET_DATA_NONE, 0, [], 1),
    nesting_fault_memory: () => new NestingScene(s.name, undefined, 0, { sharedMemory: withoutRings }),
  };

  test('every rule has its case', () => {
    expect(Object.keys(broken).toSorted()).toEqual(Object.keys(rules).toSorted());
  });

  test.each(Object.entries(broken))('%s', (id, act) => {
    expect(ruleOf(act)).toBe(id);
  });
});

test('two devices of a group: one table is bound to both, and each has its own faults', () => {
  const group = 'pair';
  start(
    new NestingScene('0000:00:01.0', { devices: { '0000:00:01.0': { group }, '0000:00:02.0': { group } } }),
  );
  const other = s.open('0000:00:02.0');
  s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 1);
  s.bind(table(1));
  r.listen();
  expect(s.dma(1, IOVA, 0, other).out_state).toBe(d.IOASIS_DMA_DONE);
  s.dma(1, IOVA + PAGE, 0, other);
  expect(r.header(0)[4]).toBe(0);
  s.dma(1, IOVA + PAGE);
  expect(r.header(0)[4]).toBe(1);
});

test('a device that cannot ask for pages is bound too, and tells of faults', () => {
  start(new NestingScene('0000:00:01.0', { devices: { '0000:00:01.0': { pri: false } } }));
  s.bind(table(0));
  r.listen();
  s.dma(0, IOVA + PAGE);
  expect(r.unrecoverable(0).type).toBe(f.IOMMU_FAULT_DMA_UNRECOV);
});
