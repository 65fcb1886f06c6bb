/**
 * The contexts of a unit without the unit, in a memory that has the entries that were put there and nothing else: so
 * whoever looks at a wrong place finds none, wherever the right one is.
 */
import { Injector } from '../../../src/base/inject.js';
import { Abilities } from '../../../src/hw/vtd/capabilities.js';
import { Contexts } from '../../../src/hw/vtd/context.js';
import * as space from '../../../src/hw/vtd/spaces.js';
import { PhysicalMemory } from '../../../src/mem/physical.js';
import { CAP, DID, ECAP, HAW, PASID, SOURCE, hi32, lo32, type WorldOptions } from './world.js';

class SparseMemory extends PhysicalMemory {
  readonly entries = new Map<bigint, bigint>();
  readonly #block = new Int32Array(32);

  override load64(hi: number, lo: number): boolean {
    const entry = this.entries.get((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0));
    if (entry === undefined) return false;
    this.loadedHi = hi32(entry);
    this.loadedLo = lo32(entry);
    return true;
  }

  /** Not always at the same place. */
  override block(hi: number, lo: number, count: number): Int32Array | null {
    this.blockAt ^= 16;
    for (let at = 0; at < count; at += 2) {
      if (!this.load64(hi, lo + at * 4)) return null;
      this.#block[this.blockAt + at] = this.loadedLo;
      this.#block[this.blockAt + at + 1] = this.loadedHi;
    }
    return this.#block;
  }
}

/** Where the structures lie: above 4 GiB, below 2^38, no two with the same bits. */
export const AT = {
  root: 0x12_3456_7000n,
  contexts: 0x23_c567_8000n,
  directory: 0x34_d678_9000n,
  pasids: 0x15_e789_a000n,
  first: 0x36_f89a_b000n,
  second: 0x27_89ab_c000n,
} as const;

/** Where the entries of one request are. */
export interface Place {
  readonly root: bigint;
  readonly context: bigint;
  readonly directory: bigint;
  readonly entry: bigint;
}

/** What a request translates by. */
export interface Found {
  readonly source: number;
  /** -1: a legacy context. */
  readonly pasid: number;
  readonly did: number;
  readonly pgtt: number;
  readonly flags: number;
  readonly first: bigint;
  readonly second: bigint;
  readonly firstWidth: number;
  readonly secondWidth: number;
}

export class Lookups {
  readonly memory = new SparseMemory(new Injector());
  readonly contexts: Contexts;

  constructor({ cap = CAP, ecap = ECAP, haw = HAW }: WorldOptions = {}) {
    this.contexts = new Contexts(this.memory, new Abilities({ cap, ecap, haw }));
    this.start(1);
  }

  start(ttm: number, root: bigint = AT.root): void {
    this.contexts.setRoot(hi32(root), lo32(root), ttm);
  }

  put(at: bigint, ...entries: bigint[]): void {
    for (const [index, entry] of entries.entries()) {
      this.memory.entries.set(at + BigInt(index) * 8n, BigInt.asUintN(64, entry));
    }
  }

  get(at: bigint): bigint {
    return this.memory.entries.get(at)!;
  }

  flip(at: bigint, bits: bigint): void {
    this.put(at, this.get(at) ^ bits);
  }

  /** Everything that the caches have goes. */
  flush(): void {
    this.contexts.flushAll();
    this.contexts.spaces.flushAll(false);
  }

  /** The reason why not, or 0. */
  ask(source = SOURCE, pasid = PASID): number {
    return this.contexts.find(source, pasid) >= 0 ? 0 : this.contexts.reason;
  }

  find(source = SOURCE, pasid = PASID): Found {
    return this.found(this.contexts.find(source, pasid));
  }

  found(row: number): Found {
    const { words } = this.contexts.spaces;
    const word = (at: number): number => words[row + at]!;
    const key = word(space.S_KEY);
    return {
      source: word(space.S_SOURCE),
      pasid: key === space.LEGACY_KEY ? -1 : key,
      did: word(space.S_DID),
      pgtt: word(space.S_KIND),
      flags: word(space.S_FLAGS),
      first: joined(word(space.S_FIRST_HI), word(space.S_FIRST_LO)),
      second: joined(word(space.S_SECOND_HI), word(space.S_SECOND_LO)),
      firstWidth: word(space.S_FIRST_WIDTH),
      secondWidth: word(space.S_SECOND_WIDTH),
    };
  }
}

function joined(hi: number, lo: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

export interface Scalable {
  readonly source?: number;
  readonly pasid?: number;
  /** Low bits of the context entry without P. */
  readonly flags?: bigint;
  readonly ridPasid?: bigint;
  readonly pgtt?: bigint;
}

/** Root, context, directory and PASID entry of one request, in scalable mode. */
export function scalable(lookups: Lookups, options: Scalable = {}): Place {
  const { source = SOURCE, pasid = PASID, flags = 0x1cn, ridPasid = 0n, pgtt = 1n } = options;
  const place = {
    root: AT.root + BigInt(source >> 8) * 16n + ((source & 0x80) === 0 ? 0n : 8n),
    context: AT.contexts + BigInt(source & 0x7f) * 32n,
    directory: AT.directory + BigInt(pasid >> 6) * 8n,
    entry: AT.pasids + BigInt(pasid & 63) * 64n,
  };
  lookups.put(place.root, AT.contexts | 1n);
  lookups.put(place.context, AT.directory | flags | 1n, ridPasid, 0n, 0n);
  lookups.put(place.directory, AT.pasids | 1n);
  const [second, first] = [AT.second | (pgtt << 6n) | (2n << 2n) | 1n, AT.first | 0x32n];
  lookups.put(place.entry, second, DID, first, 0n, 0n, 0n, 0n, 0n);
  return place;
}

/** Root and context entry of one requester in legacy mode: a second stage of four levels. */
export function legacy(lookups: Lookups, source = SOURCE): Pick<Place, 'root' | 'context'> {
  const place = {
    root: AT.root + BigInt(source >> 8) * 16n,
    context: AT.contexts + BigInt(source & 0xff) * 16n,
  };
  lookups.start(0);
  lookups.put(place.root, AT.contexts | 1n, 0n);
  lookups.put(place.context, AT.second | 1n, 2n | (DID << 8n));
  return place;
}
