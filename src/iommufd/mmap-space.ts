/**
 * The offsets under which an iommufd file can be mapped. They are given out lowest first, from one page on, so
 * that 0 is never valid; a mapping has to name exactly the offset and length that were reported.
 */
import { refuse } from '../base/errno.js';
import type { MmapRequest, SharedPages } from '../mem/task.js';
import type { IommufdObject } from './object.js';
import { PAGE_SIZE } from './units.js';
import { rules } from './rules.js';

interface Window {
  readonly offset: bigint;
  readonly length: bigint;
  /** The same for every mapping, so that all of them show the same bytes. */
  readonly pages: SharedPages;
}

export class MmapSpace {
  /** By offset, ascending. */
  readonly #windows: Window[] = [];

  /** First fit above page 0; returns the offset. */
  alloc(owner: IommufdObject, pages: SharedPages): bigint {
    const length = BigInt(pages.bytes.length);
    let offset = PAGE_SIZE;
    let at = 0;
    for (; at < this.#windows.length; at++) {
      const next = this.#windows[at]!;
      if (next.offset - offset >= length) break;
      offset = next.offset + next.length;
    }
    this.#windows.splice(at, 0, { offset, length, pages: keepingAlive(owner, pages) });
    return offset;
  }

  free(offset: bigint): void {
    const at = this.#windows.findIndex((window) => window.offset === offset);
    for (const { pages } of this.#windows.splice(at, 1)) pages.onGone?.();
  }

  /** mmap(2) on the file. Every live mapping keeps the owner from being destroyed. */
  map(request: MmapRequest): SharedPages {
    const { offset, length } = request;
    if (length % PAGE_SIZE !== 0n) refuse(rules.mmap_length, { length });
    if (!request.shared) refuse(rules.mmap_private, {});
    if (request.exec) refuse(rules.mmap_exec, {});
    const window = this.#windows.find((each) => offset >= each.offset && offset - each.offset < each.length);
    if (window === undefined) refuse(rules.mmap_offset, { offset });
    if (offset !== window.offset || length !== window.length) {
      refuse(rules.mmap_partial, { offset, length, start: window.offset, size: window.length });
    }
    return window.pages;
  }
}

/** Every live mapping keeps `owner` from being destroyed. */
function keepingAlive(owner: IommufdObject, pages: SharedPages): SharedPages {
  return {
    bytes: pages.bytes,
    opened: () => {
      owner.users += 1;
      pages.opened();
    },
    closed: () => {
      owner.users -= 1;
      pages.closed();
    },
    onGone: null,
  };
}
