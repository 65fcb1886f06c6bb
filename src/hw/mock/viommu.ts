/** The mock IOMMU's vIOMMU: two shared pages, commands that clear the cache words of devices, two queues in order. */
import { refuse } from '../../base/errno.js';
import { IOMMU_HWPT_ALLOC_PASID } from '../../wire/uapi/iommufd.gen.js';
import {
  IOMMU_HW_QUEUE_TYPE_SELFTEST,
  IOMMU_TEST_HW_QUEUE_MAX,
  IOMMU_TEST_INVALIDATE_FLAG_ALL,
  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
  IOMMU_VIOMMU_TYPE_SELFTEST,
  MOCK_DEV_CACHE_ID_MAX,
  iommu_viommu_invalidate_selftest,
  iommu_viommu_selftest,
} from '../../wire/uapi/iommufd_test.gen.js';
import type {
  HwQueue,
  HwQueueCore,
  NestedDomain,
  PagingDomain,
  UserData,
  UserDataArray,
  Viommu,
  ViommuCore,
} from '../unit.js';
import type { MockDevice } from './device.js';
import { MockNested } from './nested.js';
import type { MockUnit } from './unit.js';
import { rules } from './rules.js';

const SHARED_BYTES = 2 * 4096;
/** More than this at once kmalloc never gives. */
const KMALLOC_MAX_SIZE = 1 << 22;

export class MockViommu implements Viommu {
  /** 0: nothing to map. */
  #mmapOffset = 0n;
  readonly #queues: (HwQueueCore | null)[] = Array.from({ length: IOMMU_TEST_HW_QUEUE_MAX }, () => null);

  constructor(
    readonly unit: MockUnit,
    readonly core: ViommuCore,
    readonly parent: PagingDomain,
    data: UserData | null,
  ) {
    if (data !== null) this.#share(data);
  }

  /** The word that came in is seen in the answer and in the first word of the shared pages. */
  #share(data: UserData): void {
    const config = data.read(iommu_viommu_selftest, IOMMU_VIOMMU_TYPE_SELFTEST, 'out_data');
    const bytes = new Uint8Array(SHARED_BYTES);
    new DataView(bytes.buffer).setUint32(0, config.in_data, true);
    this.#mmapOffset = this.core.allocMmap({ bytes, opened: () => {}, closed: () => {}, onGone: null });
    const answer = {
      in_data: config.in_data,
      out_data: config.in_data,
      out_mmap_offset: this.#mmapOffset,
      out_mmap_length: BigInt(SHARED_BYTES),
    };
    try {
      data.write(iommu_viommu_selftest, answer, IOMMU_VIOMMU_TYPE_SELFTEST, 'out_data');
    } catch (error) {
      this.core.destroyMmap(this.#mmapOffset);
      throw error;
    }
  }

  allocNested(flags: number, data: UserData): NestedDomain {
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) !== 0) refuse(rules.mock_viommu_nested_flags, { flags });
    return new MockNested(this.unit, this.core, data);
  }

  /** No entries at all is a way to ask whether the type is known. */
  invalidate(array: UserDataArray): void {
    const type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
    if (array.entryCount === 0 && array.type === type) return;
    const bytes = array.entryCount * iommu_viommu_invalidate_selftest.size;
    if (bytes > KMALLOC_MAX_SIZE) {
      // Linux fails before it looks at any, and does not say so in the count.
      array.done = array.entryCount;
      refuse(rules.mock_viommu_invalidate_memory, { entries: array.entryCount, bytes });
    }
    const entries = array.readAll(iommu_viommu_invalidate_selftest, type);
    entries.forEach(({ flags, vdev_id, cache_id }, index) => {
      if ((flags & ~IOMMU_TEST_INVALIDATE_FLAG_ALL) !== 0)
        refuse(rules.mock_viommu_invalidate_flags, { index, flags });
      if (cache_id > MOCK_DEV_CACHE_ID_MAX) refuse(rules.mock_viommu_invalidate_id, { index, cache_id });
      const device = this.core.findDevice(BigInt(vdev_id)) as MockDevice | null;
      if (device === null) refuse(rules.mock_viommu_invalidate_device, { index, vdev_id });
      if (flags !== 0) device.cache.fill(0);
      else device.cache[cache_id] = 0;
      array.done = index + 1;
    });
  }

  supportsHwQueue(type: number): boolean {
    return type === IOMMU_HW_QUEUE_TYPE_SELFTEST;
  }

  initHwQueue(queue: HwQueueCore, index: number, baseHpa: bigint): HwQueue {
    if (index >= IOMMU_TEST_HW_QUEUE_MAX) refuse(rules.mock_hw_queue_index, { index });
    if (this.#queues[index] !== null) refuse(rules.mock_hw_queue_exists, { index });
    const before = index > 0 ? (this.#queues[index - 1] ?? null) : null;
    if (index > 0 && before === null) refuse(rules.mock_hw_queue_order, { index });
    const expected = this.parent.iovaToPhys(queue.baseIova);
    if (baseHpa !== expected) refuse(rules.mock_hw_queue_hpa, { hpa: baseHpa, expected });
    if (before !== null) queue.depend(before);
    this.#queues[index] = queue;
    return {
      destroy: () => {
        // Linux' mock never notes the index of a queue: whichever goes, slot 0 is the one that is free again.
        this.#queues[0] = null;
        if (before !== null) queue.undepend(before);
      },
    };
  }

  destroy(): void {
    if (this.#mmapOffset !== 0n) this.core.destroyMmap(this.#mmapOffset);
  }
}
