/**
 * The IOTLB alone, beside a plain list of what was put in and has not left: it answers for that and for nothing else,
 * whatever single bit a request differs in, and each flush takes what it names and leaves the rest.
 */
import { describe, expect, test } from 'vitest';
import { cachedTranslations } from '../../../src/hw/vtd/cached.js';
import {
  ENTRIES,
  ENTRY,
  Iotlb,
  entryLg2,
  frontOf,
  hashOf,
  tagHigh,
  tagLow,
} from '../../../src/hw/vtd/iotlb.js';
import { Epoch } from '../../../src/mem/epoch.js';
import { dice } from '../../dice.js';
import { hi32, lo32 } from './world.js';

const FIRST = 1;
const SECOND = 2;
const NESTED = 3;
const names = ['', 'first', 'second', 'nested'];

/** Whose translation of which address. A second stage's has no PASID, which is 0 then. */
interface Key {
  readonly did: number;
  readonly kind: number;
  readonly pasid: number;
  readonly iova: bigint;
}

interface Kept extends Key {
  readonly sizeLg2: number;
  /** Which HPA: another one for each. */
  readonly block: bigint;
}

const isSame = (a: Key, b: Key): boolean => a.did === b.did && a.kind === b.kind && a.pasid === b.pasid;
const meets = (a: bigint, b: bigint, lg2: number): boolean => a >> BigInt(lg2) === b >> BigInt(lg2);
const covers = (one: Kept, key: Key): boolean => isSame(one, key) && meets(one.iova, key.iova, one.sizeLg2);

const frameOf = (iova: bigint): number => lo32((iova >> 12n) & 0xffff_ffffn);
const highOf = ({ pasid, iova }: Key): number => tagHigh(pasid) | (hi32(iova) >>> 12);
const tagOf = ({ did, kind, pasid }: Key): number => tagLow(did, kind, pasid);

/** An IOTLB and the list, which do the same. */
class Twin {
  readonly epoch = new Epoch();
  readonly iotlb = new Iotlb(this.epoch);
  kept: Kept[] = [];
  #blocks = 0n;

  /** Offset of what answers; -1: nothing does. */
  find(key: Key): number {
    return this.iotlb.find(frameOf(key.iova), highOf(key), tagOf(key));
  }

  blockAt(at: number): bigint {
    const { words } = this.iotlb;
    return (BigInt(words[at + ENTRY.E_HPA_HI]!) << 2n) | BigInt(words[at + ENTRY.E_HPA_LO]! >>> 30);
  }

  insert(key: Key, sizeLg2: number): void {
    const at = this.iotlb.insert(frameOf(key.iova), highOf(key), tagOf(key), sizeLg2);
    const block = (this.#blocks += 1n);
    this.iotlb.words[at + ENTRY.E_HPA_HI] = Number(block >> 2n);
    this.iotlb.words[at + ENTRY.E_HPA_LO] = Number(block & 3n) << 30;
    const iova = (key.iova >> BigInt(sizeLg2)) << BigInt(sizeLg2);
    this.#drop((one) => one.sizeLg2 === sizeLg2 && covers(one, key));
    this.kept.push({ ...key, iova, sizeLg2, block });
  }

  flushAll(): void {
    this.iotlb.flushAll();
    this.#drop(() => true);
  }

  flushDomain(did: number): void {
    this.iotlb.flushDomain(did);
    this.#drop((one) => one.did === did);
  }

  flushDomainPages({ did, iova }: Key, am: number): void {
    this.iotlb.flushDomainPages(did, hi32(iova), lo32(iova & 0xffff_ffffn), am);
    this.#drop((one) => one.did === did && (one.kind !== SECOND || isReached(one, iova, am)));
  }

  flushPasid({ did, pasid }: Key): void {
    this.iotlb.flushPasid(did, pasid);
    this.#drop((one) => one.did === did && one.kind !== SECOND && one.pasid === pasid);
  }

  flushPasidPages({ did, pasid, iova }: Key, am: number): void {
    this.iotlb.flushPasidPages(did, pasid, hi32(iova), lo32(iova & 0xffff_ffffn), am);
    this.#drop(
      (one) => one.did === did && one.kind !== SECOND && one.pasid === pasid && isReached(one, iova, am),
    );
  }

  #drop(goes: (one: Kept) => boolean): void {
    this.kept = this.kept.filter((one) => !goes(one));
  }

  /** What the unit would list is the list. */
  compare(): void {
    const found = [...cachedTranslations(this.iotlb)].map(({ kind, did, pasid, iova, hpa, sizeLg2 }) =>
      [kind, did, pasid, iova.toString(16), sizeLg2, hpa >> 30n].join(' '),
    );
    const expected = this.kept.map(({ kind, did, pasid, iova, sizeLg2, block }) =>
      [names[kind], did, kind === SECOND ? -1 : pasid, iova.toString(16), sizeLg2, block].join(' '),
    );
    expect(found.toSorted()).toEqual(expected.toSorted());
  }
}

const isReached = (one: Kept, iova: bigint, am: number): boolean =>
  meets(one.iova, iova, Math.max(one.sizeLg2, 12 + am));

type Roll = ReturnType<typeof dice>;

const BASE = 0x1234_5678_9abc_d000n;

/** Mostly what others have too, and now and then another bit. */
function near(next: Roll, kinds: readonly number[]): Key {
  const kind = kinds[next(kinds.length)]!;
  const flips = (bits: number, first = 0): bigint => (next(3) === 0 ? 1n << BigInt(first + next(bits)) : 0n);
  return {
    kind,
    did: 5 ^ Number(flips(16)),
    pasid: kind === SECOND ? 0 : 3 ^ Number(flips(20)),
    iova: BASE ^ flips(52, 12) ^ flips(20, 12),
  };
}

/** Addresses of a block and right beside it. */
function around({ iova, sizeLg2 }: Kept): bigint[] {
  const size = 1n << BigInt(sizeLg2);
  return [0n, size - 1n, size >> 1n, -1n, size].map((at) => BigInt.asUintN(64, iova + at));
}

/** Whatever answers here is in the list, and something does if anything in the list can; the front knows it then. */
function judge(twin: Twin, { did, kind, pasid }: Key, iova: bigint): void {
  const asked = { did, kind, pasid, iova };
  const possible = twin.kept.filter((one) => covers(one, asked)).map(({ block }) => block);
  const at = twin.find(asked);
  const found = at < 0 ? null : twin.blockAt(at);
  if (found === null ? possible.length > 0 : !possible.includes(found))
    expect([asked, found]).toEqual([asked, possible]);
  const { front } = twin.iotlb;
  if (at >= 0) expect(front[frontOf(frameOf(iova), hashOf(highOf(asked), tagOf(asked)))]).toBe(at >>> 3);
}

function turn(next: Roll, twin: Twin, key: Key, what: number): void {
  const am = next(3) === 0 ? next(64) : next(7);
  if (what < 18) twin.flushDomainPages(key, am);
  else if (what < 21) twin.flushPasidPages(key, am);
  else if (what === 21) twin.flushPasid(key);
  else if (what === 22) twin.flushDomain(key.did);
  else if (next(4) === 0) twin.flushAll();
}

describe.each([
  ['all kinds together', [FIRST, SECOND, NESTED]],
  ['second stages alone', [SECOND]],
  ['both kinds that have a PASID', [FIRST, NESTED]],
] as const)('%s', (_, kinds) => {
  test('it answers for what was put in and has not been flushed; the epoch ends with an answer', () => {
    const next = dice(11);
    const twin = new Twin();
    const ever: Kept[] = [];
    const sizes = [12, 12, 16, 21, 30];
    for (let step = 0; step < 400; step += 1) {
      const { kept, epoch } = twin;
      const { count } = epoch;
      const key = near(next, kinds);
      const what = next(24);
      // What stands in front says where to look first, and may say anything.
      if (next(4) === 0) twin.iotlb.front.fill(next(ENTRIES));
      const old = twin.find(key);
      if (what < 16) {
        twin.insert(key, sizes[next(sizes.length)]!);
        ever.push(twin.kept.at(-1)!);
        if (ever.length > 24) ever.shift();
      } else {
        turn(next, twin, key, what);
      }
      const isOther = old >= 0 && twin.find(key) !== old;
      const hasLeft = kept.some((one) => !twin.kept.includes(one));
      expect([step, epoch.count !== count]).toEqual([step, hasLeft || isOther]);
      expect([step, twin.iotlb.live]).toEqual([step, twin.kept.length]);
      const asked = what < 16 ? [ever.at(-1)!, ever[next(ever.length)]!] : ever;
      for (const one of asked) for (const iova of around(one)) judge(twin, one, iova);
      if (step % 50 === 0) twin.compare();
    }
  });
});

test.each([0, 1, 3, 4, 5])(
  'a range of 2^%i pages ends where it ends, also if it is named by its middle',
  (am) => {
    const twin = new Twin();
    const own = { did: 5, kind: NESTED, pasid: 3, iova: 0n };
    const second = { did: 6, kind: SECOND, pasid: 0, iova: 0n };
    for (let named = 0n; named < 40n; named += 7n) {
      for (let page = -4n; page < 44n; page += 1n) {
        const iova = 0x1_0000_0000n + (page << 12n);
        twin.insert({ ...own, iova }, 12);
        twin.insert({ ...second, iova }, 12);
      }
      const iova = 0x1_0000_0000n + (named << 12n);
      twin.flushPasidPages({ ...own, iova }, am);
      twin.flushDomainPages({ ...second, iova }, am);
      twin.compare();
      twin.flushAll();
    }
  },
);

test('65,536 neighbouring pages have a place each; what comes then takes those of the oldest', () => {
  const { iotlb } = new Twin();
  const high = tagHigh(3);
  const tag = tagLow(5, FIRST, 3);
  const put = (page: number): void => {
    const at = iotlb.insert(page, high, tag, 12);
    iotlb.words[at + ENTRY.E_HPA_LO] = page << 12;
  };
  const count = (first: number, last: number): number => {
    let found = 0;
    for (let page = first; page <= last; page += 1) {
      const at = iotlb.find(page, high, tag);
      if (at >= 0 && iotlb.words[at + ENTRY.E_HPA_LO] === page << 12) found += 1;
    }
    return found;
  };
  for (let page = 0; page < ENTRIES; page += 1) put(page);
  expect([iotlb.live, count(0, ENTRIES - 1)]).toEqual([ENTRIES, ENTRIES]);
  const quarter = ENTRIES / 4;
  for (let turns = 1; turns <= 5; turns += 1) {
    const end = ENTRIES + turns * quarter;
    for (let page = end - quarter; page < end; page += 1) put(page);
    expect([turns, iotlb.live, count(end - ENTRIES, end - 1)]).toEqual([turns, ENTRIES, ENTRIES]);
    expect(count(end - ENTRIES - quarter, end - ENTRIES - 1)).toBe(0);
  }
  // Places that are free are taken first.
  const end = ENTRIES + 5 * quarter;
  iotlb.flushPasidPages(5, 3, 0, (end - quarter) << 12, Math.log2(quarter));
  expect(iotlb.live).toBe(ENTRIES - quarter);
  for (let page = end; page < end + quarter; page += 1) put(page);
  expect(count(end - ENTRIES, end - quarter - 1)).toBe(ENTRIES - quarter);
  expect([iotlb.live, count(end, end + quarter - 1)]).toEqual([ENTRIES, quarter]);
});

test.each([FIRST, SECOND])(
  'a range of 2^am pages takes what differs below it, and nothing above: kind %i',
  (kind) => {
    const { iotlb } = new Twin();
    const own: Key = { did: 5, kind, pasid: kind === SECOND ? 0 : 3, iova: BASE };
    for (let am = 0; am < 64; am += 1) {
      for (const size of [12, 21, 30]) {
        for (let bit = 12; bit < 64; bit += 1) {
          const key = { ...own, iova: BASE ^ (1n << BigInt(bit)) };
          iotlb.insert(frameOf(key.iova), highOf(key), tagOf(key), size);
          const [hi, lo] = [hi32(BASE), lo32(BASE & 0xffff_ffffn)];
          if (kind === SECOND) iotlb.flushDomainPages(5, hi, lo, am);
          else iotlb.flushPasidPages(5, 3, hi, lo, am);
          const isReachable = bit < Math.max(size, 12 + am);
          expect([am, size, bit, iotlb.live]).toEqual([am, size, bit, isReachable ? 0 : 1]);
          iotlb.flushAll();
        }
      }
    }
  },
);

const bits = (count: number): number[] => Array.from({ length: count }, (_, bit) => 1 << bit);

/** Two kinds of two pages for domains and PASIDs that differ in one bit from others; and their second stages. */
function relatives(twin: Twin): void {
  for (const did of [5, ...bits(16).map((bit) => 5 ^ bit)]) {
    for (const pasid of did === 5 ? [3, ...bits(20).map((bit) => 3 ^ bit)] : [3]) {
      twin.insert({ did, kind: FIRST, pasid, iova: BASE }, 12);
      twin.insert({ did, kind: NESTED, pasid, iova: BASE ^ (1n << 21n) }, 12);
    }
    twin.insert({ did, kind: SECOND, pasid: 0, iova: BASE }, 12);
  }
}

test('a flush of a PASID or a domain takes that, and no other that differs in a bit', () => {
  const twin = new Twin();
  relatives(twin);
  for (const { did, pasid } of twin.kept.filter(({ kind }) => kind === NESTED)) {
    twin.flushPasid({ did, kind: FIRST, pasid, iova: BASE });
    expect([did, pasid, twin.iotlb.live]).toEqual([did, pasid, twin.kept.length]);
  }
  const own = { did: 5, kind: FIRST, pasid: 3, iova: BASE };
  for (const flush of [
    () => twin.flushPasidPages(own, 0),
    () => twin.flushPasidPages(own, 20),
    () => twin.flushDomainPages(own, 0),
    () => twin.flushDomain(5),
  ]) {
    twin.flushAll();
    relatives(twin);
    flush();
    twin.compare();
  }
});

test('a flush of a PASID takes no other one, though they may be chained to each other', () => {
  const { iotlb } = new Twin();
  const flipped = [1, 0x800, 0x1000, 0x80000];
  for (let n = 0; n < 1 << 16; n += 1) {
    const pasid = (n << 4) | 2;
    const other = pasid ^ flipped[n & 3]!;
    for (const one of [pasid, other]) iotlb.insert(7, tagHigh(one), tagLow(n & 0xfff, NESTED, one), 12);
    iotlb.flushPasid(n & 0xfff, pasid);
    if (iotlb.live !== 1) expect([pasid, iotlb.live]).toEqual([pasid, 1]);
    iotlb.flushAll();
  }
});

test('pages of a second stage take those of first stages, whatever has come and gone', () => {
  for (const stay of [1, 2, 5]) {
    const twin = new Twin();
    for (let page = 0n; page < 12n; page += 1n) {
      const iova = BASE + (page << 12n);
      twin.insert({ did: 6, kind: SECOND, pasid: 0, iova }, 12);
      twin.insert({ did: 7, kind: FIRST, pasid: 3, iova }, 12);
      if (page < BigInt(stay)) twin.insert({ did: 5, kind: NESTED, pasid: 3, iova }, 12);
    }
    twin.flushDomain(6);
    twin.flushDomain(7);
    expect(twin.iotlb.live).toBe(stay);
    twin.flushDomainPages({ did: 5, kind: SECOND, pasid: 0, iova: 0n }, 0);
    expect(twin.iotlb.live).toBe(0);
  }
});

test('what is left is found, whichever sizes have come and gone', () => {
  const sizes = [12, 16, 21, 30];
  const stays = { did: 5, kind: SECOND, pasid: 0, iova: BASE };
  const goes = { did: 6, kind: SECOND, pasid: 0, iova: BASE };
  const twin = new Twin();
  for (const size of sizes) {
    for (const other of sizes) {
      twin.insert(stays, size);
      for (let times = 0; times < 3; times += 1) {
        twin.insert(goes, other);
        twin.flushDomain(6);
        twin.iotlb.front.fill(0);
        expect([size, other, twin.find(stays) >= 0]).toEqual([size, other, true]);
      }
      twin.iotlb.front.fill(0);
      twin.flushDomainPages(stays, 0);
      expect([size, other, twin.iotlb.live]).toEqual([size, other, 0]);
    }
  }
});

/** By page, which a second stage of domain 5, or PASID 3 of that, has cached. */
const flushes: [string, number, (iotlb: Iotlb, page: number) => void][] = [
  ['everything', NESTED, (iotlb) => iotlb.flushAll()],
  ['its domain', NESTED, (iotlb) => iotlb.flushDomain(5)],
  ['its PASID', FIRST, (iotlb) => iotlb.flushPasid(5, 3)],
  ['itself', FIRST, (iotlb, page) => iotlb.flushPasidPages(5, 3, 0, page << 12, 0)],
  ['many pages', FIRST, (iotlb, page) => iotlb.flushPasidPages(5, 3, 0, page << 12, 20)],
  ['itself, of a second stage', SECOND, (iotlb, page) => iotlb.flushDomainPages(5, 0, page << 12, 0)],
  ['many pages of a second stage', SECOND, (iotlb, page) => iotlb.flushDomainPages(5, 0, page << 12, 20)],
];

test.each(flushes)('wherever a page has its place, it leaves with %s', (_, kind, flush) => {
  const { iotlb } = new Twin();
  const high = kind === SECOND ? 0 : tagHigh(3);
  const tag = tagLow(5, kind, kind === SECOND ? 0 : 3);
  // One of these has the first place of all.
  for (let page = 0; page < ENTRIES / 4; page += 1) {
    iotlb.insert(page, high, tag, 12);
    flush(iotlb, page);
    if (iotlb.live !== 0 || iotlb.find(page, high, tag) >= 0) expect([page, iotlb.live]).toEqual([page, 0]);
  }
});

test.each([0, 0x1234_0000, 0xffff_0000 | 0])('pages of one block of 256 MiB never meet in front', (block) => {
  for (const hash of [0, 0x8001, 0xffff]) {
    const isTaken = new Uint8Array(1 << 16);
    for (let page = 0; page < 1 << 16; page += 1) isTaken[frontOf(block | page, hash)] = 1;
    expect(isTaken.indexOf(0)).toBe(-1);
  }
});

test('where a page is looked for depends on nothing of its address above the frame number', () => {
  for (const pasid of [0, 3, 0xfffff]) {
    const tag = tagLow(0x8005, NESTED, pasid);
    const hashes = [0, 1, 0x8_0000, 0xf_ffff].map((high) => hashOf(tagHigh(pasid) | high, tag));
    expect(new Set(hashes).size).toBe(1);
    expect(hashes[0]).toBe(hashes[0]! & 0xffff);
  }
});

/** The same block of another domain or PASID, or elsewhere by a bit that its size does not hide. */
const others: Key[] = (() => {
  const key = { did: 5, kind: FIRST, pasid: 3, iova: 0x12_4000_0000n };
  return [
    ...bits(16).map((bit) => ({ ...key, did: key.did ^ bit })),
    ...bits(20).map((bit) => ({ ...key, pasid: key.pasid ^ bit })),
    ...Array.from({ length: 34 }, (_, bit) => ({ ...key, iova: key.iova ^ (1n << BigInt(30 + bit)) })),
    { ...key, kind: NESTED },
    { ...key, kind: SECOND, pasid: 0 },
  ];
})();

test('domains and PASIDs that differ in a bit are looked for in other places', () => {
  const own = hashOf(tagHigh(3), tagLow(5, FIRST, 3));
  for (const bit of bits(16))
    expect([bit, hashOf(tagHigh(3), tagLow(5 ^ bit, FIRST, 3))]).not.toEqual([bit, own]);
  for (const bit of bits(20))
    expect([bit, hashOf(tagHigh(3 ^ bit), tagLow(5, FIRST, 3 ^ bit))]).not.toEqual([bit, own]);
});

test('what stands in front is compared as a whole', () => {
  const own = { did: 5, kind: FIRST, pasid: 3, iova: 0x12_4000_0000n };
  const twin = new Twin();
  for (const other of others) {
    twin.flushAll();
    twin.insert(own, 30);
    // The page of this one that is looked for where one of the other would be: numbers within 256 MiB are XORed in.
    const slot = frontOf(frameOf(other.iova), hashOf(highOf(other), tagOf(other)));
    const page = slot ^ frontOf(frameOf(own.iova), hashOf(highOf(own), tagOf(own)));
    const found = twin.find({ ...own, iova: own.iova + BigInt(page << 12) });
    expect([other, twin.iotlb.front[slot]]).toEqual([other, found >>> 3]);
    expect([other, twin.find(other)]).toEqual([other, -1]);
  }
});

test.each([
  [12, 12],
  [15, 12],
  [16, 16],
  [20, 16],
  [21, 21],
  [29, 21],
  [30, 30],
  [39, 30],
  [57, 30],
])('of a translation of 2^%i bytes an entry covers 2^%i', (sizeLg2, covered) => {
  expect(entryLg2(sizeLg2)).toBe(covered);
  const twin = new Twin();
  const key = { did: 5, kind: SECOND, pasid: 0, iova: 0x1_ffff_ffff_f000n };
  twin.iotlb.insert(frameOf(key.iova), highOf(key), tagOf(key), sizeLg2);
  expect([...cachedTranslations(twin.iotlb)]).toMatchObject([{ sizeLg2: covered }]);
});
