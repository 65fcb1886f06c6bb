/**
 * The areas of one IOAS, by IOVA. Most are user memory that no domain, access or copy has come to use. Such an area is
 * only *noted*: a row of the index, two words of address and an {@link Origin} that it shares with its neighbours,
 * because a million objects with page arrays are a load on the collector and on the CPU's caches.
 *
 * Invariant: a slot in use holds an Origin (the area is noted, and the words are its address) or an Area, which is made
 * the first time that somebody asks for it and is from then on the only truth about it; never both.
 */
import { IntervalMap } from '../base/interval-map.js';
import { joinWords } from '../base/words.js';
import type { Payer } from './accounting.js';
import { Area } from './area.js';
import type { AccountMode } from './context.js';
import type { MapRequest } from './in-place.js';
import type { IoPagetable } from './io-pagetable.js';
import { Pages } from './pages.js';
import { U64_MAX, pageOffset } from './units.js';

/** What noted areas that were mapped one after the other have in common. */
class Origin {
  constructor(
    readonly payer: Payer,
    readonly mode: AccountMode,
    readonly prot: number,
  ) {}
}

const FIRST_SLOTS = 8;

/** In values of the index. */
const MADE = 1;

export class AreaStore {
  /** Values are slots, doubled; odd where an Area has been made, so that whoever wants to know need not look there. */
  readonly index = new IntervalMap();
  readonly #slots: (Area | Origin | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  /** User addresses of noted areas: high and low word by slot. */
  #addresses = new Int32Array(0);
  #lastOrigin: Origin | null = null;

  constructor(readonly table: IoPagetable) {}

  get size(): number {
    return this.index.size;
  }

  /** The area that contains `iova`. */
  at(iova: bigint): Area | null {
    return this.first(iova, iova);
  }

  /** The first area that shares an address with `start`..`last`. */
  first(start: bigint, last: bigint): Area | null {
    return this.seek(start, last) ? this.#make() : null;
  }

  /** Puts the index's cursor on the first area that shares an address with `start`..`last`; false: there is none. */
  seek(start: bigint, last: bigint): boolean {
    return this.index.overlaps(start, last);
  }

  /** The area under the cursor, or null while it is only noted. */
  get current(): Area | null {
    const value = this.index.curValue;
    return (value & MADE) === 0 ? null : (this.#slots[value >> 1] as Area);
  }

  #make(): Area {
    const made = this.current;
    if (made !== null) return made;
    const slot = this.index.curValue >> 1;
    const { payer, mode, prot } = this.#slots[slot] as Origin;
    const { curStart, curLast } = this.index;
    const address = joinWords(this.#addresses[2 * slot]!, this.#addresses[2 * slot + 1]!);
    const pages = Pages.ofUser(this.table.context.env, address, curLast - curStart + 1n, prot, payer, mode);
    const area = new Area(this.table, curStart, curLast, pages, pageOffset(address), prot);
    area.slot = slot;
    this.#slots[slot] = area;
    this.index.curValue = (slot << 1) | MADE;
    return area;
  }

  insert(area: Area): void {
    area.slot = this.#takeSlot();
    this.#slots[area.slot] = area;
    this.index.insert(area.iova, area.last, (area.slot << 1) | MADE);
  }

  /** Notes an area that shows the user memory that was asked for. */
  note(request: MapRequest, payer: Payer, mode: AccountMode): void {
    const slot = this.#takeSlot();
    const origin = this.#originOf(payer, mode, request.prot);
    // A slot that is used again mostly has it, and a look at what is far away is cheaper than a store there.
    if (this.#slots[slot] !== origin) this.#slots[slot] = origin;
    if (2 * slot >= this.#addresses.length) this.#grow();
    this.#addresses[2 * slot] = request.addressHi;
    this.#addresses[2 * slot + 1] = request.addressLo;
    this.index.insertWords(request.iovaHi, request.iovaLo, request.lastHi, request.lastLo, slot << 1);
  }

  #originOf(payer: Payer, mode: AccountMode, prot: number): Origin {
    const known = this.#lastOrigin;
    if (known !== null && known.payer === payer && known.mode === mode && known.prot === prot) return known;
    return (this.#lastOrigin = new Origin(payer, mode, prot));
  }

  #takeSlot(): number {
    this.table.context.areas += 1;
    return this.#freeSlots.pop() ?? this.#slots.length;
  }

  #grow(): void {
    const before = this.#addresses;
    this.#addresses = new Int32Array(Math.max(2 * FIRST_SLOTS, 2 * before.length, 2 * this.#slots.length));
    this.#addresses.set(before);
  }

  remove(area: Area): void {
    this.index.remove(area.iova);
    this.#slots[area.slot] = undefined;
    this.#freeSlot(area.slot);
  }

  /** Removes the area under the cursor, which is only noted. Its slot is left as it is: nobody looks, and it is far away. */
  removeNoted(): void {
    this.#freeSlot(this.index.curValue >> 1);
    this.index.removeCurrent();
  }

  #freeSlot(slot: number): void {
    this.#freeSlots.push(slot);
    this.table.context.areas -= 1;
  }

  /** Every area, in order. Areas may be removed while this runs. */
  *each(): Generator<Area> {
    let from = 0n;
    for (;;) {
      const area = this.first(from, U64_MAX);
      if (area === null) return;
      yield area;
      if (area.last === U64_MAX) return;
      from = area.last + 1n;
    }
  }
}
