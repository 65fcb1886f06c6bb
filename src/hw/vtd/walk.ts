/**
 * The walk (chapters 3.6 to 3.8): first stage, second stage, or one through the other, over bytes of physical memory.
 * Entries may be anything and may change meanwhile: the level falls with every step, so a walk of L first-stage and K
 * second-stage levels loads at most L * (K + 1) + K entries; it ends in a translation or in one reason. The lowest table
 * that the second stage has led it to serves it again, since a guest's tables mostly lie together.
 *
 * Accessed and dirty bits are set after the walk has succeeded, all of them or, if an entry is no longer what was read,
 * after another walk. Nothing here allocates; what a walk found lies in fields until the next.
 */
import * as dma from '../../bus/dma.js';
import type { EntryMemory } from '../../mem/physical.js';
import { CHUNK_BYTES, TABLE_SPACE_HI as TABLE_HI } from '../../mem/table-store.js';
import { PROVIDER_FIRST_FRAME, ProvidedPage } from '../../mem/providers.js';
import type { Abilities } from './capabilities.js';
import { entryLg2 } from './iotlb.js';
import * as paging from './paging-cache.js';
import { Passed } from './passed.js';
import { Pending } from './pending.js';
import { Reason } from './reasons.js';
import * as space from './spaces.js';
import * as bits from './structures.js';

// An imported constant is a load wherever it is used, a local one is not (seen: 0.5 ns each).
const { DMA_EXEC, DMA_PRIV, DMA_READ, DMA_WRITE } = dma;
const { PAGE_SECOND, R_HI, R_LO, R_PERMITTED, STEP_FIRST, STEP_SECOND } = paging;
const {
  SPACE_LEGACY,
  SPACE_SNOOPS,
  SPACE_SSADE,
  S_DID,
  S_FIRST_HI,
  S_FIRST_LO,
  S_FIRST_WIDTH,
  S_FLAGS,
  S_KEY,
  S_KIND,
  S_SECOND_HI,
  S_SECOND_LO,
  S_SECOND_WIDTH,
  SLOT_FIRST,
  SLOT_SECOND,
} = space;
const {
  beyond,
  INTERRUPT_LO,
  INTERRUPT_MASK,
  PE_EAFE,
  PE_ERE,
  PE_NXE,
  PE_SMEP,
  PE_SRE,
  PE_WPE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  PRESENT,
} = bits;

/** How a walk is made: with the paging-structure caches; setting bits; collecting permissions without asking for any. */
const WALK_CACHED = 1;
const WALK_UPDATES = 2;
const WALK_PARTIAL = 4;
export const WALK = { CACHED: WALK_CACHED, UPDATES: WALK_UPDATES, PARTIAL: WALK_PARTIAL } as const;

const PAGE_LG2 = 12;

/** First-stage entry. */
const FS_RW = 1 << 1;
const FS_US = 1 << 2;
const FS_A = 1 << 5;
const FS_D = 1 << 6;
const PS = 1 << 7;
const FS_EA = 1 << 10;
/** High word. */
const FS_XD = 1 << 31;
const FS_ADDRESS_HI = 0xfffff;
/** Second-stage entry. */
const SS_READ_WRITE = 3;
const SS_A = 1 << 8;
const SS_D = 1 << 9;
const SS_SNP = 1 << 11;
/** High word: once TM, transient mapping. */
const SS_RESERVED_62 = 1 << 30;
const SS_ADDRESS_HI = 0xfffff;
const ADDRESS_LO = -1 << 12;
const TABLE_SPACE_HI = TABLE_HI;
const CHUNK_MASK = CHUNK_BYTES - 1;
/** Of a large leaf, below its address: all but bit 12, which is PAT. */
const LARGE_RESERVED_LO = -1 << 13;
/** Of a path through first-stage entries: FS_RW and FS_US ANDed, this ORed. */
const PATH_XD = 1 << 3;
/** The table's page may be written and its second-stage leaf is dirty already: bits of its entries may be set. */
const PATH_WRITABLE = 1 << 4;
/** {@link R_PERMITTED} of a page: its leaf is dirty, or that does not count. */
const PAGE_DIRTY = 1 << 2;

/** The high words of HPAs that belong to address spaces without bytes. */
const PROVIDER_HI = PROVIDER_FIRST_FRAME >>> 20;
const PROVIDER_HI_LIMIT = PROVIDER_HI * 2;
/** A table that changes under every walk belongs to somebody who wants no answer. */
const TRIES = 4;

const AGAIN = -1;
/** The high word of an address that is beyond every second stage. */
const NOWHERE_HI = -1;

export class Walker {
  /** Out: where the byte is, the block around it, and why there is none. */
  hpaHi = 0;
  hpaLo = 0;
  sizeLg2 = 0;
  reason = 0;
  /** Out: DMA_READ | DMA_WRITE | DMA_EXEC for user and for privileged requests; whether a write needs no walk. */
  permitted = 0;
  permittedPriv = 0;
  isDirty = false;
  /** Out, of the last walk by caches: the rows of them that it went on from. */
  readonly passed: Passed;

  readonly #memory: EntryMemory;
  readonly #spaces: Int32Array;
  readonly #slots: Int32Array;
  readonly #can: Abilities;
  readonly #cache: paging.PagingCache;
  readonly #pending = new Pending();
  readonly #page = new ProvidedPage();
  /** Bits that no second-stage entry has. */
  readonly #secondReservedHi: number = 0;
  readonly #secondReservedLo: number = 0;
  readonly #mgaw: number = 0;

  /** The walk in hand. */
  #row = 0;
  #did = 0;
  #flags = 0;
  #access = 0;
  #mode = 0;
  /** Its second stage: root, shift of the highest level, which bits of a high word are beyond its width. */
  #secondHi = 0;
  #secondLo = 0;
  #secondTop = 0;
  #secondBeyond = 0;
  /** Result of the last second-stage walk: address, block, permissions, leaf. */
  #sHi = 0;
  #sLo = 0;
  #sLg2 = 0;
  #sPermitted = 0;
  #sDirty = false;
  #leafHi = 0;
  #leafLo = 0;
  #leafWord = 0;
  #leafIsKnown = false;
  /** The first-stage table in hand, at its HPA. */
  #tHi = 0;
  #tLo = 0;
  #tWritable = 0;
  /** A second-stage table that is known in this walk, and an address that its entries translate. */
  #lowForHi = NOWHERE_HI;
  #lowForLo = 0;
  #lowHi = 0;
  #lowLo = 0;
  #lowPermitted = 0;
  /** Result of the first stage: address, block, path. */
  #fHi = 0;
  #fLo = 0;
  #fLg2 = 0;
  #path = 0;
  #fDirty = false;

  constructor(memory: EntryMemory, spaces: space.Spaces, can: Abilities, cache: paging.PagingCache) {
    this.#memory = memory;
    this.#spaces = spaces.words;
    this.#slots = spaces.slots;
    this.passed = new Passed(cache.words);
    this.#can = can;
    this.#cache = cache;
    this.#secondReservedHi = (can.beyondHaw & SS_ADDRESS_HI) | SS_RESERVED_62;
    this.#secondReservedLo = can.snoopControl ? 0 : SS_SNP;
    this.#mgaw = can.mgaw;
  }

  /** Translates (hi, lo) by the space in `row` for `access`; false: {@link reason}. */
  walk(row: number, hi: number, lo: number, access: number, mode: number): boolean {
    const spaces = this.#spaces;
    this.#row = row;
    this.#did = spaces[row + S_DID]!;
    this.#flags = spaces[row + S_FLAGS]!;
    this.#access = access;
    this.#mode = mode;
    const width = spaces[row + S_SECOND_WIDTH]!;
    this.#secondHi = spaces[row + S_SECOND_HI]!;
    this.#secondLo = spaces[row + S_SECOND_LO]!;
    this.#secondTop = width - 9;
    this.#secondBeyond = beyond(width < this.#mgaw ? width : this.#mgaw);
    if ((mode & WALK_CACHED) !== 0) this.#beginCached(row);
    for (let tries = 0; tries < TRIES; tries += 1) {
      this.#pending.clear();
      this.#lowForHi = NOWHERE_HI;
      const reason = this.#stages(hi, lo);
      this.reason = reason === 0 ? this.#finish() : reason;
      if (this.reason !== AGAIN) {
        if (hasInterrupts(hi, lo, this.sizeLg2)) this.sizeLg2 = PAGE_LG2;
        return this.reason === 0;
      }
      // What a cached step says may be the cause; memory decides.
      this.#mode &= ~WALK_CACHED;
      this.passed.forget();
    }
    this.reason = Reason.FS_BIT_UPDATE;
    return false;
  }

  #beginCached(row: number): void {
    const { generations } = this.#memory.tables;
    const at = space.slotsOf(row);
    this.passed.begin(
      generations[this.#slots[at + SLOT_FIRST]!]!,
      generations[this.#slots[at + SLOT_SECOND]!]!,
    );
  }

  #stages(hi: number, lo: number): number {
    const kind = this.#spaces[this.#row + S_KIND]!;
    if (kind === PGTT_SECOND_STAGE) return this.#secondOnly(hi, lo);
    if (kind === PGTT_PASS_THROUGH) return this.#passThrough(hi, lo);
    const isNested = kind === PGTT_NESTED;
    if ((this.#access & DMA_PRIV) !== 0 && (this.#flags & PE_SRE) === 0) return Reason.SRE_CLEAR;
    if ((this.#access & DMA_EXEC) !== 0 && (this.#flags & PE_ERE) === 0) return Reason.ERE_CLEAR;
    const firstHi = this.#spaces[this.#row + S_FIRST_HI]!;
    if (!isNested && isProvided(firstHi)) return this.#provided(hi, lo);
    const reason = this.#first(hi, lo, isNested);
    if (reason !== 0) return reason;
    this.#permitFirst();
    const refused = this.#refusedByFirst();
    if (refused !== 0) return refused;
    if (isInterrupt(this.#fHi, this.#fLo)) return Reason.SM_INTERRUPT_RANGE;
    if (!isNested) {
      this.#result(this.#fHi, this.#fLo, this.#fLg2);
      this.isDirty = this.#fDirty;
      return 0;
    }
    return this.#secondOfNested();
  }

  #secondOnly(hi: number, lo: number): number {
    const isLegacy = (this.#flags & SPACE_LEGACY) !== 0;
    let reason = this.#second(hi, lo);
    if (reason === 0) {
      const refused = this.#access & (DMA_READ | DMA_WRITE) & ~this.#sPermitted;
      const isPartial = (this.#mode & WALK_PARTIAL) !== 0;
      if (isPartial ? this.#sPermitted === 0 : refused !== 0) reason = lacking(refused, this.#sPermitted);
      else if (isInterrupt(this.#sHi, this.#sLo)) reason = Reason.SM_INTERRUPT_RANGE;
    }
    if (reason !== 0) return isLegacy ? this.#legacyReason(reason) : reason;
    this.permitted = executableIfReadable(this.#sPermitted);
    this.permittedPriv = this.permitted;
    this.#dirtySecond();
    this.#result(this.#sHi, this.#sLo, this.#sLg2);
    this.isDirty = this.#sDirty;
    return 0;
  }

  #legacyReason(reason: number): number {
    if (reason === Reason.SS_PERMISSION || reason === Reason.SM_WRITE || reason === Reason.SM_READ) {
      const missing = this.#access & ~this.#sPermitted;
      return (missing & DMA_WRITE) === 0 ? Reason.READ : Reason.WRITE;
    }
    if (reason === Reason.SS_POINTER) return Reason.CONTEXT_INVALID;
    if (reason === Reason.SS_RESERVED) return Reason.PTE_RESERVED;
    if (reason === Reason.SS_BEYOND_WIDTH) return Reason.BEYOND_WIDTH;
    return reason === Reason.SM_INTERRUPT_RANGE ? Reason.INTERRUPT_RANGE : Reason.NEXT_TABLE;
  }

  /** Section 9.6: the address is the answer, if the platform has that many bits. */
  #passThrough(hi: number, lo: number): number {
    if ((hi & this.#can.beyondHaw) !== 0) {
      return (this.#flags & SPACE_LEGACY) !== 0 ? Reason.BEYOND_WIDTH : Reason.BEYOND_HARDWARE;
    }
    // Only with a PASID: without one it is an interrupt, and never comes here (section 3.15).
    if (isInterrupt(hi, lo)) return Reason.SM_INTERRUPT_RANGE;
    this.permitted = DMA_READ | DMA_WRITE | DMA_EXEC;
    this.permittedPriv = this.permitted;
    this.#result(hi, lo, 12);
    return 0;
  }

  /** The owner of an address space without a table answers in place of the first stage. */
  #provided(hi: number, lo: number): number {
    const { providers } = this.#memory;
    const words = this.#spaces;
    const provider = providers.at(words[this.#row + S_FIRST_HI]!, words[this.#row + S_FIRST_LO]!);
    if (!isCanonical(hi, words[this.#row + S_FIRST_WIDTH]!)) return Reason.NOT_CANONICAL;
    if (provider === null) return Reason.FS_ROOT_ACCESS;
    const page = this.#page;
    const asked = this.#access & (DMA_READ | DMA_WRITE | DMA_EXEC);
    const demanded = (this.#mode & WALK_PARTIAL) === 0 ? asked : asked & DMA_READ || asked;
    if (!provider.translate(hi, lo, demanded, page)) return Reason.FS_NOT_PRESENT;
    const missing = demanded & ~page.permitted;
    if ((missing & DMA_WRITE) !== 0) return Reason.SM_WRITE;
    if ((missing & DMA_READ) !== 0) return Reason.SM_READ;
    if ((missing & DMA_EXEC) !== 0) return Reason.EXECUTE;
    if ((page.hpaHi & this.#can.beyondHaw) !== 0) return Reason.FS_RESERVED;
    if (isInterrupt(page.hpaHi, page.hpaLo)) return Reason.SM_INTERRUPT_RANGE;
    const executable = (this.#flags & PE_ERE) === 0 ? 0 : DMA_EXEC;
    this.permitted = page.permitted & (DMA_READ | DMA_WRITE | executable);
    this.permittedPriv = (this.#flags & PE_SRE) === 0 ? 0 : this.permitted;
    // The owner is asked again before the first write, so that it can do what a dirty bit would.
    this.isDirty = (asked & DMA_WRITE) !== 0;
    this.#result(page.hpaHi, page.hpaLo, page.sizeLg2);
    return 0;
  }

  #secondOfNested(): number {
    const { permitted, permittedPriv } = this;
    const isPartial = (this.#mode & WALK_PARTIAL) !== 0;
    const reason = this.#second(this.#fHi, this.#fLo);
    if (reason !== 0) return reason;
    const refused = this.#access & (DMA_READ | DMA_WRITE) & ~this.#sPermitted;
    if (refused !== 0 && !isPartial) return lacking(refused, this.#sPermitted);
    if (isInterrupt(this.#sHi, this.#sLo)) return Reason.SM_INTERRUPT_RANGE;
    const second = executableIfReadable(this.#sPermitted);
    this.permitted = permitted & second;
    this.permittedPriv = permittedPriv & second;
    if (isPartial && (this.#asked() & (DMA_READ | DMA_WRITE)) === 0) return Reason.SS_PERMISSION;
    if ((this.#access & DMA_WRITE & ~this.#asked()) !== 0 && !this.#pending.isEmpty) {
      // The first stage may have noted bits for a write, which the second does not permit: once more, without it.
      this.#access &= ~DMA_WRITE;
      return AGAIN;
    }
    this.#dirtySecond();
    this.#result(this.#sHi, this.#sLo, Math.min(this.#fLg2, this.#sLg2));
    if (hasInterrupts(this.#fHi, this.#fLo, this.sizeLg2)) this.sizeLg2 = PAGE_LG2;
    this.isDirty = this.#fDirty && this.#sDirty;
    return 0;
  }

  /** What this requester may do. */
  #asked(): number {
    return (this.#access & DMA_PRIV) === 0 ? this.permitted : this.permittedPriv;
  }

  /** A block that the interrupt window lies in, at either end, is cut, so that the window is looked at page by page. */
  #result(hi: number, lo: number, sizeLg2: number): void {
    this.hpaHi = hi;
    this.hpaLo = lo;
    const size = entryLg2(sizeLg2);
    this.sizeLg2 = hasInterrupts(hi, lo, size) ? PAGE_LG2 : size;
  }

  /** Sections 3.6 and 3.8: levels of first-stage entries, the address of each table through the second stage when nested. */
  #first(hi: number, lo: number, isNested: boolean): number {
    const words = this.#spaces;
    const width = words[this.#row + S_FIRST_WIDTH]!;
    if (!isCanonical(hi, width)) return Reason.NOT_CANONICAL;
    const top = width - 9;
    let shift = this.#startFirst(hi, lo);
    if (shift < 0) {
      const reason = this.#enter(words[this.#row + S_FIRST_HI]!, words[this.#row + S_FIRST_LO]!, isNested);
      if (reason !== 0) return reason === Reason.FS_NESTED_READ ? Reason.FS_ROOT_NESTED_READ : reason;
      this.#path = FS_RW | FS_US | this.#tWritable;
      shift = top;
    }
    const memory = this.#memory;
    const { near } = memory;
    let entryHi = 0;
    let entry = 0;
    const reservedHi =
      (this.#can.beyondHaw & FS_ADDRESS_HI) | (this.#can.execute && (this.#flags & PE_NXE) === 0 ? FS_XD : 0);
    for (;;) {
      const at = this.#tLo | entryAt(hi, lo, shift);
      const tableHi = this.#tHi;
      const frame = (tableHi << 20) | (at >>> 12);
      if (tableHi >>> 0 >= TABLE_SPACE_HI || (frame - near.first) >>> 0 >= near.frames) {
        if (!memory.load64(tableHi, at)) return shift === top ? Reason.FS_ROOT_ACCESS : Reason.FS_ACCESS;
        entryHi = memory.loadedHi;
        entry = memory.loadedLo;
      } else {
        const word = (at & CHUNK_MASK) >>> 2;
        entry = near.words[word]!;
        entryHi = near.words[word + 1]!;
      }
      if ((entry & PRESENT) === 0) return Reason.FS_NOT_PRESENT;
      if ((entryHi & reservedHi) !== 0) return Reason.FS_RESERVED;
      const isLarge = shift !== 12 && (entry & PS) !== 0;
      if (isLarge && this.#isReservedLarge(entry, shift)) return Reason.FS_RESERVED;
      const isLeaf = shift === 12 || isLarge;
      this.#path &= entry | ~(FS_RW | FS_US);
      if (entryHi < 0) this.#path |= PATH_XD;
      const wanted = this.#wantedFirst(isLeaf) & ~entry;
      if (wanted !== 0) {
        const reason = this.#pendFirst(at, entry, wanted);
        if (reason !== 0) return reason;
      }
      if (isLeaf) {
        this.#fDirty = ((entry | wanted) & FS_D) !== 0;
        const low = -1 << shift;
        this.#fHi = entryHi & FS_ADDRESS_HI;
        this.#fLo = (entry & low) | (lo & ~low);
        this.#fLg2 = shift;
        return 0;
      }
      const reason = this.#enter(entryHi & FS_ADDRESS_HI, entry & ADDRESS_LO, isNested);
      if (reason !== 0) return reason;
      this.#path = (this.#path & ~PATH_WRITABLE) | this.#tWritable;
      shift -= 9;
      if (shift <= 21) this.#rememberFirst(hi, lo, shift + 9);
    }
  }

  /** Puts the walk behind the lowest first-stage entry that is cached; the shift of that table, or -1. */
  #startFirst(hi: number, lo: number): number {
    if ((this.#mode & WALK_CACHED) === 0) return -1;
    const cache = this.#cache;
    const pasid = this.#spaces[this.#row + S_KEY]!;
    for (let shift = 21; shift <= 30; shift += 9) {
      const step = cache.find(STEP_FIRST, this.#did, pasid, hi, lo, shift);
      if (step < 0) continue;
      this.passed.addFirst(step);
      this.#tHi = cache.words[step + R_HI]!;
      this.#tLo = cache.words[step + R_LO]!;
      this.#path = cache.words[step + R_PERMITTED]!;
      this.#leafIsKnown = false;
      return shift - 9;
    }
    return -1;
  }

  /** Only what needs no bit set is cached, so that nobody passes an entry whose accessed bit is still to come. */
  #rememberFirst(hi: number, lo: number, shift: number): void {
    if ((this.#mode & WALK_CACHED) === 0 || !this.#pending.isEmpty) return;
    const cache = this.#cache;
    const step = cache.insert(STEP_FIRST, this.#did, this.#spaces[this.#row + S_KEY]!, hi, lo, shift);
    cache.words[step + R_HI] = this.#tHi;
    cache.words[step + R_LO] = this.#tLo;
    cache.words[step + R_PERMITTED] = this.#path;
    this.passed.noteFirst(step);
  }

  /** Finds the first-stage table at (hi, lo), through the second stage when nested. */
  #enter(hi: number, lo: number, isNested: boolean): number {
    if (!isNested) {
      this.#tHi = hi;
      this.#tLo = lo;
      this.#tWritable = PATH_WRITABLE;
      return 0;
    }
    if ((hi & this.#secondBeyond) !== 0) return Reason.FS_BEYOND_MGAW;
    const reason = this.#locate(hi, lo);
    if (reason === Reason.SS_PERMISSION) return Reason.FS_NESTED_READ;
    if (reason !== 0) return reason;
    if ((this.#sPermitted & DMA_READ) === 0) return Reason.FS_NESTED_READ;
    // Section 3.8.1. UNSPECIFIED: by which code. Chosen: that of a bit that could not be set.
    const mayBeWritten = (this.#sPermitted & DMA_WRITE) !== 0;
    if ((this.#flags & SPACE_SSADE) !== 0 && !mayBeWritten) return Reason.FS_NESTED_WRITE;
    this.#tHi = this.#sHi;
    this.#tLo = this.#sLo;
    this.#tWritable = mayBeWritten && this.#sDirty ? PATH_WRITABLE : 0;
    return 0;
  }

  /** The second stage of a first-stage table's address, from the nested TLB if it is there. */
  #locate(hi: number, lo: number): number {
    const cache = this.#cache;
    const isCached = (this.#mode & WALK_CACHED) !== 0;
    if (isCached) {
      const page = cache.find(PAGE_SECOND, this.#did, 0, hi, lo, 12);
      if (page >= 0) {
        this.passed.addSecond(page);
        this.#sHi = cache.words[page + R_HI]!;
        this.#sLo = cache.words[page + R_LO]!;
        this.#sPermitted = cache.words[page + R_PERMITTED]! & SS_READ_WRITE;
        this.#sDirty = (cache.words[page + R_PERMITTED]! & PAGE_DIRTY) !== 0;
        this.#leafIsKnown = false;
        return 0;
      }
    }
    const reason = this.#second(hi, lo);
    if (reason !== 0) return reason;
    if (isCached && this.#pending.isEmpty) {
      const page = cache.insert(PAGE_SECOND, this.#did, 0, hi, lo, 12);
      cache.words[page + R_HI] = this.#sHi;
      cache.words[page + R_LO] = this.#sLo;
      cache.words[page + R_PERMITTED] = this.#sPermitted | (this.#sDirty ? PAGE_DIRTY : 0);
      this.passed.noteSecond(page);
    }
    return 0;
  }

  /** Bits that have to be set in a first-stage entry that this walk uses. */
  #wantedFirst(isLeaf: boolean): number {
    const accessed = (this.#flags & PE_EAFE) === 0 ? FS_A : FS_A | FS_EA;
    if (!isLeaf || (this.#access & DMA_WRITE) === 0) return accessed;
    return this.#mayWriteFirst() ? accessed | FS_D : accessed;
  }

  /** Notes bits of a first-stage entry; its page has to be writable in the second stage, and becomes dirty there. */
  #pendFirst(at: number, entry: number, wanted: number): number {
    if ((this.#mode & WALK_UPDATES) === 0) return 0;
    if ((this.#path & PATH_WRITABLE) === 0) {
      // Cached: where the leaf is that has to become dirty is not known any more.
      if (!this.#leafIsKnown) return AGAIN;
      if ((this.#sPermitted & DMA_WRITE) === 0) return Reason.FS_NESTED_WRITE;
      this.#pending.add(this.#leafHi, this.#leafLo, this.#leafWord, SS_D);
    }
    this.#pending.add(this.#tHi, at, entry, wanted);
    this.#pending.hasFirst = true;
    return 0;
  }

  #isReservedLarge(entry: number, shift: number): boolean {
    if (shift > 30) return true;
    if (shift === 30 && !this.#can.has1GibFirst) return true;
    return (entry & ~(-1 << shift) & LARGE_RESERVED_LO) !== 0;
  }

  #mayWriteFirst(): boolean {
    if ((this.#path & FS_RW) !== 0) return (this.#access & DMA_PRIV) !== 0 || (this.#path & FS_US) !== 0;
    return (this.#access & DMA_PRIV) !== 0 && (this.#flags & PE_WPE) === 0;
  }

  /** What the path through the first stage permits, for user and privileged requests. */
  #permitFirst(): void {
    const path = this.#path;
    const isUser = (path & FS_US) !== 0;
    const executes = (this.#flags & PE_ERE) !== 0 && (path & PATH_XD) === 0 ? DMA_EXEC : 0;
    const writes = (path & FS_RW) !== 0 ? DMA_WRITE : 0;
    this.permitted = isUser ? DMA_READ | writes | executes : 0;
    if ((this.#flags & PE_SRE) === 0) {
      this.permittedPriv = 0;
      return;
    }
    const privWrites = (this.#flags & PE_WPE) === 0 ? DMA_WRITE : writes;
    const privExecutes = isUser && (this.#flags & PE_SMEP) !== 0 ? 0 : executes;
    this.permittedPriv = DMA_READ | privWrites | privExecutes;
  }

  /** Why the first stage refuses this request; 0 when it does not. A partial walk wants anything at all. */
  #refusedByFirst(): number {
    const missing = this.#access & ~this.#asked();
    if ((this.#mode & WALK_PARTIAL) !== 0) return this.#asked() === 0 ? Reason.USER : 0;
    if ((missing & (DMA_READ | DMA_WRITE | DMA_EXEC)) === 0) return 0;
    if ((this.#access & DMA_PRIV) === 0 && (this.#path & FS_US) === 0) return Reason.USER;
    return (missing & DMA_WRITE) !== 0 ? Reason.SM_WRITE : Reason.EXECUTE;
  }

  /** Section 3.7: levels of second-stage entries. */
  #second(hi: number, lo: number): number {
    if ((hi & this.#secondBeyond) !== 0) return Reason.SS_BEYOND_WIDTH;
    const memory = this.#memory;
    const { near } = memory;
    let { words, first, frames } = near;
    let entryHi = 0;
    let entry = 0;
    const reservedHi = this.#secondReservedHi;
    const reservedLo = this.#secondReservedLo;
    const accessed = (this.#flags & SPACE_SSADE) !== 0 && (this.#mode & WALK_UPDATES) !== 0 ? SS_A : 0;
    const top = this.#secondTop;
    let tableHi = this.#secondHi;
    let tableLo = this.#secondLo;
    if (isProvided(tableHi)) return this.#providedSecond(hi, lo, tableHi, tableLo);
    let shift = top;
    let permitted = SS_READ_WRITE;
    const start = this.#startSecond(hi, lo);
    if (start >= 0) {
      shift = start;
      tableHi = this.#lowHi;
      tableLo = this.#lowLo;
      permitted = this.#lowPermitted;
    }
    this.#sPermitted = 0;
    for (;;) {
      const at = tableLo | entryAt(hi, lo, shift);
      const frame = (tableHi << 20) | (at >>> 12);
      if (tableHi >>> 0 >= TABLE_SPACE_HI || (frame - first) >>> 0 >= frames) {
        if (!memory.load64(tableHi, at)) return shift === top ? Reason.SS_POINTER : Reason.SS_ACCESS;
        entryHi = memory.loadedHi;
        entry = memory.loadedLo;
        ({ words, first, frames } = near);
      } else {
        const word = (at & CHUNK_MASK) >>> 2;
        entry = words[word]!;
        entryHi = words[word + 1]!;
      }
      if ((entry & SS_READ_WRITE) === 0) return Reason.SS_PERMISSION;
      const isLarge = shift !== 12 && (entry & PS) !== 0;
      const isLeaf = isLarge || shift === 12;
      if ((entryHi & reservedHi) !== 0 || (entry & (isLeaf ? reservedLo : SS_SNP)) !== 0)
        return Reason.SS_RESERVED;
      if (isLarge && this.#isReservedSecond(entry, shift)) return Reason.SS_RESERVED;
      permitted &= entry;
      if ((accessed & ~entry) !== 0) this.#pending.add(tableHi, at, entry, SS_A);
      if (isLeaf) {
        const low = -1 << shift;
        this.#sHi = entryHi & SS_ADDRESS_HI;
        this.#sLo = (entry & low) | (lo & ~low);
        this.#sLg2 = shift;
        this.#sPermitted = permitted;
        this.#sDirty = (this.#flags & SPACE_SSADE) === 0 || (entry & SS_D) !== 0;
        this.#leafHi = tableHi;
        this.#leafLo = at;
        this.#leafWord = entry;
        this.#leafIsKnown = true;
        return 0;
      }
      tableHi = entryHi & SS_ADDRESS_HI;
      tableLo = entry & ADDRESS_LO;
      shift -= 9;
      if (shift === 12) this.#noteLow(hi, lo, tableHi, tableLo, permitted);
      if (shift <= 21) this.#rememberSecond(hi, lo, shift + 9, tableHi, tableLo, permitted);
    }
  }

  /** The owner of an address space without a table answers in place of the second stage. */
  #providedSecond(hi: number, lo: number, rootHi: number, rootLo: number): number {
    const provider = this.#memory.providers.at(rootHi, rootLo);
    if (provider === null) return Reason.SS_POINTER;
    const page = this.#page;
    // What may be written is asked for first: a table's page may have bits to be set in.
    const isThere =
      provider.translate(hi, lo, DMA_READ | DMA_WRITE, page) || provider.translate(hi, lo, DMA_READ, page);
    if (!isThere) return Reason.SS_PERMISSION;
    if ((page.hpaHi & this.#can.beyondHaw) !== 0) return Reason.SS_RESERVED;
    this.#sHi = page.hpaHi;
    this.#sLo = page.hpaLo;
    this.#sLg2 = page.sizeLg2;
    this.#sPermitted = page.permitted & SS_READ_WRITE;
    // It has no leaf that would have to become dirty.
    this.#sDirty = true;
    this.#leafIsKnown = true;
    return 0;
  }

  /** Shift of the lowest second-stage table that is known, which {@link #lowHi} and what is beside it say; or -1. */
  #startSecond(hi: number, lo: number): number {
    if (hi === this.#lowForHi && (lo ^ this.#lowForLo) >>> 21 === 0) return 12;
    if ((this.#mode & WALK_CACHED) === 0) return -1;
    const cache = this.#cache;
    for (let shift = 21; shift <= 30; shift += 9) {
      const step = cache.find(STEP_SECOND, this.#did, 0, hi, lo, shift);
      if (step < 0) continue;
      this.passed.addSecond(step);
      const { words } = cache;
      this.#noteLow(
        shift === 21 ? hi : NOWHERE_HI,
        lo,
        words[step + R_HI]!,
        words[step + R_LO]!,
        words[step + R_PERMITTED]!,
      );
      return shift - 9;
    }
    return -1;
  }

  #noteLow(forHi: number, forLo: number, hi: number, lo: number, permitted: number): void {
    this.#lowForHi = forHi;
    this.#lowForLo = forLo;
    this.#lowHi = hi;
    this.#lowLo = lo;
    this.#lowPermitted = permitted;
  }

  #rememberSecond(
    hi: number,
    lo: number,
    shift: number,
    tableHi: number,
    tableLo: number,
    permitted: number,
  ): void {
    if ((this.#mode & WALK_CACHED) === 0 || !this.#pending.isEmpty) return;
    const cache = this.#cache;
    const step = cache.insert(STEP_SECOND, this.#did, 0, hi, lo, shift);
    cache.words[step + R_HI] = tableHi;
    cache.words[step + R_LO] = tableLo;
    cache.words[step + R_PERMITTED] = permitted;
    this.passed.noteSecond(step);
  }

  #isReservedSecond(entry: number, shift: number): boolean {
    if (shift > 30 || ((this.#can.sslps >>> (shift === 30 ? 1 : 0)) & 1) === 0) return true;
    return (entry & ~(-1 << shift) & ADDRESS_LO) !== 0;
  }

  /** A write makes the second-stage leaf dirty; who sets no bits asks for none. */
  #dirtySecond(): void {
    if (this.#sDirty || (this.#access & DMA_WRITE) === 0 || (this.#asked() & DMA_WRITE) === 0) return;
    this.#pending.add(this.#leafHi, this.#leafLo, this.#leafWord, SS_D);
    this.#sDirty = true;
  }

  /** Sets what is to be set; a reason, {@link AGAIN} when an entry has changed, or 0. */
  #finish(): number {
    const pending = this.#pending;
    if (pending.isEmpty) return 0;
    if ((this.#flags & SPACE_SNOOPS) === 0) {
      return pending.hasFirst ? Reason.FS_AD_NO_SNOOP : Reason.SS_AD_NO_SNOOP;
    }
    return pending.apply(this.#memory) ? 0 : AGAIN;
  }
}

/** A root pointer with this high word leads to an address space without a table. */
function isProvided(rootHi: number): boolean {
  return rootHi >= PROVIDER_HI && rootHi < PROVIDER_HI_LIMIT;
}

/** Bits 63 to `width - 1` are equal. */
function isCanonical(hi: number, width: number): boolean {
  const sign = hi >> (width - 33);
  return sign === 0 || sign === -1;
}

function isInterrupt(hi: number, lo: number): boolean {
  return hi === 0 && (lo & INTERRUPT_MASK) === INTERRUPT_LO;
}

/** Whether the aligned block of `1 << sizeLg2` bytes around an address is more than a page and has interrupts in it. */
function hasInterrupts(hi: number, lo: number, sizeLg2: number): boolean {
  return sizeLg2 > PAGE_LG2 && hi === 0 && ((lo ^ INTERRUPT_LO) & INTERRUPT_MASK) >>> sizeLg2 === 0;
}

/** Why a second stage that permits `permitted` refuses what is `missing` (conditions SSS.2, SGN.6, SGN.7). */
function lacking(missing: number, permitted: number): number {
  if (permitted === 0) return Reason.SS_PERMISSION;
  return (missing & DMA_WRITE) !== 0 ? Reason.SM_WRITE : Reason.SM_READ;
}

/** Second-stage entries say nothing of execution; what may be read may be executed. */
function executableIfReadable(permitted: number): number {
  return (permitted & DMA_READ) === 0 ? permitted : permitted | DMA_EXEC;
}

/** Offset in its table of the entry for an address, whose level begins at bit `shift`. */
function entryAt(hi: number, lo: number, shift: number): number {
  const index = shift >= 32 ? (hi >>> (shift - 32)) | 0 : (lo >>> shift) | (hi << (32 - shift));
  return (index & 511) << 3;
}
