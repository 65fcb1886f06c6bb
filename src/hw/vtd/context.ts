/**
 * From a requester id and a PASID to an address space (chapters 3.4 and 9): root entry, context entry, PASID directory,
 * PASID entry, each with its reserved bits, none of them believed. Context entries are cached by requester id, PASID
 * entries in {@link Spaces}; a small table in front knows what the last requests meant. Entries that are not present or
 * not valid are never cached (CAP_REG.CM = 0).
 */
import { carry } from '../../base/words.js';
import * as dma from '../../bus/dma.js';
import type { EntryMemory } from '../../mem/physical.js';
import type { Abilities } from './capabilities.js';
import { Reason } from './reasons.js';
import * as registers from './registers.js';
import * as space from './spaces.js';
import * as bits from './structures.js';

// An imported constant is a load wherever it is used, a local one is not (seen: 0.5 ns each).
const { NO_PASID } = dma;
const { TTM_LEGACY, TTM_SCALABLE } = registers;
const {
  LEGACY_KEY,
  SCRATCH_ROW,
  SCRATCH_SEEN,
  SCRATCH_SLOTS,
  SLOT_CONTEXT,
  SLOT_FIRST,
  SLOT_PASID,
  SLOT_SECOND,
  SPACE_FPD,
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
  S_SOURCE,
  S_STAMP,
} = space;
const {
  CONTEXT_ENTRY,
  CTX_AW_MASK,
  CTX_DID_SHIFT,
  CTX_TT_DEV_IOTLB,
  CTX_TT_PASS_THROUGH,
  CTX_TT_SHIFT,
  FPD,
  PASID_DIR_ENTRY,
  PASID_ENTRY,
  PASID_TABLE_LG2,
  PE_AW_MASK,
  PE_AW_SHIFT,
  PE_CD,
  PE_DID_MASK,
  PE_EAFE,
  PE_EMTE,
  PE_ERE,
  PE_FSPM_MASK,
  PE_FSPM_SHIFT,
  PE_PGSNP,
  PE_PGTT_MASK,
  PE_PGTT_SHIFT,
  PE_PWSNP,
  PE_SRE,
  PE_SSADE,
  PE_WPE,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  PRESENT,
  ROOT_ENTRY,
  SM_CONTEXT_ENTRY,
  SM_CTX_DTE,
  SM_CTX_PASIDE,
  SM_CTX_PDTS_MASK,
  SM_CTX_PDTS_SHIFT,
  SM_CTX_PRE,
  SM_CTX_RID_PASID_MASK,
  SM_CTX_RID_PRIV,
} = bits;

/** Words of a remembered context entry. */
const C_SOURCE = 0;
const C_GENERATION = 1;
const C_LO = 2;
const C_HI = 3;
const C_SECOND_LO = 4;
const C_SLOT = 5;
/** Generation of its table when it was read. */
const C_SEEN = 6;
const CONTEXT_LG2 = 3;
const CONTEXTS_LG2 = 10;

/** Words of the front table. */
const F_SOURCE = 0;
const F_PASID = 1;
const F_EPOCH = 2;
const F_ROW = 3;
const F_STAMP = 4;
const F_CONTEXT = 5;
const FRONT_LG2 = 3;
const FRONTS_LG2 = 12;

const LEGACY_CONTEXT_RESERVED_LO = 0xff0;
const LEGACY_CONTEXT_RESERVED_SECOND_LO = 0xff00_0080 | 0;
const SM_CONTEXT_RESERVED_LO = 0x1e0;
const SM_CONTEXT_RESERVED_SECOND_LO = -1 << 21;
const ROOT_RESERVED_LO = 0xffe;
const PASID_DIR_RESERVED_LO = 0xffc;
const PASID_RESERVED_LO = 0xc20;
/** Word 2. */
const PASID_RESERVED_TAGS = 0xf87f_0000 | 0;
/** Word 4. */
const PASID_RESERVED_FIRST_LO = 0xf00;
const ADDRESS_LO = -1 << 12;
const SM_CONTEXT_WORDS = SM_CONTEXT_ENTRY / 4;
const PASID_WORDS = PASID_ENTRY / 4;

export class Contexts {
  readonly spaces = new space.Spaces();
  /** Of the last lookup that failed: why, and whether FPD was set on the way. */
  reason = 0;
  isSilenced = false;
  /** Of the last lookup that succeeded: word 0 of its context entry, and in scalable mode word 2 (else 0). */
  contextLo = 0;
  contextSecondLo = 0;

  readonly #memory: EntryMemory;
  readonly #can: Abilities;
  readonly #beyondHaw: number = 0;
  /** Bits that an entry must not have on this unit. */
  readonly #contextReservedLo: number = 0;
  readonly #contextReservedSecondLo: number = 0;
  readonly #legacyReservedSecondLo: number = 0;
  readonly #pasidReserved: PasidReserved;
  #rootHi = 0;
  #rootLo = 0;
  #ttm = TTM_LEGACY;
  /** Whether caches may be looked at, and filled; said anew by whoever begins a lookup. */
  #usesCaches = true;
  readonly #contexts = new Int32Array(1 << (CONTEXTS_LG2 + CONTEXT_LG2));
  readonly #front = new Int32Array(1 << (FRONTS_LG2 + FRONT_LG2)).fill(-1);
  /** Contexts of another generation are void, and so are front rows of another epoch. */
  #generation = 1;
  #epoch = 1;
  #contextHi = 0;
  #contextSlot = 0;
  #contextSeen = 0;

  constructor(memory: EntryMemory, can: Abilities) {
    this.#memory = memory;
    this.#can = can;
    this.#beyondHaw = can.beyondHaw;
    this.#contextReservedLo =
      SM_CONTEXT_RESERVED_LO |
      (can.deviceTlb ? 0 : SM_CTX_DTE) |
      (can.pasid ? 0 : SM_CTX_PASIDE) |
      (can.pageRequests ? 0 : SM_CTX_PRE);
    this.#contextReservedSecondLo =
      SM_CONTEXT_RESERVED_SECOND_LO |
      (can.ridPasid ? 0 : SM_CTX_RID_PASID_MASK) |
      (can.ridPriv ? 0 : SM_CTX_RID_PRIV);
    this.#legacyReservedSecondLo = LEGACY_CONTEXT_RESERVED_SECOND_LO | (domainBeyond(can) << CTX_DID_SHIFT);
    this.#pasidReserved = pasidReserved(can);
  }

  get isLegacy(): boolean {
    return this.#ttm === TTM_LEGACY;
  }

  /** RTADDR_REG.TTM, as SRTP has found it. */
  get ttm(): number {
    return this.#ttm;
  }

  /** Takes over RTADDR_REG (SRTP). What is cached stays. */
  setRoot(hi: number, lo: number, ttm: number): void {
    this.#rootHi = hi;
    this.#rootLo = lo;
    this.#ttm = ttm;
  }

  /** Offset in `spaces.words` of what the request translates by; -1: {@link reason}. */
  find(source: number, pasid: number): number {
    const front = this.#front;
    const at =
      ((source ^ (source >>> 6) ^ Math.imul(pasid, 0x9e3779b1)) & ((1 << FRONTS_LG2) - 1)) << FRONT_LG2;
    if (front[at] === source && front[at + F_PASID] === pasid && front[at + F_EPOCH] === this.#epoch) {
      const row = front[at + F_ROW]!;
      if (this.spaces.words[row + S_STAMP] === front[at + F_STAMP]) {
        this.contextLo = front[at + F_CONTEXT]!;
        this.contextSecondLo = front[at + F_CONTEXT + 1]!;
        return row;
      }
    }
    this.#usesCaches = true;
    const row = this.#resolve(source, pasid);
    if (row >= 0) {
      front[at + F_SOURCE] = source;
      front[at + F_PASID] = pasid;
      front[at + F_EPOCH] = this.#epoch;
      front[at + F_ROW] = row;
      front[at + F_STAMP] = this.spaces.words[row + S_STAMP]!;
      front[at + F_CONTEXT] = this.contextLo;
      front[at + F_CONTEXT + 1] = this.contextSecondLo;
    }
    return row;
  }

  /** The same from memory alone, into the scratch row, which the next lookup overwrites. */
  findFresh(source: number, pasid: number): number {
    this.#usesCaches = false;
    return this.#resolve(source, pasid);
  }

  /** Whether a requester has a context entry, which then is that of the last lookup; false: {@link reason}. */
  findContext(source: number): boolean {
    this.isSilenced = false;
    this.#usesCaches = true;
    return this.#ttm === TTM_LEGACY ? this.#resolveLegacy(source, NO_PASID) >= 0 : this.#loadContext(source);
  }

  /** What a page request is for, if it may be queued (section 7.4.1), as {@link find} says it; -1: {@link reason}. */
  findForPageRequest(source: number, pasid: number): number {
    this.isSilenced = false;
    this.#usesCaches = true;
    if (this.#ttm === TTM_LEGACY) return this.#refuse(Reason.LEGACY_PAGE_REQUEST);
    if (!this.#loadContext(source)) return -1;
    if ((this.contextLo & SM_CTX_PRE) === 0) return this.#refuse(Reason.PRE_CLEAR);
    return this.#findPasid(source, pasid);
  }

  /** Context-cache invalidation, global. */
  flushAll(): void {
    this.#bump();
    this.spaces.flushAll(true);
  }

  /** By domain: legacy context entries name one; scalable ones do not, so all of them go. */
  flushDomain(did: number): void {
    if (this.#ttm !== TTM_LEGACY) {
      this.#bump();
      return;
    }
    const contexts = this.#contexts;
    for (let at = 0; at < contexts.length; at += 1 << CONTEXT_LG2) {
      const itsDid = (contexts[at + C_SECOND_LO]! >>> CTX_DID_SHIFT) & PE_DID_MASK;
      if (itsDid === did) contexts[at + C_GENERATION] = 0;
    }
    this.#epoch = next(this.#epoch);
    this.spaces.flushDomain(did, true);
  }

  /** By device: `mask` low bits of the function number do not count. */
  flushDevice(source: number, mask: number): void {
    const first = source & ~mask;
    for (let function_ = 0; function_ <= mask; function_ += 1) {
      if ((function_ & mask) !== function_) continue;
      const at = contextOf(first | function_);
      if (this.#contexts[at + C_SOURCE] === (first | function_)) this.#contexts[at + C_GENERATION] = 0;
      this.spaces.flushLegacy(first | function_);
    }
    this.#epoch = next(this.#epoch);
  }

  #bump(): void {
    this.#generation = next(this.#generation);
    this.#epoch = next(this.#epoch);
  }

  #fails(reason: number): false {
    this.reason = reason;
    return false;
  }

  #refuse(reason: number): -1 {
    this.reason = reason;
    return -1;
  }

  #resolve(source: number, pasid: number): number {
    this.isSilenced = false;
    if (this.#ttm === TTM_LEGACY) return this.#resolveLegacy(source, pasid);
    if (!this.#loadContext(source)) return -1;
    return this.#findPasid(source, pasid);
  }

  /** The same behind the context entry, which is loaded. */
  #findPasid(source: number, pasid: number): number {
    const key = this.#pasidOf(pasid);
    if (key < 0) return key;
    if (this.#usesCaches) {
      const row = this.spaces.find(source, key);
      if (row >= 0) return row;
    }
    return this.#loadPasid(source, key);
  }

  /** The PASID that a request translates by; -1: {@link reason}. */
  #pasidOf(pasid: number): number {
    const ridPasid = this.contextSecondLo & SM_CTX_RID_PASID_MASK;
    if (pasid === NO_PASID) return ridPasid;
    if ((this.contextLo & SM_CTX_PASIDE) === 0) return this.#refuse(Reason.PASIDE_CLEAR);
    if (pasid >= pasidsOf(this.contextLo)) return this.#refuse(Reason.PASID_TOO_LARGE);
    if (pasid >= this.#can.pasidLimit) return this.#refuse(Reason.PASID_BEYOND_PSS);
    return pasid === ridPasid ? this.#refuse(Reason.PASID_IS_RID) : pasid;
  }

  /** Sections 9.2 and 9.4: finds the scalable context entry of a device, in the cache or in memory. */
  #loadContext(source: number): boolean {
    if (this.#usesCaches && this.#recallContext(source)) return true;
    if (this.#ttm !== TTM_SCALABLE || (this.#rootHi & this.#beyondHaw) !== 0) {
      return this.#fails(Reason.RTADDR_INVALID);
    }
    const memory = this.#memory;
    const rootAt = this.#rootLo + ((source >>> 8) & 0xff) * ROOT_ENTRY + ((source >>> 4) & 8);
    if (!memory.load64(this.#rootHi, rootAt)) return this.#fails(Reason.SM_ROOT_ACCESS);
    if ((memory.loadedLo & PRESENT) === 0) return this.#fails(Reason.SM_ROOT_NOT_PRESENT);
    if ((memory.loadedLo & ROOT_RESERVED_LO) !== 0 || (memory.loadedHi & this.#beyondHaw) !== 0) {
      return this.#fails(Reason.SM_ROOT_RESERVED);
    }
    const hi = memory.loadedHi;
    const at = (memory.loadedLo & ADDRESS_LO) + (source & 0x7f) * SM_CONTEXT_ENTRY;
    const words = memory.block(hi, at, SM_CONTEXT_WORDS);
    if (words === null) return this.#fails(Reason.SM_CONTEXT_ACCESS);
    // A multiple of the size of the entry: `|` is `+`.
    const word = memory.blockAt;
    this.contextLo = words[word]!;
    this.#contextHi = words[word | 1]!;
    this.contextSecondLo = words[word | 2]!;
    this.isSilenced = (this.contextLo & FPD) !== 0;
    if ((this.contextLo & PRESENT) === 0) return this.#fails(Reason.SM_CONTEXT_NOT_PRESENT);
    if (!this.#checkContext(words, word)) return false;
    if (this.#usesCaches) {
      this.#noteContextTable(hi, at);
      this.#rememberContext(source);
    }
    return true;
  }

  /** The bits of a scalable context entry that must not be set. */
  #checkContext(words: Int32Array, word: number): boolean {
    const reserved =
      (this.contextLo & this.#contextReservedLo) |
      (this.#contextHi & this.#beyondHaw) |
      (this.contextSecondLo & this.#contextReservedSecondLo) |
      (words[word | 3]! | words[word | 4]! | words[word | 5]! | words[word | 6]! | words[word | 7]!);
    if (reserved !== 0) return this.#fails(Reason.SM_CONTEXT_RESERVED);
    // Page requests of a device that may not ask for translations; a RID_PASID that the directory has not.
    const ats = SM_CTX_DTE | SM_CTX_PRE;
    const isInvalid =
      (this.contextLo & ats) === SM_CTX_PRE ||
      (this.contextSecondLo & SM_CTX_RID_PASID_MASK) >= pasidsOf(this.contextLo);
    return isInvalid ? this.#fails(Reason.SM_CONTEXT_INVALID) : true;
  }

  #recallContext(source: number): boolean {
    const contexts = this.#contexts;
    const at = contextOf(source);
    if (contexts[at] !== source || contexts[at + C_GENERATION] !== this.#generation) return false;
    this.contextLo = contexts[at + C_LO]!;
    this.#contextHi = contexts[at + C_HI]!;
    this.contextSecondLo = contexts[at + C_SECOND_LO]!;
    this.#contextSlot = contexts[at + C_SLOT]!;
    this.#contextSeen = contexts[at + C_SEEN]!;
    this.isSilenced = (this.contextLo & FPD) !== 0;
    return true;
  }

  #rememberContext(source: number): void {
    const contexts = this.#contexts;
    const at = contextOf(source);
    contexts[at] = source;
    contexts[at + C_GENERATION] = this.#generation;
    contexts[at + C_LO] = this.contextLo;
    contexts[at + C_HI] = this.#contextHi;
    contexts[at + C_SECOND_LO] = this.contextSecondLo;
    contexts[at + C_SLOT] = this.#contextSlot;
    contexts[at + C_SEEN] = this.#contextSeen;
  }

  #noteContextTable(hi: number, at: number): void {
    const { tables } = this.#memory;
    this.#contextSlot = tables.slotAt(hi, at);
    this.#contextSeen = tables.generations[this.#contextSlot]!;
  }

  /** Caches the scratch row, with where it came from; `pasidSlot`: that of the PASID table. */
  #keepScratch(pasidSlot: number): number {
    const { tables } = this.#memory;
    const { words, slots, seen } = this.spaces;
    const isNested = words[SCRATCH_ROW + S_KIND] === PGTT_NESTED;
    slots[SCRATCH_SLOTS + SLOT_CONTEXT] = this.#contextSlot;
    slots[SCRATCH_SLOTS + SLOT_PASID] = pasidSlot;
    slots[SCRATCH_SLOTS + SLOT_FIRST] = isNested
      ? 0
      : tables.slotAt(words[SCRATCH_ROW + S_FIRST_HI]!, words[SCRATCH_ROW + S_FIRST_LO]!);
    slots[SCRATCH_SLOTS + SLOT_SECOND] = tables.slotAt(
      words[SCRATCH_ROW + S_SECOND_HI]!,
      words[SCRATCH_ROW + S_SECOND_LO]!,
    );
    seen[SCRATCH_SEEN] = (this.#contextSeen + tables.generations[pasidSlot]!) | 0;
    return this.spaces.keepScratch();
  }

  /** Whether the context entry that is cached for a device is not what its table says now. */
  isContextStale(source: number): boolean {
    if (!this.#recallContext(source)) return false;
    const { contextLo, contextSecondLo } = this;
    const contextHi = this.#contextHi;
    this.#usesCaches = false;
    const isThere = this.#loadContext(source);
    const differs =
      this.contextLo !== contextLo ||
      this.contextSecondLo !== contextSecondLo ||
      this.#contextHi !== contextHi;
    return !isThere || differs;
  }

  /** Sections 9.5 and 9.6: reads directory and PASID entry of the context that is loaded. */
  #loadPasid(source: number, pasid: number): number {
    const memory = this.#memory;
    const base = this.contextLo & ADDRESS_LO;
    const offset = (pasid >>> PASID_TABLE_LG2) * PASID_DIR_ENTRY;
    // A directory has up to 32 pages and is aligned to one only.
    const directoryHi = this.#contextHi + carry(base, offset);
    if (!memory.load64(directoryHi, (base + offset) | 0)) return this.#refuse(Reason.PASID_DIR_ACCESS);
    const directory = memory.loadedLo;
    this.isSilenced ||= (directory & FPD) !== 0;
    if ((directory & PRESENT) === 0) return this.#refuse(Reason.PASID_DIR_NOT_PRESENT);
    const hi = memory.loadedHi;
    if ((directory & PASID_DIR_RESERVED_LO) !== 0 || (hi & this.#beyondHaw) !== 0) {
      return this.#refuse(Reason.PASID_DIR_RESERVED);
    }
    const at = (directory & ADDRESS_LO) + (pasid & ((1 << PASID_TABLE_LG2) - 1)) * PASID_ENTRY;
    const reason = this.#decodePasid(hi, at);
    if (reason !== 0) return this.#refuse(reason);
    const { words } = this.spaces;
    words[SCRATCH_ROW + S_SOURCE] = source;
    words[SCRATCH_ROW + S_KEY] = pasid;
    if (!this.#usesCaches) return SCRATCH_ROW;
    return this.#keepScratch(memory.tables.slotAt(hi, at));
  }

  /** Fills the scratch row from the PASID entry at an HPA; a reason, or 0. */
  #decodePasid(hi: number, at: number): number {
    const memory = this.#memory;
    const { words } = this.spaces;
    const entry = memory.block(hi, at, PASID_WORDS);
    if (entry === null) return Reason.PASID_ACCESS;
    const word = memory.blockAt;
    const lo = entry[word]!;
    words[SCRATCH_ROW + S_SECOND_HI] = entry[word | 1]!;
    words[SCRATCH_ROW + S_SECOND_LO] = lo & ADDRESS_LO;
    this.isSilenced ||= (lo & FPD) !== 0;
    if ((lo & PRESENT) === 0) return Reason.PASID_NOT_PRESENT;
    const second = entry[word | 2]!;
    const first = entry[word | 4]!;
    words[SCRATCH_ROW + S_FIRST_HI] = entry[word | 5]!;
    words[SCRATCH_ROW + S_FIRST_LO] = first & ADDRESS_LO;
    const no = this.#pasidReserved;
    const reserved =
      (lo & no.lo) |
      (entry[word | 1]! & no.secondHi) |
      (second & no.tags) |
      (entry[word | 3]! & no.memoryTypes) |
      (first & no.firstLo) |
      (entry[word | 5]! & no.firstHi) |
      (entry[word | 6]! | entry[word | 7]! | entry[word | 8]! | entry[word | 9]! | entry[word | 10]!) |
      (entry[word | 11]! | entry[word | 12]! | entry[word | 13]! | entry[word | 14]! | entry[word | 15]!);
    if (reserved !== 0) return Reason.PASID_RESERVED;
    words[SCRATCH_ROW + S_DID] = second & PE_DID_MASK;
    words[SCRATCH_ROW + S_FLAGS] =
      (first & 0xff) |
      ((lo & PE_SSADE) === 0 ? 0 : SPACE_SSADE) |
      ((second & PE_PWSNP) === 0 ? 0 : SPACE_SNOOPS) |
      (this.isSilenced ? SPACE_FPD : 0);
    return this.#decodeStages(lo, first) ? 0 : Reason.PASID_INVALID;
  }

  /** PGTT, and the widths of the stages that it has. */
  #decodeStages(lo: number, first: number): boolean {
    const can = this.#can;
    const { words } = this.spaces;
    const kind = (lo >>> PE_PGTT_SHIFT) & PE_PGTT_MASK;
    const hasFirst = kind === PGTT_FIRST_STAGE || kind === PGTT_NESTED;
    const hasSecond = kind === PGTT_SECOND_STAGE || kind === PGTT_NESTED;
    words[SCRATCH_ROW + S_KIND] = kind;
    words[SCRATCH_ROW + S_FIRST_WIDTH] = 0;
    words[SCRATCH_ROW + S_SECOND_WIDTH] = 0;
    if (!hasFirst && !hasSecond) return kind === PGTT_PASS_THROUGH && can.passThrough;
    if (kind === PGTT_NESTED && !can.nesting) return false;
    if (hasFirst) {
      const mode = (first >>> PE_FSPM_SHIFT) & PE_FSPM_MASK;
      if (!can.firstStage || mode > 1 || (mode === 1 && !can.has5LevelFirst)) return false;
      words[SCRATCH_ROW + S_FIRST_WIDTH] = mode === 1 ? 57 : 48;
    }
    if (hasSecond) {
      const width = can.secondWidth((lo >>> PE_AW_SHIFT) & PE_AW_MASK);
      if (!can.secondStage || width === 0) return false;
      words[SCRATCH_ROW + S_SECOND_WIDTH] = width;
      // The root of a nested first stage is an address of the guest.
      const isReached = (words[SCRATCH_ROW + S_FIRST_HI]! & bits.beyond(Math.min(width, can.mgaw))) === 0;
      if (kind === PGTT_NESTED && !isReached) return false;
    }
    return true;
  }

  #resolveLegacy(source: number, pasid: number): number {
    if (pasid !== NO_PASID) return this.#refuse(Reason.LEGACY_WITH_PASID);
    if (this.#usesCaches) {
      const row = this.spaces.find(source, LEGACY_KEY);
      if (row >= 0 && this.#recallContext(source)) {
        this.contextSecondLo = 0;
        return row;
      }
    }
    const memory = this.#memory;
    const rootAt = this.#rootLo + ((source >>> 8) & 0xff) * ROOT_ENTRY;
    if (!memory.load64(this.#rootHi, rootAt + 8)) return this.#refuse(Reason.ROOT_TABLE);
    let reserved = memory.loadedLo | memory.loadedHi;
    if (!memory.load64(this.#rootHi, rootAt)) return this.#refuse(Reason.ROOT_TABLE);
    if ((memory.loadedLo & PRESENT) === 0) return this.#refuse(Reason.ROOT_NOT_PRESENT);
    reserved |= (memory.loadedLo & ROOT_RESERVED_LO) | (memory.loadedHi & this.#beyondHaw);
    if (reserved !== 0) return this.#refuse(Reason.ROOT_RESERVED);
    const hi = memory.loadedHi;
    const at = (memory.loadedLo & ADDRESS_LO) + (source & 0xff) * CONTEXT_ENTRY;
    const reason = this.#decodeLegacy(hi, at);
    if (reason !== 0) return this.#refuse(reason);
    const { words } = this.spaces;
    words[SCRATCH_ROW + S_SOURCE] = source;
    words[SCRATCH_ROW + S_KEY] = LEGACY_KEY;
    if (!this.#usesCaches) {
      this.contextSecondLo = 0;
      return SCRATCH_ROW;
    }
    this.#noteContextTable(hi, at);
    this.#rememberContext(source);
    this.contextSecondLo = 0;
    return this.#keepScratch(0);
  }

  /** Fills the scratch row from a legacy context entry; a reason, or 0. */
  #decodeLegacy(hi: number, at: number): number {
    const memory = this.#memory;
    const can = this.#can;
    if (!memory.load64(hi, at + 8)) return Reason.CONTEXT_TABLE;
    const second = memory.loadedLo;
    let reserved = memory.loadedHi | (second & this.#legacyReservedSecondLo);
    if (!memory.load64(hi, at)) return Reason.CONTEXT_TABLE;
    const lo = memory.loadedLo;
    this.isSilenced = (lo & FPD) !== 0;
    if ((lo & PRESENT) === 0) return Reason.CONTEXT_NOT_PRESENT;
    reserved |= (lo & LEGACY_CONTEXT_RESERVED_LO) | (memory.loadedHi & can.beyondHaw);
    if (reserved !== 0) return Reason.CONTEXT_RESERVED;
    const type = (lo >>> CTX_TT_SHIFT) & 3;
    const isPassThrough = type === CTX_TT_PASS_THROUGH;
    if (type === 3 || (isPassThrough && !can.passThrough)) return Reason.CONTEXT_INVALID;
    if (type === CTX_TT_DEV_IOTLB && !can.deviceTlb) return Reason.CONTEXT_INVALID;
    const width = can.secondWidth(second & CTX_AW_MASK);
    if (width === 0) return Reason.CONTEXT_INVALID;
    const { words } = this.spaces;
    words[SCRATCH_ROW + S_DID] = (second >>> CTX_DID_SHIFT) & PE_DID_MASK;
    words[SCRATCH_ROW + S_KIND] = isPassThrough ? PGTT_PASS_THROUGH : PGTT_SECOND_STAGE;
    words[SCRATCH_ROW + S_FLAGS] = SPACE_LEGACY | (this.isSilenced ? SPACE_FPD : 0);
    words[SCRATCH_ROW + S_FIRST_HI] = 0;
    words[SCRATCH_ROW + S_FIRST_LO] = 0;
    words[SCRATCH_ROW + S_SECOND_HI] = memory.loadedHi;
    words[SCRATCH_ROW + S_SECOND_LO] = lo & ADDRESS_LO;
    words[SCRATCH_ROW + S_FIRST_WIDTH] = 0;
    words[SCRATCH_ROW + S_SECOND_WIDTH] = width;
    this.contextLo = lo;
    this.contextSecondLo = second;
    this.#contextHi = memory.loadedHi;
    return 0;
  }
}

/** Bits of a PASID entry that must be 0 on a unit (section 9.6), by word; the words from 6 on must be 0 whole. */
interface PasidReserved {
  readonly lo: number;
  readonly secondHi: number;
  readonly tags: number;
  readonly memoryTypes: number;
  readonly firstLo: number;
  readonly firstHi: number;
}

function pasidReserved(can: Abilities): PasidReserved {
  const { secondStage, firstStage, memoryTypes } = can;
  const fspm = PE_FSPM_MASK << PE_FSPM_SHIFT;
  return {
    // AW is said to be reserved without a second stage, but there Linux 7.2 writes that of the first. Chosen: no fault.
    lo:
      PASID_RESERVED_LO |
      (secondStage ? 0 : ADDRESS_LO) |
      (secondStage && can.secondAccessedDirty ? 0 : PE_SSADE),
    secondHi: secondStage ? can.beyondHaw : -1,
    tags:
      PASID_RESERVED_TAGS |
      domainBeyond(can) |
      (can.coherentScalable ? 0 : PE_PWSNP) |
      (can.snoopControl ? 0 : PE_PGSNP) |
      (memoryTypes ? 0 : PE_CD | PE_EMTE),
    memoryTypes: memoryTypes ? 0 : -1,
    firstLo:
      PASID_RESERVED_FIRST_LO |
      (firstStage ? 0 : ADDRESS_LO | fspm | PE_WPE) |
      (can.supervisor ? 0 : PE_SRE) |
      (can.execute ? 0 : PE_ERE) |
      (can.extendedAccessed ? 0 : PE_EAFE),
    firstHi: firstStage ? can.beyondHaw : -1,
  };
}

/** Bits of a domain id that a unit does not have. */
function domainBeyond(can: Abilities): number {
  return PE_DID_MASK & (-1 << can.domainIdBits);
}

/** How many PASIDs the directory of a scalable context entry has (PDTS). */
function pasidsOf(contextLo: number): number {
  return 1 << (((contextLo >>> SM_CTX_PDTS_SHIFT) & SM_CTX_PDTS_MASK) + 7 + PASID_TABLE_LG2);
}

/** Never 0, which marks what is void. */
function next(generation: number): number {
  return (generation + 1) & 0x3fff_ffff || 1;
}

function contextOf(source: number): number {
  return ((source ^ (source >>> CONTEXTS_LG2)) & ((1 << CONTEXTS_LG2) - 1)) << CONTEXT_LG2;
}
