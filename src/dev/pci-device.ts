/**
 * What every device on PCI does in the same way: its configuration space, the line, reset, and when it may master
 * memory. A device adds its registers and what they do.
 */
import type { WorkQueue } from '../base/work.js';
import type { Endpoint, Translator } from '../bus/dma.js';
import { Interrupts } from '../bus/interrupts.js';
import type { PciModel } from '../bus/model.js';
import {
  addExpress,
  addMsi,
  addMsix,
  addPowerManagement,
  type MsiOptions,
  type MsixPlace,
} from '../bus/pci-capabilities.js';
import { PciConfig, typeBits, type BarKind, type PciIdentity } from '../bus/pci-config.js';
import {
  addAccessControl,
  addAts,
  addErrorReporting,
  addPageRequests,
  addPasid,
  addSerialNumber,
  addSriov,
} from '../bus/pci-extended.js';
import * as r from '../bus/pci-registers.js';
import type { Region, SharedMemory } from '../bus/region.js';
import type { PhysicalMemory } from '../mem/physical.js';

/** What a device that masters memory is given. */
export interface Masters {
  readonly translator: Translator;
  readonly memory: PhysicalMemory;
  readonly work: WorkQueue;
  readonly sharedMemory: SharedMemory;
}

/** Where a function stands, and what the topology says of it. */
export interface PciPlace {
  readonly name: string;
  /** Its requester id. */
  readonly sourceId: number;
  /** It is a virtual function: no BARs of its own in configuration space, no line. */
  readonly isVirtual: boolean;
  /** Other functions have the same device number. */
  readonly isMultiFunction: boolean;
  /** Virtual functions that it may have, and how far away the first is; null: no SR-IOV. */
  readonly sriov: { readonly total: number; readonly offset: number } | null;
}

/** Address services, as the unit has enabled them. */
export interface AddressServices {
  readonly ats: boolean;
  /** Page requests that may be out; 0: none. */
  readonly pageRequests: number;
  readonly pasidBits: number;
}

/** What a kind of device is like. */
export interface PciDescription {
  readonly identity: PciIdentity;
  /** By index; null: none, or the upper half of the one before. */
  readonly bars: readonly ({ readonly size: number; readonly kind: BarKind } | null)[];
  readonly msi: MsiOptions | null;
  readonly msix: MsixPlace | null;
  readonly services?: AddressServices;
}

/** Extended capabilities behind the first begin here: what is before belongs to the device. */
const EXTENDED_FROM = 0x200;

export abstract class PciDevice implements PciModel, Endpoint {
  readonly name: string;
  readonly sourceId: number;
  readonly config: PciConfig;
  readonly interrupts: Interrupts;
  abstract readonly regions: readonly (Region | null)[];
  abstract readonly pending: number;
  #wantsLine = false;

  constructor(
    readonly place: PciPlace,
    readonly description: PciDescription,
  ) {
    this.name = place.name;
    this.sourceId = place.sourceId;
    const { msi, msix } = description;
    const intx = !place.isVirtual;
    this.interrupts = new Interrupts({ intx, msi: msi?.vectors ?? 0, msix: msix?.vectors ?? 0 });
    this.config = new PciConfig(description.identity, place);
    this.#addCapabilities();
    this.config.registers.watch(r.PCI_COMMAND, 2, () => this.#commanded());
  }

  get endpoint(): Endpoint {
    return this;
  }

  get barTypes(): readonly number[] | undefined {
    if (!this.place.isVirtual) return undefined;
    return this.description.bars.map((bar) => (bar === null ? 0 : typeBits(bar.kind)));
  }

  /** Requests of its own may go out. */
  get isMaster(): boolean {
    return (this.config.command & r.PCI_COMMAND_MASTER) !== 0 && this.config.powerState === 0;
  }

  #addCapabilities(): void {
    const { config, place } = this;
    const { bars, msi, msix, services } = this.description;
    if (!place.isVirtual)
      for (const [i, bar] of bars.entries()) if (bar !== null) config.addBar(i, bar.size, bar.kind);
    addPowerManagement(config, () => this.#commanded());
    if (msi !== null) addMsi(config, msi);
    if (msix !== null) addMsix(config, msix);
    addExpress(config, (services?.pasidBits ?? 0) > 0, () => this.reset());
    addErrorReporting(config);
    config.skipExtended(EXTENDED_FROM);
    addSerialNumber(config, place.sourceId, 0x10a5);
    if (place.isMultiFunction || place.isVirtual || place.sriov !== null) addAccessControl(config);
    if (services !== undefined) addServices(config, services);
    const { sriov } = place;
    if (sriov === null) return;
    addSriov(config, { ...sriov, stride: 1, device: this.description.identity.device, bars });
  }

  /** Raises or lowers the line; what the command register makes of it is done here. */
  protected setLine(isRaised: boolean): void {
    this.#wantsLine = isRaised;
    const { registers } = this.config;
    const status = registers.get(r.PCI_STATUS, 2) & ~r.PCI_STATUS_INTERRUPT;
    registers.set(r.PCI_STATUS, 2, status | (isRaised ? r.PCI_STATUS_INTERRUPT : 0));
    this.interrupts.setLine(isRaised && (this.config.command & r.PCI_COMMAND_INTX_DISABLE) === 0);
  }

  #commanded(): void {
    this.setLine(this.#wantsLine);
    if (this.isMaster) this.mayMaster();
  }

  /** What waited for bus mastering can go on. */
  protected abstract mayMaster(): void;
  /** Ends everything, and brings the registers of the regions back. */
  protected abstract resetFunction(): void;

  reset(): void {
    this.resetFunction();
    this.config.reset();
    this.setLine(false);
  }

  /** No translation cache. */
  invalidateDeviceTlb(_pasid: number, _hi: number, _lo: number, _sizeLg2: number): boolean {
    return false;
  }

  /** It has asked for no pages. */
  pageGroupResponse(_pasid: number, _group: number, _code: number): void {}
}

function addServices(config: PciConfig, { ats, pageRequests, pasidBits }: AddressServices): void {
  if (ats) addAts(config);
  if (pageRequests > 0) addPageRequests(config, pageRequests, pasidBits > 0);
  if (pasidBits > 0) addPasid(config, pasidBits);
}
