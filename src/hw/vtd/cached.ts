/** What a unit has cached now, for people: `ioasis dump`. */
import { joinWords } from '../../base/words.js';
import type { Contexts } from './context.js';
import { ENTRY, type Iotlb } from './iotlb.js';
import * as paging from './paging-cache.js';
import * as space from './spaces.js';

/** A translation in the IOTLB. */
export interface CachedTranslation {
  readonly kind: 'first' | 'second' | 'nested';
  readonly did: number;
  /** -1: second stage, the same for every PASID. */
  readonly pasid: number;
  readonly iova: bigint;
  readonly hpa: bigint;
  readonly sizeLg2: number;
  /** DMA_READ | DMA_WRITE | DMA_EXEC, for user requests. */
  readonly permitted: number;
  /** Whether it can be written without another walk: the dirty bit is set. */
  readonly isWritten: boolean;
}

/** An entry of the PASID cache, or, in legacy mode, of the context cache. */
export interface CachedSpace {
  readonly source: number;
  /** -1 in legacy mode. */
  readonly pasid: number;
  readonly did: number;
  readonly pgtt: number;
  readonly firstRoot: bigint;
  readonly secondRoot: bigint;
}

/** What the paging-structure caches hold: a walk below that address goes on at an HPA. */
export interface CachedStep {
  /** `page`: of the second stage, where a table of the first lies. */
  readonly kind: 'first' | 'second' | 'page';
  readonly did: number;
  /** -1 but for a first stage. */
  readonly pasid: number;
  readonly iova: bigint;
  readonly sizeLg2: number;
  readonly hpa: bigint;
}

const kinds = ['second', 'first', 'second', 'nested'] as const;
/** By STEP_FIRST, STEP_SECOND, PAGE_SECOND. */
const stepKinds = ['first', 'second', 'page'] as const;
const WRITE = 2;

export function* cachedTranslations(iotlb: Iotlb): Generator<CachedTranslation> {
  const { words } = iotlb;
  for (const at of iotlb.offsets()) {
    const tag = words[at + ENTRY.E_TAG]!;
    const high = words[at + ENTRY.E_HIGH]!;
    const flags = words[at + ENTRY.E_FLAGS]!;
    const kind = (tag >>> 16) & 3;
    // What the entry covers, which may be less than the leaf that it came from.
    const sizeLg2 = 12 + (31 - Math.clz32(-words[at + ENTRY.E_MASK]!));
    const within = (1n << BigInt(sizeLg2)) - 1n;
    yield {
      kind: kinds[kind]!,
      did: tag & 0xffff,
      pasid: kind === ENTRY.KIND_SECOND ? -1 : (high >>> 20) | ((tag >>> 18) << 12),
      iova: joinWords(high & 0xfffff, words[at + ENTRY.E_FRAME]!) << 12n,
      hpa: joinWords(words[at + ENTRY.E_HPA_HI]!, words[at + ENTRY.E_HPA_LO]!) & ~within,
      sizeLg2,
      permitted: (flags >>> ENTRY.PERMITTED_SHIFT) & 7,
      isWritten: (flags & WRITE) !== 0,
    };
  }
}

export function* cachedSpaces({ spaces }: Contexts): Generator<CachedSpace> {
  const { words } = spaces;
  for (const row of spaces.rows()) {
    const key = words[row + space.S_KEY]!;
    yield {
      source: words[row + space.S_SOURCE]!,
      pasid: key === space.LEGACY_KEY ? -1 : key,
      did: words[row + space.S_DID]!,
      pgtt: words[row + space.S_KIND]!,
      firstRoot: joinWords(words[row + space.S_FIRST_HI]!, words[row + space.S_FIRST_LO]!),
      secondRoot: joinWords(words[row + space.S_SECOND_HI]!, words[row + space.S_SECOND_LO]!),
    };
  }
}

export function* cachedSteps(cache: paging.PagingCache): Generator<CachedStep> {
  const { words } = cache;
  for (const row of cache.rows()) {
    const tag = words[row + paging.R_TAG]!;
    const high = words[row + paging.R_HIGH]!;
    const sizeLg2 = (tag >>> 18) & 0x3f;
    const kind = stepKinds[(tag >>> 16) & 3]!;
    yield {
      kind,
      did: tag & 0xffff,
      pasid: kind === 'first' ? (high >>> 20) | ((tag >>> 24) << 12) : -1,
      // The key has 32 bits from its size on, the rest those from bit 44 on.
      iova: (joinWords(0, words[row]!) << BigInt(sizeLg2)) | (BigInt(high & 0xfffff) << 44n),
      sizeLg2,
      hpa: joinWords(words[row + paging.R_HI]!, words[row + paging.R_LO]!),
    };
  }
}
