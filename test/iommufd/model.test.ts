/**
 * Random programs on the engine and on the reference at once: the same errno or the same values for every call, and
 * after every call the same mappings, holes, pins and accounts, and page tables that show exactly what is mapped.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import type { HwptPaging } from '../../src/iommufd/hwpt.js';
import type { Ioas as RealIoas } from '../../src/iommufd/ioas.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';
import { Reference, Refused, holes, type Access, type Buffer, type Ioas, type Table } from './reference.js';
import { FIXED, LOW, MAX, PAGE, World } from './world.js';

const BUFFER_PAGES = 12;
/** IOVAs of fixed mappings lie in so many half pages from LOW on. */
const HALF_PAGES = 40;

/** Numbers that the operations take what they need from. */
interface Step {
  readonly op: keyof typeof operations;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
}

/** Ends a run of the engine's answer and the reference's. */
type Outcome = bigint | number | string | null;

class Pair {
  readonly w: World;
  readonly model: Reference;
  readonly buffers: readonly Buffer[];
  readonly #scratch: bigint;

  constructor(limit: number) {
    const memlockLimit = BigInt(limit) * PAGE;
    this.w = new World({ capabilities: [], memlockLimit });
    this.model = new Reference(limit);
    this.buffers = [true, true, false].map((writable) => this.#buffer(writable));
    this.#scratch = this.w.buffer(4);
    this.model.addIoas(this.w.ioas());
    this.model.addIoas(this.w.ioas());
  }

  #buffer(writable: boolean): Buffer {
    const bytes = Uint8Array.from(
      { length: BUFFER_PAGES * Number(PAGE) },
      (_, at) => (at * 7 + at / 4096) & 255,
    );
    const { pages } = this.w.client.memfd(bytes.length);
    pages.write(0n, bytes);
    return { at: this.w.client.memory.alloc(bytes.length, { pages, writable }), writable, bytes };
  }

  ioas(n: number): Ioas {
    return this.model.ioases[n % this.model.ioases.length]!;
  }

  buffer(n: number): Buffer {
    return this.buffers[n % this.buffers.length]!;
  }

  access(n: number): Access | undefined {
    return this.model.accesses[n % Math.max(1, this.model.accesses.length)];
  }

  /** Does both; they have to agree. Returns what the reference says, or null after a refusal. */
  both<T extends Outcome>(real: () => Outcome, model: () => T): T | null {
    const expected = answer(model);
    same(answer(real), expected);
    return typeof expected === 'string' ? null : (expected as T);
  }

  scratch(bytes: Uint8Array | null = null): bigint {
    if (bytes !== null) this.w.client.memory.write(this.#scratch, bytes);
    return this.#scratch;
  }
}

/** The value, or the name of the errno. */
function answer(act: () => Outcome): Outcome {
  try {
    return act();
  } catch (error) {
    if (error instanceof Errno || error instanceof Refused) return error.code;
    throw error;
  }
}

const half = (n: number): bigint => BigInt(n) * (PAGE / 2n);
/** Mostly whole pages, now and then half ones and bytes. */
const length = (n: number): bigint =>
  n % 8 === 7 ? BigInt(n * 97) : n % 4 === 3 ? half(n % 13) : half((n % 6) * 2);
const offset = (n: number): bigint =>
  n % 10 === 9 ? BigInt(n) : n % 5 === 4 ? half(n % 7) : half((n % 4) * 2);
const iovaOf = (n: number): bigint => LOW + (n % 11 === 10 ? BigInt(n) : half(n % HALF_PAGES));
const prots = [3, 3, 1, 2] as const;
const flagsOf = (prot: number): number =>
  ((prot & 1) !== 0 ? u.IOMMU_IOAS_MAP_READABLE : 0) | ((prot & 2) !== 0 ? u.IOMMU_IOAS_MAP_WRITEABLE : 0);

const rangeBytes = (ranges: readonly { start: bigint; last: bigint }[]): Uint8Array => {
  const bytes = new Uint8Array(Math.max(1, ranges.length) * 16);
  ranges.forEach((range, index) => u.iommu_iova_range.encode(range, bytes, index * 16));
  return bytes;
};

function attach(p: Pair, target: Ioas | Table, flags: number): void {
  const { w, model } = p;
  const table = 'devices' in target ? target : model.automaticTable(target);
  const made = { stdev: 0, dev: 0, hwpt: 0 };
  const done = p.both(
    () => {
      Object.assign(made, w.device(target.id, flags));
      return 0;
    },
    () => {
      if (table === undefined) model.checkTable(target as Ioas);
      return 0;
    },
  );
  if (done === null) return;
  if (table !== undefined) expect(made.hwpt).toBe(table.id);
  const used = table ?? model.addTable(made.hwpt, target as Ioas, true);
  const device = { stdev: made.stdev, dev: made.dev, table: used };
  used.devices.add(device);
  model.devices.push(device);
}

function replace(p: Pair, n: number, target: Ioas | Table): void {
  const { w, model } = p;
  const device = model.devices[n % Math.max(1, model.devices.length)];
  if (device === undefined) return;
  const table = 'devices' in target ? target : model.automaticTable(target);
  let hwpt = 0;
  const done = p.both(
    () => {
      hwpt = w.replace(device.stdev, target.id);
      return 0;
    },
    () => {
      if (table === undefined) model.checkTable(target as Ioas);
      return 0;
    },
  );
  if (done === null) return;
  if (table !== undefined) expect(hwpt).toBe(table.id);
  model.moveDevice(device, table ?? model.addTable(hwpt, target as Ioas, true));
}

/** A page table, or the IOAS if it has none. */
function chooseTarget(p: Pair, n: number, which: number): Ioas | Table {
  const ioas = p.ioas(n);
  return which % 3 === 0 ? (ioas.tables[which % Math.max(1, ioas.tables.length)] ?? ioas) : ioas;
}

const operations = {
  ioas: (p: Pair) => {
    if (p.model.ioases.length < 4) p.model.addIoas(p.w.ioas());
  },
  map: (p: Pair, { a, b, c, d, e }: Step) => {
    const [ioas, buffer, prot] = [p.ioas(a), p.buffer(b), prots[e % prots.length]!];
    const [at, bytes] = [buffer.at + offset(c), length(d)];
    const iova = e % 5 === 0 ? null : iovaOf(b + e);
    const flags = flagsOf(prot) | (iova === null ? 0 : FIXED);
    const values = { flags, ioas_id: ioas.id, user_va: at, length: bytes, iova: iova ?? 0n };
    p.both(
      () => p.w.call(u.IOMMU_IOAS_MAP, values).iova,
      () => p.model.map(ioas, buffer, at, bytes, iova, prot),
    );
  },
  copy: (p: Pair, { a, b, c, d, e }: Step) => {
    const [from, to, prot] = [p.ioas(a), p.ioas(b), prots[e % prots.length]!];
    const mapping = from.mappings[c % Math.max(1, from.mappings.length)];
    const source = mapping === undefined ? iovaOf(c) : mapping.start + (d % 3 === 0 ? half(d % 5) : 0n);
    const bytes = d % 5 === 0 ? length(d) : PAGE * BigInt(1 + (d % 3));
    const iova = e % 5 === 0 ? null : iovaOf(c + e);
    const flags = flagsOf(prot) | (iova === null ? 0 : FIXED);
    const ids = { src_ioas_id: from.id, dst_ioas_id: to.id };
    const values = { ...ids, flags, length: bytes, src_iova: source, dst_iova: iova ?? 0n };
    p.both(
      () => p.w.call(u.IOMMU_IOAS_COPY, values).dst_iova,
      () => p.model.copy(from, source, bytes, to, iova, prot),
    );
  },
  unmap: (p: Pair, { a, b, c, d }: Step) => {
    const ioas = p.ioas(a);
    const mapping = ioas.mappings[b % Math.max(1, ioas.mappings.length)];
    const start = c % 4 === 0 || mapping === undefined ? iovaOf(b) : mapping.start;
    const own = mapping === undefined ? PAGE : mapping.last - mapping.start + 1n;
    const bytes = d % 4 === 0 ? half(1 + (d % 30)) : own;
    p.both(
      () => p.w.call(u.IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, iova: start, length: bytes }).length,
      () => p.model.unmap(ioas, { start, last: start + bytes - 1n }),
    );
  },
  unmapAll: (p: Pair, { a, b }: Step) => {
    if (b % 4 !== 0) return;
    const ioas = p.ioas(a);
    p.both(
      () => p.w.call(u.IOMMU_IOAS_UNMAP, { ioas_id: ioas.id, iova: 0n, length: MAX }).length,
      () => p.model.unmap(ioas, { start: 0n, last: MAX }, true),
    );
  },
  allow: (p: Pair, { a, b, c, d }: Step) => {
    const ioas = p.ioas(a);
    const [first, second] = [iovaOf(b), iovaOf(c)];
    const list = [
      { start: first, last: first + half(d % 9) },
      { start: second, last: second + half(d % 5) },
    ].slice(0, d % 3);
    const allowed_iovas = p.scratch(rangeBytes(list));
    p.both(
      () => {
        p.w.call(u.IOMMU_IOAS_ALLOW_IOVAS, { ioas_id: ioas.id, num_iovas: list.length, allowed_iovas });
        return 0;
      },
      () => {
        p.model.allow(ioas, list);
        return 0;
      },
    );
  },
  reserve: (p: Pair, { a, b, c }: Step) => {
    if (c % 3 !== 0) return;
    const [ioas, start] = [p.ioas(a), iovaOf(b)];
    const bytes = half(1 + (c % 3));
    p.both(
      () => {
        p.w.reserve(ioas.id, start, bytes);
        return 0;
      },
      () => {
        p.model.reserve(ioas, { start, last: start + bytes - 1n });
        return 0;
      },
    );
  },
  largePages: (p: Pair, { a, b }: Step) => {
    const ioas = p.ioas(a);
    const values = { option_id: u.IOMMU_OPTION_HUGE_PAGES, op: u.IOMMU_OPTION_OP_SET, object_id: ioas.id };
    p.both(
      () => p.w.call(u.IOMMU_OPTION, { ...values, val64: BigInt(b % 2) }).val64,
      () => {
        p.model.setLargePages(ioas, b % 2 === 1);
        return BigInt(b % 2);
      },
    );
  },
  attach: (p: Pair, { a, b, c }: Step) => {
    if (p.model.devices.length < 4)
      attach(p, chooseTarget(p, a, b), c % 2 === 0 ? 0 : t.MOCK_FLAGS_DEVICE_PASID);
  },
  replace: (p: Pair, { a, b, c }: Step) => replace(p, c, chooseTarget(p, a, b)),
  detach: (p: Pair, { a }: Step) => {
    const { devices } = p.model;
    const device = devices[a % Math.max(1, devices.length)];
    if (device === undefined) return;
    p.w.call(u.IOMMU_DESTROY, { id: device.stdev });
    devices.splice(devices.indexOf(device), 1);
    p.model.moveDevice(device, null);
  },
  hwpt: (p: Pair, { a, b }: Step) => {
    const [ioas, device] = [p.ioas(a), p.model.devices[b % Math.max(1, p.model.devices.length)]];
    if (device === undefined || ioas.tables.length > 3) return;
    let id = 0;
    const done = p.both(
      () => {
        id = p.w.hwpt(device.dev, ioas.id);
        return 0;
      },
      () => {
        p.model.checkTable(ioas);
        return 0;
      },
    );
    if (done !== null) p.model.addTable(id, ioas, false);
  },
  destroyHwpt: (p: Pair, { a, b }: Step) => {
    const { tables } = p.ioas(a);
    const table = tables[b % Math.max(1, tables.length)];
    if (table === undefined) return;
    const free = table.devices.size === 0;
    const done = p.both(
      () => p.w.call(u.IOMMU_DESTROY, { id: table.id }).id,
      () => (free ? table.id : 'EBUSY'),
    );
    if (done !== null) p.model.removeTable(table);
  },
  destroyIoas: (p: Pair, { a, b }: Step) => {
    if (b % 3 !== 0 || p.model.ioases.length < 2) return;
    const ioas = p.ioas(a);
    const free = ioas.tables.length === 0 && ioas.accesses.size === 0;
    const done = p.both(
      () => p.w.call(u.IOMMU_DESTROY, { id: ioas.id }).id,
      () => (free ? ioas.id : 'EBUSY'),
    );
    if (done !== null) p.model.ioases.splice(p.model.ioases.indexOf(ioas), 1);
  },
  access: (p: Pair, { a, b }: Step) => {
    if (p.model.accesses.length >= 4) return;
    const [ioas, pinning] = [p.ioas(a), b % 3 !== 0];
    let fd = 0;
    const done = p.both(
      () => {
        fd = p.w.access(ioas.id, pinning ? 1 : 0);
        return 0;
      },
      () => {
        p.model.checkAccess(ioas, pinning);
        return 0;
      },
    );
    if (done === null) return;
    const access = { fd, pinning, ioas, items: [] };
    ioas.accesses.add(access);
    p.model.accesses.push(access);
  },
  pin: (p: Pair, { a, b, c, d }: Step) => {
    const access = p.access(a);
    if (access === undefined) return;
    const mapping = access.ioas.mappings[b % Math.max(1, access.ioas.mappings.length)];
    const start = mapping === undefined || c % 6 === 0 ? iovaOf(b) : mapping.start + half((c % 3) * 2);
    const bytes = d % 5 === 0 ? length(d) : PAGE * BigInt(1 + (d % 3));
    const range = { start, last: start + bytes - 1n };
    let id = -1;
    let pins: Access['items'][number]['pins'] = [];
    const done = p.both(
      () => {
        id = p.w.pin(access.fd, start, bytes, c % 2);
        return 0;
      },
      () => {
        pins = p.model.pin(access, range, c % 2 === 1);
        return 0;
      },
    );
    if (done !== null) access.items.push({ ...range, id, pins });
  },
  unpin: (p: Pair, { a, b }: Step) => {
    const access = p.access(a);
    const item = access?.items[b % Math.max(1, access.items.length)];
    if (access === undefined || item === undefined) return;
    p.w.unpin(access.fd, item.id);
    access.items = access.items.filter((each) => each !== item);
  },
  rw: (p: Pair, { a, b, c, d, e }: Step) => {
    const access = p.access(a);
    if (access === undefined) return;
    const mapping = access.ioas.mappings[b % Math.max(1, access.ioas.mappings.length)];
    const start = mapping === undefined ? iovaOf(b) : mapping.start + BigInt(c);
    const [write, slow] = [d % 2 === 1, e % 2 === 1];
    const data = Uint8Array.from({ length: 1 + ((c * 37 + d) % 9000) }, (_, at) => (at + e) & 255);
    const sent = data.slice();
    const done = p.both(
      () => {
        const flags = (write ? t.MOCK_ACCESS_RW_WRITE : 0) | (slow ? t.MOCK_ACCESS_RW_SLOW_PATH : 0);
        p.w.rw(access.fd, start, BigInt(sent.length), p.scratch(write ? sent : null), flags);
        return 0;
      },
      () => {
        p.model.rw(access, start, data, write, slow);
        return 0;
      },
    );
    if (done !== null && !write) sameBytes(p, p.scratch(), data);
  },
  moveAccess: (p: Pair, { a, b }: Step) => {
    const access = p.access(a);
    if (access === undefined) return;
    const [ioas, op] = [p.ioas(b), t.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS];
    const done = p.both(
      () => p.w.test(t.iommu_test_cmd_access_replace_ioas, op, { id: access.fd, ioas_id: ioas.id }).ioas_id,
      () => {
        if (ioas !== access.ioas) p.model.checkAccess(ioas, access.pinning);
        return ioas.id;
      },
    );
    if (done === null || ioas === access.ioas) return;
    access.ioas.accesses.delete(access);
    Object.assign(access, { ioas, items: [] });
    ioas.accesses.add(access);
  },
  closeAccess: (p: Pair, { a, b }: Step) => {
    const access = p.access(a);
    if (access === undefined || b % 2 === 0) return;
    p.w.client.close(access.fd);
    access.ioas.accesses.delete(access);
    p.model.accesses.splice(p.model.accesses.indexOf(access), 1);
  },
} satisfies Record<string, (p: Pair, step: Step) => void>;

/** A difference is worth a message; that there is none is not worth a call of `expect` each time. */
function same(real: unknown, model: unknown): void {
  if (text(real) !== text(model)) expect(real).toEqual(model);
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each));

/** Arrays are compared as such: `toEqual` would look at every byte by name. */
function sameBytes(p: Pair, at: bigint, bytes: Uint8Array): void {
  const found = p.w.client.memory.load(at, bytes.length);
  expect(found.findIndex((byte, index) => byte !== bytes[index])).toBe(-1);
}

function compareIoas({ w, model }: Pair, ioas: Ioas, at: bigint): void {
  const { table } = w.object<RealIoas>(ioas.id);
  const real = [...table.areas()].map(({ iova, last, prot }) => [iova, last, prot]);
  same(
    real,
    ioas.mappings.map(({ start, last, prot }) => [start, last, prot]),
  );
  const free = holes({ start: 0n, last: MAX }, ioas.reserved);
  const ranges = w.call(u.IOMMU_IOAS_IOVA_RANGES, { ioas_id: ioas.id, num_iovas: 100, allowed_iovas: at });
  same([ranges.num_iovas, ranges.out_iova_alignment], [free.length, model.alignment(ioas)]);
  same([...w.client.memory.load(at, free.length * 16)], [...rangeBytes(free).subarray(0, free.length * 16)]);
  for (const { id } of ioas.tables) {
    for (const mapping of ioas.mappings) {
      w.checkMap(id, mapping.start, mapping.last - mapping.start + 1n, mapping.at);
    }
    const { domain } = w.object<HwptPaging>(id);
    const iovas = Array.from({ length: HALF_PAGES + 30 }, (_, n) => LOW + half(n));
    const mapped = ioas.mappings.flatMap(({ start, last }) =>
      iovas.filter((each) => each >= start && each <= last),
    );
    same(
      iovas.filter((iova) => domain.iovaToPhys(iova) !== 0n),
      mapped,
    );
  }
}

function compare(p: Pair): void {
  const { w, model } = p;
  for (const ioas of model.ioases) compareIoas(p, ioas, p.scratch());
  const pinned = model.pinned();
  const { account } = w.client.mm;
  same([w.env.pins.pinnedPages, account.pinnedVm, w.client.user.lockedVm], [pinned, pinned, pinned]);
  const pins = model.pinCounts();
  for (const { at } of p.buffers) {
    for (let page = at; page < at + BigInt(BUFFER_PAGES) * PAGE; page += PAGE) {
      w.checkRefs(page, PAGE, pins.get(page) ?? 0);
    }
  }
}

const names = Object.keys(operations) as Step['op'][];
/** What is worth doing again and again. */
const often: Step['op'][] = ['map', 'map', 'map', 'map', 'copy', 'copy', 'unmap', 'pin', 'rw', 'attach'];
const number = fc.nat(999);
const step: fc.Arbitrary<Step> = fc.record({
  op: fc.constantFrom<Step['op']>(...names, ...often, ...often),
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
});

test('any program has the outcome that the reference says', () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 30, maxLength: 120, size: 'max' }),
      fc.constantFrom(1 << 20, 8),
      (steps, limit) => {
        const p = new Pair(limit);
        for (const each of steps) {
          operations[each.op](p, each);
          compare(p);
        }
        for (const { at, bytes } of p.buffers) sameBytes(p, at, bytes);
        p.w.end();
      },
    ),
    { numRuns: 60 },
  );
}, 120_000);
