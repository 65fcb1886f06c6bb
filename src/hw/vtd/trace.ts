/**
 * A walk that tells every entry it read: for `ioasis walk`. It is made by the very code that translates, over a memory
 * that notes what is loaded; here the loads only get their names. Nothing is cached, set or recorded by it.
 */
import { DMA_EXEC, DMA_READ, DMA_WRITE } from '../../bus/dma.js';
import { highWord, joinWords, lowWord } from '../../base/words.js';
import type { EntryMemory, PhysicalMemory } from '../../mem/physical.js';
import { NearChunk } from '../../mem/table-store.js';
import type { Abilities } from './capabilities.js';
import { Contexts, type Root } from './context.js';
import {
  contextBits,
  directoryBits,
  firstStageBits,
  legacyContextBits,
  pasidBits,
  rootBits,
  secondStageBits,
} from './decode.js';
import { PagingCache } from './paging-cache.js';
import { reasonInfo, reasonName } from './reasons.js';
import * as space from './spaces.js';
import * as bits from './structures.js';
import { Walker } from './walk.js';

/** One entry that was read. */
export interface TraceStep {
  /** `root`, `context`, `PASID directory`, `PASID table`, `first stage, level 4`, `second stage, level 3 (of ...)`. */
  readonly table: string;
  /** HPA of the entry. */
  readonly address: bigint;
  readonly index: number;
  readonly words: readonly bigint[];
  /** Fields that are set, decoded: `P`, `DID=5`. */
  readonly bits: readonly string[];
  /** Why the walk ended here; null when it went on, or found what it looked for. */
  readonly reason: string | null;
}

export interface Trace {
  readonly steps: readonly TraceStep[];
  /** Where the byte lies; null when it is refused. */
  readonly hpa: bigint | null;
  readonly sizeLg2: number;
  /** DMA_READ | DMA_WRITE | DMA_EXEC. */
  readonly permitted: number;
  /** 0, or the fault reason. */
  readonly reason: number;
  readonly reasonName: string;
  readonly reasonText: string;
}

interface Load {
  readonly hi: number;
  readonly lo: number;
  readonly word: bigint;
}

/** Delegates to memory and remembers what was asked. */
class Recorder implements EntryMemory {
  readonly loads: Load[] = [];
  loadedHi = 0;
  loadedLo = 0;
  readonly tables;
  readonly providers;
  /** Nothing is near, so that every load comes here. */
  readonly near = new NearChunk();
  readonly blockAt = 0;
  readonly #words = new Int32Array(bits.PASID_ENTRY / 4);
  readonly #memory: PhysicalMemory;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
    this.tables = memory.tables;
    this.providers = memory.providers;
  }

  load64(hi: number, lo: number): boolean {
    const found = this.#memory.load64(hi, lo);
    this.loadedHi = found ? this.#memory.loadedHi : 0;
    this.loadedLo = found ? this.#memory.loadedLo : 0;
    this.loads.push({ hi, lo, word: joinWords(this.loadedHi, this.loadedLo) });
    return found;
  }

  block(hi: number, lo: number, count: number): Int32Array | null {
    for (let at = 0; at < count; at += 2) {
      if (!this.load64(hi, lo + at * 4)) return null;
      this.#words[at] = this.loadedLo;
      this.#words[at + 1] = this.loadedHi;
    }
    return this.#words;
  }

  setBits64(): boolean {
    return false;
  }
}

/** What (source, pasid, iova) means now, from the root register down. */
export function trace(
  memory: PhysicalMemory,
  can: Abilities,
  root: Root,
  { source, pasid, iova }: { source: number; pasid: number; iova: bigint },
): Trace {
  const recorder = new Recorder(memory);
  const contexts = new Contexts(recorder, can);
  contexts.setRoot(root.hi, root.lo, root.ttm);
  const row = contexts.findFresh(source, pasid);
  const steps = structureSteps(recorder.loads.splice(0), root.ttm === 0);
  let { reason } = contexts;
  const walker = new Walker(recorder, contexts.spaces, can, new PagingCache());
  if (row >= 0) {
    walker.walk(row, highWord(iova), lowWord(iova), 0, 0);
    reason = walker.reason;
    steps.push(...stageSteps(recorder.loads, contexts.spaces.words, row));
  }
  const isFound = row >= 0 && reason === 0;
  if (!isFound) failLast(steps, reason);
  return {
    steps,
    hpa: isFound ? joinWords(walker.hpaHi, walker.hpaLo) : null,
    sizeLg2: isFound ? walker.sizeLg2 : 0,
    permitted: isFound ? walker.permitted & (DMA_READ | DMA_WRITE | DMA_EXEC) : 0,
    reason: isFound ? 0 : reason,
    reasonName: isFound ? '' : reasonName(reason),
    reasonText: isFound ? '' : reasonInfo(reason).text,
  };
}

function failLast(steps: TraceStep[], reason: number): void {
  const last = steps.pop();
  if (last !== undefined) steps.push({ ...last, reason: reasonInfo(reason).text });
}

/** Root, context, directory, PASID entry: each a number of words from one address on. */
function structureSteps(loads: readonly Load[], isLegacy: boolean): TraceStep[] {
  const plan = isLegacy
    ? ([
        ['root', bits.ROOT_ENTRY, 2, rootBits],
        ['context', bits.CONTEXT_ENTRY, 2, legacyContextBits],
      ] as const)
    : ([
        ['root', bits.ROOT_ENTRY, 1, rootBits],
        ['context', bits.SM_CONTEXT_ENTRY, 4, contextBits],
        ['PASID directory', bits.PASID_DIR_ENTRY, 1, directoryBits],
        ['PASID table', bits.PASID_ENTRY, 8, pasidBits],
      ] as const);
  const steps: TraceStep[] = [];
  let at = 0;
  for (const [table, bytes, count, decode] of plan) {
    // Legacy entries are read high word first.
    const read = loads.slice(at, at + count).toSorted((a, b) => (a.lo >>> 0) - (b.lo >>> 0));
    at += count;
    if (read.length === 0) break;
    const words = read.map((load) => load.word);
    const address = addressOf(read[0]!);
    const index = Number(address & 0xfffn) / bytes;
    steps.push({ table, address, index: Math.floor(index), words, bits: decode(words), reason: null });
  }
  return steps;
}

/** Entries of the stages, in the order in which a nested walk reads them. */
function stageSteps(loads: readonly Load[], words: Int32Array, row: number): TraceStep[] {
  const kind = words[row + space.S_KIND]!;
  const firstTop = (words[row + space.S_FIRST_WIDTH]! - 12) / 9;
  const secondTop = (words[row + space.S_SECOND_WIDTH]! - 12) / 9;
  const hasFirst = kind === bits.PGTT_FIRST_STAGE || kind === bits.PGTT_NESTED;
  const isNested = kind === bits.PGTT_NESTED;
  const steps: TraceStep[] = [];
  let level = hasFirst ? firstTop : 0;
  let below = hasFirst && !isNested ? 0 : secondTop;
  for (const load of loads) {
    const isFirst = level > 0 && below === 0;
    const of = level > 0 ? ` (to the first stage's level ${level})` : '';
    steps.push(
      stageStep(load, isFirst ? `first stage, level ${level}` : `second stage, level ${below}${of}`, isFirst),
    );
    const current = isFirst ? level : below;
    const isLeaf = current === 1 || (load.word & 0x80n) !== 0n;
    if (!isFirst) below = isLeaf ? 0 : below - 1;
    else {
      level = isLeaf ? 0 : level - 1;
      below = isNested ? secondTop : 0;
    }
  }
  return steps;
}

function stageStep(load: Load, table: string, isFirst: boolean): TraceStep {
  const address = addressOf(load);
  const decoded = isFirst ? firstStageBits(load.word) : secondStageBits(load.word);
  return {
    table,
    address,
    index: Number(address & 0xfffn) >> 3,
    words: [load.word],
    bits: decoded,
    reason: null,
  };
}

function addressOf({ hi, lo }: Load): bigint {
  return joinWords(hi, lo);
}
