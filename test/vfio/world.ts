/**
 * A world with test devices behind the mock IOMMU and their VFIO files. The mock has no hardware, so what stands between
 * a device and memory here asks the domains themselves, by requester id or PASID, and reports page requests.
 */
import { joinWords, highWord, lowWord } from '../../src/base/words.js';
import {
  DMA_READ,
  DMA_WRITE,
  NO_PASID,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
  type PageRequestMessage,
  type Translation,
  type Translator,
} from '../../src/bus/dma.js';
import { Interrupts } from '../../src/bus/interrupts.js';
import { DmaEngine } from '../../src/dev/dma-engine.js';
import { IOMMU_NO_PASID } from '../../src/hw/group.js';
import { PageRequestFlags, reportDeviceFault } from '../../src/hw/iopf.js';
import { MockDevice } from '../../src/hw/mock/device.js';
import { MockDomain } from '../../src/hw/mock/domain.js';
import { MockUnit } from '../../src/hw/mock/unit.js';
import { PageResponseCode, type DmaDevice, type PageResponse } from '../../src/hw/unit.js';
import { DmaDriver } from '../../src/vfio/dma-driver.js';
import { VfioDeviceFile } from '../../src/vfio/device-file.js';
import { VfioDevice, type VfioBus, type VfioDriver } from '../../src/vfio/driver.js';
import { VfioPciDriver } from '../../src/vfio/pci/driver.js';
import { VfioPlatformDriver } from '../../src/vfio/platform/driver.js';
import { VfioGroup } from '../../src/vfio/group.js';
import type { Struct } from '../../src/wire/struct.js';
import { MOCK_FLAGS_DEVICE_PASID } from '../../src/wire/uapi/iommufd_test.gen.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { World, type WorldOptions } from '../iommufd/world.js';
import { TestModel } from './test-model.js';

const codes = {
  [PageResponseCode.SUCCESS]: PRG_SUCCESS,
  [PageResponseCode.INVALID]: PRG_INVALID,
  [PageResponseCode.FAILURE]: PRG_FAILURE,
};

/** The mock, whose page responses reach the device. */
class ServingUnit extends MockUnit {
  readonly engines = new Map<DmaDevice, DmaEngine>();

  override pageResponse(device: DmaDevice, { pasid, grpid, code }: PageResponse): void {
    const response = codes[code as keyof typeof codes];
    this.engines.get(device)!.pageGroupResponse(pasid === 0 ? NO_PASID : pasid, grpid, response);
  }
}

class DomainTranslator implements Translator {
  readonly name = 'domains';

  constructor(readonly device: MockDevice) {}

  translate(request: Translation): boolean {
    const pasid = request.pasid === NO_PASID ? IOMMU_NO_PASID : request.pasid;
    const iova = joinWords(request.hi, request.lo);
    const domain = this.device.group.handle(pasid)?.domain;
    const isTranslated = request.addressType === 2;
    const table = domain instanceof MockDomain ? domain.table : null;
    const wanted = request.access & (DMA_READ | DMA_WRITE);
    const permitted = isTranslated ? wanted : (table?.protAt(iova) ?? 0);
    request.reason = 0x77;
    request.recoverable = request.addressType === 1 && table !== null;
    if ((permitted & wanted) !== wanted) return false;
    const hpa = isTranslated ? iova : table!.iovaToPhys(iova);
    request.hpaHi = highWord(hpa);
    request.hpaLo = lowWord(hpa);
    request.sizeLg2 = 11;
    request.permitted = permitted;
    return true;
  }

  pageRequest({ pasid, access, address, group, last }: PageRequestMessage): void {
    const flags =
      (last ? PageRequestFlags.LAST_PAGE : 0) | (pasid === NO_PASID ? 0 : PageRequestFlags.PASID_VALID);
    const request = { flags, pasid: Math.max(0, pasid), grpid: group, perm: access, addr: address };
    reportDeviceFault(this.device, request);
  }
}

export interface TestDevice {
  readonly vfio: VfioDevice;
  readonly engine: DmaEngine;
  readonly device: MockDevice;
  readonly group: VfioGroup;
}

export interface DeviceOptions {
  readonly ats?: boolean;
  readonly pri?: boolean;
  readonly maxPasids?: number;
}

function driverOf(bus: VfioBus, engine: DmaEngine): VfioDriver {
  if (bus === 'pci') return new VfioPciDriver(new TestModel(engine));
  const interrupts = new Interrupts({ intx: false, msi: 0, msix: 0 });
  const { name } = engine;
  return new VfioPlatformDriver({
    name,
    endpoint: engine,
    regions: [],
    interrupts,
    pending: 0,
    reset: () => {},
  });
}

export class VfioWorld extends World {
  #devices = 0;

  constructor(options: WorldOptions = {}) {
    super({ ...options, unit: (memory) => new ServingUnit(memory) });
  }

  get mockUnit(): MockUnit {
    return this.unit as MockUnit;
  }

  newDevice(bus: VfioBus = 'pci', options: DeviceOptions = {}): TestDevice {
    const unit = this.unit as ServingUnit;
    const device = unit.addDevice(MOCK_FLAGS_DEVICE_PASID);
    const engine = new DmaEngine({
      name: device.name,
      sourceId: 0x10 + this.#devices,
      translator: new DomainTranslator(device),
      memory: this.physical,
      maxPasids: 1 << 20,
      ats: true,
      pri: true,
      ...options,
    });
    unit.engines.set(device, engine);
    const path = `/dev/vfio/devices/vfio${this.#devices}`;
    this.#devices += 1;
    const vfio = new VfioDevice(path, bus, device, driverOf(bus, engine), new DmaDriver(engine));
    const group = new VfioGroup(device.group);
    group.register(vfio);
    return { vfio, engine, device, group };
  }

  openDevice(vfio: VfioDevice): number {
    return this.client.installFd(new VfioDeviceFile(this.env, vfio))!;
  }

  /** A device whose file is open and bound. */
  bound(bus: VfioBus = 'pci', options: DeviceOptions = {}): TestDevice & { fd: number; devid: number } {
    const made = this.newDevice(bus, options);
    const fd = this.openDevice(made.vfio);
    return { ...made, fd, devid: this.bindFile(fd).out_devid };
  }

  /** An ioctl of a device file, with its struct; `argsz` is that of the struct unless given. */
  deviceCall<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T>): T {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create({ argsz: struct.size, ...values } as Partial<T>), bytes);
    const at = this.client.memory.store(bytes);
    this.client.ioctl(fd, cmd, at);
    return struct.decode(this.client.memory.load(at, struct.size));
  }

  bindFile(fd: number, values: Partial<v.VfioDeviceBindIommufd> = {}): v.VfioDeviceBindIommufd {
    const all = { iommufd: this.fd, ...values };
    return this.deviceCall(fd, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, all);
  }

  attach(fd: number, pt_id: number, values: Partial<v.VfioDeviceAttachIommufdPt> = {}): number {
    const all = { pt_id, ...values };
    const struct = v.vfio_device_attach_iommufd_pt;
    return this.deviceCall(fd, v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, struct, all).pt_id;
  }

  detach(fd: number, values: Partial<v.VfioDeviceDetachIommufdPt> = {}): void {
    this.deviceCall(fd, v.VFIO_DEVICE_DETACH_IOMMUFD_PT, v.vfio_device_detach_iommufd_pt, values);
  }

  dma(fd: number, values: Partial<d.IoasisDma>): d.IoasisDma {
    return this.deviceCall(fd, d.IOASIS_DMA, d.ioasis_dma, { size: d.ioasis_dma.size, ...values });
  }

  completion(fd: number): d.IoasisDmaCompletion | null {
    const bytes = this.client.read(fd, d.ioasis_dma_completion.size);
    return bytes.length === 0 ? null : d.ioasis_dma_completion.decode(bytes);
  }
}
