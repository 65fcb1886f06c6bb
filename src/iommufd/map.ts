/** From a pointer or a descriptor to a page array, and from there into an address space. */
import { refuse } from '../base/errno.js';
import { unknownFile, type ForeignFile } from '../mem/task.js';
import { IOMMU_WRITE } from '../hw/unit.js';
import type { Call } from './call.js';
import type { AccountMode } from './context.js';
import { DmaBuf } from './dma-buf.js';
import type { MapRequest } from './in-place.js';
import type { IoPagetable } from './io-pagetable.js';
import { Pages, type PageSource } from './pages.js';
import { PAGE_SIZE, U64_MAX, pageDown, pageOffset } from './units.js';
import { rules } from './rules.js';

/** The most that can be mapped at once. */
const LONGEST = U64_MAX - PAGE_SIZE;

/** A dma-buf longer than this many pages does not fit the kernel's batches. */
const MAX_NPFNS = (1n << 32n) - 1n;

/** Maps the caller's memory, which then stays mapped whatever becomes of the call. The request gets the IOVA. */
export function mapUserPages(call: Call, table: IoPagetable, request: MapRequest): void {
  if (request.addressWraps) {
    refuse(rules.map_address_wraps, { user_va: request.address, length: request.length });
  }
  const mode = userMode(call) === 'none' ? 'none' : call.context.accountMode;
  beginPages(call, request);
  table.mapUser(call, request, mode);
  call.commit();
}

/** Maps a file by descriptor. The request gets the IOVA. */
export function mapFilePages(call: Call, table: IoPagetable, fd: number, request: MapRequest): void {
  const { address, length } = request;
  if (length === 0n) refuse(rules.map_file_length, {});
  if (address + length - 1n > U64_MAX) refuse(rules.map_file_wraps, { start: address, length });
  const file = call.task.fileOf(fd);
  if (file === null) refuse(rules.map_file_fd, { fd });
  if (file instanceof DmaBuf) mapDmaBuf(call, table, file, request);
  // A file of our own that is not memory: refused when its pages are wanted, as any other file.
  else mapForeign(call, table, file.isEngineFile ? unknownFile : file, request);
}

function mapForeign(call: Call, table: IoPagetable, file: ForeignFile, request: MapRequest): void {
  if (file.kind === 'dma-buf') {
    file.release();
    refuse(rules.map_foreign_dma_buf, {});
  }
  let pages: Pages;
  try {
    pages = makePages(call, { kind: 'file', file }, request, userMode(call));
  } catch (error) {
    file.release();
    throw error;
  }
  mapPages(call, table, pages, request);
}

function mapDmaBuf(call: Call, table: IoPagetable, buffer: DmaBuf, request: MapRequest): void {
  const { address, length } = request;
  if (BigInt(buffer.length) <= address + length - 1n || length / PAGE_SIZE >= MAX_NPFNS) {
    refuse(rules.map_dma_buf_range, { start: address, length, size: buffer.length });
  }
  const pages = makePages(call, { kind: 'dma-buf', buffer }, request, 'none');
  if (buffer.revoked) refuse(rules.map_dma_buf_revoked, {});
  buffer.attach(pages);
  mapPages(call, table, pages, request);
}

const userMode = (call: Call): AccountMode => (call.task.capable('CAP_IPC_LOCK') ? 'none' : 'user');

/** What Linux asks before it allocates a page array. */
function beginPages(call: Call, request: MapRequest): void {
  const isTooLong = request.lengthHi === -1 && request.length > LONGEST;
  if (request.isEmpty || isTooLong) refuse(rules.map_length, { length: request.length });
  call.alloc('iopt_pages');
}

function makePages(call: Call, source: PageSource, request: MapRequest, mode: AccountMode): Pages {
  const { address, length, prot } = request;
  beginPages(call, request);
  const count = Pages.count(address, length);
  const writable = (prot & IOMMU_WRITE) !== 0;
  return new Pages(call.context.env, source, pageDown(address), count, writable, call.task, mode);
}

function mapPages(call: Call, table: IoPagetable, pages: Pages, request: MapRequest): void {
  const { context, tx } = call;
  tx.onAbort(() => pages.put());
  if (context.accountMode === 'mm' && pages.accountMode === 'user') pages.accountMode = 'mm';
  const slice = { pages, startByte: pageOffset(request.address), length: request.length };
  table.map(call, [slice], request);
}
