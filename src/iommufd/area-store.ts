/**
 * The areas of one IOAS, by IOVA. Most are user memory that no domain, access or copy has come to use. Such an area is
 * only *noted*: a row of the index and a note of where the memory is (area-notes.ts), because a million objects with
 * page arrays are a load on the collector and on the CPU's caches.
 *
 * Invariant: a value of the index stands for a note or for an Area, which is made the first time that somebody asks
 * for it and is from then on the only truth about it; never both.
 */
import { IntervalMap } from '../base/interval-map.js';
import type { Payer } from './accounting.js';
import { Area } from './area.js';
import { AreaNotes } from './area-notes.js';
import type { AccountMode } from './context.js';
import type { IoPagetable } from './io-pagetable.js';
import { Pages } from './pages.js';
import { U64_MAX, pageOffset } from './units.js';

/** In values of the index. */
const MADE = 1;

export class AreaStore {
  /** Values are doubled: even ones are those of notes, odd ones those of slots with an Area. */
  readonly index = new IntervalMap();
  readonly #notes = new AreaNotes();
  readonly #slots: (Area | undefined)[] = [];
  readonly #freeSlots: number[] = [];

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
    return (value & MADE) === 0 ? null : this.#slots[value >> 1]!;
  }

  #make(): Area {
    const made = this.current;
    if (made !== null) return made;
    const note = this.index.curValue >> 1;
    const { payer, mode, prot } = this.#notes.originOf(note);
    const address = this.#notes.addressOf(note);
    const { curStart, curLast } = this.index;
    const pages = Pages.ofUser(this.table.context.env, address, curLast - curStart + 1n, prot, payer, mode);
    const area = new Area(this.table, curStart, curLast, pages, pageOffset(address), prot);
    this.index.curValue = this.#keep(area);
    this.#notes.drop(note);
    return area;
  }

  /** Gives `area` a slot; returns its value in the index. */
  #keep(area: Area): number {
    area.slot = this.#freeSlots.pop() ?? this.#slots.length;
    this.#slots[area.slot] = area;
    return (area.slot << 1) | MADE;
  }

  insert(area: Area): void {
    this.index.insert(area.iova, area.last, this.#keep(area));
    this.table.context.areas += 1;
  }

  /** Notes an area that shows user memory from `address` on. */
  note(iova: bigint, last: bigint, address: bigint, payer: Payer, mode: AccountMode, prot: number): void {
    this.index.insert(iova, last, this.#notes.take(address, payer, mode, prot) << 1);
    this.table.context.areas += 1;
  }

  remove(area: Area): void {
    this.index.remove(area.iova);
    this.#slots[area.slot] = undefined;
    this.#freeSlots.push(area.slot);
    this.table.context.areas -= 1;
  }

  /** Removes the area under the cursor, which is only noted. */
  removeNoted(): void {
    this.#notes.drop(this.index.curValue >> 1);
    this.index.removeCurrent();
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
