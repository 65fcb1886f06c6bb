/**
 * DMA logging (VFIO_DEVICE_FEATURE_DMA_LOGGING_*): which pages a device has written, told by its own ports, whatever
 * table translates. A page is 4 KiB or what the user asks for; what was reported is forgotten.
 */
import { refuse } from '../base/errno.js';
import { joinWords } from '../base/words.js';
import type { DmaPort, WriteObserver } from '../bus/dma-port.js';
import { UserBitmap } from '../iommufd/dirty.js';
import * as v from '../wire/uapi/vfio.gen.js';
import type { FeatureRequest } from './driver.js';
import { checkFeature } from './feature-check.js';
import { rules } from './migration-rules.js';

const CONTROL = v.vfio_device_feature_dma_logging_control;
const RANGE = v.vfio_device_feature_dma_logging_range;
const REPORT = v.vfio_device_feature_dma_logging_report;
/** LOG_MAX_RANGES: what fits into a page. */
const MOST_RANGES = 256;
const LEAST_PAGE = 4096n;
const TOP = 1n << 64n;

interface Logged {
  readonly start: bigint;
  readonly last: bigint;
}

const isPowerOfTwo = (value: bigint): boolean => value > 0n && (value & (value - 1n)) === 0n;

export class DmaLog implements WriteObserver {
  readonly #ports: readonly DmaPort[];
  #ranges: readonly Logged[] = [];
  /** Lg2 of a page. */
  #shift = 12n;
  /** Numbers of pages that were written. */
  readonly #dirty = new Set<bigint>();

  constructor(ports: readonly DmaPort[]) {
    this.#ports = ports;
  }

  get #isOn(): boolean {
    return this.#ranges.length > 0;
  }

  wrote(hi: number, lo: number, length: number): void {
    const start = joinWords(hi, lo);
    const last = start + BigInt(length) - 1n;
    for (const range of this.#ranges) {
      const from = start > range.start ? start : range.start;
      const to = last < range.last ? last : range.last;
      for (let page = from >> this.#shift; page <= to >> this.#shift; page++) this.#dirty.add(page);
    }
  }

  feature(request: FeatureRequest): number {
    if (request.feature === v.VFIO_DEVICE_FEATURE_DMA_LOGGING_START) return this.#start(request);
    if (request.feature === v.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) return this.#report(request);
    if (checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, 0)) this.stop();
    return 0;
  }

  stop(): void {
    this.#ranges = [];
    this.#dirty.clear();
    for (const port of this.#ports) port.observer = null;
  }

  #start(request: FeatureRequest): number {
    const { user, at } = request;
    if (!checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, CONTROL.size)) return 0;
    const control = CONTROL.decode(user.copyIn(at, CONTROL.size, rules.log_unreadable));
    const { num_ranges, page_size } = control;
    if (num_ranges === 0) refuse(rules.log_no_range, {});
    if (num_ranges > MOST_RANGES) refuse(rules.log_ranges, { ranges: num_ranges, most: MOST_RANGES });
    user.alloc('interval_tree_node');
    const ranges = readRanges(request, control);
    if (this.#isOn) refuse(rules.log_twice, {});
    const page = isPowerOfTwo(page_size) && page_size >= LEAST_PAGE ? page_size : LEAST_PAGE;
    this.#shift = BigInt(page.toString(2).length - 1);
    this.#ranges = ranges;
    for (const port of this.#ports) port.observer = this;
    const bytes = new Uint8Array(CONTROL.size);
    CONTROL.encode({ ...control, page_size: page }, bytes);
    try {
      user.copyOut(at, bytes, rules.log_unwritable);
    } catch (error) {
      this.stop();
      throw error;
    }
    return 0;
  }

  #report(request: FeatureRequest): number {
    const { user, at } = request;
    if (!checkFeature(request, GET, REPORT.size)) return 0;
    const report = REPORT.decode(user.copyIn(at, REPORT.size, rules.report_unreadable));
    const { iova, length, page_size, bitmap } = report;
    if (page_size < LEAST_PAGE || !isPowerOfTwo(page_size)) refuse(rules.report_page_size, { page_size });
    if (iova + length >= TOP) refuse(rules.report_wraps, { iova, length });
    user.alloc('iova_bitmap');
    if (!this.#isOn) refuse(rules.report_off, {});
    if (length === 0n) return 0;
    const bits = new UserBitmap(user.task.mm, bitmap, iova, iova + length - 1n, page_size);
    const size = 1n << this.#shift;
    for (const page of this.#dirty) {
      const start = page << this.#shift;
      if (start + size <= iova || start >= iova + length) continue;
      bits.set(start, size);
      this.#dirty.delete(page);
    }
    bits.flush();
    return 0;
  }
}

const GET = v.VFIO_DEVICE_FEATURE_GET;

function readRanges({ user }: FeatureRequest, control: v.VfioDeviceFeatureDmaLoggingControl): Logged[] {
  const { page_size, num_ranges, ranges: from } = control;
  const found: Logged[] = [];
  for (let index = 0; index < num_ranges; index++) {
    const at = from + BigInt(index * RANGE.size);
    const { iova, length } = RANGE.decode(user.copyIn(at, RANGE.size, rules.log_range_unreadable));
    const mask = BigInt.asUintN(64, page_size - 1n);
    if ((iova & mask) !== 0n || (length & mask) !== 0n)
      refuse(rules.log_alignment, { index, iova, length, page_size });
    if (iova + length >= TOP) refuse(rules.log_wraps, { iova, length });
    const last = iova + length - 1n;
    if (found.some((range) => range.start <= last && iova <= range.last))
      refuse(rules.log_overlap, { index, iova, length });
    found.push({ start: iova, last });
  }
  return found;
}
