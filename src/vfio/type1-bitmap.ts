/**
 * Dirty bitmaps of type1. A device writes to memory that it has without anybody's knowing, so every page of a mapping is
 * dirty, always: as in Linux for groups that do not pin what they write. Bits are in 64-bit words, as the program's are.
 */
import { refuse, type Rule } from '../base/errno.js';
import type { Area } from '../iommufd/area.js';
import type { Call } from '../iommufd/call.js';
import { TASK_SIZE } from '../iommufd/user-memory.js';
import { pageIndex } from '../iommufd/units.js';
import type { VfioBitmap } from '../wire/uapi/vfio.gen.js';
import { rules } from './type1-rules.js';

/** DIRTY_BITMAP_PAGES_MAX, and the bytes that so many bits take. */
export const BITMAP_PAGES_MOST = 0x7fffffffn;
export const BITMAP_MOST = bytesOf(BITMAP_PAGES_MOST);

/** Whole words. */
function bytesOf(bits: bigint): bigint {
  return ((bits + 63n) / 64n) * 8n;
}

/** access_ok, then verify_bitmap_size, for a range of `length` bytes. */
export function checkBitmap(
  { data, size, pgsize }: VfioBitmap,
  length: bigint,
  addressRule: Rule,
  sizeRule: Rule,
): void {
  if (data + size > TASK_SIZE) refuse(addressRule, { data, size });
  const unit = pgsize & -pgsize;
  // UNSPECIFIED: Linux shifts by what a bit search makes of 0. Whatever comes of it, 0 is refused.
  const pages = unit === 0n ? 0n : length / unit;
  if (pages === 0n || size === 0n || size > BITMAP_MOST || size < bytesOf(pages))
    refuse(sizeRule, { size, pages });
}

/** Filled once; what a large mapping's bitmap is made of. */
const allDirty = new Uint8Array(1 << 16).fill(0xff);
const WORD = 8;

/**
 * Sets the bits of `area` in the bitmap at `data`, whose first bit is the page at `base`. OURS: what lies behind the
 * mapping's last bit in its word is 0; in Linux it may be left from an earlier bitmap.
 */
export function writeDirty(call: Call, data: bigint, area: Area, base: bigint, pgsize: bigint): void {
  const scale = pageIndex(pgsize);
  const bit = pageIndex(area.iova - base) / scale;
  const bits = pageIndex(area.length) / scale;
  const shift = bit % 64;
  let at = data + BigInt(Math.floor(bit / 64) * WORD);
  let from = shift;
  let left = shift + bits;
  while (left > 0) {
    const whole = from === 0 ? Math.floor(left / 64) * WORD : 0;
    const bytes = whole > 0 ? allDirty.subarray(0, Math.min(whole, allDirty.length)) : word(from, left);
    // Other mappings may have the bits below.
    if (from > 0) addWord(bytes, call.copyIn(at, WORD, rules.type1_bitmap_unreadable));
    call.copyOut(at, bytes, rules.type1_bitmap_unwritable);
    at += BigInt(bytes.length);
    left -= bytes.length * 8;
    from = 0;
  }
}

/** Bits `from` to `to` - 1 of one word. */
function word(from: number, to: number): Uint8Array {
  const mask = (1n << BigInt(Math.min(to, 64))) - (1n << BigInt(from));
  const bytes = new Uint8Array(WORD);
  new DataView(bytes.buffer).setBigUint64(0, mask, true);
  return bytes;
}

function addWord(bytes: Uint8Array, known: Uint8Array): void {
  for (let index = 0; index < WORD; index++) bytes[index] = bytes[index]! | known[index]!;
}
