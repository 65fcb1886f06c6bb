/** The five ways to make an ioasid, one for each owner of a page table, and the fault file. */
import { refuse } from '../base/errno.js';
import type { UserData } from '../hw/unit.js';
import type { Call } from '../iommufd/call.js';
import { Device } from '../iommufd/device.js';
import { openEventFile } from '../iommufd/event-file.js';
import { FaultQueue } from '../iommufd/fault-queue.js';
import { allocNested } from '../iommufd/hwpt.js';
import { deliverFaults } from '../iommufd/hwpt-alloc.js';
import { Ioas } from '../iommufd/ioas.js';
import { allocKvm, allocLive, allocSva, allocUserTable } from '../iommufd/owned.js';
import type { EventCounter } from '../mem/task.js';
import type { LivePages } from '../mem/live-space.js';
import type { Struct } from '../wire/struct.js';
import { IOMMU_HWPT_ALLOC_PASID } from '../wire/uapi/iommufd.gen.js';
import * as uapi from '../wire/uapi/ioasid.js';
import { KernelIoasid, OwnedIoasid } from './ioasid.js';
import { checkLegal, type IoasidKind } from './legality.js';
import { RING_BYTES, RingQueue } from './ring-queue.js';
import { rules } from './rules.js';

/** ALLOC_IOASID: nothing is said of a format. It is chosen when a device is authorised. */
export function allocIoasid(call: Call, cmd: uapi.AllocIoasid): void {
  checkFlags(cmd.flags, 0);
  checkReserved(cmd.__reserved);
  boundDevice(call);
  const ioas = call.reserve(new Ioas(call.context));
  const made = call.reserve(new KernelIoasid(call.context, ioas));
  call.respond(uapi.alloc_ioasid, { ...cmd, out_ioasid: made.id }, true);
}

/** ALLOC_IOASID_SVA: the table is a process's. */
export function allocIoasidSva(call: Call, cmd: uapi.AllocIoasidSva): void {
  checkFlags(cmd.flags, 0);
  answer(call, uapi.alloc_ioasid_sva, cmd, 'sva', allocSva(call, boundDevice(call), cmd.pidfd));
}

/** ALLOC_IOASID_KVM: the table is a virtual machine's. */
export function allocIoasidKvm(call: Call, cmd: uapi.AllocIoasidKvm): void {
  checkFlags(cmd.flags, 0);
  answer(call, uapi.alloc_ioasid_kvm, cmd, 'kvm', allocKvm(call, boundDevice(call), cmd.fd));
}

/** The same as a call of the machine's own file, whose pages are `pagesOf()`. */
export function allocIoasidOfMachine(call: Call, cmd: uapi.AllocIoasidKvm, pagesOf: () => LivePages): void {
  checkFlags(cmd.flags, 0);
  answer(call, uapi.alloc_ioasid_kvm, cmd, 'kvm', allocLive(call, boundDevice(call), pagesOf));
}

/** ALLOC_IOASID_USER_PAGE_TABLE: the root is an address of the caller's process. */
export function allocIoasidUser(call: Call, cmd: uapi.AllocIoasidUserPageTable): void {
  checkReserved(cmd.__reserved);
  const data = tableData(call, cmd);
  const table = allocUserTable(call, boundDevice(call), data);
  if ((cmd.flags & uapi.IOASID_FAULT) !== 0) deliverFaults(call, table, faultFile(call, cmd.fault_id));
  answer(call, uapi.alloc_ioasid_user_page_table, cmd, 'user', table);
}

/** ALLOC_IOASID_NESTED_PAGE_TABLE: the root is an address in the space of the parent. */
export function allocIoasidNested(call: Call, cmd: uapi.AllocIoasidNestedPageTable): void {
  checkReserved(cmd.__reserved);
  const data = tableData(call, cmd);
  const { context } = call;
  const parent = context.find<KernelIoasid | OwnedIoasid>(
    call,
    cmd.parent,
    'IOASID',
    rules.ioasid_alloc_parent,
  );
  checkLegal('nest', parent.kind, parent.id);
  const device = boundDevice(call);
  const stage = (parent as KernelIoasid).parentFor(call, device);
  const table = allocNested(call, stage, device, IOMMU_HWPT_ALLOC_PASID, data);
  if ((cmd.flags & uapi.IOASID_FAULT) !== 0) deliverFaults(call, table, faultFile(call, cmd.fault_id));
  answer(call, uapi.alloc_ioasid_nested_page_table, cmd, 'nested', table, parent as KernelIoasid);
}

/** Gives a table of somebody else's its ioasid. */
function answer<T extends { out_ioasid: number }>(
  call: Call,
  struct: Struct<T>,
  cmd: T,
  kind: IoasidKind,
  table: OwnedIoasid['table'],
  parent: KernelIoasid | null = null,
): void {
  const made = new OwnedIoasid(call.context, kind, table, parent);
  if (parent !== null) call.tx.onAbort(() => (parent.users -= 1));
  call.reserve(made);
  call.respond(struct, { ...cmd, out_ioasid: made.id }, true);
}

/** FAULT_IOASID: a file of page requests, as IOMMU_FAULT_QUEUE_ALLOC makes it, or with two rings. */
export function faultIoasid(call: Call, cmd: uapi.FaultIoasid): void {
  if ((cmd.flags & ~uapi.IOASID_FAULT_RING) !== 0) refuse(rules.ioasid_fault_flags, { flags: cmd.flags });
  const isRing = (cmd.flags & uapi.IOASID_FAULT_RING) !== 0;
  const queue = call.reserve(isRing ? ringQueue(call, cmd) : new FaultQueue(call.context));
  const fd = openEventFile(call, queue);
  const out_length = isRing ? BigInt(RING_BYTES) : 0n;
  call.respond(uapi.fault_ioasid, { ...cmd, out_fault_id: queue.id, out_fault_fd: fd, out_length }, true);
}

function ringQueue(call: Call, { fault_eventfd, response_eventfd }: uapi.FaultIoasid): RingQueue {
  const { env } = call;
  const faults = counterOf(call, fault_eventfd);
  const responses = counterOf(call, response_eventfd);
  const memory = env.sharedMemory(RING_BYTES);
  if (memory === null) refuse(rules.ioasid_fault_memory, {});
  const queue = new RingQueue(call.context, memory, { faults, responses });
  call.tx.onAbort(() => {
    responses.watch(null);
    env.freeSharedMemory(memory);
  });
  return queue;
}

/** Closed again when the call fails; else it is the queue's. */
function counterOf(call: Call, fd: number): EventCounter {
  const file = call.task.fileOf(fd);
  if (file === null) refuse(rules.ioasid_fault_eventfd, { fd });
  const counter = file.isEngineFile ? undefined : file.openCounter?.();
  if (!file.isEngineFile) file.release();
  if (counter === undefined) refuse(rules.ioasid_fault_eventfd_kind, { fd });
  call.tx.onAbort(() => counter.close());
  return counter;
}

function checkFlags(flags: number, known: number): void {
  if ((flags & ~known) !== 0) refuse(rules.ioasid_alloc_flags, { flags });
}

function checkReserved(__reserved: number | bigint): void {
  if (BigInt(__reserved) !== 0n) refuse(rules.ioasid_alloc_reserved, { __reserved });
}

interface TableOfProgram {
  readonly flags: number;
  readonly format: number;
  readonly data_len: number;
  readonly data_uptr: bigint;
}

function tableData(call: Call, { flags, format, data_len, data_uptr }: TableOfProgram): UserData {
  checkFlags(flags, uapi.IOASID_FAULT);
  if (data_len === 0) refuse(rules.ioasid_alloc_data, {});
  return call.userData(format, data_uptr, data_len);
}

function faultFile(call: Call, id: number): FaultQueue {
  return call.context.find<FaultQueue>(call, id, 'FAULT', rules.ioasid_alloc_fault);
}

/** What is made suits the devices of this file; all units that share their ops take the same. */
function boundDevice(call: Call): Device {
  for (const object of call.context.objects.objects()) if (object instanceof Device) return object;
  refuse(rules.ioasid_alloc_no_device, {});
}
