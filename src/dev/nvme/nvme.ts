/**
 * An NVMe 1.4 controller on PCI: registers, doorbells, and the worker that fetches commands from queues in memory,
 * runs them, and says how they ended. NVM Express Base 1.4, chapters 3, 4 and 7.
 * Invariant: a command is taken only when there is room for its completion, and is over before the next is taken.
 */
import { carry } from '../../base/words.js';
import type { Worker, WorkQueue } from '../../base/work.js';
import { DmaPort } from '../../bus/dma-port.js';
import { defineMsixTable } from '../../bus/pci-capabilities.js';
import type { PciIdentity } from '../../bus/pci-config.js';
import { Registers } from '../../bus/registers.js';
import { PciDevice, type Masters, type PciPlace } from '../pci-device.js';
import { runAdmin, type AdminHost } from './admin.js';
import { Command } from './command.js';
import { Features } from './features.js';
import type { ControllerFacts } from './identify.js';
import { runIo, type IoHost } from './io.js';
import { EVENT_DOORBELL_VALUE, EVENT_UNKNOWN_DOORBELL, Logs } from './logs.js';
import type { Namespace } from './namespace.js';
import { CompletionQueue, SubmissionQueue } from './queue.js';
import * as r from './registers.js';
import * as status from './status.js';
import { Transfer } from './transfer.js';

/** Nobody's numbers, of the class that drivers look for. */
const identity: PciIdentity = {
  vendor: 0x1234,
  device: 0x10a6,
  revision: 1,
  classCode: 0x01_08_02,
  subsystemVendor: 0x1234,
  subsystem: 0x10a6,
};

const BAR_BYTES = 0x4000;
const msix = { vectors: r.VECTORS, bar: 0, table: 0x2000, pending: 0x3000 };
const MSI_VECTORS = 32;
/** Commands of one piece, and after how many bytes it is over. */
const PIECE_COMMANDS = 16;
const PIECE_BYTES = 1 << 17;

export interface NvmeOptions extends Masters {
  readonly namespaces: readonly Namespace[];
  /** Requester id of the physical function that the namespaces belong to. */
  readonly owner: number;
}

export class Nvme extends PciDevice implements Worker, AdminHost, IoHost {
  readonly regions: readonly [Registers, null];
  readonly namespaces: readonly Namespace[];
  readonly facts: ControllerFacts;
  readonly transfer: Transfer;
  readonly features = new Features();
  readonly logs = new Logs();
  readonly submissions: (SubmissionQueue | null)[] = [];
  readonly completions: (CompletionQueue | null)[] = [];
  readonly eventRequests: number[] = [];
  readonly #registers: Registers;
  readonly #work: WorkQueue;
  readonly #port: DmaPort;
  readonly #command = new Command();
  readonly #entry = new Uint8Array(r.CQ_ENTRY);
  readonly #entryView = new DataView(this.#entry.buffer);
  /** The queue that was served last: the next one goes first. */
  #turn = 0;
  #wasEnabled = false;
  /** Vectors that are masked, where they are not those of MSI-X. */
  #masked = 0;

  constructor(place: PciPlace, { translator, memory, work, sharedMemory, namespaces, owner }: NvmeOptions) {
    super(place, {
      identity,
      bars: [{ size: BAR_BYTES, kind: { is64: true, isPrefetchable: false } }, null],
      msi: { vectors: MSI_VECTORS, is64: true, hasMasks: true },
      msix,
    });
    this.#work = work;
    this.#port = new DmaPort(place.sourceId, translator, memory);
    this.transfer = new Transfer(this.#port);
    this.#registers = new Registers(sharedMemory(BAR_BYTES) ?? new Uint8Array(BAR_BYTES));
    this.regions = [this.#registers, null];
    this.namespaces = namespaces;
    this.facts = {
      vendor: identity.vendor,
      subsystemVendor: identity.subsystemVendor,
      serial: `ioasis-${owner.toString().padStart(5, '0')}`,
      id: place.sourceId,
      isShared: place.isVirtual || place.sriov !== null,
      isVirtual: place.isVirtual,
      namespaces,
    };
    this.#forgetQueues();
    this.#defineRegisters();
  }

  #defineRegisters(): void {
    const registers = this.#registers;
    const all = { writable: 0xffff_ffff };
    registers.define(r.CAP, 4, { reset: r.CAP_LO });
    registers.define(r.CAP + 4, 4, { reset: r.CAP_HI });
    registers.define(r.VS, 4, { reset: r.VERSION_1_4 });
    registers.define(r.INTMS, 4, all, () => this.#mask(this.#masked | registers.get(r.INTMS, 4)));
    registers.define(r.INTMC, 4, all, () => this.#mask(this.#masked & ~registers.get(r.INTMC, 4)));
    registers.define(r.CC, 4, { writable: r.CC_WRITABLE }, () => this.#configured());
    registers.define(r.CSTS, 4, {});
    registers.define(r.AQA, 4, { writable: 0x0fff_0fff });
    for (const queue of [r.ASQ, r.ACQ]) {
      registers.define(queue, 4, { writable: 0xffff_f000 });
      registers.define(queue + 4, 4, all);
    }
    for (let id = 0; id <= r.IO_QUEUES; id++) {
      const at = r.DOORBELLS + id * 8;
      registers.define(at, 4, all, () => this.#submitted(id, registers.get(at, 4)));
      registers.define(at + 4, 4, all, () => this.#consumed(id, registers.get(at + 4, 4)));
    }
    defineMsixTable(registers, msix);
  }

  get pending(): number {
    let sum = 0;
    for (const queue of this.submissions) {
      if (queue !== null) sum += (queue.tail - queue.head + queue.size) % queue.size;
    }
    return sum;
  }

  namespace(id: number): Namespace | null {
    return id === r.ALL_NAMESPACES ? null : (this.namespaces[id - 1] ?? null);
  }

  get #isReady(): boolean {
    return (this.#registers.get(r.CSTS, 4) & (r.CSTS_RDY | r.CSTS_CFS)) === r.CSTS_RDY;
  }

  #configured(): void {
    const cc = this.#registers.get(r.CC, 4);
    const isEnabled = (cc & r.CC_EN) !== 0;
    if (isEnabled && !this.#wasEnabled) this.#enable(cc);
    if (!isEnabled && this.#wasEnabled) this.#disable();
    this.#wasEnabled = isEnabled;
    if ((cc & r.CC_SHN) !== 0) this.#shutDown();
  }

  #enable(cc: number): void {
    const registers = this.#registers;
    const sizes = registers.get(r.AQA, 4);
    const submissions = (sizes & 0xfff) + 1;
    const completions = ((sizes >>> 16) & 0xfff) + 1;
    const isLegal =
      (cc & r.CC_UNKNOWN) === 0 &&
      Math.min(submissions, completions) >= 2 &&
      Math.max(submissions, completions) <= 4096;
    // UNSPECIFIED: what a controller does with what it does not support. Chosen: it fails, and says so.
    if (!isLegal) return registers.set(r.CSTS, 4, r.CSTS_CFS);
    const queue = new CompletionQueue(
      0,
      registers.get(r.ACQ + 4, 4) | 0,
      registers.get(r.ACQ, 4) | 0,
      completions,
      0,
      true,
    );
    queue.users = 1;
    this.completions[0] = queue;
    const hi = registers.get(r.ASQ + 4, 4) | 0;
    this.submissions[0] = new SubmissionQueue(0, hi, registers.get(r.ASQ, 4) | 0, submissions, queue);
    registers.set(r.CSTS, 4, r.CSTS_RDY);
  }

  /** A controller reset: queues are gone, and with them what they had; the admin queues' registers stay. */
  #disable(): void {
    this.#work.cancel(this);
    this.#forgetQueues();
    this.features.reset();
    this.logs.reset();
    this.#masked = 0;
    const registers = this.#registers;
    registers.reset(r.INTMS, r.INTMC + 3);
    registers.reset(r.DOORBELLS, r.DOORBELLS + (r.IO_QUEUES + 1) * 8 - 1);
    registers.set(r.CSTS, 4, 0);
    this.setLine(false);
  }

  #forgetQueues(): void {
    for (let id = 0; id <= r.IO_QUEUES; id++) {
      this.submissions[id] = null;
      this.completions[id] = null;
    }
    this.eventRequests.length = 0;
    this.#turn = 0;
  }

  /** What was written becomes durable; commands that were not taken stay where they are. */
  #shutDown(): void {
    this.#work.cancel(this);
    let isSafe = true;
    for (const { store } of this.namespaces) isSafe = store.flush() && isSafe;
    const old = this.#registers.get(r.CSTS, 4) & ~r.CSTS_SHST;
    this.#registers.set(r.CSTS, 4, old | r.CSTS_SHST_COMPLETE | (isSafe ? 0 : r.CSTS_CFS));
  }

  get #isShutDown(): boolean {
    return (this.#registers.get(r.CSTS, 4) & r.CSTS_SHST) !== 0;
  }

  /** A submission queue's tail doorbell. */
  #submitted(id: number, tail: number): void {
    if (!this.#isReady) return;
    const queue = this.submissions[id]!;
    if (queue === null) return this.#tell(EVENT_UNKNOWN_DOORBELL);
    if (tail >= queue.size) return this.#tell(EVENT_DOORBELL_VALUE);
    queue.tail = tail;
    this.#work.schedule(this);
  }

  /** A completion queue's head doorbell: there is room again. */
  #consumed(id: number, head: number): void {
    if (!this.#isReady) return;
    const queue = this.completions[id]!;
    if (queue === null) return this.#tell(EVENT_UNKNOWN_DOORBELL);
    const isBehind = (head - queue.head + queue.size) % queue.size;
    const filled = (queue.tail - queue.head + queue.size) % queue.size;
    if (head >= queue.size || isBehind > filled) return this.#tell(EVENT_DOORBELL_VALUE);
    queue.head = head;
    this.#updateLine();
    this.#work.schedule(this);
  }

  #tell(event: number): void {
    this.logs.event(event);
    this.#work.schedule(this);
  }

  step(): boolean {
    if (!this.#isReady || !this.isMaster || this.#isShutDown) return false;
    this.#sendEvents();
    let moved = 0;
    for (let count = 0; count < PIECE_COMMANDS && moved < PIECE_BYTES && this.#isReady; count++) {
      const queue = this.#next();
      if (queue === null) break;
      if (queue.id > 0) this.#turn = queue.id;
      moved += this.#serve(queue);
    }
    this.#signal();
    return this.#isReady && this.#next() !== null;
  }

  /** The admin queue first, then each other in turn; null: there is nothing to do. */
  #next(): SubmissionQueue | null {
    const admin = this.submissions[0]!;
    if (admin.isReady) return admin;
    for (let i = 1; i <= r.IO_QUEUES; i++) {
      const id = ((this.#turn + i - 1) % r.IO_QUEUES) + 1;
      const queue = this.submissions[id]!;
      if (queue !== null && queue.isReady) return queue;
    }
    return null;
  }

  /** Runs the next command of `queue`; how many bytes it has moved. */
  #serve(queue: SubmissionQueue): number {
    const command = this.#command;
    const at = queue.head * r.SQ_ENTRY;
    const hi = (queue.hi + carry(queue.lo, at)) | 0;
    if (!this.#port.read(hi, (queue.lo + at) | 0, command.bytes)) {
      this.#fail();
      return 0;
    }
    queue.advance();
    command.queue = queue.id;
    command.result = 0;
    this.transfer.length = 0;
    const code = queue.id === 0 ? runAdmin(command, this) : runIo(command, this);
    if (code === status.LATER) {
      this.#sendEvents();
      return 0;
    }
    if (code !== status.SUCCESS) this.logs.note(command, code);
    this.#complete(queue, command.id, command.result, code);
    return this.transfer.length;
  }

  #complete(queue: SubmissionQueue, id: number, result: number, code: number): void {
    const { completions } = queue;
    const view = this.#entryView;
    view.setUint32(0, result, true);
    view.setUint16(8, queue.head, true);
    view.setUint16(10, queue.id, true);
    view.setUint16(12, id, true);
    view.setUint16(14, (code << 1) | completions.phase, true);
    const at = completions.tail * r.CQ_ENTRY;
    const hi = (completions.hi + carry(completions.lo, at)) | 0;
    if (!this.#port.write(hi, (completions.lo + at) | 0, this.#entry)) return this.#fail();
    completions.advance();
    completions.isNew = true;
  }

  /** A queue cannot be reached: there is nobody whom to tell, but by the register. */
  #fail(): void {
    this.#registers.set(r.CSTS, 4, this.#registers.get(r.CSTS, 4) | r.CSTS_CFS);
  }

  endRequest(id: number, result: number, code: number): void {
    this.eventRequests.splice(this.eventRequests.indexOf(id), 1);
    this.#complete(this.submissions[0]!, id, result, code);
  }

  /** Each event takes a request, and room in the admin completion queue. */
  #sendEvents(): void {
    while (this.eventRequests.length > 0 && !this.completions[0]!.isFull) {
      const event = this.logs.takeEvent();
      if (event === null) return;
      this.endRequest(this.eventRequests[0]!, event, status.SUCCESS);
    }
  }

  /** Whoever waits for queues that have got something is told. */
  #signal(): void {
    for (const queue of this.completions) {
      if (queue === null || !queue.isNew) continue;
      queue.isNew = false;
      if (!queue.hasInterrupt) continue;
      const isMasked = this.interrupts.mode === 'msi' && ((this.#masked >>> queue.vector) & 1) !== 0;
      if (!isMasked) this.interrupts.raise(queue.vector);
    }
    this.#updateLine();
  }

  #mask(masked: number): void {
    this.#masked = masked;
    this.#registers.set(r.INTMS, 4, masked >>> 0);
    this.#registers.set(r.INTMC, 4, masked >>> 0);
    this.#updateLine();
  }

  /** The line is up while there is something in a queue whose vector is not masked. */
  #updateLine(): void {
    if (this.place.isVirtual) return;
    let isRaised = false;
    for (const queue of this.completions) {
      if (queue === null || queue.isEmpty || !queue.hasInterrupt) continue;
      if (queue.vector >= 32 || ((this.#masked >>> queue.vector) & 1) === 0) isRaised = true;
    }
    this.setLine(isRaised);
  }

  protected mayMaster(): void {
    if (this.pending > 0) this.#work.schedule(this);
  }

  protected resetFunction(): void {
    this.#disable();
    this.#wasEnabled = false;
    this.#registers.reset();
  }
}
