/**
 * vfio-pci (vfio_pci_core.c): a PCI device in the hands of a program. While it is open its configuration space is seen
 * through {@link VirtualConfig}, its interrupts go to {@link PciIrqs}; before and after it is reset.
 */
import { refuse } from '../../base/errno.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import type { MmapRequest, SharedPages } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { DmaLog } from '../dma-log.js';
import type { FeatureRequest, OpenDevice, VfioDriver } from '../driver.js';
import { readIrqSet } from '../irq-set.js';
import { Migration } from '../migration.js';
import { indexOf, withinRegion, type RegionInfo } from '../region-info.js';
import { fixBars } from './bars.js';
import { LowPower, pciFeature } from './features.js';
import { VirtualConfig, type ConfigActions } from './config.js';
import { hotReset, hotResetInfo, type ResetSet } from './hot-reset.js';
import { IoEventFds } from './ioeventfd.js';
import { PciIrqs, type IrqOwner } from './irqs.js';
import { getInfo, getIrqInfo } from './info.js';
import { PciRegions } from './regions.js';
import { saveState } from './reset.js';
import { rules } from './rules.js';
import { matchToken, type TokenRole } from './token.js';

/** What the model does not say. */
export interface VfioPciOptions {
  /** What it is in SR-IOV. A virtual function's memory is enabled by its physical function. Default: neither. */
  readonly role?: TokenRole;
  /** Stores to mapped registers can be caught. Default true. */
  readonly mapsRegisters?: boolean;
}

/** PCI_D3hot */
const D3HOT = 3;

export class VfioPciDriver implements VfioDriver, ConfigActions, IrqOwner {
  readonly irqs: PciIrqs;
  readonly regionCount = v.VFIO_PCI_NUM_REGIONS;
  readonly irqCount = v.VFIO_PCI_NUM_IRQS;
  readonly noCommandMemory: boolean;
  readonly regions: PciRegions;
  /** What is reset with it by a reset of the bus; null: it stands on a root bus. */
  resetSet: ResetSet | null = null;
  readonly #ioEventFds: IoEventFds;
  readonly migration: Migration | null;
  readonly dmaLog: DmaLog | null;
  readonly #role: TokenRole;
  readonly #lowPower = new LowPower();
  #config: VirtualConfig | null = null;
  /** pci_dev.current_state: 0 is D0. */
  #powerState = 0;
  /** Makes the device what it was when it was opened. */
  #restore: () => void = () => {};

  constructor(
    readonly model: PciModel,
    options: VfioPciOptions = {},
  ) {
    this.#role = options.role ?? { kind: 'none' };
    this.noCommandMemory = this.#role.kind === 'virtual';
    this.migration = model.movable === undefined ? null : new Migration(model.movable);
    this.dmaLog = model.watchedPorts === undefined ? null : new DmaLog(model.watchedPorts);
    this.irqs = new PciIrqs(model, this);
    const mapsRegisters = options.mapsRegisters ?? true;
    this.regions = new PciRegions(model, mapsRegisters, () => this.isMemoryEnabled);
    this.#ioEventFds = new IoEventFds(model, this.regions);
  }

  /** vfio_pci_core_enable */
  open(): void {
    const { model } = this;
    this.#setCommand(r.PCI_COMMAND_MASTER, 0);
    this.#setCommand(0, this.#decoded());
    this.resetFunction();
    this.#restore = saveState(model);
    this.#setCommand(r.PCI_COMMAND_INTX_DISABLE, 0);
    const hasIntx = model.interrupts.capability.intx && !this.noCommandMemory;
    this.#config = new VirtualConfig(model.config, this, hasIntx);
    model.interrupts.sink = this.irqs;
    this.#countUser(1);
  }

  /** vfio_pci_core_disable */
  close(): void {
    this.#countUser(-1);
    this.#lowPower.exit();
    this.dmaLog?.stop();
    this.setPowerState(0);
    this.#setCommand(r.PCI_COMMAND_MASTER, 0);
    this.irqs.end();
    this.#ioEventFds.end();
    this.model.interrupts.sink = null;
    this.#config = null;
    this.model.reset();
    this.#restore();
    this.migration?.reset();
  }

  #countUser(change: number): void {
    if (this.#role.kind === 'virtual' && this.#role.physical !== null) this.#role.physical.users += change;
  }

  matchToken(token: Uint8Array | null): void {
    matchToken(this.#role, this.model.name, token);
  }

  /** PCI_COMMAND of the device itself: some bits off, some on. */
  #setCommand(off: number, on: number): void {
    const { config } = this.model;
    const command = config.read(r.PCI_COMMAND, 2);
    config.write(r.PCI_COMMAND, 2, (command & ~off) | on);
  }

  /** What pci_enable_device lets it answer to. */
  #decoded(): number {
    return this.regions.hasIo ? r.PCI_COMMAND_MEMORY | r.PCI_COMMAND_IO : r.PCI_COMMAND_MEMORY;
  }

  get config(): VirtualConfig {
    return this.#config!;
  }

  /** __vfio_pci_memory_enabled. No: closed, while somebody still has its memory mapped. */
  get isMemoryEnabled(): boolean {
    if (this.#config === null) return false;
    const enabled = this.noCommandMemory || (this.#config.command & r.PCI_COMMAND_MEMORY) !== 0;
    return enabled && this.#powerState < D3HOT;
  }

  get isPowered(): boolean {
    return this.#powerState === 0;
  }

  get interruptPin(): number {
    return this.config.interruptPin;
  }

  get usesMsi(): boolean {
    return this.irqs.messages.kind === 'msi';
  }

  setMsiCount(count: number): void {
    // vdev->msi_qmax: fls(nvec * 2 - 1) - 1
    this.config.msiQueueMax = 31 - Math.clz32(count * 2 - 1);
  }

  setIntxDisabled(disabled: boolean): void {
    this.irqs.intx.setDisabled(disabled);
  }

  /** pci_set_power_state: D1 and D2 only where the device has them. */
  setPowerState(state: number): void {
    const { config } = this.model;
    const at = config.capability(r.PCI_CAP_ID_PM);
    if (at === 0 || state === this.#powerState) return;
    const isOptional = state === 1 || state === 2;
    if (isOptional && (config.read(at + r.PCI_PM_PMC, 2) & (0x100 << state)) === 0) return;
    const control = config.read(at + r.PCI_PM_CTRL, 2) & ~r.PCI_PM_CTRL_STATE_MASK;
    config.write(at + r.PCI_PM_CTRL, 2, control | state);
    this.#powerState = state;
  }

  /** pci_try_reset_function */
  resetFunction(): void {
    this.setPowerState(0);
    const restore = saveState(this.model);
    this.model.reset();
    restore();
    this.migration?.reset();
  }

  fixBars(virtual: Uint8Array): void {
    fixBars(this.model, virtual);
  }

  ioctl(cmd: number, arg: bigint, user: UserMemory, { device, isCdev }: OpenDevice): number | null {
    const context = isCdev ? (device.bound?.context ?? null) : null;
    switch (cmd) {
      case v.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
        return hotResetInfo(user, arg, this.resetSet, context);
      case v.VFIO_DEVICE_PCI_HOT_RESET:
        return hotReset(user, arg, this.resetSet, context);
      case v.VFIO_DEVICE_IOEVENTFD:
        return this.#ioEventFds.set(user, arg);
      case v.VFIO_DEVICE_GET_INFO:
        return getInfo(user, arg, device.extra);
      case v.VFIO_DEVICE_GET_IRQ_INFO:
        return getIrqInfo(user, arg, this.irqs);
      case v.VFIO_DEVICE_SET_IRQS:
        this.irqs.set(readIrqSet(user, arg, v.VFIO_PCI_NUM_IRQS, (index) => this.irqs.count(index)));
        return 0;
      case v.VFIO_DEVICE_RESET:
        this.resetFunction();
        return 0;
      default:
        return null;
    }
  }

  regionInfo(index: number): RegionInfo {
    return this.regions.info(index);
  }

  feature(request: FeatureRequest): number | null {
    return pciFeature(request, this.#lowPower, this.#role.kind === 'physical' ? this.#role.own : null);
  }

  request(): void {
    this.irqs.request();
  }

  wake(): void {
    this.#lowPower.resume();
  }

  read(position: bigint, at: bigint, count: number, user: UserMemory): number {
    const index = indexOf(position);
    const offset = withinRegion(position);
    if (index >= v.VFIO_PCI_NUM_REGIONS) refuse(rules.read_index, { index });
    this.wake();
    if (index === v.VFIO_PCI_CONFIG_REGION_INDEX) return this.config.access(user, offset, at, count, false);
    if (index === v.VFIO_PCI_VGA_REGION_INDEX) refuse(rules.read_vga, {});
    return this.regions.load(user, index, offset, at, count);
  }

  write(position: bigint, at: bigint, count: number, user: UserMemory): number {
    const index = indexOf(position);
    const offset = withinRegion(position);
    if (index >= v.VFIO_PCI_NUM_REGIONS) refuse(rules.write_index, { index });
    this.wake();
    if (index === v.VFIO_PCI_CONFIG_REGION_INDEX) return this.config.access(user, offset, at, count, true);
    if (index === v.VFIO_PCI_VGA_REGION_INDEX) refuse(rules.write_vga, {});
    if (index === v.VFIO_PCI_ROM_REGION_INDEX) refuse(rules.write_rom, {});
    return this.regions.store(user, index, offset, at, count);
  }

  mmap(request: MmapRequest): SharedPages {
    return this.regions.map(request);
  }
}
