/**
 * All that an answer says, whichever way it was found: by a walk, in the IOTLB, by what the last requests used, by a look
 * that leaves nothing behind. What is expected is written down beside the tables, not asked of the unit.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { Contexts } from '../../../src/hw/vtd/context.js';
import { Iotlb, frontOf, hashOf, tagHigh, tagLow } from '../../../src/hw/vtd/iotlb.js';
import { Epoch } from '../../../src/mem/epoch.js';
import { RunList } from '../../../src/mem/runs.js';
import { dice } from '../../dice.js';
import { iotlbInvalidate, QueueWorld } from './queue-world.js';
import { ALL_FLAGS, context, FIRST_FLAGS, FS_LEAF, mapPage, pasidEntry, SECOND } from './structures.js';
import { EXEC, PASID, PRIV, READ, SOURCE, World, WRITE, type Ask } from './world.js';

const BASE = 0x12_4000_0000n;
const RW = 2n;
const US = 4n;
const D = 64n;
const XD = 1n << 63n;
const SRE = 1n;
const WPE = 16n;
const SMEP = 64n;
const READ_ONLY = READ | EXEC;
const ALL = READ | WRITE | EXEC;
const QUESTION = 1;
const TRANSLATED = 2;

/** What is mapped for a PASID, and what its tables permit to user and to privileged requests. */
const rows = [
  { what: 'all', kind: 1n, leaf: FS_LEAF, user: ALL, priv: ALL },
  { what: 'clean', kind: 1n, leaf: FS_LEAF & ~D, user: ALL, priv: ALL },
  { what: 'read only', kind: 1n, leaf: FS_LEAF & ~RW, user: READ_ONLY, priv: READ_ONLY },
  { what: 'read only, WPE clear', kind: 1n, leaf: FS_LEAF & ~RW & ~D, off: WPE, user: READ_ONLY, priv: ALL },
  { what: 'data', kind: 1n, leaf: FS_LEAF | XD, user: READ | WRITE, priv: READ | WRITE },
  { what: 'privileged', kind: 1n, leaf: FS_LEAF & ~US & ~D, user: 0, priv: ALL },
  { what: 'SMEP', kind: 1n, leaf: FS_LEAF, on: SMEP, user: ALL, priv: READ | WRITE },
  { what: 'SRE clear', kind: 1n, leaf: FS_LEAF, off: SRE, user: ALL, priv: 0 },
  { what: 'second stage', kind: 2n, leaf: 3n, user: ALL, priv: ALL },
  { what: 'second stage, read only', kind: 2n, leaf: 1n, user: READ_ONLY, priv: READ_ONLY },
  { what: 'second stage, write only', kind: 2n, leaf: 2n, user: WRITE, priv: WRITE },
] as const;

/** Another one for each. */
const hpaOf = (index: number): bigint => BigInt(index + 5) << 30n;

interface Mapped {
  readonly row: (typeof rows)[number];
  readonly pasid: number;
  readonly size: number;
  readonly hpa: bigint;
  /** Where the last entry is. */
  readonly at: bigint;
}

/** Every row with a page of every size, each for a PASID of its own; a domain has one second stage. */
function build(world: World): Mapped[] {
  const mapped: Mapped[] = [];
  for (const row of rows) {
    for (const size of [12, 21, 30]) {
      const pasid = mapped.length + 1;
      const hpa = hpaOf(mapped.length);
      const root = world.table();
      const options = row.kind === 2n ? { ...SECOND, size } : { size };
      const at = mapPage(world, root, BASE, hpa | row.leaf, options).at(-1)!;
      const { off = 0n, on = 0n } = row as { off?: bigint; on?: bigint };
      const place = row.kind === 2n ? { second: root } : { first: root };
      const firstFlags = (FIRST_FLAGS & ~off) | on;
      const did = row.kind === 2n ? 5n + BigInt(pasid) : 5n;
      pasidEntry(world, context(world, { pasid }).entry, row.kind, { did, firstFlags, ...place });
      mapped.push({ row, pasid, size, hpa, at });
    }
  }
  return mapped;
}

/** What an answer must not keep of the one before it. */
const JUNK = { hpaHi: -1, hpaLo: -1, sizeLg2: 63, permitted: 8, reason: 0xff, recoverable: true };

function said(world: World, iova: bigint, ask: Ask): unknown {
  Object.assign(world.request, JUNK);
  const hpa = world.ask(iova, ask);
  const { sizeLg2, permitted, reason, recoverable } = world.request;
  if (hpa !== null) return { hpa, sizeLg2, permitted, reason, recoverable };
  return { permitted, recoverable, hasReason: reason !== 0 && reason !== 0xff };
}

const granted = (hpa: bigint, sizeLg2: number, permitted: number): unknown => ({
  hpa,
  sizeLg2,
  permitted,
  reason: 0,
  recoverable: false,
});
/** Not translated. */
const itself = (iova: bigint, permitted: number): unknown => granted(iova, 12, permitted);
const refused = (recoverable: boolean): unknown => ({ permitted: 0, recoverable, hasReason: true });

/** The same of {@link Requests.peek}. */
function look(world: World, iova: bigint, { pasid = PASID, access = READ }: Ask = {}): unknown {
  const { request } = world;
  Object.assign(request, JUNK, { sourceId: SOURCE, pasid, access, addressType: 0 });
  Object.assign(request, { hi: Number(iova >> 32n) | 0, lo: Number(iova & 0xffff_ffffn) | 0 });
  if (!world.unit.peek(request)) return null;
  const { sizeLg2, permitted, reason, recoverable } = request;
  const hpa = (BigInt(request.hpaHi >>> 0) << 32n) | BigInt(request.hpaLo >>> 0);
  return { hpa, sizeLg2, permitted, reason, recoverable };
}

function expected({ row, size, hpa }: Mapped, offset: bigint, access: number, at: number): unknown {
  const permitted = (access & PRIV) === 0 ? row.user : row.priv;
  const isGranted = at === QUESTION ? permitted !== 0 : (access & ALL & ~permitted) === 0;
  if (isGranted) return granted(hpa + offset, size, permitted);
  // Nobody provides a page because a guest has no privileged requests.
  return refused(at === QUESTION && row.what !== 'SRE clear');
}

test('an answer says the same, however it is found; a write leaves its dirty bit', () => {
  const next = dice(21);
  const world = new QueueWorld();
  const mapped = build(world);
  world.start();
  let hits = 0;
  for (let step = 0; step < 4000; step += 1) {
    const one = mapped[next(mapped.length)]!;
    const { pasid, size } = one;
    if (next(40) === 0) {
      world.submit(iotlbInvalidate(1n));
      for (const { row, at } of mapped) if ((row.leaf & D) === 0n) world.put(at, world.get(at) & ~D);
    }
    // Twice and more in a row: what the last request used is what the next one asks for.
    for (let turns = 1 + next(3); turns > 0; turns -= 1) {
      const offset = (BigInt(next(1 << 18)) << 12n) | BigInt(next(4096));
      const within = offset & ((1n << BigInt(size)) - 1n);
      const access = [READ, WRITE, READ | WRITE, READ | EXEC, ALL][next(5)]! | (next(3) === 0 ? PRIV : 0);
      const at = next(4) === 0 ? QUESTION : 0;
      const { loads } = world.memory;
      const answer = said(world, BASE + within, { pasid, access, at });
      if (world.memory.loads === loads) hits += 1;
      const what = [step, one.row.what, size, access, at];
      expect([...what, answer]).toEqual([...what, expected(one, within, access, at)]);
      const isWritten =
        (access & WRITE) !== 0 && at === 0 && (answer as { permitted: number }).permitted !== 0;
      if (isWritten && one.row.kind === 1n) expect([...what, world.get(one.at) & D]).toEqual([...what, D]);
      world.faults();
    }
  }
  expect(hits).toBeGreaterThan(3000);
  expect(world.stale).toEqual([]);
});

/** How often a unit asks what a requester and PASID mean while `body` runs. */
function asked(body: () => void, listener: (row: number) => void = () => {}): number {
  const find = Contexts.prototype.find;
  let count = 0;
  Contexts.prototype.find = function counted(this: Contexts, ...who) {
    count += 1;
    const row = find.apply(this, who);
    listener(row);
    return row;
  };
  try {
    body();
  } finally {
    Contexts.prototype.find = find;
  }
  return count;
}

test('a hit by a space that was in use just before needs no context', () => {
  const world = new World();
  const mapped = build(world).filter(({ row }) => row.what === 'all' || row.what === 'second stage');
  world.start();
  for (const { pasid, size } of mapped) {
    for (const within of [0n, 0xfffn, (1n << BigInt(size)) - 1n, 0x12_3456n & ((1n << BigInt(size)) - 1n)]) {
      for (const access of [READ, WRITE, ALL]) {
        world.ask(BASE + within, { pasid, access });
        const hit = asked(() => expect(world.ask(BASE + within, { pasid, access })).not.toBeNull());
        expect([pasid, size, within, access, hit]).toEqual([pasid, size, within, access, 0]);
      }
    }
    // Who is privileged, or wants to know more, is another matter.
    for (const other of [{ access: READ | PRIV }, { at: QUESTION }, { at: TRANSLATED }])
      expect(asked(() => world.ask(BASE, { pasid, ...other }))).toBe(1);
  }
});

/** By page of an area with pages of every size and holes: where it lies, or null. */
function area(world: World): { start: bigint; pages: (bigint | null)[] } {
  const start = 0x1_ffc0_0000n;
  const pages: (bigint | null)[] = [];
  const root = world.table();
  const place = (hpa: bigint | null, size: number, count = 1): void => {
    for (let index = 0; index < count; index += 1) {
      const iova = start + BigInt(pages.length) * 0x1000n;
      if (hpa !== null) mapPage(world, root, iova, hpa | FS_LEAF, { size });
      for (let page = 0n; page < 1n << BigInt(size - 12); page += 1n)
        pages.push(hpa === null ? null : hpa + (page << 12n));
    }
  };
  place(0x7_ffe0_0000n, 21);
  // Side by side with the large page and with one another; then scattered, more than a list of runs has room for.
  for (let page = 0n; page < 60n; page += 1n) place(0x8_0000_0000n + (page << 12n), 12);
  for (let page = 0n; page < 300n; page += 1n) place(0x9_0000_0000n + (page << 13n), 12);
  place(null, 12, 3);
  for (let page = 0n; pages.length < 1024; page += 1n) place(0xa_ffff_0000n + (page << 12n), 12);
  place(0x3_4000_0000n, 30);
  pasidEntry(world, context(world).entry, 1n, { first: root });
  return { start, pages };
}

test('runs over pages of every size are what page by page is, up to the first that is missing', () => {
  const next = dice(22);
  const world = new QueueWorld();
  const { start, pages } = area(world);
  world.start();
  const { request } = world;
  let ends = 0;
  let full = 0;
  for (let step = 0; step < 300; step += 1) {
    if (next(8) === 0) world.submit(iotlbInvalidate(1n));
    const from = next(4) === 0 ? next(0x80_0000) : next(1536) * 4096 + next(4096);
    const length = 1 + next([64, 0x3000, 0x10_0000, 0x40_0000][next(4)]!);
    const runs = new RunList();
    const iova = start + BigInt(from);
    Object.assign(request, { sourceId: SOURCE, pasid: PASID, access: READ, addressType: 0 });
    Object.assign(request, { hi: Number(iova >> 32n), lo: Number(iova & 0xffff_ffffn) | 0 });
    const isAnswered = world.unit.translateRuns(request, length, runs);
    // Every byte that the runs have is where it should be.
    let at = from;
    for (let run = 0; run < runs.count; run += 1) {
      const [hi, lo, bytes] = runs.words.subarray(run * 3, run * 3 + 3);
      let hpa = (BigInt(hi!) << 32n) | BigInt(lo! >>> 0);
      for (const end = at + bytes!; at < end;) {
        const page = pages[at >> 12]!;
        if (page === null || hpa !== page + BigInt(at & 0xfff))
          expect([step, at, hpa]).toEqual([step, at, page]);
        const more = Math.min(end, (at | 0xfff) + 1) - at;
        at += more;
        hpa += BigInt(more);
      }
    }
    expect([step, runs.bytes]).toEqual([step, at - from]);
    const faults = world.faults().map(({ address }) => address);
    if (!isAnswered) {
      ends += 1;
      expect([step, pages[at >> 12], faults]).toEqual([step, null, [(start + BigInt(at)) & ~0xfffn]]);
      continue;
    }
    expect([step, faults]).toEqual([step, []]);
    if (runs.isFull && runs.bytes < length) full += 1;
    else expect([step, runs.bytes]).toEqual([step, length]);
  }
  expect(Math.min(ends, full)).toBeGreaterThan(10);
});

test('runs end with the last byte, whatever of them is cached', () => {
  const world = new QueueWorld();
  const { start } = area(world);
  world.start();
  for (const length of [1, 2, 0x1000, 0x1001, 0x1002, 0x2001]) {
    for (const cached of [[], [0], [1], [0, 1]]) {
      world.submit(iotlbInvalidate(1n));
      const from = start + 0x25_c000n;
      for (const page of cached) world.ask(from + BigInt(page) * 0x1000n);
      const { request } = world;
      const runs = new RunList();
      const iova = from + 0xfffn;
      Object.assign(request, { sourceId: SOURCE, pasid: PASID, access: READ, addressType: 0 });
      Object.assign(request, { hi: Number(iova >> 32n), lo: Number(iova & 0xffff_ffffn) | 0 });
      expect(world.unit.translateRuns(request, length, runs)).toBe(true);
      expect([length, cached, runs.bytes]).toEqual([length, cached, length]);
    }
  }
});

describe('a look that leaves nothing behind', () => {
  test('finds what is there now, whatever was asked for, and neither caches nor sets nor records it', () => {
    const world = new World();
    const mapped = build(world);
    expect(look(world, BASE)).toEqual(granted(BASE, 12, ALL));
    world.start();
    for (const { row, pasid, size, hpa, at } of mapped) {
      const before = world.get(at);
      for (const [access, permitted] of [
        [READ, row.user],
        [WRITE, row.user],
        [READ | PRIV, row.priv],
      ] as const) {
        // Without SRE there are no privileged requests: nothing is there for them.
        const isThere = row.what !== 'SRE clear' || permitted !== 0;
        const found = look(world, BASE + 0x123n, { pasid, access });
        if (isThere) expect([row.what, found]).toEqual([row.what, granted(hpa + 0x123n, size, permitted)]);
        else expect([row.what, found]).toEqual([row.what, null]);
      }
      expect(look(world, BASE + (1n << 30n), { pasid })).toBeNull();
      expect(world.get(at)).toBe(before);
    }
    expect(look(world, BASE, { pasid: 4000 })).toBeNull();
    expect(world.unit.statistics).toMatchObject({ iotlbEntries: 0, pagingEntries: 0, pasidEntries: 0 });
    expect(world.faults()).toEqual([]);
  });

  test('passes by what is cached', () => {
    const world = new World();
    const [one] = build(world);
    world.start();
    const { pasid, hpa, at } = one!;
    expect(world.ask(BASE, { pasid })).toBe(hpa);
    world.put(at, world.get(at) + 0x1000n);
    expect(look(world, BASE, { pasid })).toEqual(granted(hpa + 0x1000n, 12, ALL));
    expect(world.ask(BASE, { pasid })).toBe(hpa);
  });

  test('knows whose requests are privileged without saying so', () => {
    for (const ridPriv of [0n, 1n << 20n]) {
      const world = new World();
      const first = world.table();
      mapPage(world, first, BASE, (5n << 30n) | FS_LEAF);
      const place = context(world, { pasid: 0 });
      world.put(place.context + 8n, ridPriv);
      pasidEntry(world, place.entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
      pasidEntry(world, context(world).entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
      world.start();
      const permitted = ridPriv === 0n ? ALL : READ | WRITE;
      expect(look(world, BASE, { pasid: NO_PASID })).toEqual(granted(5n << 30n, 12, permitted));
      expect(look(world, BASE)).toEqual(granted(5n << 30n, 12, ALL));
    }
  });
});

describe('what is not translated', () => {
  const WINDOW = 0xfee0_0000n;

  test.each([
    [READ, refused(false), 1],
    [WRITE, itself(WINDOW + 0x1234n, WRITE), 0],
    [WRITE | PRIV, itself(WINDOW + 0x1234n, WRITE), 0],
    [READ | WRITE, refused(false), 1],
    [READ | EXEC, refused(false), 1],
  ])('an interrupt is a write without PASID: access %i', (access, answer, records) => {
    for (const ttm of [0, 1]) {
      const world = new World();
      world.start(ttm);
      for (let turn = 0; turn < 2; turn += 1) {
        expect(said(world, WINDOW + 0x1234n, { pasid: NO_PASID, access })).toEqual(answer);
        const faults = world.faults().map(({ reason }) => reason);
        expect(faults).toEqual(records === 0 ? [] : [ttm === 0 ? 0x0e : 0x87]);
        const question = { pasid: NO_PASID, access, at: QUESTION };
        expect(said(world, WINDOW + 0x1234n, question)).toEqual(refused(true));
        expect(world.request.reason).toBe(ttm === 0 ? 0x0e : 0x87);
        expect(world.faults()).toEqual([]);
      }
    }
  });

  test('the window is 1 MiB below 4 GiB, and nothing else: with a bit of its address changed it is memory', () => {
    const world = new World();
    const root = world.table();
    pasidEntry(world, context(world, { pasid: 0 }).entry, 2n, { second: root });
    const beside = [
      ...Array.from({ length: 28 }, (_, bit) => WINDOW ^ (1n << BigInt(20 + bit))),
      WINDOW - 0x1000n,
    ];
    for (const [index, iova] of beside.entries()) mapPage(world, root, iova, hpaOf(index) | 3n, SECOND);
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      for (const [index, iova] of beside.entries()) {
        const answer = said(world, iova, { pasid: NO_PASID, access: WRITE });
        expect(answer).toEqual(granted(hpaOf(index), 12, ALL));
      }
      for (const iova of [WINDOW, WINDOW + 0xf_ffffn])
        expect(said(world, iova, { pasid: NO_PASID, access: WRITE })).toEqual(itself(iova, WRITE));
    }
  });

  test('before TE is set nothing is', () => {
    const world = new World();
    for (const iova of [0n, BASE + 5n, WINDOW + 8n, (1n << 64n) - 1n])
      expect(said(world, iova, { access: READ })).toEqual(itself(iova, ALL));
  });

  test('what a device has translated is its own answer, up to the last address that the platform has', () => {
    const world = new World();
    pasidEntry(world, context(world).entry, 1n, { first: world.table() });
    world.start();
    for (let bit = 12n; bit < 64n; bit += 1n) {
      const iova = (1n << bit) | 0x123n;
      for (const access of [READ, WRITE]) {
        const answer = said(world, iova, { access, at: TRANSLATED });
        expect([bit, answer]).toEqual([bit, bit < 48n ? itself(iova, ALL) : refused(false)]);
        expect(world.faults().map(({ reason }) => reason)).toEqual(bit < 48n ? [] : [0x83]);
      }
    }
  });

  test.each([
    [0n, 0, [0x0d, 0x0d]],
    [1n, 0, [0, 0]],
    [2n, 0, [0x0d, 0x0d]],
    [0n, 2, []],
    [2n, 2, []],
  ])('a legacy context of TT %i, with FPD %i: who may ask for translations', (tt, fpd, reasons) => {
    const world = new World();
    const contexts = world.table();
    const root = world.table();
    mapPage(world, root, BASE, (5n << 30n) | 3n, SECOND);
    world.put(world.root + 16n, contexts | 1n);
    world.put(contexts, root | 1n | (tt << 2n) | BigInt(fpd));
    world.put(contexts + 8n, 2n | (5n << 8n));
    world.start(0);
    for (let turn = 0; turn < 2; turn += 1) {
      const answers = [QUESTION, TRANSLATED].map((at) => said(world, BASE, { pasid: NO_PASID, at }));
      const isAllowed = tt === 1n;
      if (isAllowed) expect(answers).toEqual([granted(5n << 30n, 12, ALL), itself(BASE, ALL)]);
      else expect(answers).toEqual([refused(false), refused(false)]);
      expect(world.faults().map(({ reason }) => reason)).toEqual(reasons.filter((reason) => reason !== 0));
      if (!isAllowed) continue;
      expect(said(world, 1n << 48n, { pasid: NO_PASID, at: TRANSLATED })).toEqual(refused(false));
      expect(world.faults().map(({ reason }) => reason)).toEqual([0x04]);
    }
  });

  test('FPD silences what a scalable context forbids as well', () => {
    for (const flags of [0n, 2n]) {
      const world = new World();
      const place = context(world, { flags: ALL_FLAGS & ~20n });
      pasidEntry(world, place.entry, 4n, { flags });
      world.start();
      for (let turn = 0; turn < 2; turn += 1) {
        for (const at of [QUESTION, TRANSLATED]) expect(said(world, BASE, { at })).toEqual(refused(false));
        expect(world.faults()).toHaveLength(flags === 0n ? 2 : 0);
        expect(said(world, BASE, {})).toEqual(itself(BASE, ALL));
      }
    }
  });
});

describe('whose translation it is', () => {
  test('a requester or a PASID that differs in a bit is another one, whoever asked last', () => {
    const world = new World();
    const own = { source: SOURCE, pasid: PASID };
    const who = [
      own,
      ...Array.from({ length: 16 }, (_, bit) => ({ ...own, source: SOURCE ^ (1 << bit) })),
      ...Array.from({ length: 20 }, (_, bit) => ({ ...own, pasid: PASID ^ (1 << bit) })),
    ];
    for (const [index, one] of who.entries()) {
      const first = world.table();
      mapPage(world, first, BASE, hpaOf(index) | FS_LEAF);
      pasidEntry(world, context(world, one).entry, 1n, { first, did: BigInt(index + 1) });
    }
    world.start();
    for (const [index, one] of who.entries()) {
      for (let turn = 0; turn < 3; turn += 1) {
        for (let again = 0; again < 2; again += 1) expect(world.ask(BASE, own)).toBe(hpaOf(0));
        for (let again = 0; again < 2; again += 1)
          expect([one, world.ask(BASE, one)]).toEqual([one, hpaOf(index)]);
      }
    }
  });

  test('a large page does not answer for that of another domain or PASID, wherever it was found last', () => {
    const world = new World();
    const own = { did: 5, pasid: PASID };
    const others = [
      ...Array.from({ length: 16 }, (_, bit) => ({ did: own.did ^ (1 << bit), pasid: 0x2040 + bit })),
      ...Array.from({ length: 20 }, (_, bit) => ({ did: own.did, pasid: PASID ^ (1 << bit) })),
    ];
    for (const [index, { did, pasid }] of [own, ...others].entries()) {
      const first = world.table();
      mapPage(world, first, BASE, hpaOf(index) | FS_LEAF, { size: index === 0 ? 30 : 21 });
      pasidEntry(world, context(world, { pasid }).entry, 1n, { first, did: BigInt(did) });
    }
    world.start();
    const frame = Number(BASE >> 12n);
    const slotOf = ({ did, pasid }: typeof own): number =>
      frontOf(frame, hashOf(tagHigh(pasid), tagLow(did, 1, pasid)));
    for (const [index, other] of others.entries()) {
      // The other's first page is looked for where this page of the first one is found.
      const within = BigInt(slotOf(other) ^ slotOf(own)) << 12n;
      for (let turn = 0; turn < 3; turn += 1) {
        expect([other, world.ask(BASE, { pasid: other.pasid })]).toEqual([other, hpaOf(index + 1)]);
        expect([other, world.ask(BASE + within, own)]).toEqual([other, hpaOf(0) + within]);
      }
    }
  });

  test('nor for an address that differs in a bit', () => {
    const world = new QueueWorld();
    const first = world.table();
    const others = Array.from({ length: 35 }, (_, bit) => BASE ^ (1n << BigInt(12 + bit)));
    // Bits 47 to 63 are the same in every address.
    others.push(BASE - (1n << 47n));
    for (const [index, iova] of [BASE, ...others].entries())
      mapPage(world, first, iova, hpaOf(index) | FS_LEAF);
    pasidEntry(world, context(world).entry, 1n, { first });
    world.start();
    for (const [index, iova] of others.entries()) {
      world.submit(iotlbInvalidate(1n));
      for (let turn = 0; turn < 3; turn += 1) {
        for (let again = 0; again < 2; again += 1) {
          expect([iova, world.ask(BASE + 7n)]).toEqual([iova, hpaOf(0) + 7n]);
          expect([iova, world.ask(iova + 7n)]).toEqual([iova, hpaOf(index + 1) + 7n]);
        }
      }
    }
  });

  test('what is in the first place of all is found like any other', () => {
    const { did, pasid, access } = { did: 5, pasid: PASID, access: READ | PRIV };
    const world = new World();
    const first = world.table();
    // Of so many pages that follow one another each has another set.
    let frame = Number(BASE >> 12n);
    const iotlb = new Iotlb(new Epoch());
    while (iotlb.insert(frame, tagHigh(pasid), tagLow(did, 1, pasid), 12) !== 0) {
      iotlb.flushAll();
      frame += 1;
    }
    const iova = BigInt(frame) << 12n;
    mapPage(world, first, iova, hpaOf(0) | FS_LEAF);
    pasidEntry(world, context(world).entry, 1n, { first, did: BigInt(did) });
    world.start();
    expect(world.ask(iova, { access })).toBe(hpaOf(0));
    const { loads } = world.memory;
    expect(world.ask(iova, { access })).toBe(hpaOf(0));
    expect(world.memory.loads).toBe(loads);
  });

  test('a walk goes on from the last table that is known, also that of a translation request', () => {
    for (const at of [0, QUESTION]) {
      const world = new World();
      const first = world.table();
      for (const page of [0n, 1n]) mapPage(world, first, BASE + (page << 12n), hpaOf(Number(page)) | FS_LEAF);
      pasidEntry(world, context(world).entry, 1n, { first });
      world.start();
      expect(world.ask(BASE, { at })).toBe(hpaOf(0));
      const { loads } = world.memory;
      expect(world.ask(BASE + 0x1000n, { at })).toBe(hpaOf(1));
      expect(world.memory.loads).toBe(loads + 1);
    }
  });
});

test('one PASID after the other, wherever its row is, has the answer of its own', () => {
  const world = new World();
  const first = world.table();
  mapPage(world, first, BASE, hpaOf(0) | FS_LEAF);
  const place = context(world, { pasid: 0 });
  const table = world.get(place.directory) & ~0xfffn;
  for (let pasid = 0n; pasid < 64n; pasid += 1n) pasidEntry(world, table + pasid * 64n, 1n, { first });
  const count = 1 << 14;
  for (let entry = 1n; entry < BigInt(count >> 6); entry += 1n)
    world.put(place.directory + entry * 8n, table | 1n);
  world.start();
  const rowsUsed = new Set<number>();
  asked(
    () => {
      for (let pasid = 0; pasid < count; pasid += 1) {
        for (let again = 0; again < 2; again += 1)
          if (world.ask(BASE, { pasid }) !== hpaOf(0)) expect([pasid, world.request.reason]).toEqual([]);
      }
    },
    (row) => rowsUsed.add(row),
  );
  // Of all rows that there are, the first too.
  expect(rowsUsed.has(0)).toBe(true);
});

test('while every hit is checked, every hit is', () => {
  const world = new World();
  build(world);
  world.start();
  for (let turn = 0; turn < 3; turn += 1) world.ask(BASE, { pasid: 1 });
  expect(world.unit.statistics.silentWalks).toBe(0);
  world.unit.checking = true;
  for (let turn = 1; turn <= 3; turn += 1) {
    world.ask(BASE, { pasid: 1 });
    expect(world.unit.statistics.silentWalks).toBe(turn);
  }
  world.unit.checking = false;
  for (let turn = 0; turn < 3; turn += 1) world.ask(BASE, { pasid: 1 });
  expect(world.unit.statistics.silentWalks).toBe(3);
});

test('a device that is privileged without saying so gets what that is, on what others have cached too', () => {
  const world = new World();
  const first = world.table();
  mapPage(world, first, BASE, (5n << 30n) | FS_LEAF);
  for (const [source, ridPriv] of [
    [SOURCE, 1n << 20n],
    [SOURCE + 1, 0n],
  ] as const) {
    const place = context(world, { source, pasid: 0 });
    world.put(place.context + 8n, ridPriv);
    pasidEntry(world, place.entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
  }
  world.start();
  for (let turn = 0; turn < 3; turn += 1) {
    for (let again = 0; again < 2; again += 1) {
      const ask = { pasid: NO_PASID, access: READ | EXEC };
      expect(said(world, BASE, { ...ask, source: SOURCE })).toEqual(refused(false));
      expect(said(world, BASE, { ...ask, source: SOURCE + 1 })).toEqual(granted(5n << 30n, 12, ALL));
      const data = { pasid: NO_PASID, access: READ | WRITE };
      expect(said(world, BASE, { ...data, source: SOURCE })).toEqual(granted(5n << 30n, 12, READ | WRITE));
    }
  }
});
