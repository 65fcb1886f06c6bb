/**
 * The way of one address through a VT-d unit's tables as they are now, entry by entry. It reads registers and memory and
 * nothing else: no cache is asked or filled, no bit is set, no fault recorded.
 * A reader of its own, so that it can also disagree with the unit's walk.
 */
import type { Mmio } from '../../bus/mmio.js';
import { reasonText } from '../../hw/vtd/driver/fault-reasons.js';
import * as reg from '../../hw/vtd/registers.js';
import * as st from '../../hw/vtd/structures.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import { ProvidedPage, type AddressSpaceProvider } from '../../mem/providers.js';
import * as layouts from './fields.js';
import { ReservedBits } from './reserved.js';
import { bitsOf, hex, type WalkStep, type WalkReport } from './report.js';

/** What a walk is asked, beside where. */
export interface WalkQuestion {
  readonly sourceId: number;
  /** Null: the requester id alone. */
  readonly pasid: number | null;
  readonly iova: bigint;
  /** Bits of an address that the unit can emit. */
  readonly hostAddressWidth: number;
}

type Result = WalkReport['result'];

/** A stage's answer: where the byte is, how much around it is the same, what is permitted. */
interface Leaf {
  readonly address: bigint;
  readonly sizeLg2: number;
  readonly read: boolean;
  readonly write: boolean;
}

/** Ends the walk; thrown within this file only. */
class Fault {
  constructor(readonly reason: number) {}
}

/** Why the second stage refuses what the first leads to; addresses of tables have reasons of their own. */
const OUTPUT = { denied: 0x79, beyond: 0x84 };

const PAGE_MASK = 0xfffn;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const WORD = 8;
/** What an owner of a space is asked for. */
const READ = 1;
const WRITE = 2;
/** First-stage entries. */
const WRITABLE = 1n << 1n;
const USER = 1n << 2n;
const ACCESSED = 1n << 5n;
const EXTENDED_ACCESSED = 1n << 10n;
/** Second-stage entries. */
const SECOND_ACCESSED = 1n << 8n;
const ENTRIES_LG2 = 9;
const INTERRUPT_START = 0xfee0_0000n;
const INTERRUPT_LAST = 0xfeef_ffffn;

export class VtdWalk {
  readonly steps: WalkStep[] = [];
  readonly #memory: PhysicalMemory;
  readonly #mmio: Mmio;
  readonly #question: WalkQuestion;
  readonly #reserved: ReservedBits;
  #nxe = false;
  /** Requests without PASID can be privileged, which the context entry decides. */
  #isPrivileged = false;
  /** Bits that the unit would set on the way: in entries of the first stage, of the second. */
  #firstMisses = false;
  #secondMisses = false;
  #depth = 0;

  constructor(memory: PhysicalMemory, mmio: Mmio, question: WalkQuestion) {
    this.#memory = memory;
    this.#mmio = mmio;
    this.#question = question;
    this.#reserved = new ReservedBits(mmio, question.hostAddressWidth);
  }

  /** Walks; {@link steps} then has the way. */
  run(): Result {
    try {
      return this.#page(this.#walk());
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return { kind: 'fault', reason: error.reason, text: reasonText(error.reason) };
    }
  }

  #walk(): Leaf {
    const { iova, pasid } = this.#question;
    if ((this.#mmio.read32(reg.GSTS_REG) & reg.GCMD_TE) === 0) return through(iova);
    // An interrupt, which no table has a say in.
    if (pasid === null && isInterrupt(iova)) return { ...through(iova), read: false };
    const rtaddr = this.#mmio.read64(reg.RTADDR_REG);
    const isScalable = bitsOf(rtaddr, reg.TTM_SHIFT, 3) === reg.TTM_SCALABLE;
    if (!isScalable || this.#reserved.isBeyond(rtaddr)) throw new Fault(0x30);
    const context = this.#context(rtaddr & ~PAGE_MASK);
    if (pasid !== null && (context[0]! & BigInt(st.SM_CTX_PASIDE)) === 0n) throw this.#end(0x45);
    this.#isPrivileged = pasid === null && (context[1]! & BigInt(st.SM_CTX_RID_PRIV)) !== 0n;
    const used = pasid ?? bitsOf(context[1]!, 0, st.SM_CTX_RID_PASID_MASK);
    const entry = this.#pasidEntry(context, used);
    return this.#translate(entry, iova);
  }

  #context(root: bigint): bigint[] {
    const { sourceId } = this.#question;
    const isUpper = (sourceId & 0x80) !== 0;
    const bus = sourceId >>> 8;
    const half = this.#load(
      'root table',
      root,
      bus,
      st.ROOT_ENTRY,
      isUpper ? [1] : [0],
      layouts.rootHalf,
      0x38,
    )[0]!;
    if ((half & 1n) === 0n) throw this.#end(0x39);
    if ((half & this.#reserved.rootHalf) !== 0n) throw this.#end(0x3a);
    const table = half & ADDRESS;
    const words = [0, 1, 2, 3];
    const context = this.#load(
      'context table',
      table,
      sourceId & 0x7f,
      st.SM_CONTEXT_ENTRY,
      words,
      layouts.contextEntry,
      0x40,
    );
    if ((context[0]! & 1n) === 0n) throw this.#end(0x41);
    if (hasAny(context, this.#reserved.context)) throw this.#end(0x42);
    const ats = st.SM_CTX_DTE | st.SM_CTX_PRE;
    if (bitsOf(context[0]!, 0, ats) === st.SM_CTX_PRE) throw this.#end(0x43);
    if (bitsOf(context[1]!, 0, st.SM_CTX_RID_PASID_MASK) >= pasidsOf(context[0]!)) throw this.#end(0x43);
    return context;
  }

  #pasidEntry(context: readonly bigint[], pasid: number): bigint[] {
    if (this.#question.pasid !== null) {
      if (pasid >= pasidsOf(context[0]!)) throw this.#end(0x46);
      if (pasid >= this.#reserved.pasids) throw this.#end(0x89);
      if (pasid === bitsOf(context[1]!, 0, st.SM_CTX_RID_PASID_MASK)) throw this.#end(0x48);
    }
    const directory = this.#load(
      'PASID directory',
      context[0]! & ADDRESS,
      pasid >>> st.PASID_TABLE_LG2,
      st.PASID_DIR_ENTRY,
      [0],
      layouts.directoryEntry,
      0x50,
    );
    if ((directory[0]! & 1n) === 0n) throw this.#end(0x51);
    if ((directory[0]! & this.#reserved.directory) !== 0n) throw this.#end(0x52);
    const at = pasid & (2 ** st.PASID_TABLE_LG2 - 1);
    const entry = this.#load(
      'PASID table',
      directory[0]! & ADDRESS,
      at,
      st.PASID_ENTRY,
      [0, 1, 2, 3, 4, 5, 6, 7],
      layouts.pasidEntry,
      0x58,
    );
    if ((entry[0]! & 1n) === 0n) throw this.#end(0x59);
    if (hasAny(entry, this.#reserved.pasid)) throw this.#end(0x5a);
    if (!this.#reserved.isSupported(entry)) throw this.#end(0x5b);
    this.#nxe = (entry[2]! & BigInt(st.PE_NXE)) !== 0n;
    return entry;
  }

  #translate(entry: readonly bigint[], iova: bigint): Leaf {
    const leaf = this.#stages(entry, iova);
    if (!leaf.read && !leaf.write) throw this.#end(0x79);
    if (isInterrupt(leaf.address)) throw this.#end(0x87);
    const snoops = (entry[1]! & BigInt(st.PE_PWSNP)) !== 0n;
    if (!snoops && this.#firstMisses) throw this.#end(0x90);
    if (!snoops && this.#secondMisses) throw this.#end(0x7c);
    return leaf;
  }

  #stages(entry: readonly bigint[], iova: bigint): Leaf {
    const type = bitsOf(entry[0]!, st.PE_PGTT_SHIFT, st.PE_PGTT_MASK);
    switch (type) {
      case st.PGTT_FIRST_STAGE:
        return this.#firstStage(entry, iova, false);
      case st.PGTT_SECOND_STAGE:
        return this.#secondStage(entry, iova);
      case st.PGTT_NESTED:
        return this.#firstStage(entry, iova, true);
      case st.PGTT_PASS_THROUGH:
        if (this.#reserved.isBeyond(iova)) throw this.#end(0x83);
        return through(iova);
      default:
        throw this.#end(0x5b);
    }
  }

  #firstStage(entry: readonly bigint[], iova: bigint, isNested: boolean): Leaf {
    const mode = bitsOf(entry[2]!, st.PE_FSPM_SHIFT, st.PE_FSPM_MASK);
    if (this.#isPrivileged && (entry[2]! & BigInt(st.PE_SRE)) === 0n) throw this.#end(0x5d);
    const levels = 4 + mode;
    const width = 12 + levels * ENTRIES_LG2;
    const top = iova >> BigInt(width - 1);
    if (top !== 0n && top !== (1n << BigInt(65 - width)) - 1n) throw this.#end(0x80);
    let table = entry[2]! & ~PAGE_MASK;
    const provider = isNested ? null : this.#providerAt(table);
    if (provider !== null) return this.#provided(provider, table, iova);
    const wanted = (entry[2]! & BigInt(st.PE_EAFE)) === 0n ? ACCESSED : ACCESSED | EXTENDED_ACCESSED;
    let user = true;
    let write = true;
    for (let level = levels; level > 0; level--) {
      const place = isNested
        ? this.#throughSecond(entry, table, level === levels ? 0x75 : 0x76)
        : through(table);
      const name = `first stage level ${level}`;
      const [pte] = this.#load(
        name,
        place.address & ~PAGE_MASK,
        indexAt(iova, level),
        WORD,
        [0],
        layouts.firstStageEntry,
        level === levels ? 0x73 : 0x70,
      ) as [bigint];
      if ((pte & 1n) === 0n) throw this.#end(0x71);
      if ((pte & this.#reserved.firstStage(pte, level, this.#nxe)) !== 0n) throw this.#end(0x72);
      const misses = (pte & wanted) !== wanted;
      if (misses && !place.write) throw this.#end(0x77);
      this.#firstMisses ||= misses;
      user &&= (pte & USER) !== 0n;
      write &&= (pte & WRITABLE) !== 0n;
      const isLarge = (pte & 0x80n) !== 0n && level > 1;
      if (level > 1 && !isLarge) {
        table = pte & ADDRESS;
        continue;
      }
      if (!user && !this.#isPrivileged) throw this.#end(0x81);
      const leaf = leafAt(pte, iova, level, true, write);
      if (isInterrupt(leaf.address)) throw this.#end(0x87);
      return isNested ? this.#combine(entry, leaf) : leaf;
    }
    throw this.#end(0x72);
  }

  /** Where a guest's table is; a fault of `unreadable` where it may not be read. */
  #throughSecond(entry: readonly bigint[], address: bigint, unreadable: number): Leaf {
    this.#depth += 1;
    const leaf = this.#secondStage(entry, address, { denied: unreadable, beyond: 0x74 });
    if (!leaf.read) throw this.#end(unreadable);
    // Where the second stage has accessed bits, tables are read as if they were written.
    if (!leaf.write && (entry[0]! & BigInt(st.PE_SSADE)) !== 0n) throw this.#end(0x77);
    this.#depth -= 1;
    return leaf;
  }

  #combine(entry: readonly bigint[], first: Leaf): Leaf {
    this.#depth += 1;
    const second = this.#secondStage(entry, first.address);
    const read = first.read && second.read;
    const write = first.write && second.write;
    // Each stage permits something, but not the same.
    if (!read && !write && second.write) throw this.#end(0x86);
    this.#depth -= 1;
    return { address: second.address, sizeLg2: Math.min(first.sizeLg2, second.sizeLg2), read, write };
  }

  #secondStage(entry: readonly bigint[], address: bigint, reasons = OUTPUT): Leaf {
    const aw = bitsOf(entry[0]!, st.PE_AW_SHIFT, st.PE_AW_MASK);
    const levels = aw + 2;
    const width = Math.min(12 + levels * ENTRIES_LG2, this.#reserved.mgaw);
    if (address >> BigInt(width) !== 0n) throw this.#end(reasons.beyond);
    let table = entry[0]! & ADDRESS;
    const provider = this.#providerAt(table);
    if (provider !== null) return this.#providedSecond(provider, table, address, reasons.denied);
    const accessed = (entry[0]! & BigInt(st.PE_SSADE)) === 0n ? 0n : SECOND_ACCESSED;
    let read = true;
    let write = true;
    for (let level = levels; level > 0; level--) {
      const name = `second stage level ${level}`;
      const [pte] = this.#load(
        name,
        table,
        indexAt(address, level),
        WORD,
        [0],
        layouts.secondStageEntry,
        level === levels ? 0x7b : 0x78,
      ) as [bigint];
      if ((pte & 3n) === 0n) throw this.#end(reasons.denied);
      if ((pte & this.#reserved.secondStage(pte, level)) !== 0n) throw this.#end(0x7a);
      this.#secondMisses ||= (pte & accessed) !== accessed;
      read &&= (pte & 1n) !== 0n;
      write &&= (pte & 2n) !== 0n;
      const isLarge = (pte & 0x80n) !== 0n && level > 1;
      if (level === 1 || isLarge) return leafAt(pte, address, level, read, write);
      table = pte & ADDRESS;
    }
    throw this.#end(0x7a);
  }

  /** Whose address space a root leads to; null: it leads to a table. */
  #providerAt(root: bigint): AddressSpaceProvider | null {
    return this.#memory.providers.at(Number(root >> 32n), Number(BigInt.asIntN(32, root)));
  }

  /** The answer of an owner in place of a first stage. */
  #provided(provider: AddressSpaceProvider, root: bigint, iova: bigint): Leaf {
    const leaf = this.#ask(provider, root, iova, [READ, WRITE]);
    if (leaf === null) throw this.#end(0x71);
    return leaf;
  }

  /** And of a second: what may be written is asked for first, as the unit does. */
  #providedSecond(provider: AddressSpaceProvider, root: bigint, address: bigint, denied: number): Leaf {
    const leaf = this.#ask(provider, root, address, [READ | WRITE, READ]);
    if (leaf === null) throw this.#end(denied);
    if (this.#reserved.isBeyond(leaf.address)) throw this.#end(0x7a);
    return leaf;
  }

  /** Asks for one access after the other until there is an answer. */
  #ask(
    provider: AddressSpaceProvider,
    root: bigint,
    address: bigint,
    accesses: readonly number[],
  ): Leaf | null {
    const page = new ProvidedPage();
    const hi = Number(BigInt.asIntN(32, address >> 32n));
    const lo = Number(BigInt.asIntN(32, address));
    this.steps.push({
      table: `address space of ${provider.name}`,
      at: hex(root),
      index: 0,
      entry: [],
      fields: {},
      depth: this.#depth,
    });
    if (!accesses.some((access) => provider.translate(hi, lo, access, page))) return null;
    const block = (BigInt(page.hpaHi >>> 0) << 32n) | BigInt(page.hpaLo >>> 0);
    const low = (1n << BigInt(page.sizeLg2)) - 1n;
    return {
      address: (block & ~low) | (address & low),
      sizeLg2: page.sizeLg2,
      read: (page.permitted & READ) !== 0,
      write: (page.permitted & WRITE) !== 0,
    };
  }

  /** Reads words of an entry and notes the step; a fault of `unreadable` where there is no memory. */
  #load(
    table: string,
    at: bigint,
    index: number,
    size: number,
    words: readonly number[],
    layout: layouts.Layout,
    unreadable: number,
  ): bigint[] {
    const bytes = new Uint8Array(size);
    const isThere = this.#memory.read(at + BigInt(index * size), bytes);
    const view = new DataView(bytes.buffer);
    const entry = isThere ? words.map((word) => view.getBigUint64(word * WORD, true)) : [];
    const fields = layouts.decode(layout, entry);
    this.steps.push({ table, at: hex(at), index, entry: entry.map(hex), fields, depth: this.#depth });
    if (!isThere) throw this.#end(unreadable);
    return entry;
  }

  /** Says at the last step why the walk ends there. */
  #end(reason: number): Fault {
    const last = this.steps.pop();
    if (last !== undefined) this.steps.push({ ...last, problem: reasonText(reason) });
    return new Fault(reason);
  }

  #page({ address, sizeLg2, read, write }: Leaf): Result {
    const permits = [read ? 'read' : '', write ? 'write' : ''].filter(Boolean).join(', ') || 'nothing';
    const place = this.#memory.backingAt(address);
    const isTable = this.#memory.tables.wordsOf(Number(address >> 12n)) !== null;
    const other = isTable ? 'a table' : isInterrupt(address) ? 'an interrupt' : 'no memory';
    const memory = place === null ? other : `client memory, offset ${hex(place.offset)}`;
    return { kind: 'page', hpa: hex(address), size: hex(2n ** BigInt(sizeLg2)), permits, memory };
  }
}

/** How many PASIDs a context entry's directory has. */
function pasidsOf(context: bigint): number {
  return 2 ** (bitsOf(context, st.SM_CTX_PDTS_SHIFT, st.SM_CTX_PDTS_MASK) + 7 + st.PASID_TABLE_LG2);
}

const hasAny = (words: readonly bigint[], reserved: readonly bigint[]): boolean =>
  words.some((word, index) => (word & reserved[index]!) !== 0n);

const through = (iova: bigint): Leaf => ({ address: iova, sizeLg2: 12, read: true, write: true });

const isInterrupt = (address: bigint): boolean => address >= INTERRUPT_START && address <= INTERRUPT_LAST;

function indexAt(address: bigint, level: number): number {
  return bitsOf(address, 12 + (level - 1) * ENTRIES_LG2, 2 ** ENTRIES_LG2 - 1);
}

function leafAt(pte: bigint, address: bigint, level: number, read: boolean, write: boolean): Leaf {
  const sizeLg2 = 12 + (level - 1) * ENTRIES_LG2;
  const low = (1n << BigInt(sizeLg2)) - 1n;
  return { address: (pte & ADDRESS & ~low) | (address & low), sizeLg2, read, write };
}
