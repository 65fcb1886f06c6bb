/**
 * What a machine consists of, as people write it: units, buses, devices. Everything may be left out; `plan.ts` says
 * what is then there. The same shape comes from a YAML file (`src/topology`) and from TypeScript.
 */
import type { ResvRegion } from '../hw/unit.js';
import type { VtdFeatures } from '../hw/vtd/features.js';

/** An Intel VT-d unit in scalable mode. */
export type VtdDescription = { readonly type?: 'vtd' } & Partial<VtdFeatures>;

/** The kernel's mock IOMMU: what `--selftest` offers. Its devices are made by programs. */
export interface SelftestDescription {
  readonly type: 'selftest';
}

export type UnitDescription = VtdDescription | SelftestDescription;

export interface BusDescription {
  readonly type: 'pci' | 'platform';
  /** The unit in front of it. Default: the only one. */
  readonly unit?: string;
  /** PCI: its number, the first part of every address. Default 0. */
  readonly segment?: number;
}

/** A range that a device cannot translate; `start`..`last`, both in it. */
export interface ReservedDescription {
  readonly type: ResvRegion['type'];
  readonly start: number | bigint | string;
  readonly last: number | bigint | string;
}

/** What a device is. `dma-test` does what programs ask for by IOASIS_DMA. */
export type DeviceModelName = 'dma-test' | 'ioat' | 'nvme';

/** Storage of an NVMe controller. */
export interface NamespaceDescription {
  /** Bytes, or a number with K, M, G or T behind it. Default: what the file has. */
  readonly size?: number | string;
  /** Where its blocks are; default: in memory, and gone with the machine. */
  readonly file?: string;
}

export interface DeviceDescription {
  /** Default: `dma-test`; the others are on PCI. */
  readonly model?: DeviceModelName;
  /** Of an NVMe controller, from number 1 on. Default: one of 64 MiB, in memory. */
  readonly namespaces?: readonly NamespaceDescription[];
  /** Makes a `dma-test` a CXL device with so much memory: bytes, or a number with K, M, G or T behind it. */
  readonly cxlMemory?: number | string;
  /** Virtual functions that it can be told to have (SR-IOV). Default 0. */
  readonly virtualFunctions?: number;
  /** Default: the only bus that takes such an address. */
  readonly bus?: string;
  /** Not on PCI, where the address says it. Default: the lowest that is free, from 1. */
  readonly sourceId?: number;
  /** Devices that name the same group are attached together. Default: a group of its own. */
  readonly group?: string;
  /** 0: no PASIDs. Default: what the unit has. */
  readonly pasidBits?: number;
  /** A translation cache of its own. Default: what the unit has. */
  readonly ats?: boolean;
  /** Asks for pages that are missing. Default: as `ats`, where the unit has it. */
  readonly pri?: boolean;
  /** Its DMA sees the caches of the CPU; without it Linux does not let a program have the device. Default true. */
  readonly coherent?: boolean;
  /** A virtual function; its page requests are shared with others, so it cannot answer them. Default false. */
  readonly virtualFunction?: boolean;
  readonly reserved?: readonly ReservedDescription[];
}

export interface Topology {
  readonly version?: 1;
  /** VFIO's calls of 2019 to 2021 that bind a guest's page tables through a container. Default false: as in Linux. */
  readonly vfioNesting?: boolean;
  readonly units?: Readonly<Record<string, UnitDescription>>;
  readonly buses?: Readonly<Record<string, BusDescription>>;
  readonly devices?: Readonly<Record<string, DeviceDescription>>;
}
