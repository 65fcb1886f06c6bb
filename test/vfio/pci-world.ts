/** A world with a PCI device behind the mock IOMMU, its file bound, and everything that can be asked of it. */
import { ContainerFile } from '../../src/vfio/container.js';
import { VfioDevice } from '../../src/vfio/driver.js';
import { VfioGroupFile } from '../../src/vfio/group-file.js';
import { VfioGroup } from '../../src/vfio/group.js';
import type { ResetMember } from '../../src/vfio/pci/hot-reset.js';
import { VfioPciDriver, type VfioPciOptions } from '../../src/vfio/pci/driver.js';
import { MOCK_FLAGS_DEVICE_PASID } from '../../src/wire/uapi/iommufd_test.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import type { LocalEventFd } from '../../src/machine/local-eventfd.js';
import { TestModel, type TestConfig } from './test-model.js';
import { VfioWorld } from './world.js';

export const CONFIG = BigInt(v.VFIO_PCI_CONFIG_REGION_INDEX) << 40n;
export const bar = (index: number, offset = 0): bigint => (BigInt(index) << 40n) + BigInt(offset);

export interface PciDevice {
  readonly model: TestModel;
  readonly driver: VfioPciDriver;
  readonly vfio: VfioDevice;
}

const concat = (a: Uint8Array, b: Uint8Array): Uint8Array => Uint8Array.from([...a, ...b]);

export class PciWorld extends VfioWorld {
  #made = 0;

  newPci(
    options: VfioPciOptions = {},
    config?: TestConfig,
    prepare: (model: TestModel) => void = () => {},
  ): PciDevice {
    const unit = this.mockUnit;
    const device = unit.addDevice(MOCK_FLAGS_DEVICE_PASID);
    const endpoint = {
      name: device.name,
      sourceId: 0x80 + this.#made,
      invalidateDeviceTlb: () => false,
      pageGroupResponse: () => {},
    };
    const model = new TestModel(endpoint, config);
    prepare(model);
    const driver = new VfioPciDriver(model, options);
    const vfio = new VfioDevice(`/dev/vfio/devices/vfio${100 + this.#made}`, 'pci', device, driver);
    this.#made += 1;
    return { model, driver, vfio };
  }

  openPci(
    options: VfioPciOptions = {},
    config?: TestConfig,
    prepare: (model: TestModel) => void = () => {},
  ): PciDevice & { fd: number } {
    const made = this.newPci(options, config, prepare);
    const fd = this.openDevice(made.vfio);
    this.bindFile(fd);
    return { ...made, fd };
  }

  /** By way of its group, which is in a container; the descriptors of all three. */
  openThroughGroup(vfio: VfioDevice): { fd: number; groupFd: number; containerFd: number } {
    const group = new VfioGroup(vfio.device.group);
    group.register(vfio);
    const containerFd = this.client.installFd(new ContainerFile(this.env))!;
    const groupFd = this.client.installFd(new VfioGroupFile(this.env, group))!;
    const at = this.client.memory.store(new Uint8Array(new Int32Array([containerFd]).buffer));
    this.client.ioctl(groupFd, v.VFIO_GROUP_SET_CONTAINER, at);
    this.client.ioctl(containerFd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1v2_IOMMU));
    const name = this.client.memory.store(new TextEncoder().encode(`${vfio.device.name}\0`));
    return { fd: this.client.ioctl(groupFd, v.VFIO_GROUP_GET_DEVICE_FD, name), groupFd, containerFd };
  }

  memberOf({ vfio, driver }: PciDevice, rid: number): ResetMember {
    return { segment: 0, rid, vfio, resetFunction: () => driver.resetFunction() };
  }

  hotReset(fd: number, groups: readonly number[]): number {
    const header = new Uint8Array(new Uint32Array([12 + 4 * groups.length, 0, groups.length]).buffer);
    const fds = new Uint8Array(new Int32Array(groups).buffer);
    return this.client.ioctl(fd, v.VFIO_DEVICE_PCI_HOT_RESET, this.client.memory.store(concat(header, fds)));
  }

  /** Stores 4 bytes at 24 of BAR 0 unless told otherwise. */
  ioeventfd(fd: number, values: Partial<v.VfioDeviceIoeventfd>): unknown {
    const all = { flags: 4, offset: 24n, fd: -1, ...values };
    return this.deviceCall(fd, v.VFIO_DEVICE_IOEVENTFD, v.vfio_device_ioeventfd, all);
  }

  regionInfo(fd: number, index: number, values: Partial<v.VfioRegionInfo> = {}): v.VfioRegionInfo {
    return this.deviceCall(fd, v.VFIO_DEVICE_GET_REGION_INFO, v.vfio_region_info, { index, ...values });
  }

  irqInfo(fd: number, index: number, values: Partial<v.VfioIrqInfo> = {}): v.VfioIrqInfo {
    return this.deviceCall(fd, v.VFIO_DEVICE_GET_IRQ_INFO, v.vfio_irq_info, { index, ...values });
  }

  /** VFIO_DEVICE_SET_IRQS with data of 1 or 4 bytes each, by the flags; `count` is that of the data unless given. */
  setIrqs(
    fd: number,
    flags: number,
    index: number,
    data: readonly number[] = [],
    values: Partial<v.VfioIrqSet> = {},
  ): number {
    const width = (flags & v.VFIO_IRQ_SET_DATA_BOOL) !== 0 ? 1 : 4;
    const bytes = new Uint8Array(v.vfio_irq_set.size + data.length * width);
    const header = { argsz: bytes.length, flags, index, start: 0, count: data.length, ...values };
    v.vfio_irq_set.encode(header, bytes);
    const view = new DataView(bytes.buffer);
    for (const [i, value] of data.entries()) {
      if (width === 1) view.setUint8(v.vfio_irq_set.size + i, value);
      else view.setInt32(v.vfio_irq_set.size + 4 * i, value, true);
    }
    return this.client.ioctl(fd, v.VFIO_DEVICE_SET_IRQS, this.client.memory.store(bytes));
  }

  eventfds(count: number): { fds: number[]; events: LocalEventFd[] } {
    const made = Array.from({ length: count }, () => this.client.eventfd());
    return { fds: made.map(({ fd }) => fd), events: made.map(({ event }) => event) };
  }

  readConfig(fd: number, at: number, length: number): number {
    const bytes = this.client.pread(fd, length, CONFIG + BigInt(at));
    return bytes.reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0);
  }

  writeConfig(fd: number, at: number, length: number, value: number): void {
    const bytes = Uint8Array.from({ length }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
    this.client.pwrite(fd, bytes, CONFIG + BigInt(at));
  }

  readBar(fd: number, index: number, offset: number, length = 4): number {
    const bytes = this.client.pread(fd, length, bar(index, offset));
    return bytes.reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0);
  }

  writeBar(fd: number, index: number, offset: number, value: number): number {
    return this.client.pwrite(fd, new Uint8Array(new Uint32Array([value]).buffer), bar(index, offset));
  }
}
