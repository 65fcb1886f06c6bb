/**
 * C structs as data: a declaration lists every field with its offset, and the TypeScript type, the decoder and
 * the encoder follow from it. All fields are little endian; the host's own byte order does not matter.
 * A decoded struct is a plain object: u64 fields are bigint, all others number, arrays are arrays.
 */

import { get, put, type Scalar } from './scalar.js';

export type { Scalar };

/** Bytes that one element takes. */
export const scalarBytes: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

/** One field. `T` is the type of its decoded value. */
export interface Field<T> {
  readonly scalar: Scalar | null;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  /** Number of elements; 0 when the field is no array. */
  readonly count: number;
  /** The struct that lies here, when the field is one; then `scalar` is null. */
  readonly inner: Struct<T> | null;
}

type ValueOf<F> = F extends Field<infer T> ? T : never;
type Values<F> = { -readonly [K in keyof F]: ValueOf<F[K]> };

/** The plain, mutable object type that a struct decodes to. */
export type Infer<S> = S extends Struct<infer T> ? T : never;

/** Where a view of a C union comes from: arm `arm` of the anonymous union of C struct `of`. */
export interface View {
  readonly of: string;
  readonly arm: string;
}

/** A C flexible array member: elements that follow the struct and are not part of its size. */
export interface Tail {
  readonly name: string;
  readonly offset: number;
  readonly element: Scalar | Struct<any>;
}

/**
 * Both halves of a struct written out, name by name. A loop over the fields has to look up each name in each object,
 * which takes six times as long, so generated declarations of what has numbers only bring this along.
 */
export interface Codec<T> {
  decode(from: Uint8Array, at: number): T;
  encode(value: T, into: Uint8Array, at: number): void;
}

export interface Struct<T> {
  /** The kernel's tag, or for a {@link View} `<struct>_<arm>`. */
  readonly name: string;
  /** sizeof, in bytes. */
  readonly size: number;
  readonly fields: Readonly<Record<keyof T & string, Field<unknown>>>;
  readonly view: View | null;
  readonly tail: Tail | null;
  /** Whether some of its bytes belong to no field. */
  readonly padded: boolean;
  /** Offset just past field `name` (Linux' offsetofend). */
  endOf(name: keyof T & string): number;
  /** Reads {@link size} bytes from `at` (default 0). Throws RangeError if `bytes` is shorter. */
  decode(bytes: Uint8Array, at?: number): T;
  /**
   * Writes every field at `at` (default 0); bytes that belong to no field stay as they are. Values are cut to the
   * width of their field. Of fields that share bytes (a C union) the one declared last wins.
   * Throws RangeError if `into` is shorter.
   */
  encode(value: T, into: Uint8Array, at?: number): void;
  /** All zeros but for `partial`. A value given for one member of a C union is also that of its equals. */
  create(partial?: Partial<T>): T;
}

type At<T> = (offset: number) => Field<T>;

const scalar =
  <T>(kind: Scalar): At<T> =>
  (offset) => ({ scalar: kind, offset, count: 0, inner: null });

const array =
  <T>(kind: Scalar) =>
  (count: number): At<T[]> =>
  (offset) => ({ scalar: kind, offset, count, inner: null });

export const u8 = scalar<number>('u8');
export const u16 = scalar<number>('u16');
export const u32 = scalar<number>('u32');
export const s32 = scalar<number>('s32');
export const u64 = scalar<bigint>('u64');
/** `bytes(3)(37)`: three bytes at offset 37. */
export const bytes = array<number>('u8');
export const u32array = array<number>('u32');
export const u64array = array<bigint>('u64');
/** `nested(vfio_info_cap_header)(0)`: a whole struct at offset 0. */
export const nested =
  <T>(inner: Struct<T>): At<T> =>
  (offset) => ({ scalar: null, offset, count: 0, inner });

/** Bytes that a field takes. */
export function fieldBytes(field: Field<unknown>): number {
  if (field.inner !== null) return field.inner.size;
  return scalarBytes[field.scalar as Scalar] * Math.max(1, field.count);
}

/** Declares a struct of `size` bytes. Names in `fields` are the kernel's. */
export function struct<const F extends Readonly<Record<string, Field<any>>>>(
  name: string,
  size: number,
  fields: F,
  more: { readonly view?: View; readonly tail?: Tail; readonly codec?: Codec<Values<F>> } = {},
): Struct<Values<F>> {
  type T = Values<F>;
  const list = Object.entries(fields).map(([key, field]) => new Place(key, field));
  const zero = Object.fromEntries(list.map((place) => [place.name, place.zero()]));
  const codec = more.codec ?? (new Loop(list) as Codec<any>);
  return {
    name,
    size,
    fields: fields as Struct<T>['fields'],
    view: more.view ?? null,
    tail: more.tail ?? null,
    padded: hasGaps(size, list),
    endOf(key) {
      const field = fields[key] as Field<unknown>;
      return field.offset + fieldBytes(field);
    },
    decode(from, at = 0) {
      if (from.length - at < size) throw tooShort(name, size, from.length - at);
      return codec.decode(from, at);
    },
    encode(value, into, at = 0) {
      if (into.length - at < size) throw tooShort(name, size, into.length - at);
      codec.encode(value, into, at);
    },
    create(partial = {}) {
      const out: Plain = { ...zero };
      for (const place of list) if (place.boxed) out[place.name] = place.zero();
      for (const key of Object.keys(partial)) {
        for (const equal of equals(list, key)) out[equal] = partial[key];
      }
      return out as T;
    },
  };
}

type Plain = Record<string, unknown>;

function tooShort(name: string, size: number, got: number): RangeError {
  return new RangeError(`struct ${name} needs ${size} bytes, got ${got}`);
}

function hasGaps(size: number, list: readonly Place[]): boolean {
  const covered = new Uint8Array(size);
  for (const place of list) covered.fill(1, place.offset, place.end);
  return covered.includes(0);
}

/** The names of the fields that lie at the same place as `name`, itself included. */
function equals(list: readonly Place[], name: string): string[] {
  const own = list.find((place) => place.name === name);
  if (own === undefined) return [name];
  return list.filter((place) => place.sameAs(own)).map((place) => place.name);
}

/** {@link put} for a value whose type only its declaration knows. */
const putAny = put as Readonly<Record<Scalar, (value: any, into: Uint8Array, at: number) => void>>;

/** One field at work. `write` takes what `read` gives. */
class Place {
  readonly name: string;
  readonly #kind: Scalar | null;
  readonly offset: number;
  /** Just past it. */
  readonly end: number;
  readonly #count: number;
  readonly #inner: Struct<unknown> | null;

  constructor(name: string, field: Field<unknown>) {
    this.name = name;
    this.#kind = field.scalar;
    this.offset = field.offset;
    this.end = field.offset + fieldBytes(field);
    this.#count = field.count;
    this.#inner = field.inner;
  }

  /** The zero is an object of its own, not to be shared. */
  get boxed(): boolean {
    return this.#inner !== null || this.#count > 0;
  }

  zero(): unknown {
    if (this.#inner !== null) return this.#inner.create();
    const zero = this.#kind === 'u64' ? 0n : 0;
    return this.#count === 0 ? zero : Array.from({ length: this.#count }, () => zero);
  }

  sameAs(other: Place): boolean {
    return (
      this.offset === other.offset &&
      this.#kind === other.#kind &&
      this.#count === other.#count &&
      this.#inner === other.#inner
    );
  }

  read(from: Uint8Array, at: number): unknown {
    const offset = at + this.offset;
    if (this.#kind === null) return (this.#inner as Struct<unknown>).decode(from, offset);
    if (this.#count === 0) return get[this.#kind](from, offset);
    const step = scalarBytes[this.#kind];
    const out: unknown[] = [];
    for (let i = 0; i < this.#count; i++) out.push(get[this.#kind](from, offset + i * step));
    return out;
  }

  write(value: unknown, into: Uint8Array, at: number): void {
    const offset = at + this.offset;
    if (this.#kind === null) {
      (this.#inner as Struct<unknown>).encode(value, into, offset);
    } else if (this.#count === 0) {
      putAny[this.#kind](value, into, offset);
    } else {
      const step = scalarBytes[this.#kind];
      const elements = value as readonly (number | bigint)[];
      for (let i = 0; i < this.#count; i++) {
        putAny[this.#kind](elements[i] ?? (this.#kind === 'u64' ? 0n : 0), into, offset + i * step);
      }
    }
  }
}

/** The codec of a struct that brings none. */
class Loop implements Codec<Plain> {
  constructor(readonly places: readonly Place[]) {}

  decode(from: Uint8Array, at: number): Plain {
    const out: Plain = {};
    for (const place of this.places) out[place.name] = place.read(from, at);
    return out;
  }

  encode(value: Plain, into: Uint8Array, at: number): void {
    for (const place of this.places) place.write(value[place.name], into, at);
  }
}
