/** Copies between a buffer and a slice of a page array (iopt_pages_rw_access), by the ways that Linux has. */
import { refuse } from '../base/errno.js';
import type { Call } from './call.js';
import type { Pages } from './pages.js';
import { PAGE_SIZE, pageIndex, pageOffset, pageToBytes } from './units.js';
import { rules } from './rules.js';

/** IOMMUFD_ACCESS_RW_WRITE and the selftest's __IOMMUFD_ACCESS_RW_SLOW_PATH. */
export const AccessFlags = { WRITE: 1, SLOW_PATH: 4 } as const;

/** Copies `data` to or from byte `start` of `pages`. */
export function accessPages(call: Call, pages: Pages, start: bigint, data: Uint8Array, flags: number): void {
  const write = (flags & AccessFlags.WRITE) !== 0;
  if (pages.isDmaBuf) refuse(rules.access_rw_dma_buf, {});
  const first = pageIndex(start);
  const last = pageIndex(start + BigInt(data.length) - 1n);
  const remote = (flags & AccessFlags.SLOW_PATH) !== 0 || call.task.mm !== pages.payer.mm;
  if (pages.source.kind === 'user' && !remote) copyDirect(call, pages, start, data, write);
  else if (pages.source.kind === 'user' && first === last) copyOnePage(call, pages, start, data, write);
  else copyPinned(pages, start, data, write);
}

function copyDirect(call: Call, pages: Pages, start: bigint, data: Uint8Array, write: boolean): void {
  const at = pages.base + start;
  const rule = write ? rules.access_rw_unwritable : rules.access_rw_unreadable;
  const failed = call.context.env.injector.point('fail_usercopy', rule.id);
  const { mm } = call.task;
  if (failed || !(write ? mm.write(at, data) : mm.read(at, data))) refuse(rule, { at, length: data.length });
}

/** Only the access at hand has to be allowed here, not what the array was made for. */
function copyOnePage(call: Call, pages: Pages, start: bigint, data: Uint8Array, write: boolean): void {
  if (call.shouldFail('access one page')) refuse(rules.access_rw_page_failed, {});
  const page = pages.base + pageToBytes(pageIndex(start));
  const runs = pages.payer.mm.resolve(page, PAGE_SIZE, write);
  if (runs === null) {
    // A dead process: only what is still pinned can be reached.
    if (pages.hpaOf(pageIndex(start)) === null)
      refuse(rules.access_rw_page_fault, { at: pages.base + start });
    copyPinned(pages, start, data, write);
    return;
  }
  const run = runs[0]!;
  const offset = run.offset + pageOffset(start);
  const done = write ? run.backing.write(offset, data) : run.backing.read(offset, data);
  if (!done) refuse(rules.access_rw_page_gone, { at: pages.base + start });
}

/** As a device would: through the frames, which are pinned for as long as it takes. */
function copyPinned(pages: Pages, start: bigint, data: Uint8Array, write: boolean): void {
  const first = pageIndex(start);
  const last = pageIndex(start + BigInt(data.length) - 1n);
  const refusal = pages.pin(first, last);
  const { physical } = pages.env;
  const copied =
    refusal === null &&
    pages.eachPiece(first, last, (index, hpa, count) => {
      const pieceStart = pageToBytes(index);
      const pieceEnd = pieceStart + pageToBytes(count);
      const from = start > pieceStart ? start : pieceStart;
      const end = start + BigInt(data.length);
      const piece = data.subarray(Number(from - start), Number((pieceEnd < end ? pieceEnd : end) - start));
      const at = hpa + (from - pieceStart);
      return write ? physical.write(at, piece) : physical.read(at, piece);
    });
  pages.unpinUnused(first, last);
  if (refusal !== null) refuse(refusal.rule, refusal.values);
  if (!copied) refuse(rules.access_rw_frame_gone, { start });
}
