/** What the IOTLB holds, in plain values: for people. */
import { joinWords } from '../../base/words.js';
import { ENTRY, type Iotlb } from './iotlb.js';

export interface CachedEntry {
  readonly did: number;
  /** ENTRY.KIND_* of iotlb.ts. */
  readonly kind: number;
  readonly pasid: number;
  /** First byte that it translates, and where that is. */
  readonly address: bigint;
  readonly hpa: bigint;
  readonly sizeLg2: number;
}

const DID_MASK = 0xffff;
const KIND_SHIFT = 16;
const KIND_MASK = 3;
/** A tag has 12 bits of the PASID in its high word, the others from here on in its low one. */
const PASID_LOW_BITS = 12;
const PASID_HIGH_SHIFT = 18;
/** The bits of an address above those of the frame number, in the high word. */
const HIGH_MASK = 0xfff;
const FRAME_BITS = 44n;

export function* listEntries(iotlb: Iotlb): Generator<CachedEntry> {
  const { words } = iotlb;
  for (const at of iotlb.offsets()) {
    const tag = words[at + ENTRY.E_TAG]!;
    const high = words[at + ENTRY.E_HIGH]!;
    const sizeLg2 = 12 + (31 - Math.clz32(-words[at + ENTRY.E_MASK]!));
    const low = (1n << BigInt(sizeLg2)) - 1n;
    yield {
      did: tag & DID_MASK,
      kind: (tag >>> KIND_SHIFT) & KIND_MASK,
      pasid: (high >>> (32 - PASID_LOW_BITS)) | ((tag >>> PASID_HIGH_SHIFT) << PASID_LOW_BITS),
      address: (BigInt(high & HIGH_MASK) << FRAME_BITS) | (BigInt(words[at]! >>> 0) << 12n),
      hpa: joinWords(words[at + ENTRY.E_HPA_HI]!, words[at + ENTRY.E_HPA_LO]!) & ~low,
      sizeLg2,
    };
  }
}
