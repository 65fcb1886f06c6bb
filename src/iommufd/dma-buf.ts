/**
 * The dma-buf that the selftest exports: memory of its own behind a descriptor, which its owner can revoke while
 * it is mapped. A revoked buffer disappears from every domain; its mappings stay, empty.
 */
import { refuse } from '../base/errno.js';
import type { Backing } from '../mem/client.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import type { Area } from './area.js';
import type { Env } from './env.js';
import type { Pages } from './pages.js';
import { rules } from './rules.js';

/** Backing ids of the engine's own memory count down from here, away from those of `host/`. */
let nextBackingId = -1;

function memoryBacking(bytes: Uint8Array): Backing {
  const inside = (offset: bigint, length: number): boolean => offset + BigInt(length) <= BigInt(bytes.length);
  return {
    id: nextBackingId--,
    read(offset, into) {
      if (!inside(offset, into.length)) return false;
      into.set(bytes.subarray(Number(offset), Number(offset) + into.length));
      return true;
    },
    write(offset, from) {
      if (!inside(offset, from.length)) return false;
      bytes.set(from, Number(offset));
      return true;
    },
  };
}

export class DmaBuf implements OpenFile {
  readonly isEngineFile = true;
  readonly name = '/dmabuf:';
  readonly pollMode = 'in-out';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;
  revoked = false;
  readonly hpa: bigint;
  readonly #backing: Backing;
  /** Areas of each importer that are mapped in some domain. */
  readonly #importers = new Map<Pages, Set<Area>>();
  /** The descriptor and every importer. */
  #refs = 1;

  constructor(
    readonly env: Env,
    /** Bytes, a multiple of the page size. */
    readonly length: number,
  ) {
    this.#backing = memoryBacking(new Uint8Array(length));
    const pieces = env.physical.window(this.#backing, 0n, BigInt(length));
    if (pieces === null) refuse(rules.dma_buf_no_hpa, { length });
    this.hpa = pieces[0]!.hpa;
  }

  attach(pages: Pages): void {
    this.#importers.set(pages, new Set());
    this.#refs += 1;
  }

  detach(pages: Pages): void {
    if (this.#importers.delete(pages)) this.#put();
  }

  track(pages: Pages, area: Area): void {
    this.#importers.get(pages)!.add(area);
  }

  untrack(pages: Pages, area: Area): void {
    this.#importers.get(pages)!.delete(area);
  }

  /** Importers that are told once stay empty for good, even when the buffer is allowed again. */
  setRevoked(revoked: boolean): void {
    this.revoked = revoked;
    for (const [pages, areas] of this.#importers) {
      if (pages.revoked) continue;
      for (const area of areas) area.unmapFromDomains();
      pages.revoked = true;
    }
  }

  ioctl(cmd: number): number {
    refuse(rules.dma_buf_ioctl, { cmd: BigInt(cmd >>> 0) });
  }

  read(_at: bigint, _count: number, _task: Task): number {
    refuse(rules.dma_buf_read, {});
  }

  write(_at: bigint, _count: number, _task: Task): number {
    refuse(rules.dma_buf_write, {});
  }

  mmap(_request: MmapRequest, _task: Task): SharedPages {
    refuse(rules.dma_buf_mmap, {});
  }

  release(): void {
    this.#put();
  }

  #put(): void {
    this.#refs -= 1;
    if (this.#refs === 0) this.env.physical.unwindow(this.#backing, 0n, BigInt(this.length));
  }
}
