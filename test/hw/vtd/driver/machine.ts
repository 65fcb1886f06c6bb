/**
 * A machine with one VT-d unit, hardware and driver, behind an open /dev/iommu, and devices that ask the unit as those
 * on a bus do.
 */
import { Events } from '../../../../src/base/events.js';
import { Injector } from '../../../../src/base/inject.js';
import { NO_PASID, Translation, type Endpoint } from '../../../../src/bus/dma.js';
import { IommuGroup } from '../../../../src/hw/group.js';
import type { VtdDevice } from '../../../../src/hw/vtd/driver/device.js';
import { VtdUnit } from '../../../../src/hw/vtd/driver/unit.js';
import { VtdHardware } from '../../../../src/hw/vtd/hardware.js';
import { Call } from '../../../../src/iommufd/call.js';
import { Context } from '../../../../src/iommufd/context.js';
import { Device } from '../../../../src/iommufd/device.js';
import { defaultLimits, type Env } from '../../../../src/iommufd/env.js';
import { iommufdIoctls } from '../../../../src/iommufd/ioctls.js';
import { WorkQueue } from '../../../../src/base/work.js';
import { PinRegistry } from '../../../../src/iommufd/pins.js';
import { IommufdClient } from '../../../../src/machine/iommufd-client.js';
import { LocalClient } from '../../../../src/machine/local-client.js';
import { PhysicalMemory } from '../../../../src/mem/physical.js';
import * as u from '../../../../src/wire/uapi/iommufd.gen.js';
import { CAP, ECAP } from './fake.js';

const PAGE = 4096n;

/** A device without a translation cache of its own, but with the messages of one that has. */
export class TestDevice implements Endpoint {
  readonly name: string;
  /** What the unit has sent, in order. */
  readonly dropped: [pasid: number, sizeLg2: number][] = [];
  readonly responses: [pasid: number, group: number, code: number][] = [];
  /** Why the last request was refused. */
  reason = 0;

  constructor(
    readonly machine: Machine,
    readonly sourceId: number,
    readonly dma: VtdDevice,
  ) {
    this.name = dma.name;
  }

  invalidateDeviceTlb(pasid: number, _hi: number, _lo: number, sizeLg2: number): boolean {
    this.dropped.push([pasid, sizeLg2]);
    return true;
  }

  pageGroupResponse(pasid: number, group: number, code: number): void {
    this.responses.push([pasid, group, code]);
  }

  /** HPA of a byte; null: refused. `at` 1 asks as ATS does, which records no fault that a page request may cure. */
  translate(iova: bigint, { pasid = NO_PASID, access = 1, at = 0 } = {}): bigint | null {
    const request = new Translation();
    Object.assign(request, { sourceId: this.sourceId, pasid, access, addressType: at });
    request.hi = Number(BigInt.asIntN(32, iova >> 32n));
    request.lo = Number(BigInt.asIntN(32, iova));
    if (!this.machine.hardware.translate(request)) {
      this.reason = request.reason;
      return null;
    }
    return (BigInt(request.hpaHi >>> 0) << 32n) | BigInt(request.hpaLo >>> 0);
  }

  /** A 64-bit word at `iova`; null: refused. */
  read(iova: bigint, pasid = NO_PASID): bigint | null {
    const hpa = this.translate(iova, { pasid });
    if (hpa === null) return null;
    const bytes = new Uint8Array(8);
    this.machine.memory.read(hpa, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  pageRequest(address: bigint, pasid = NO_PASID, group = 0): void {
    const { sourceId } = this;
    this.machine.hardware.pageRequest({ sourceId, pasid, address, access: 1, group, last: true });
  }
}

export class Machine {
  readonly memory = new PhysicalMemory(new Injector());
  readonly events = new Events();
  readonly hardware: VtdHardware;
  readonly unit: VtdUnit;
  readonly client: LocalClient;
  readonly iommufd: IommufdClient;
  readonly #context: Context;
  readonly #devices = new Map<number, TestDevice>();
  readonly #bound: Device[] = [];

  constructor(cap = CAP, ecap = ECAP) {
    this.hardware = new VtdHardware({
      name: 'dmar0',
      memory: this.memory,
      capabilities: { cap, ecap, haw: 48 },
      messages: { message: (_address, data) => this.unit.interrupt(data) },
      endpoints: { endpoint: (sourceId) => this.#devices.get(sourceId) ?? null },
      events: this.events,
    });
    const { hardware: mmio, memory, events } = this;
    this.unit = new VtdUnit({ name: 'dmar0', mmio, memory, events });
    const env: Env = {
      injector: new Injector(),
      physical: this.memory,
      pins: new PinRegistry(),
      limits: defaultLimits,
      work: new WorkQueue(),
      sharedMemory: (length) => new Uint8Array(length),
      freeSharedMemory: () => {},
    };
    this.#context = new Context(env, iommufdIoctls, () => {});
    this.client = new LocalClient({ open: () => this.#context });
    this.iommufd = new IommufdClient(this.client);
  }

  get call(): IommufdClient['call'] {
    return this.iommufd.call.bind(this.iommufd) as IommufdClient['call'];
  }

  get log(): string[] {
    return this.events.recent.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
  }

  /** A device bound to this /dev/iommu, as a driver binds one. */
  device(sourceId: number): TestDevice & { readonly bound: Device } {
    const dma = this.unit.probe({
      name: `device ${sourceId.toString(16)}`,
      sourceId,
      ats: true,
      pri: true,
      pasidBits: 20,
      group: new IommuGroup(),
      resvRegions: [],
      isVirtualFunctionWithPri: false,
    });
    const device = new TestDevice(this, sourceId, dma);
    this.#devices.set(sourceId, device);
    const bound = this.#step((call) => Device.bindDevice(call, dma));
    this.#bound.push(bound);
    return Object.assign(device, { bound });
  }

  attach(bound: Device, ptId: number, pasid = 0): void {
    this.#step((call) => bound.attach(call, pasid, ptId));
  }

  replace(bound: Device, ptId: number, pasid = 0): void {
    this.#step((call) => bound.replace(call, pasid, ptId));
  }

  #step<T>(step: (call: Call) => T): T {
    const call = new Call(this.#context, this.client, 0n, 0);
    try {
      const result = step(call);
      call.commit();
      return result;
    } catch (error) {
      call.tx.rollback();
      throw error;
    }
  }

  ioas(): number {
    return this.call(u.IOMMU_IOAS_ALLOC).out_ioas_id;
  }

  /** Maps `pages` fresh pages at `iova`; returns their address in the client. */
  map(ioas_id: number, iova: bigint, pages = 1): bigint {
    const user_va = this.client.memory.alloc(pages * Number(PAGE));
    const flags = u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE | u.IOMMU_IOAS_MAP_WRITEABLE;
    this.call(u.IOMMU_IOAS_MAP, { flags, ioas_id, user_va, length: BigInt(pages) * PAGE, iova });
    return user_va;
  }

  /** Stores 64-bit words into the client's memory. */
  store(at: bigint, ...words: bigint[]): void {
    this.client.memory.write(at, new Uint8Array(new BigUint64Array(words).buffer));
  }

  hwpt(dev_id: number, pt_id: number, values: Partial<u.IommuHwptAlloc> = {}): number {
    return this.call(u.IOMMU_HWPT_ALLOC, { dev_id, pt_id, ...values }).out_hwpt_id;
  }

  nested(dev_id: number, pt_id: number, root: bigint, values: Partial<u.IommuHwptAlloc> = {}): number {
    const bytes = new Uint8Array(24);
    u.iommu_hwpt_vtd_s1.encode(u.iommu_hwpt_vtd_s1.create({ pgtbl_addr: root, addr_width: 48 }), bytes);
    const data_uptr = this.client.memory.store(bytes);
    return this.hwpt(dev_id, pt_id, { data_type: 1, data_len: 24, data_uptr, ...values });
  }

  /** One invalidation, of `data_type`, whose bytes are `entry`; returns how many were done. */
  invalidate(hwpt_id: number, data_type: number, entry: Uint8Array): number {
    const data_uptr = this.client.memory.store(entry);
    const values = { hwpt_id, data_type, data_uptr, entry_len: entry.length, entry_num: 1 };
    return this.call(u.IOMMU_HWPT_INVALIDATE, values).entry_num;
  }

  /** Detaches and closes everything; what is left after that is a leak. */
  end(): { tables: number; windows: number; pinned: number } {
    for (const bound of this.#bound) {
      for (const pasid of [0, 1, 2, 3, 4, 5]) bound.detach(pasid);
      bound.unbind();
    }
    this.client.exit();
    for (const { dma } of this.#devices.values()) this.unit.remove(dma);
    this.unit.destroy();
    return {
      tables: this.memory.tables.liveBlocks,
      windows: this.memory.liveWindows,
      pinned: this.client.mm.account.pinnedVm,
    };
  }
}
