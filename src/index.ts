/**
 * The package: the engine in this process.
 *
 *     import { createMachine, uapi } from 'ioasis';
 *     const machine = createMachine({ selftest: true });
 *     const iommufd = machine.open('/dev/iommu');
 *     const { out_ioas_id } = iommufd.call(uapi.IOMMU_IOAS_ALLOC);
 */
export { Bug, Errno, type ErrnoName, type ReasonValues, type Rule } from './base/errno.js';
export { IommufdClient, type IommufdArgument, type IommufdRequest } from './machine/iommufd-client.js';
export { LocalClient, type ClientOptions } from './machine/local-client.js';
export { LocalMemory, SparsePages, type AllocateOptions } from './machine/local-memory.js';
export { createMachine, type HostMemory, type Machine } from './machine/machine.js';
export type { EngineConfig, LeakReport } from './machine/engine.js';
export type { Dump } from './machine/inspect/dump.js';
export type { WalkReport, WalkStep } from './machine/inspect/report.js';
export type { ProvidedFault, ProvidedSpace, ProvideOptions } from './machine/provide.js';
export type { BuiltDevice } from './machine/build.js';
export type { AddressSpaceProvider, ProvidedPage } from './mem/providers.js';
export type { MachineEvent } from './base/events.js';
export { TopologyError } from './machine/plan.js';
export type * from './machine/topology.js';
export { findRules } from './machine/rules.js';
export type { Capability } from './mem/task.js';
export type { Infer, Struct } from './wire/struct.js';
/** Structs and constants of <linux/iommufd.h>, under the kernel's names. */
export * as uapi from './wire/uapi/iommufd.gen.js';
/** Those of the selftest ioctl. */
export * as selftest from './wire/uapi/iommufd_test.gen.js';
