/**
 * The address space of a process for devices that share it (SVA). Areas say what the process may do at an address,
 * pagemap says whether a page is there; both are bound to the mm, so neither another program after exec nor another
 * process with the same pid is ever asked. A page that was swapped out, or dropped since a device found it, comes back
 * when the bytes are copied: the kernel sees to that.
 */
import { readFileSync } from 'node:fs';
import type { LivePages, LiveWatcher } from '../mem/live-space.js';
import type { ProcessSpace } from './address-space.js';
import { newBackingId } from './private-backing.js';
import { isDeviceMemory, type Vma } from './vma.js';

/** Of an access. */
const WRITE = 2;
const EXEC = 4;
/** Upper half of an entry of pagemap: the page is in memory; nobody else has it mapped. */
const PRESENT = 1 << 31;
const EXCLUSIVE = 1 << 24;
const PAGE_LG2 = 12n;

export class ProcessPages implements LivePages {
  readonly name: string;
  readonly bytes;
  readonly #space: ProcessSpace;
  #watcher: LiveWatcher | null = null;
  /**
   * Pages that a fault has made writable although another process, or the zero page, still has them: the store itself
   * makes the copy, since nobody else can.
   */
  readonly #mayCopy = new Set<bigint>();

  constructor(pid: number, space: ProcessSpace) {
    this.name = `process ${pid}`;
    this.#space = space;
    this.bytes = {
      id: newBackingId(),
      read: (offset: bigint, into: Uint8Array): boolean => space.read(offset, into),
      write: (offset: bigint, from: Uint8Array): boolean => space.write(offset, from),
    };
  }

  there(at: bigint, start: bigint, pages: number, access: number): number {
    const entries = this.#space.pagemap(start, pages);
    const own = entries === null ? 0 : entries[Number((at - start) >> PAGE_LG2) * 2 + 1]!;
    if (entries === null || (own & PRESENT) === 0) return 0;
    const area = this.#space.areaAt(at);
    if (area === null || !permits(area, access)) return 0;
    const copies = (access & WRITE) !== 0 && !area.shared;
    if (copies && !this.#isOwn(at, own)) return 0;
    const isInside = area.start <= start && start + (BigInt(pages) << PAGE_LG2) - 1n <= area.last;
    return isInside && areAll(entries, pages, copies ? PRESENT | EXCLUSIVE : PRESENT) ? pages : 1;
  }

  /** A store to this page copies nothing, or may. */
  #isOwn(at: bigint, entry: number): boolean {
    if ((entry & EXCLUSIVE) === 0) return this.#mayCopy.has(at >> PAGE_LG2);
    this.#mayCopy.delete(at >> PAGE_LG2);
    return true;
  }

  faultIn(at: bigint, access: number): boolean {
    const area = this.#space.areaAt(at);
    if (area === null || !permits(area, access) || !this.#space.read(at, new Uint8Array(1))) return false;
    if ((access & WRITE) !== 0) this.#mayCopy.add(at >> PAGE_LG2);
    return true;
  }

  watch(watcher: LiveWatcher): void {
    this.#watcher = watcher;
    this.#space.watch(watcher);
  }

  release(): void {
    if (this.#watcher !== null) this.#space.unwatch(this.#watcher);
  }
}

function permits(area: Vma, access: number): boolean {
  if (isDeviceMemory(area) || !area.readable) return false;
  return ((access & WRITE) === 0 || area.writable) && ((access & EXEC) === 0 || area.executable);
}

/** Whether each of `count` entries of pagemap has all bits of `wanted` in its upper half. */
function areAll(entries: Int32Array, count: number, wanted: number): boolean {
  for (let i = 0; i < count; i += 1) if ((entries[i * 2 + 1]! & wanted) !== wanted) return false;
  return true;
}

/** The process that a pidfd of ours names; 0: it is none, or its process is gone. */
export function pidOf(pidfd: number): number {
  const found = /^Pid:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'latin1'));
  return found === null ? 0 : Number(found[1]);
}
