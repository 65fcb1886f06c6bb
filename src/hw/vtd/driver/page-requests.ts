/**
 * Page requests: the queue in memory, the page request event, the answers (VT-d 7.4 to 7.8; Linux:
 * drivers/iommu/intel/prq.c). Each request is reported to whoever owns the address space that it is for.
 */
import { Bug } from '../../../base/errno.js';
import { hex } from '../../../base/hex.js';
import { IOMMU_FAULT_PERM_EXEC, IOMMU_FAULT_PERM_PRIV } from '../../../wire/uapi/iommu.js';
import type { TableArena } from '../../../mem/table-store.js';
import { PRG_FAILURE, PRG_INVALID } from '../../../bus/dma.js';
import { PageRequestFlags, reportDeviceFault } from '../../iopf.js';
import { PageResponseCode, type PageResponse } from '../../unit.js';
import { PQA_REG, PQH_REG, PQT_REG, PRS_PPR, PRS_PRO, PRS_REG } from '../registers.js';
import * as bits from '../structures.js';
import { joinWords } from '../../../base/words.js';
import type { VtdDevice } from './device.js';
import type { VtdUnit } from './unit.js';

/** 16 pages: 2,048 requests. */
const PRQ_ORDER = 4;
const PRQ_LG2 = 12 + PRQ_ORDER;
const PRQ_RING_MASK = (1 << PRQ_LG2) - bits.PAGE_REQUEST;

/** Of a request, word 2. */
const ADDRESS = -1 << 12;

export class PageRequests {
  readonly #unit: VtdUnit;
  readonly #frame: number;
  readonly #words: Int32Array;
  readonly #at: number;
  #handling = false;
  /** How many bits of an address' high word repeat its sign. */
  readonly #beyond: number;

  constructor(unit: VtdUnit, arena: TableArena) {
    this.#unit = unit;
    // OURS: Linux asks the processor how wide its addresses are; here it is as wide as the widest first stage.
    this.#beyond = unit.capabilities.hasFiveLevelFirstStage ? 64 - 57 : 64 - 48;
    const { tables } = unit.memory;
    this.#frame = arena.allocate(PRQ_LG2);
    if (this.#frame === 0) throw new Bug('no memory for a page request queue');
    this.#words = tables.wordsOf(this.#frame)!;
    this.#at = tables.wordOf(this.#frame);
  }

  /** Tells the hardware where the queue is. */
  program(): void {
    const { mmio } = this.#unit;
    mmio.write64(PQH_REG, 0n);
    mmio.write64(PQT_REG, 0n);
    mmio.write64(PQA_REG, (BigInt(this.#frame) << 12n) | BigInt(PRQ_ORDER));
  }

  stop(): void {
    const { mmio } = this.#unit;
    mmio.write64(PQH_REG, 0n);
    mmio.write64(PQT_REG, 0n);
    mmio.write64(PQA_REG, 0n);
  }

  /** prq_event_thread: reports everything that is in the queue. */
  handle(): void {
    if (this.#handling) return;
    this.#handling = true;
    const { mmio } = this.#unit;
    // First, so that a request from now on raises the event again.
    mmio.write32(PRS_REG, PRS_PPR);
    const tail = Number(mmio.read64(PQT_REG)) & PRQ_RING_MASK;
    let head = Number(mmio.read64(PQH_REG)) & PRQ_RING_MASK;
    while (head !== tail) {
      this.#one(this.#at + head / 4);
      head = (head + bits.PAGE_REQUEST) & PRQ_RING_MASK;
    }
    mmio.write64(PQH_REG, BigInt(tail));
    this.#checkOverflow();
    this.#handling = false;
  }

  #one(at: number): void {
    const [w0, w1, w2, w3] = this.#words.subarray(at, at + 4) as unknown as [number, number, number, number];
    const bad = this.#whyBad(w1, w2, w3);
    if (bad !== null) {
      this.#unit.log('err', `IOMMU: ${this.#unit.name}: ${bad}`);
      this.#refuse(w0, w1, w2, w3);
      return;
    }
    // A stop marker asks for nothing.
    if ((w2 & (bits.PR_LAST | bits.PR_READ | bits.PR_WRITE)) === bits.PR_LAST) return;
    const device = this.#unit.deviceBySource(w0 >>> bits.PR_SOURCE_SHIFT);
    if (device === null) {
      this.#refuse(w0, w1, w2, w3);
      return;
    }
    reportDeviceFault(device, {
      flags:
        ((w0 & bits.PR_PASID_PRESENT) === 0 ? 0 : PageRequestFlags.PASID_VALID) |
        ((w2 & bits.PR_LAST) === 0 ? 0 : PageRequestFlags.LAST_PAGE),
      pasid: w1 & bits.PR_PASID_MASK,
      grpid: (w2 >>> bits.PR_GROUP_SHIFT) & bits.PR_GROUP_MASK,
      perm:
        (w2 & (bits.PR_READ | bits.PR_WRITE)) |
        ((w1 & bits.PR_EXECUTE) === 0 ? 0 : IOMMU_FAULT_PERM_EXEC) |
        ((w1 & bits.PR_PRIVILEGED) === 0 ? 0 : IOMMU_FAULT_PERM_PRIV),
      addr: joinWords(w3, w2 & ADDRESS),
    });
  }

  /** What Linux does not take from a device; null: nothing of that. */
  #whyBad(w1: number, w2: number, w3: number): string | null {
    if ((w3 << this.#beyond) >> this.#beyond !== w3) return 'Address is not canonical';
    if ((w1 & bits.PR_PRIVILEGED) !== 0 && (w2 & (bits.PR_READ | bits.PR_WRITE)) !== 0)
      return 'Page request in Privilege Mode';
    if ((w1 & bits.PR_EXECUTE) !== 0 && (w2 & bits.PR_READ) !== 0) return 'Execution request not supported';
    return null;
  }

  /** handle_bad_prq_event. */
  #refuse(w0: number, w1: number, w2: number, w3: number): void {
    const unit = this.#unit;
    unit.log('err', `${unit.name}: Invalid page request: ${quad(w1, w0)} ${quad(w3, w2)}`);
    if ((w2 & bits.PR_LAST) === 0) return;
    const pasid = (w0 & bits.PR_PASID_PRESENT) === 0 ? -1 : w1 & bits.PR_PASID_MASK;
    unit.commands.pageGroupResponse(
      w0 >>> bits.PR_SOURCE_SHIFT,
      pasid,
      (w2 >>> bits.PR_GROUP_SHIFT) & bits.PR_GROUP_MASK,
      PRG_INVALID,
    );
    unit.queue.sync();
  }

  /** What the hardware had no room for it has answered; groups that miss a request of it are forgotten. */
  #checkOverflow(): void {
    const unit = this.#unit;
    const { mmio } = unit;
    if ((mmio.read32(PRS_REG) & PRS_PRO) === 0) return;
    unit.log('info', `IOMMU: ${unit.name}: PRQ overflow detected`);
    const head = mmio.read64(PQH_REG);
    const tail = mmio.read64(PQT_REG);
    if (head !== tail) return;
    for (const device of unit.devices()) device.faultParam?.partial.splice(0);
    mmio.write32(PRS_REG, PRS_PRO);
    unit.log('info', `IOMMU: ${unit.name}: PRQ overflow cleared`);
  }
}

const quad = (hi: number, lo: number): string => hex(joinWords(hi, lo), 8);

/** intel_iommu_page_response. OURS: a failure is 15, the specification's code; Linux sends its own number, 2. */
export function respond(device: VtdDevice, { hasPasid, pasid, grpid, code }: PageResponse): void {
  const { unit, sourceId } = device;
  const wire = code === PageResponseCode.FAILURE ? PRG_FAILURE : code;
  unit.commands.pageGroupResponse(sourceId, hasPasid ? pasid : -1, grpid, wire);
  unit.queue.sync();
}
