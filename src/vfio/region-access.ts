/**
 * read(2) and write(2) of a region: loads come from its image; stores act one by one, in aligned pieces as large as the
 * place allows. Memory of the user is touched in larger pieces, for loads do not act.
 */
import { storeBytes, widthAt } from '../base/bytes.js';
import type { Rule } from '../base/errno.js';
import type { Region, StoreWidth } from '../bus/region.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { SharedPages } from '../mem/task.js';

/** Bytes that are copied at once. */
const CHUNK = 1 << 16;

/** Copies `length` bytes from `offset` of the image on to `at`. */
export function loadRegion(
  user: UserMemory,
  region: Region,
  offset: number,
  at: bigint,
  length: number,
  rule: Rule,
): void {
  for (let done = 0; done < length; done += CHUNK) {
    const from = offset + done;
    const part = region.image.subarray(from, from + Math.min(CHUNK, length - done));
    user.answer(at + BigInt(done), part, rule);
  }
}

/** At most 4 bytes. */
export function storeInto(region: Region, offset: number, width: StoreWidth, lo: number): void {
  if (region.kind === 'registers') return region.store(offset, width, lo, 0);
  storeBytes(region.image, offset, width, lo);
}

function storeOne(region: Region, offset: number, view: DataView, at: number, width: StoreWidth): void {
  if (region.kind === 'memory') {
    for (let i = 0; i < width; i++) region.image[offset + i] = view.getUint8(at + i);
    return;
  }
  if (width === 8) region.store(offset, 8, view.getInt32(at, true), view.getInt32(at + 4, true));
  else if (width === 4) region.store(offset, 4, view.getInt32(at, true), 0);
  else region.store(offset, width, width === 2 ? view.getUint16(at, true) : view.getUint8(at), 0);
}

/** Stores what the user has at `at`. Where that ends early, what was there has been stored. */
export function storeRegion(
  user: UserMemory,
  region: Region,
  offset: number,
  at: bigint,
  length: number,
  most: 4 | 8,
  rule: Rule,
): void {
  for (let done = 0; done < length;) {
    // A chunk ends where a piece does.
    const end = (offset + done + CHUNK) & ~7;
    const part = Math.min(end - offset - done, length - done);
    const bytes = new Uint8Array(part);
    const isThere = user.task.mm.read(at + BigInt(done), bytes);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < part;) {
      const width = widthAt(offset + done + i, part - i, most);
      if (!isThere) bytes.set(user.copyIn(at + BigInt(done + i), width, rule), i);
      storeOne(region, offset + done + i, view, i, width);
      i += width;
    }
    done += part;
  }
}

/** A piece of the image, as programs map it. Stores to registers are lost while `answers` says no. */
export function sharedPages(
  region: Region,
  start: number,
  length: number,
  answers: () => boolean,
): SharedPages {
  const bytes = region.image.subarray(start, start + length);
  const pages = { bytes, opened: () => {}, closed: () => {}, onGone: null };
  if (region.kind === 'memory') return pages;
  return {
    ...pages,
    store: (offset, width, lo, hi) => {
      if (answers()) region.store(start + offset, width, lo, hi);
    },
  };
}
