/**
 * Builds one sequence: a model of what should exist by now, so that operations are valid or nearly valid, and the
 * mutations that make one or more things about an operation wrong at once (Linux's order of checks then decides).
 * The model may be wrong about what exists; nothing depends on it being right.
 */
import { fieldOf, layouts, regions, type Field, type Layout, type LayoutName } from './layouts.js';
import { RESULT, isRef, type BytesRef, type Kind, type Op, type Operand, type Ref } from './program.js';
import type { Random } from './random.js';

export type ThingKind =
  | 'ctx'
  | 'ioas'
  | 'hwpt'
  | 'nested'
  | 'device'
  | 'mock'
  | 'access'
  | 'pages'
  | 'fault'
  | 'viommu'
  | 'vdevice'
  | 'veventq'
  | 'hwqueue'
  | 'dmabuf'
  | 'map'
  | 'window';

/** Something that an operation made. `ref` is its id, or its descriptor (ctx, access, dmabuf), or its IOVA (map). */
export interface Thing {
  readonly kind: ThingKind;
  /** The context it lives in; null for contexts. */
  readonly ctx: Thing | null;
  readonly ref: Operand;
  /** What it was made from or with: the IOAS of a map, the mock device of a device id, the viommu of a vdevice. */
  readonly of: Thing | null;
  /** Its own descriptor, for fault and vevent queues. */
  readonly fd?: Ref;
  readonly flags: number;
  readonly length: number;
  readonly va: number;
  gone: boolean;
}

export type Value = number | bigint | Ref;
export type Values = Readonly<Record<string, Value>>;

export interface IoctlOptions {
  /** Fields that no mutation may touch: see `exclusions`. */
  readonly keep?: readonly string[];
  /** Memory besides the struct that the answer covers. */
  readonly watch?: { readonly at: number; readonly length: number };
  /** Runs in a forked child. */
  readonly child?: boolean;
  /** Bytes at the struct's address beyond the struct itself (VFIO capability chains). */
  readonly span?: number;
}

/** An operation that was added: its index, and whether it was left as it should be. */
export interface Added {
  readonly op: number;
  readonly clean: boolean;
}

const U64 = 2n ** 64n;
const STRUCTS = 0x10500000;
const STRUCTS_LAST_PAGE = STRUCTS + 3 * 4096;
const badAddresses = [
  0n,
  8n,
  0x10504000n, // after the structs
  0x10018000n, // after the data
  0x10200000n, // no access
  0x10103ff8n, // the end of the read-only pages
  0x7ffffffff000n,
  0x800000000000n,
  0xffff800000000000n,
  0xffffffffffffffffn,
];
const bounds64 = [
  0n, 1n, 2n, 8n, 2047n, 2048n, 4095n, 4096n, 4097n, 8192n,
  2n ** 24n - 4096n, 2n ** 24n - 1n, 2n ** 24n, 2n ** 31n - 4096n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 31n + 1n,
  2n ** 32n - 1n, 2n ** 32n, 2n ** 32n + 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 56n, 2n ** 62n,
  2n ** 63n - 4096n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 63n + 1n, U64 - 8192n, U64 - 4097n, U64 - 4096n, U64 - 4095n,
  U64 - 2n, U64 - 1n,
]; // prettier-ignore
const bounds32 = [
  0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 255, 256, 1023, 1024, 1025, 65535, 65536, 0xfffff, 0x100000, 0x80000,
  0x80001, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
]; // prettier-ignore
const sizes = [
  0, 1, 3, 4, 8, 64, 72, 76, 80, 128, 4095, 4096, 4097, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
];

/** What looks at or keeps the caller's own private memory: a child's goes when it exits. */
const needsOwner = new Set([
  'IOAS_MAP',
  'VFIO_IOMMU_MAP_DMA',
  'TEST_MD_CHECK_MAP',
  'TEST_MD_CHECK_REFS',
  'TEST_ACCESS_PAGES',
]);

const isId = (name: string): boolean => /(^|_)id$/.test(name) && !/^(virt|iotlb|cache|option)_/.test(name);
const isPointer = (name: string): boolean => /ptr$|_va$|^vaddr$|^data$|^allowed_iovas$/.test(name);

export class Maker {
  readonly ops: Op[] = [];
  readonly things: Thing[] = [];
  /** Fields mutate this often, in percent. */
  hostility = 30;
  /** Mappings stay within one page: see `exclusions`. */
  singlePages = false;
  /** Now and then a forked child makes the call instead. */
  childPlaysToo = false;
  /** A descriptor may be that of a dma-buf: see `exclusions`. */
  dmabufTried = false;

  constructor(readonly random: Random) {}

  add(kind: Kind, args: readonly Operand[], more: Partial<Op> = {}): number {
    this.ops.push({ kind, flags: 0, args, bytes: new Uint8Array(0), span: 0, refs: [], ...more });
    return this.ops.length - 1;
  }

  /** What operation `op` will answer in `field` of `layout`. */
  result(op: number, layout: LayoutName, field: string): Ref {
    const { at, width } = fieldOf(layouts[layout], field);
    return { op, offset: at, width: width === 8 ? 8 : 4, addPages: 0, addBytes: 0 };
  }

  returned(op: number): Ref {
    return { op, offset: RESULT, width: 8, addPages: 0, addBytes: 0 };
  }

  remember(
    kind: ThingKind,
    ctx: Thing | null,
    ref: Operand,
    more: Partial<Omit<Thing, 'kind' | 'ctx' | 'ref'>> = {},
  ): Thing {
    const thing: Thing = { kind, ctx, ref, of: null, flags: 0, length: 0, va: 0, gone: false, ...more };
    this.things.push(thing);
    return thing;
  }

  /** Live things of a kind, in `ctx` where given. */
  all(kind: ThingKind, ctx?: Thing | null): Thing[] {
    return this.things.filter((t) => t.kind === kind && !t.gone && (ctx == null || t.ctx === ctx));
  }

  /** One of them, the newest more often; null when there is none. */
  one(kind: ThingKind, ctx?: Thing | null, fits: (thing: Thing) => boolean = () => true): Thing | null {
    const found = this.all(kind, ctx).filter(fits);
    if (found.length === 0) return null;
    return this.random.chance(40) ? (found.at(-1) as Thing) : this.random.pick(found);
  }

  /** A wrong id: of another kind, of another context, gone, or never given. */
  wrongId(): Value {
    const things = this.things.filter((t) => t.kind !== 'ctx' && t.kind !== 'map' && t.kind !== 'pages');
    if (things.length > 0 && this.random.chance(55)) {
      const ref = this.random.pick(things).ref;
      return isRef(ref) ? { ...ref, width: 4 } : ref;
    }
    if (this.random.chance(60)) return this.random.below(14);
    return this.random.pick([0, 0x7fffffff, 0x80000000, 0xffffffff, 100]);
  }

  /** An address from user memory, `length` bytes long if possible. */
  address(): number {
    const r = this.random;
    const region = r.weighted<(typeof regions)[number]>([
      [regions[0], 60],
      [regions[3], 14],
      [regions[4], 10],
      [regions[5], 6],
      [regions[1], 6],
      [regions[2], 2],
    ]);
    const page = r.below(r.chance(85) ? Math.max(1, region.pages - 4) : region.pages);
    const offset = r.weighted([
      [0, 80],
      [2048, 10],
      [r.below(4096), 10],
    ]);
    return region.at + page * 4096 + offset;
  }

  /** Space for an array or bitmap in the buffers region. */
  buffer(length: number): number {
    const base = 0x10600000;
    if (this.random.chance(4)) return base + 4 * 4096 - this.random.below(length + 1);
    return base + this.random.below(Math.max(1, (4 * 4096 - length) >> 8)) * 256;
  }

  /** Adds to an operand: exact for numbers, within a reference's reach otherwise. */
  plus(value: Operand, bytes: number): Operand {
    if (!isRef(value)) return BigInt.asUintN(64, value + BigInt(bytes));
    const total = value.addPages * 4096 + value.addBytes + bytes;
    const pages = Math.trunc(total / 4096);
    return { ...value, addPages: pages, addBytes: total - pages * 4096 };
  }

  /** Stores bytes for a later operation to point at. */
  poke(at: number, bytes: Uint8Array, refs: readonly BytesRef[] = []): void {
    this.add('poke', [BigInt(at)], { bytes, span: bytes.length, refs });
  }

  /** An ioctl on `fd` with its struct filled from `values`, mutated now and then. */
  ioctl(name: LayoutName, fd: Operand, values: Values, options: IoctlOptions = {}): Added {
    const layout: Layout = layouts[name];
    const fields = new Map<Field, Value>();
    for (const field of layout.fields) {
      const value = values[field.name] ?? this.#unset(layout, field);
      fields.set(field, value);
    }
    const child =
      options.child ?? (this.childPlaysToo && !needsOwner.has(layout.name) && this.random.chance(2));
    const call = { fd, code: BigInt(layout.code), at: BigInt(STRUCTS), flags: child ? 1 : 0, tail: -1 };
    const mutations = this.#mutations();
    for (let i = 0; i < mutations; i++) this.#mutate(layout, fields, call, options);
    const span = Math.max(options.span ?? 0, layout.size, call.tail + 1);
    const { bytes, refs } = this.#pack(fields, span, call.tail);
    const watch = options.watch === undefined ? [] : [BigInt(options.watch.at), BigInt(options.watch.length)];
    const op = this.add('ioctl', [call.fd, call.code, call.at, ...watch], {
      flags: call.flags,
      bytes,
      span,
      refs,
    });
    return { op, clean: mutations === 0 };
  }

  #mutations(): number {
    if (!this.random.chance(this.hostility)) return 0;
    return this.random.weighted([
      [1, 62],
      [2, 26],
      [3, 12],
    ]);
  }

  #unset(layout: Layout, field: Field): Value {
    if (field.name === 'size' || field.name === 'argsz') return layout.size;
    if (field.name === 'op' && layout.op !== undefined) return layout.op;
    if (field.name.startsWith('out_')) {
      return field.name.endsWith('_fd') || this.random.chance(30) ? BigInt.asUintN(field.width * 8, -1n) : 0;
    }
    return 0;
  }

  #pack(
    fields: ReadonlyMap<Field, Value>,
    span: number,
    tail: number,
  ): { bytes: Uint8Array; refs: BytesRef[] } {
    const bytes = new Uint8Array(span);
    const refs: BytesRef[] = [];
    for (const [field, value] of fields) {
      if (typeof value === 'object') {
        refs.push({ ...value, at: field.at, width: field.width === 8 ? 8 : 4 });
        continue;
      }
      let rest = BigInt.asUintN(64, BigInt(value));
      for (let i = 0; i < field.width; i++, rest >>= 8n) bytes[field.at + i] = Number(rest & 0xffn);
    }
    if (tail >= 0) bytes[tail] = 1 + this.random.below(255);
    return { bytes, refs };
  }

  #mutate(
    layout: Layout,
    fields: Map<Field, Value>,
    call: { fd: Operand; code: bigint; at: bigint; flags: number; tail: number },
    options: IoctlOptions,
  ): void {
    const r = this.random;
    const what = r.weighted([
      ['field', 66],
      ['size', 12],
      ['place', 9],
      ['code', 4],
      ['fd', 5],
      ['tail', 4],
    ]);
    if (what === 'field') return this.#mutateField(layout, fields, options);
    if (what === 'size') return this.#mutateSize(layout, fields, call);
    if (what === 'place') return this.#misplace(layout, call);
    if (what === 'code') call.code = this.#wrongCode(call.code);
    else if (what === 'fd') call.fd = this.#wrongFd();
    else {
      const size = layout.fields[0];
      if (size === undefined || layout.size === 0) return;
      const tail = layout.size + r.pick([0, 3, 4, 7, 8, 60]);
      fields.set(size, r.chance(85) ? tail + 1 + r.below(8) : layout.size);
      call.tail = tail;
    }
  }

  #mutateField(layout: Layout, fields: Map<Field, Value>, options: IoctlOptions): void {
    const r = this.random;
    const candidates = layout.fields.filter(
      (f) => f.name !== 'size' && f.name !== 'op' && !(options.keep ?? []).includes(f.name),
    );
    if (layout.op === undefined && layout.name === 'OPTION') candidates.push(fieldOf(layout, 'op'));
    if (layout.name === 'VFIO_IOAS') candidates.push(fieldOf(layout, 'op'));
    if (candidates.length === 0) return;
    const field = r.pick(candidates);
    const old = fields.get(field) ?? 0;
    fields.set(field, this.#wrongValue(field, old));
  }

  #wrongValue(field: Field, old: Value): Value {
    const r = this.random;
    if (isId(field.name) && r.chance(80)) return this.wrongId();
    if (isPointer(field.name) && r.chance(60)) return r.pick(badAddresses);
    if (field.name === 'flags' && r.chance(70))
      return (typeof old === 'number' ? old : 0) ^ (1 << r.below(5));
    if (field.width === 8) {
      if (r.chance(35)) return this.#near(old);
      return r.pick(bounds64);
    }
    if (field.width < 4) return r.pick([1, 2, 3, 0xff, 0xffff]);
    return r.chance(25) && typeof old === 'number' ? old + r.pick([-1, 1]) : r.pick(bounds32);
  }

  #near(old: Value): Value {
    const delta = this.random.pick([-1, 1, -4096, 4096, 1024, 2048, -2048, 8]);
    if (typeof old === 'object') return this.plus(old, delta) as Ref;
    return BigInt.asUintN(64, BigInt(old) + BigInt(delta));
  }

  #mutateSize(layout: Layout, fields: Map<Field, Value>, call: { tail: number }): void {
    const size = layout.fields[0];
    if (size === undefined || layout.size === 0) return;
    const r = this.random;
    const near = [
      layout.min - 1,
      layout.min,
      layout.min + 1,
      layout.size - 1,
      layout.size + 1,
      layout.size + 8,
    ];
    fields.set(size, r.chance(65) ? Math.max(0, r.pick(near)) : r.pick(sizes));
    if (r.chance(15)) call.tail = layout.size + r.below(16);
  }

  /** Somewhere the struct cannot be read or written, or only in part. */
  #misplace(layout: Layout, call: { at: bigint; flags: number }): void {
    const r = this.random;
    if (r.chance(40)) {
      call.at = r.pick(badAddresses);
    } else if (r.chance(60)) {
      call.at = BigInt(STRUCTS_LAST_PAGE + 4096 - r.below(layout.size + 9));
    } else {
      call.at = 0x10100000n + BigInt(r.below(16) * 8);
      call.flags |= 2;
    }
  }

  #wrongCode(code: bigint): bigint {
    const r = this.random;
    return r.pick([
      code | 0xc0000000n,
      code | 0x40000000n,
      code | 0x00280000n,
      code ^ 0x100n,
      0x3b00n + BigInt(0x95 + r.below(14)),
      0x3b00n + BigInt(r.below(256)),
      0n,
      0xffffffffn,
    ]);
  }

  #wrongFd(): Operand {
    const r = this.random;
    const others = this.things.filter((t) => t.kind === 'ctx' || t.kind === 'access' || t.fd !== undefined);
    if (others.length > 0 && r.chance(60)) {
      const other = r.pick(others);
      return other.fd ?? other.ref;
    }
    return r.pick([0xffffffffn, 0n, 3n, 8n, 200n, 0x7fffffffn]);
  }
}
