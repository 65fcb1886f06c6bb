/**
 * The hardware of one Intel VT-d unit, as its specification describes it: registers on one side, requests of devices on
 * the other, everything between them in physical memory. It knows nothing of who programs it.
 */
import type { Events } from '../../base/events.js';
import type { EndpointRouter, PageRequestMessage, Translation, Translator } from '../../bus/dma.js';
import type { Mmio, MsiSink } from '../../bus/mmio.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { RunList } from '../../mem/runs.js';
import {
  cachedSpaces,
  cachedSteps,
  cachedTranslations,
  type CachedSpace,
  type CachedStep,
  type CachedTranslation,
} from './cached.js';
import { Caches } from './caches.js';
import { Abilities, type VtdCapabilities } from './capabilities.js';
import { Contexts } from './context.js';
import { FaultRecords } from './faults.js';
import { Interrupt } from './interrupt.js';
import { Iotlb } from './iotlb.js';
import { PageRequests } from './page-requests.js';
import { LastSpaces } from './last-spaces.js';
import { PagingCache } from './paging-cache.js';
import { InvalidationQueue } from './queue.js';
import { RegisterFile, type RegisterHook } from './register-file.js';
import { WINDOW, registerTable } from './register-map.js';
import * as reg from './registers.js';
import { Staleness } from './stale.js';
import { Requests } from './translate.js';
import { Walker } from './walk.js';

export interface VtdConfig {
  readonly name: string;
  readonly memory: PhysicalMemory;
  readonly capabilities: VtdCapabilities;
  readonly messages: MsiSink;
  readonly endpoints: EndpointRouter;
  readonly events: Events;
}

const TTM_MASK = 3;
const PAGE = -1 << 12;

export class VtdHardware implements Translator, Mmio {
  readonly name: string;
  readonly #registers: RegisterFile;
  readonly #can: Abilities;
  readonly #requests: Requests;
  readonly #pageRequests: PageRequests;
  readonly #queue: InvalidationQueue;
  readonly #caches: Caches;
  readonly #last: LastSpaces;
  readonly #staleness: Staleness;
  readonly #faults: FaultRecords;
  /** Fault event, invalidation completion, page requests. */
  readonly #interrupts: readonly [Interrupt, Interrupt, Interrupt];

  constructor({ name, memory, capabilities, messages, endpoints, events }: VtdConfig) {
    this.name = name;
    const can = new Abilities(capabilities);
    this.#can = can;
    const registers = new RegisterFile(registerTable(capabilities, can), WINDOW, this.#hooks(can));
    this.#registers = registers;
    const event = new Interrupt(registers, messages, reg.FECTL_REG);
    const completion = new Interrupt(registers, messages, reg.IECTL_REG);
    const paged = new Interrupt(registers, messages, reg.PECTL_REG);
    const faults = new FaultRecords(registers, event, can);
    this.#faults = faults;
    const contexts = new Contexts(memory, can);
    const { tables, epoch } = memory;
    const iotlb = new Iotlb(epoch);
    const paging = new PagingCache();
    const last = new LastSpaces(epoch);
    this.#last = last;
    const walker = new Walker(memory, contexts.spaces, can, paging);
    this.#staleness = new Staleness({
      unit: name,
      contexts,
      iotlb,
      walker,
      memory,
      tables,
      endpoints,
      events,
    });
    const staleness = this.#staleness;
    this.#requests = new Requests({ contexts, iotlb, last, walker, staleness, faults, tables, epoch, can });
    this.#caches = new Caches(contexts, iotlb, paging, last, can);
    const caches = this.#caches;
    this.#queue = new InvalidationQueue({ registers, memory, caches, faults, endpoints, completion }, can);
    this.#pageRequests = new PageRequests({
      registers,
      memory,
      caches,
      faults,
      endpoints,
      interrupt: paged,
    });
    this.#interrupts = [event, completion, paged];
  }

  translate(request: Translation): boolean {
    return this.#requests.translate(request);
  }

  translateRuns(request: Translation, length: number, runs: RunList): boolean {
    return this.#requests.translateRuns(request, length, runs);
  }

  /** {@link Requests.peek} */
  peek(request: Translation): boolean {
    return this.#requests.peek(request);
  }

  pageRequest(message: PageRequestMessage): void {
    this.#pageRequests.request(message);
  }

  read32(offset: number): number {
    return this.#registers.read32(offset);
  }

  write32(offset: number, value: number): void {
    this.#registers.write32(offset, value);
  }

  read64(offset: number): bigint {
    return this.#registers.read64(offset);
  }

  write64(offset: number, value: bigint): void {
    this.#registers.write64(offset, value);
  }

  /** Whether every hit is compared with a walk (see {@link Staleness.isChecking}). */
  get checking(): boolean {
    return this.#staleness.isChecking;
  }

  set checking(isChecking: boolean) {
    this.#staleness.isChecking = isChecking;
    this.#last.forget();
  }

  /** What the IOTLB has. */
  cachedTranslations(): Generator<CachedTranslation> {
    return cachedTranslations(this.#caches.iotlb);
  }

  /** What the PASID cache has. */
  cachedSpaces(): Generator<CachedSpace> {
    return cachedSpaces(this.#caches.contexts);
  }

  /** What the paging-structure caches have. */
  cachedSteps(): Generator<CachedStep> {
    return cachedSteps(this.#caches.paging);
  }

  /** For people and tests: what happened, and how much is cached. */
  get statistics(): VtdStatistics {
    const { contexts, iotlb, paging } = this.#caches;
    return {
      iotlbEntries: iotlb.live,
      pagingEntries: paging.live,
      pasidEntries: contexts.spaces.live,
      silentWalks: this.#staleness.walks,
      faultsLost: this.#faults.lost,
      pageRequestsOverflowed: this.#pageRequests.overflowed,
      descriptors: this.#queue.done,
    };
  }

  /** What a write to a register does besides changing it. */
  #hooks(can: Abilities): Record<string, RegisterHook> {
    const hooks: Record<string, RegisterHook> = {
      GCMD: (written) => this.#command(written),
      FSTS: () => {
        this.#faults.statusCleared();
        this.#queue.process();
      },
      FECTL: () => this.#interrupts[0].controlled(),
      IECTL: () => this.#interrupts[1].controlled(),
      PECTL: () => this.#interrupts[2].controlled(),
      ICS: () => {
        if ((this.#registers.get(reg.ICS_REG) & reg.ICS_IWC) === 0) this.#interrupts[1].withdraw();
      },
      IQT: () => this.#queue.process(),
      PRS: () => this.#pageRequests.statusCleared(),
    };
    for (let index = 0; index < can.faultRecords; index += 1) {
      hooks[`FRCD${index}_HI`] = () => this.#faults.recordCleared();
    }
    return hooks;
  }

  /** GCMD_REG (section 11.4.4.1): TE and QIE are states, SRTP is done once; GSTS_REG shows them. */
  #command(written: number): void {
    const registers = this.#registers;
    const before = registers.get(reg.GSTS_REG);
    if ((written & reg.GCMD_SRTP) !== 0) {
      const lo = registers.get(reg.RTADDR_REG);
      const ttm = (lo >>> reg.TTM_SHIFT) & TTM_MASK;
      this.#caches.contexts.setRoot(registers.get(reg.RTADDR_REG + 4), lo & PAGE, ttm);
      if (this.#can.flushesOnSrtp) this.#caches.invalidateAll();
    }
    const states = reg.GCMD_TE | reg.GCMD_QIE;
    const srtp = (before | written) & reg.GCMD_SRTP;
    registers.set(reg.GSTS_REG, (before & ~states) | (written & states) | srtp);
    this.#requests.enable((written & reg.GCMD_TE) !== 0);
    const isDisabled = (before & ~written & reg.GCMD_TE) !== 0;
    if (isDisabled && this.#can.scalable) this.#caches.invalidateAll();
    if (((before ^ written) & reg.GCMD_QIE) !== 0) this.#queue.enable((written & reg.GCMD_QIE) !== 0);
  }
}

export interface VtdStatistics {
  readonly iotlbEntries: number;
  readonly pagingEntries: number;
  readonly pasidEntries: number;
  /** Walks that compared a cached entry with the tables. */
  readonly silentWalks: number;
  readonly faultsLost: number;
  readonly pageRequestsOverflowed: number;
  /** Invalidation descriptors done, by type. */
  readonly descriptors: Int32Array;
}
