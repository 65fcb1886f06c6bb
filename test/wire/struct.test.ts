import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytes, nested, s32, struct, u16, u32, u32array, u64, u64array, u8 } from '../../src/wire/struct.js';
import type { Field, Struct } from '../../src/wire/struct.js';
import { allStructs, fieldsOf } from './all.js';

const ranges: Readonly<Record<string, fc.Arbitrary<number | bigint>>> = {
  u8: fc.integer({ min: 0, max: 0xff }),
  u16: fc.integer({ min: 0, max: 0xffff }),
  u32: fc.integer({ min: 0, max: 0xffffffff }),
  s32: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  u64: fc.oneof(
    fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    fc.constantFrom(0n, 0xffff_ffffn, 1n << 32n, (1n << 53n) + 1n, 1n << 63n, 0xffff_ffff_ffff_ffffn),
  ),
};

function valueOf(field: Field<unknown>): fc.Arbitrary<unknown> {
  if (field.inner !== null) return valuesOf(field.inner);
  const one = ranges[field.scalar as string] as fc.Arbitrary<number | bigint>;
  return field.count === 0 ? one : fc.array(one, { minLength: field.count, maxLength: field.count });
}

/** Values of every field; fields that share bytes get the same value. */
function valuesOf(of: Struct<any>): fc.Arbitrary<Record<string, unknown>> {
  const places = new Map(fieldsOf(of).map(([name, field]) => [field.offset, name]));
  const record = Object.fromEntries(
    [...places.values()].map((name) => [name, valueOf(of.fields[name] as Field<unknown>)]),
  );
  return fc.record(record).map((value) => of.create(value));
}

describe('a struct', () => {
  const every = struct('every', 56, {
    a: u8(0),
    b: u16(2),
    c: u32(4),
    d: s32(8),
    e: bytes(3)(12),
    f: u64(16),
    g: u32array(2)(24),
    h: u64array(2)(32),
    i: nested(struct('inner', 8, { x: u32(0), y: s32(4) }))(48),
  });

  test('decodes little endian bytes, each width and sign', () => {
    const raw = Uint8Array.from({ length: 56 }, (_, i) => 0x80 + i);
    expect(every.decode(raw)).toEqual({
      a: 0x80,
      b: 0x8382,
      c: 0x87868584,
      d: 0x8b8a8988 - 2 ** 32,
      e: [0x8c, 0x8d, 0x8e],
      f: 0x9796959493929190n,
      g: [0x9b9a9998, 0x9f9e9d9c],
      h: [0xa7a6a5a4a3a2a1a0n, 0xafaeadacabaaa9a8n],
      i: { x: 0xb3b2b1b0, y: 0xb7b6b5b4 - 2 ** 32 },
    });
  });

  test('leaves bytes that belong to no field as they are', () => {
    const raw = new Uint8Array(56).fill(0xff);
    every.encode(every.create(), raw);
    expect([...raw.keys()].filter((at) => raw[at] === 0xff)).toEqual([1, 15]);
  });

  test('reads and writes at an offset, and nothing around it', () => {
    const pair = struct('pair', 8, { x: u32(0), y: u32(4) });
    const raw = new Uint8Array(24).fill(0xee);
    pair.encode({ x: 1, y: 0xfffffffe }, raw, 8);
    expect(pair.decode(raw, 8)).toEqual({ x: 1, y: 0xfffffffe });
    expect(pair.decode(raw.subarray(8))).toEqual({ x: 1, y: 0xfffffffe });
    expect([...raw.subarray(0, 8), ...raw.subarray(16)]).toEqual(Array(16).fill(0xee));
  });

  test('needs as many bytes as it is long', () => {
    expect(() => every.decode(new Uint8Array(55))).toThrow('struct every needs 56 bytes, got 55');
    expect(() => every.decode(new Uint8Array(56), 1)).toThrow(RangeError);
    expect(() => every.encode(every.create(), new Uint8Array(56), 1)).toThrow(RangeError);
  });

  test('cuts values to the width of their field', () => {
    const narrow = struct('narrow', 16, { a: u8(0), b: u16(2), c: u32(4), d: u64(8) });
    const raw = new Uint8Array(16);
    narrow.encode({ a: 0x1ff, b: 0x1ffff, c: -1, d: -1n }, raw);
    expect(narrow.decode(raw)).toEqual({ a: 0xff, b: 0xffff, c: 0xffffffff, d: 0xffff_ffff_ffff_ffffn });
  });

  test('is created anew each time, arrays and inner structs included', () => {
    const first = every.create({ c: 5 });
    first.e[0] = 1;
    first.i.x = 2;
    expect(every.create()).toMatchObject({ c: 0, e: [0, 0, 0], f: 0n, i: { x: 0, y: 0 } });
    expect(first.c).toBe(5);
  });

  test('gives both members of a union the value of either', () => {
    const union = struct('union', 8, { in_type: u32(0), out_type: u32(0), rest: u32(4) });
    const raw = new Uint8Array(8);
    union.encode(union.create({ in_type: 7 }), raw);
    expect(union.decode(raw)).toEqual({ in_type: 7, out_type: 7, rest: 0 });
  });

  test('says where a field ends', () => {
    expect(every.endOf('a')).toBe(1);
    expect(every.endOf('e')).toBe(15);
    expect(every.endOf('h')).toBe(48);
    expect(every.endOf('i')).toBe(56);
  });
});

describe.each(allStructs.map((each) => [each.name, each] as const))('struct %s', (_, each) => {
  test('gives back what was written, whatever the values', () => {
    fc.assert(
      fc.property(valuesOf(each), fc.nat(9), (value, at) => {
        const raw = new Uint8Array(each.size + 10).fill(0xa5);
        each.encode(value, raw, at);
        expect(each.decode(raw, at)).toEqual(value);
        expect([...raw.subarray(0, at), ...raw.subarray(at + each.size)]).toEqual(Array(10).fill(0xa5));
      }),
      { numRuns: 30 },
    );
  });

  test('is read and written as its fields say, whoever wrote the code', () => {
    const byFields = struct(each.name, each.size, each.fields);
    const raw = Uint8Array.from({ length: each.size }, (_byte, i) => 0x81 + i);
    const value = each.decode(raw);
    expect(value).toEqual(byFields.decode(raw));
    expect(Object.keys(value)).toEqual(Object.keys(each.fields));
    const [written, expected] = [raw.slice().fill(0x5a), raw.slice().fill(0x5a)];
    each.encode(value, written);
    byFields.encode(value, expected);
    expect(written).toEqual(expected);
    expect(each.padded).toBe(expected.includes(0x5a));
    expect(() => each.decode(raw.subarray(1))).toThrow(RangeError);
    expect(() => each.encode(value, raw.subarray(1))).toThrow(RangeError);
  });

  test('has every field inside it, naturally aligned, and no two over each other but equals', () => {
    const fields = fieldsOf(each);
    for (const [name, field] of fields) {
      expect(each.endOf(name), name).toBeLessThanOrEqual(each.size);
      const align = field.scalar === null ? 4 : Number(/\d+/.exec(field.scalar)?.[0]) / 8;
      expect(field.offset % align, name).toBe(0);
      for (const [other, place] of fields) {
        const apart = each.endOf(name) <= place.offset || each.endOf(other) <= field.offset;
        expect(apart || (place.offset === field.offset && each.endOf(name) === each.endOf(other))).toBe(true);
      }
    }
  });
});
