/**
 * What the object model sees of an IOMMU: a unit, its domains, its devices. Shaped after Linux' iommu_ops and
 * iommu_domain_ops, because the order in which the core asks a driver is part of what programs observe.
 * A unit refuses by throwing Errno with a rule of its own folder; it never sees an iommufd object.
 */
import type { Struct } from '../wire/struct.js';
import type { MapStatus } from '../pt/map.js';
import type { AddressSpaceProvider, OwnedSpace } from '../mem/providers.js';
import type { SharedPages } from '../mem/task.js';
import type { AttachHandle, IommuGroup } from './group.js';
import type { FaultParam, PageFaultGroup } from './iopf.js';

export type { MapStatus };

/** IOMMU_READ, IOMMU_WRITE: permissions of a mapping. */
export const IOMMU_READ = 1;
export const IOMMU_WRITE = 2;

/** `(type, pointer, length)` of driver data that came with an ioctl. */
export interface UserData {
  readonly type: number;
  readonly length: number;
  /**
   * Copies the struct in. EINVAL when the type is not `type`, or the length is below the end of `last` or above
   * the struct; EFAULT when it is not there.
   */
  read<T>(struct: Struct<T>, type: number, last: keyof T & string): T;
  /** Copies the struct out, with the same rules. */
  write<T>(struct: Struct<T>, value: T, type: number, last: keyof T & string): void;
}

/** An array of driver data (struct iommu_user_data_array). The driver says in `done` how many entries it handled. */
export interface UserDataArray {
  readonly type: number;
  readonly entryCount: number;
  done: number;
  /** Entry `index`, with the length rules of {@link UserData.read}. */
  readEntry<T>(index: number, struct: Struct<T>, type: number, last: keyof T & string): T;
  /**
   * Entry `index` of a type that may grow: EINVAL below the end of `last`, and what is longer than the struct must be
   * zero (E2BIG).
   */
  readGrowing<T>(index: number, struct: Struct<T>, last: keyof T & string): T;
  /** All entries; each is zero-extended, or E2BIG when a longer one has a non-zero tail. */
  readAll<T>(struct: Struct<T>, type: number): T[];
}

/** A fault that ended a request, in words that every unit has. */
export interface UnrecoverableFault {
  /** Whose request it was. */
  readonly device: DmaDevice;
  /** enum iommu_fault_reason: IOMMU_FAULT_REASON_* */
  readonly reason: number;
  /** Null: the request had none. */
  readonly pasid: number | null;
  /** IOMMU_FAULT_PERM_*: what the request wanted. */
  readonly perm: number;
  readonly addr: bigint;
}

interface DomainCommon {
  readonly unit: Unit;
  /** Who is asked when an address space that is attached through this domain faults; null refuses page requests. */
  iopfHandler: ((group: PageFaultGroup) => void) | null;
  /** Who is told of faults that ended a request. */
  faultHandler?: ((handle: AttachHandle, fault: UnrecoverableFault) => void) | null;
  free(): void;
}

/** Reads and clears the dirty state that the unit keeps in its page-table entries. */
export interface DirtyOps {
  setTracking(enable: boolean): void;
  /** Calls `visit` for every dirty piece of `[iova, iova + length)`; clears it unless `noClear`. */
  readAndClear(
    iova: bigint,
    length: bigint,
    noClear: boolean,
    visit: (iova: bigint, length: bigint) => void,
  ): void;
}

/** A table that the object model fills: IOMMU_DOMAIN_UNMANAGED. */
export interface PagingDomain extends DomainCommon {
  readonly kind: 'paging';
  /** Domains with the same are driven alike (struct iommu_domain_ops as an identity). */
  readonly ops: object;
  readonly pgsizeBitmap: bigint;
  /** Inclusive. */
  readonly apertureStart: bigint;
  readonly apertureLast: bigint;
  readonly dirtyOps: DirtyOps | null;
  /** Present only on units that can; true when the domain now forces snooping. */
  readonly enforceCacheCoherency?: () => boolean;
  /** Anything but 'ok' says why not, and then nothing of the range is mapped. */
  map(iova: bigint, hpa: bigint, length: bigint, prot: number): MapStatus;
  unmap(iova: bigint, length: bigint): void;
  /** 0 when nothing is mapped there. */
  iovaToPhys(iova: bigint): bigint;
}

/** A first stage that the guest owns. */
export interface NestedDomain extends DomainCommon {
  readonly kind: 'nested';
  readonly invalidate?: (array: UserDataArray) => void;
}

/**
 * An address space whose owner answers for every address: a process, a virtual machine, or somebody outside. Its page
 * requests go to {@link DomainCommon.iopfHandler}, which belongs to that owner, never to the device's driver.
 */
export interface ProvidedDomain extends DomainCommon {
  readonly kind: 'provided';
  readonly provider: AddressSpaceProvider;
}

/** Nothing gets through. */
export interface BlockedDomain extends DomainCommon {
  readonly kind: 'blocked';
}

export type Domain = PagingDomain | NestedDomain | ProvidedDomain | BlockedDomain;

/** PAGE_REQUESTS is ioasis' own word: the device can ask for pages. */
export type IommuCap =
  'CACHE_COHERENCY' | 'ENFORCE_CACHE_COHERENCY' | 'DIRTY_TRACKING' | 'PCI_ATS_SUPPORTED' | 'PAGE_REQUESTS';

/** A range that a device cannot translate (iommu_resv_region); inclusive. */
export interface ResvRegion {
  readonly type: 'direct' | 'direct-relaxable' | 'reserved' | 'msi' | 'sw-msi';
  readonly start: bigint;
  readonly last: bigint;
}

/** `struct device`, as far as its IOMMU is concerned. */
export interface DmaDevice {
  readonly name: string;
  readonly unit: Unit;
  readonly group: IommuGroup;
  /** 0: no PASID; else one above the largest PASID. */
  readonly maxPasids: number;
  readonly resvRegions: readonly ResvRegion[];
  /** PRI on a virtual function is shared with others, so it cannot answer page requests. */
  readonly isVirtualFunctionWithPri: boolean;
  /** Set while the device can report page requests. */
  faultParam: FaultParam | null;
  capable(cap: IommuCap): boolean;
}

/** What a driver asks of the core's vIOMMU object. */
export interface ViommuCore {
  /** The device behind a virtual id, or null. */
  findDevice(virtId: bigint): DmaDevice | null;
  /** The virtual id of a device; null when it has no vDEVICE here. */
  virtIdOf(device: DmaDevice): bigint | null;
  /** Offers `pages` to mmap of the iommufd file; returns the offset. */
  allocMmap(pages: SharedPages): bigint;
  destroyMmap(offset: bigint): void;
  /** Queues a vEVENT. EOPNOTSUPP when nobody listens for `type`. */
  reportEvent(type: number, data: Uint8Array): void;
  /** Whether somebody has a queue for vEVENTs of `type`. */
  listens(type: number): boolean;
}

/** What a driver makes of a vIOMMU (iommufd_viommu_ops). */
export interface Viommu {
  allocNested?(flags: number, data: UserData): NestedDomain;
  invalidate?(array: UserDataArray): void;
  /** Only with {@link initHwQueue}. */
  supportsHwQueue?(type: number): boolean;
  /** `depend(other)`: the new queue keeps `other` from being destroyed. */
  initHwQueue?(queue: HwQueueCore, index: number, baseHpa: bigint): HwQueue;
  destroy(): void;
}

/** The core's hardware-queue object as a driver sees it. */
export interface HwQueueCore {
  readonly baseIova: bigint;
  depend(other: HwQueueCore): void;
  undepend(other: HwQueueCore): void;
}

/** A driver's part of a hardware queue. */
export interface HwQueue {
  destroy(): void;
}

export interface HwInfo {
  readonly type: number;
  readonly data: Uint8Array;
}

/** An IOMMU with its driver (iommu_ops). */
export interface Unit {
  readonly name: string;
  /** Units with the same take each other's domains, if their capabilities suit (struct iommu_ops as an identity). */
  readonly ops: object;
  readonly blockedDomain: BlockedDomain;
  /** Guests own the PASID table: faults of unknown PASIDs go to the nested domain of the device itself. */
  readonly userPasidTable: boolean;
  /** `type` 0 means the unit's own. EOPNOTSUPP for a type that it has not. */
  hwInfo(device: DmaDevice, type: number): HwInfo;
  /** `flags` are IOMMU_HWPT_ALLOC_* without FAULT_ID_VALID. */
  allocPaging(device: DmaDevice, flags: number, data: UserData | null): PagingDomain;
  allocNested?(device: DmaDevice, parent: PagingDomain, flags: number, data: UserData): NestedDomain;
  /** Absent: this unit cannot use a table that is not in memory. */
  allocProvided?(provider: AddressSpaceProvider): ProvidedDomain;
  /**
   * A table of one stage that a program writes: root and entries are addresses in `space`. EOPNOTSUPP for a format that
   * the unit has not. Absent: this unit has no such tables. The domain does not end `space`.
   */
  allocUserTable?(space: OwnedSpace, data: UserData): NestedDomain;
  /** False: this type of vIOMMU does not exist here. */
  supportsViommu?(device: DmaDevice, type: number): boolean;
  initViommu?(core: ViommuCore, parent: PagingDomain, data: UserData | null): Viommu;
  /** Points the device at `domain`; throws and changes nothing when it cannot. */
  attach(domain: Domain, device: DmaDevice, old: Domain): void;
  /** The same for one PASID. */
  setDevPasid(domain: Domain, device: DmaDevice, pasid: number, old: Domain | null): void;
  /** The answer to a page request goes to the device. */
  pageResponse(device: DmaDevice, response: PageResponse): void;
}

/** IOMMU_PAGE_RESP_SUCCESS, _INVALID, _FAILURE. */
export const PageResponseCode = { SUCCESS: 0, INVALID: 1, FAILURE: 2 } as const;

export interface PageResponse {
  /** The request had one. */
  readonly hasPasid: boolean;
  readonly pasid: number;
  readonly grpid: number;
  readonly code: number;
}
