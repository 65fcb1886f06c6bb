/**
 * Page requests on their way to the program and back (IOMMUFD_OBJ_FAULT). A group is read as a whole, gets a
 * cookie when it is, and is answered once, by cookie; detaching what it came from answers it INVALID.
 */
import { refuse } from '../base/errno.js';
import {
  iommu_fault_alloc,
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
  IOMMUFD_PAGE_RESP_INVALID,
  IOMMUFD_PAGE_RESP_SUCCESS,
  type IommuFaultAlloc,
} from '../wire/uapi/iommufd.gen.js';
import { IdTable } from '../base/id-table.js';
import type { AttachHandle } from '../hw/group.js';
import { respondGroup, type PageFaultGroup } from '../hw/iopf.js';
import { PageResponseCode, type UnrecoverableFault } from '../hw/unit.js';
import type { Task } from '../mem/task.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import type { DeviceHandle } from './device.js';
import { openEventFile, type EventFile, type EventQueue } from './event-file.js';
import { IommufdObject } from './object.js';
import { rules } from './rules.js';

const RECORD = iommu_hwpt_pgfault.size;
const RESPONSE = iommu_hwpt_page_response.size;

export class FaultQueue extends IommufdObject implements EventQueue {
  readonly type = 'FAULT';
  readonly fileName: string = '[iommufd-pgfault]';
  readonly pollMode = 'in-out';
  file: EventFile | null = null;
  #unread: PageFaultGroup[] = [];
  /** Read and not answered, by cookie. */
  readonly #waiting = new IdTable<PageFaultGroup>(0xffffffff);
  /** The one with cookie 0, which Linux gives out once a program has answered to it by mistake. */
  #waitingZero: PageFaultGroup | null = null;
  #zeroIsFree = false;

  constructor(readonly context: Context) {
    super();
  }

  get hasEvents(): boolean {
    return this.#unread.length > 0;
  }

  /** Takes a group; a full queue fails it, so that the device is not left waiting. */
  deliver(group: PageFaultGroup): void {
    if (this.#unread.length >= this.context.env.limits.faults) {
      respondGroup(group, PageResponseCode.FAILURE);
      return;
    }
    this.#unread.push(group);
    this.file?.changed();
  }

  /** A fault that ended a request. Only a queue that has a record for such things takes it. */
  report?(handle: AttachHandle, fault: UnrecoverableFault): void;

  /** iommufd_auto_response_faults: whoever waits for an answer to a fault of this attachment gets INVALID. */
  autoRespond(handle: AttachHandle): void {
    const isIts = (group: PageFaultGroup): boolean => group.handle === handle;
    const gone = this.#unread.filter(isIts);
    this.#unread = this.#unread.filter((group) => !isIts(group));
    for (const [cookie, group] of [...this.#waiting.entries()]) {
      if (!isIts(group)) continue;
      this.#waiting.erase(cookie);
      gone.push(group);
    }
    if (this.#waitingZero !== null && isIts(this.#waitingZero)) gone.unshift(this.#takeWaiting(0)!);
    for (const group of gone) respondGroup(group, PageResponseCode.INVALID);
    this.file?.changed();
  }

  read(task: Task, at: bigint, count: number): number {
    if (count % RECORD !== 0) refuse(rules.fault_read_count, { count, record: RECORD });
    let done = 0;
    for (;;) {
      const group = this.#unread[0];
      if (group === undefined) return done;
      const size = group.faults.length * RECORD;
      if (size > count - done) {
        if (done > 0) return done;
        refuse(rules.fault_read_room, { count, group: size });
      }
      const isZero = this.#zeroIsFree && this.#waitingZero === null;
      const cookie = isZero ? 0 : this.#waiting.reserve()!;
      if (!this.#copyGroup(task, at + BigInt(done), group, cookie)) {
        if (!isZero) this.#waiting.abort(cookie);
        if (done > 0) return done;
        refuse(rules.fault_read_unwritable, { at });
      }
      if (isZero) this.#waitingZero = group;
      else this.#waiting.publish(cookie, group);
      this.#unread.shift();
      done += size;
    }
  }

  #copyGroup(task: Task, at: bigint, group: PageFaultGroup, cookie: number): boolean {
    const bytes = new Uint8Array(group.faults.length * RECORD);
    const { bound } = group.handle as DeviceHandle;
    group.faults.forEach((fault, index) => {
      const record = iommu_hwpt_pgfault.create({
        flags: fault.flags,
        dev_id: bound.id,
        pasid: fault.pasid,
        grpid: fault.grpid,
        perm: fault.perm,
        addr: fault.addr,
        cookie,
      });
      iommu_hwpt_pgfault.encode(record, bytes, index * RECORD);
    });
    return task.mm.write(at, bytes);
  }

  write(task: Task, at: bigint, count: number): number {
    if (count % RESPONSE !== 0) refuse(rules.fault_write_count, { count, record: RESPONSE });
    const bytes = new Uint8Array(RESPONSE);
    let done = 0;
    while (done < count) {
      if (!task.mm.read(at + BigInt(done), bytes)) {
        if (done > 0) return done;
        refuse(rules.fault_write_unreadable, { at });
      }
      const { cookie, code } = iommu_hwpt_page_response.decode(bytes);
      if (code !== IOMMUFD_PAGE_RESP_SUCCESS && code !== IOMMUFD_PAGE_RESP_INVALID) {
        if (done > 0) return done;
        refuse(rules.fault_write_code, { code });
      }
      const group = this.#takeWaiting(cookie);
      if (group === null) {
        if (done > 0) return done;
        refuse(rules.fault_write_cookie, { cookie });
      }
      respondGroup(group, code);
      done += RESPONSE;
    }
    return done;
  }

  /** Ends the wait for an answer; null when nobody waits under this cookie. */
  #takeWaiting(cookie: number): PageFaultGroup | null {
    if (cookie === 0) {
      const group = this.#waitingZero;
      // Erasing index 0 of the allocating xarray marks it free, present or not, unless the array is empty.
      this.#zeroIsFree ||= this.#waiting.size > 0;
      this.#waitingZero = null;
      return group;
    }
    const group = this.#waiting.get(cookie);
    if (group === undefined) return null;
    this.#waiting.erase(cookie);
    return group;
  }

  destroy(): void {
    const zero = this.#waitingZero === null ? [] : [this.#waitingZero];
    for (const group of [...this.#unread, ...zero, ...this.#waiting.values()]) {
      respondGroup(group, PageResponseCode.INVALID);
    }
    this.#unread = [];
  }
}

/** IOMMU_FAULT_QUEUE_ALLOC. */
export function faultQueueAlloc(call: Call, cmd: IommuFaultAlloc): void {
  if (cmd.flags !== 0) refuse(rules.fault_alloc_flags, { flags: cmd.flags });
  const queue = call.reserve(new FaultQueue(call.context));
  const fd = openEventFile(call, queue);
  call.respond(iommu_fault_alloc, { ...cmd, out_fault_id: queue.id, out_fault_fd: fd }, true);
}
