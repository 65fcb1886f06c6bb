/** Ports in front of somebody who says that all is cached, and memory that can be taken back. */
import { Injector } from '../../src/base/inject.js';
import { NO_PASID, type Translation } from '../../src/bus/dma.js';
import { DmaPort, type Resolver } from '../../src/bus/dma-port.js';
import { SparsePages } from '../../src/machine/local-memory.js';
import type { Backing, DirectView } from '../../src/mem/client.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import type { RunList } from '../../src/mem/runs.js';

export const PAGE = 4096;
export const FRAMES = 64;

/** One view, which can be taken back, and then its bytes are somebody else's. */
export class Lent implements Backing {
  readonly id = new SparsePages(0).id;
  readonly bytes = new Uint8Array(FRAMES * PAGE);
  readonly words = new Int32Array(this.bytes.buffer);
  isAlive = true;
  readonly #view: DirectView;
  /** Before each call. */
  onCall: (() => void) | null = null;

  constructor() {
    const isAlive = (): boolean => this.isAlive;
    const { bytes, words } = this;
    this.#view = {
      start: 0,
      bytes,
      words,
      get alive() {
        return isAlive();
      },
    };
  }

  view(): DirectView | null {
    return this.isAlive ? this.#view : null;
  }

  read(offset: bigint, into: Uint8Array): boolean {
    this.onCall?.();
    if (this.isAlive) into.set(this.bytes.subarray(Number(offset), Number(offset) + into.length));
    return this.isAlive;
  }

  write(): boolean {
    this.onCall?.();
    return true;
  }
}

/** A page of a device's: of which of two backings, and READ 1, WRITE 2, EXEC 4. */
export interface Place {
  readonly frame: number;
  readonly backing: number;
  readonly rights: number;
}

/** Pages of any addresses; every answer is a hit. */
export class HitWorld implements Resolver {
  readonly memory = new PhysicalMemory(new Injector());
  readonly backings = [new Lent(), new Lent()] as const;
  readonly lent = this.backings[0];
  readonly #bases = this.backings.map(
    (backing) => this.memory.window(backing, 0n, BigInt(FRAMES * PAGE))![0]!.hpa,
  );
  readonly #pages = new Map<string, { hpa: bigint; rights: number }>();
  asked = 0;

  port(): DmaPort {
    return new DmaPort(1, this, this.memory);
  }

  map(iova: bigint, place: number | Place | null, pasid = NO_PASID): void {
    const key = `${pasid} ${iova >> 12n}`;
    if (place === null) this.#pages.delete(key);
    else {
      const { frame, backing, rights } =
        typeof place === 'number' ? { frame: place, backing: 0, rights: 7 } : place;
      this.mapHpa(iova, this.#bases[backing]! + BigInt(frame * PAGE), rights, pasid);
    }
    this.memory.epoch.end();
  }

  mapHpa(iova: bigint, hpa: bigint, rights = 7, pasid = NO_PASID): void {
    this.#pages.set(`${pasid} ${iova >> 12n}`, { hpa, rights });
  }

  translate(): never {
    throw new Error('runs are asked for');
  }

  translateRuns({ hi, lo, access, pasid }: Translation, length: number, runs: RunList): boolean {
    this.asked += 1;
    let at = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    let left = length;
    while (left > 0 && !runs.isFull) {
      const page = this.#pages.get(`${pasid} ${at >> 12n}`);
      if (page === undefined || (access & ~page.rights) !== 0) return false;
      const block = Math.min(left, PAGE - Number(at & 0xfffn));
      const place = page.hpa | (at & 0xfffn);
      runs.add(Number(place >> 32n), Number(place & 0xffff_ffffn) | 0, block);
      at = BigInt.asUintN(64, at + BigInt(block));
      left -= block;
    }
    runs.areHits = left === 0;
    return true;
  }
}
