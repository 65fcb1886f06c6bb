/**
 * What people are shown of a machine: plain objects, fit for JSON. Addresses and entries are hexadecimal strings, because
 * a number of JSON does not hold 64 bits.
 */

/** One entry that was looked at on the way of an address. */
export interface WalkStep {
  /** `context table`, `first stage level 3`. */
  readonly table: string;
  /** Where the table is, and which entry of it. */
  readonly at: string;
  readonly index: number;
  /** The entry's 64-bit words, as far as they mean anything. */
  readonly entry: readonly string[];
  /** Its fields by the specification's names; absent where the entry is all zero. */
  readonly fields: Readonly<Record<string, string | number>>;
  /** 0: on the way itself. 1: on the way of an address of a table, through the second stage. */
  readonly depth: number;
  /** Why the walk ends here, if it does. */
  readonly problem?: string;
}

export interface WalkReport {
  readonly device: string;
  readonly unit: string;
  /** Null: the requester id alone. */
  readonly pasid: number | null;
  readonly iova: string;
  readonly steps: readonly WalkStep[];
  readonly result:
    | {
        readonly kind: 'page';
        readonly hpa: string;
        readonly size: string;
        readonly permits: string;
        readonly memory: string;
      }
    | { readonly kind: 'fault'; readonly reason: number; readonly text: string };
}

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** Bits of a word from `lowest` on, as `mask` says. */
export const bitsOf = (word: bigint, lowest: number, mask: number): number =>
  Number((word >> BigInt(lowest)) & BigInt(mask));
