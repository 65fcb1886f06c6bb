/** The software user of the selftest: a file that has pinned items, and lets go of them when it is told to. */
import { refuse } from '../base/errno.js';
import { MOCK_FLAGS_ACCESS_SYZ, MOCK_FLAGS_ACCESS_WRITE } from '../wire/uapi/iommufd_test.gen.js';
import type { OpenFile, SharedPages } from '../mem/task.js';
import { Access } from '../iommufd/access.js';
import type { Call } from '../iommufd/call.js';
import { PAGE_SIZE, U64_MAX, pageDown } from '../iommufd/units.js';
import { rules } from './rules.js';

/** Where get_user_pages says EOVERFLOW: the end of the page is beyond 2^64 - 1. */
export const LAST_PAGE = pageDown(U64_MAX);

interface Item {
  readonly iova: bigint;
  readonly length: bigint;
  readonly id: number;
}

/** [iommufd_test_staccess]. */
export class SelftestAccess implements OpenFile {
  readonly isEngineFile = true;
  readonly name = '[iommufd_test_staccess]';
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;
  /** Null until the access is attached; a file that never got one has nothing to release. */
  access: Access | null = null;
  #items: Item[] = [];
  #nextItem = 0;

  constructor(readonly needsPinPages: boolean) {}

  /** Lets go of every item that touches the range. */
  unmap(iova: bigint, length: bigint): void {
    const last = iova + length - 1n;
    const gone = this.#items.filter((item) => iova <= item.iova + item.length - 1n && last >= item.iova);
    this.#items = this.#items.filter((item) => !gone.includes(item));
    for (const item of gone) this.access!.unpinPages(item.iova, item.length);
  }

  add(iova: bigint, length: bigint): Item {
    const item = { iova, length, id: this.#nextItem++ };
    this.#items.push(item);
    return item;
  }

  /** Takes `item` back without unpinning. */
  forget(item: Item): void {
    this.#items = this.#items.filter((each) => each !== item);
  }

  destroyItem(id: number): void {
    const item = this.#items.find((each) => each.id === id);
    if (item === undefined) refuse(rules.test_access_item, { id });
    this.forget(item);
    this.access!.unpinPages(item.iova, item.length);
  }

  ioctl(cmd: number): number {
    refuse(rules.test_access_ioctl, { cmd: BigInt(cmd >>> 0) });
  }

  read(): number {
    refuse(rules.test_access_read, {});
  }

  write(): number {
    refuse(rules.test_access_write, {});
  }

  mmap(): SharedPages {
    refuse(rules.test_access_mmap, {});
  }

  release(): void {
    if (this.access === null) return;
    for (const item of this.#items) this.access.unpinPages(item.iova, item.length);
    this.#items = [];
    this.access.destroyByDriver();
  }
}

export interface PinRequest {
  readonly iova: bigint;
  readonly length: bigint;
  readonly uptr: bigint;
  readonly flags: number;
}

/** IOMMU_TEST_OP_ACCESS_PAGES: pins, compares with what is at `uptr`, and remembers an item. Returns its id. */
export function pinItem(call: Call, file: SelftestAccess, request: PinRequest): Item {
  const { iova, length, uptr, flags } = request;
  if (!file.needsPinPages) refuse(rules.test_access_pages_kind, {});
  const access = file.access!;
  call.alloc('access page list');
  const hpas = access.pinPages(call, iova, length, (flags & MOCK_FLAGS_ACCESS_WRITE) !== 0);
  call.tx.onAbort(() => access.unpinPages(iova, length));
  if (uptr !== 0n) comparePages(call, uptr - (iova - pageDown(iova)), hpas);
  call.alloc('selftest_access_item');
  const item = file.add(iova, length);
  call.tx.onAbort(() => file.forget(item));
  return item;
}

function comparePages(call: Call, at: bigint, hpas: readonly bigint[]): void {
  const { physical } = call.context.env;
  for (const hpa of hpas) {
    if (pageDown(at) === LAST_PAGE) refuse(rules.test_access_pages_wraps, { at });
    const runs = call.task.mm.resolve(pageDown(at), PAGE_SIZE, false);
    if (runs === null) refuse(rules.test_access_pages_fault, { at });
    const found = physical.hpaOf(runs[0]!.backing, runs[0]!.offset);
    if (found !== hpa) refuse(rules.test_access_pages_other, { at, hpa });
    at += PAGE_SIZE;
  }
}

export const ACCESS_PAGES_FLAGS = MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ;
