/** How an ioctl is described for people: what a row of a table has. */
import type { Struct } from './struct.js';

/** Short names of values: `{ WRITEABLE: 2 }`. */
export type Names = Readonly<Record<string, number>>;

/** What a u64 field that holds a client address points at. */
export interface Pointer {
  /** The field that says how long it is. */
  readonly length: string;
  /** What that field counts. `bitmap`: bytes of IOVA, of which every page_size take one bit. */
  readonly unit: 'bytes' | 'elements' | 'bitmap';
  /** What one element is: one struct, or the one that the value of field `by` selects; null for plain bytes. */
  readonly element:
    Struct<any> | null | { readonly by: string; readonly of: Readonly<Record<number, Struct<any>>> };
}

export interface IoctlInfo {
  readonly name: string;
  /** Null where the argument is no pointer: nothing, or a number that `enums.arg` names. */
  readonly struct: Struct<any> | null;
  /** Fields past this one may be left out by a caller with a smaller struct; '' without a struct. */
  readonly lastMandatory: string;
  /** By field: names of its bits. */
  readonly flags: Readonly<Record<string, Names>>;
  /** By field: names of its values. */
  readonly enums: Readonly<Record<string, Names>>;
  readonly pointers: Readonly<Record<string, Pointer>>;
  /** Where a field selects an arm of a C union: the ioctl as that arm has it. */
  readonly variants: { readonly field: string; readonly by: ReadonlyMap<number, IoctlInfo> } | null;
}

export type Hints = Partial<Pick<IoctlInfo, 'flags' | 'enums' | 'pointers' | 'variants'>>;
export type Row = readonly [number: number, info: IoctlInfo];

export function row(
  name: string,
  number: number,
  struct: Struct<any>,
  lastMandatory: string,
  hints: Hints = {},
): Row {
  return [
    number,
    { name, struct, lastMandatory, flags: {}, enums: {}, pointers: {}, variants: null, ...hints },
  ];
}

/** Those of `constants` that begin with `prefix`, by the rest of their name. */
export function named(constants: Names, prefix: string): Names {
  const found = Object.entries(constants).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, value]) => [name.slice(prefix.length), value]));
}

/** An ioctl whose argument is a number, or is not looked at. */
export function plainRow(name: string, number: number, values: Names): Row {
  const enums = { arg: values };
  return [number, { name, struct: null, lastMandatory: '', flags: {}, enums, pointers: {}, variants: null }];
}
