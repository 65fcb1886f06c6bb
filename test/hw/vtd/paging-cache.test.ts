/**
 * The paging-structure caches alone, beside a plain list of what was put in and has not left: they answer for that and for
 * nothing else, whatever single bit a walk differs in, and each flush takes what it names and leaves the rest.
 */
import { expect, test } from 'vitest';
import { cachedSteps } from '../../../src/hw/vtd/cached.js';
import {
  PAGE_SECOND,
  PagingCache,
  R_HI,
  R_LO,
  STEP_FIRST,
  STEP_SECOND,
} from '../../../src/hw/vtd/paging-cache.js';
import { dice } from '../../dice.js';
import { hi32, lo32 } from './world.js';

const names = ['first', 'second', 'page'];

/** Whose row: a second stage's has no PASID, which is 0 then. */
interface Key {
  readonly kind: number;
  readonly did: number;
  readonly pasid: number;
  readonly iova: bigint;
  /** lg2 of the block that it is for. */
  readonly shift: number;
}

interface Kept extends Key {
  /** Where it leads: another HPA for each. */
  readonly hpa: bigint;
}

const meets = (a: bigint, b: bigint, lg2: number): boolean => a >> BigInt(lg2) === b >> BigInt(lg2);
const isSame = (a: Key, b: Key): boolean =>
  a.kind === b.kind &&
  a.did === b.did &&
  a.pasid === b.pasid &&
  a.shift === b.shift &&
  meets(a.iova, b.iova, a.shift);
const low = (iova: bigint): number => lo32(iova & 0xffff_ffffn);

class Twin {
  readonly cache = new PagingCache();
  kept: Kept[] = [];
  #hpa = 0x3_ffff_0000n;

  /** Where the walk would go on; null when nothing is known. */
  find({ kind, did, pasid, iova, shift }: Key): bigint | null {
    const row = this.cache.find(kind, did, pasid, hi32(iova), low(iova), shift);
    if (row < 0) return null;
    const { words } = this.cache;
    return (BigInt(words[row + R_HI]! >>> 0) << 32n) | BigInt(words[row + R_LO]! >>> 0);
  }

  /** How many others have lost their place to it: one at most. */
  insert(key: Key): number {
    const { kind, did, pasid, iova, shift } = key;
    const hpa = (this.#hpa += 0x1000n);
    const row = this.cache.insert(kind, did, pasid, hi32(iova), low(iova), shift);
    this.cache.words[row + R_HI] = hi32(hpa);
    this.cache.words[row + R_LO] = low(hpa);
    this.#drop((one) => isSame(one, key));
    const before = this.kept.length;
    if (this.cache.live <= before) this.#drop((one) => this.find(one) === null);
    this.kept.push({ ...key, hpa });
    return before + 1 - this.kept.length;
  }

  flushAll(): void {
    this.cache.flushAll();
    this.#drop(() => true);
  }

  flushDomain(did: number): void {
    this.cache.flushDomain(did);
    this.#drop((one) => one.did === did);
  }

  flushDomainPages({ did, iova }: Key, am: number, steps: boolean): void {
    this.cache.flushDomainPages(did, hi32(iova), low(iova), am, steps);
    this.#drop((one) => {
      if (one.did !== did) return false;
      if (one.kind === STEP_FIRST) return true;
      return (one.kind === PAGE_SECOND || steps) && isReached(one, iova, am);
    });
  }

  flushPasid({ did, pasid }: Key): void {
    this.cache.flushPasid(did, pasid);
    this.#drop((one) => one.kind === STEP_FIRST && one.did === did && one.pasid === pasid);
  }

  flushPasidPages({ did, pasid, iova }: Key, am: number): void {
    this.cache.flushPasidPages(did, pasid, hi32(iova), low(iova), am);
    this.#drop(
      (one) => one.kind === STEP_FIRST && one.did === did && one.pasid === pasid && isReached(one, iova, am),
    );
  }

  #drop(goes: (one: Kept) => boolean): void {
    this.kept = this.kept.filter((one) => !goes(one));
  }

  /** What the unit would list is the list. */
  compare(): void {
    const found = [...cachedSteps(this.cache)].map(({ kind, did, pasid, iova, sizeLg2, hpa }) =>
      [kind, did, pasid, iova.toString(16), sizeLg2, hpa.toString(16)].join(' '),
    );
    const expected = this.kept.map(({ kind, did, pasid, iova, shift, hpa }) => {
      const start = (iova >> BigInt(shift)) << BigInt(shift);
      const itsPasid = kind === STEP_FIRST ? pasid : -1;
      return [names[kind], did, itsPasid, start.toString(16), shift, hpa.toString(16)].join(' ');
    });
    expect(found.toSorted()).toEqual(expected.toSorted());
  }
}

const isReached = (one: Kept, iova: bigint, am: number): boolean =>
  meets(one.iova, iova, Math.max(one.shift, 12 + am));

type Roll = ReturnType<typeof dice>;

const BASE = 0x1234_5678_9abc_d000n;

/** Mostly what others have too, and now and then another bit. */
function near(next: Roll): Key {
  const kind = [STEP_FIRST, STEP_FIRST, STEP_SECOND, PAGE_SECOND][next(4)]!;
  const flips = (bits: number, first = 0): bigint => (next(3) === 0 ? 1n << BigInt(first + next(bits)) : 0n);
  return {
    kind,
    did: 5 ^ Number(flips(16)),
    pasid: kind === STEP_FIRST ? 3 ^ Number(flips(20)) : 0,
    iova: BASE ^ flips(52, 12) ^ flips(20, 12),
    shift: kind === PAGE_SECOND ? 12 : [21, 30][next(2)]!,
  };
}

/** Addresses of a block and right beside it. */
function around({ iova, shift }: Key): bigint[] {
  const size = 1n << BigInt(shift);
  const start = (iova >> BigInt(shift)) << BigInt(shift);
  return [0n, size - 1n, size >> 1n, -1n, size].map((at) => BigInt.asUintN(64, start + at));
}

function judge(twin: Twin, key: Key): void {
  const found = twin.find(key);
  const expected = twin.kept.find((one) => isSame(one, key))?.hpa ?? null;
  if (found !== expected) expect([key, found]).toEqual([key, expected]);
}

test('they answer for what was put in and has not been flushed', () => {
  const next = dice(12);
  const twin = new Twin();
  const ever: Key[] = [];
  let lost = 0;
  for (let step = 0; step < 600; step += 1) {
    const key = near(next);
    const am = next(3) === 0 ? next(64) : next(20);
    const what = next(24);
    if (what < 16) {
      const others = twin.insert(key);
      expect([step, others]).toEqual([step, Math.min(others, 1)]);
      lost += others;
      ever.push(key);
      if (ever.length > 24) ever.shift();
    } else if (what < 18) twin.flushDomainPages(key, am, next(2) === 0);
    else if (what < 21) twin.flushPasidPages(key, am);
    else if (what === 21) twin.flushPasid(key);
    else if (what === 22) twin.flushDomain(key.did);
    else if (next(4) === 0) twin.flushAll();
    expect([step, twin.cache.live]).toEqual([step, twin.kept.length]);
    for (const one of what < 16 ? [key, ever[next(ever.length)]!] : ever) {
      for (const iova of around(one)) {
        for (const shift of [12, 21, 30]) judge(twin, { ...one, iova, shift });
      }
      for (const kind of [STEP_FIRST, STEP_SECOND, PAGE_SECOND]) judge(twin, { ...one, kind });
    }
    if (step % 50 === 0) twin.compare();
  }
  // Few of them: there is room for a hundred times as many.
  expect(lost).toBeLessThan(12);
});

test('rows that differ in a single bit have places of their own', () => {
  for (const shift of [12, 21, 30]) {
    const own = { kind: STEP_FIRST, did: 5, pasid: 3, iova: BASE, shift };
    const others: Key[] = [
      { ...own, kind: STEP_SECOND },
      { ...own, kind: PAGE_SECOND },
      ...Array.from({ length: 16 }, (_, bit) => ({ ...own, did: own.did ^ (1 << bit) })),
      ...Array.from({ length: 20 }, (_, bit) => ({ ...own, pasid: own.pasid ^ (1 << bit) })),
      ...Array.from({ length: 64 - shift }, (_, bit) => ({
        ...own,
        iova: BASE ^ (1n << BigInt(shift + bit)),
      })),
    ];
    for (const other of others) {
      const twin = new Twin();
      twin.insert(own);
      expect([other, twin.insert(other)]).toEqual([other, 0]);
    }
  }
});

test('4,096 neighbouring blocks have a place each, and what comes then takes the place of one', () => {
  const cache = new PagingCache();
  const size = 2 ** 21;
  const put = (block: number): void => {
    const at = block * size;
    const row = cache.insert(STEP_FIRST, 5, 3, Math.floor(at / 2 ** 32), at | 0, 21);
    cache.words[row + R_LO] = block << 12;
  };
  const isThere = (block: number): boolean => {
    const at = block * size;
    const row = cache.find(STEP_FIRST, 5, 3, Math.floor(at / 2 ** 32), at | 0, 21);
    return row >= 0 && cache.words[row + R_LO] === block << 12;
  };
  for (let block = 0; block < 4096; block += 1) put(block);
  expect(cache.live).toBe(4096);
  for (let block = 4096; block < 4200; block += 1) {
    put(block);
    expect([block, cache.live, isThere(block)]).toEqual([block, 4096, true]);
  }
  let left = 0;
  for (let block = 0; block < 4200; block += 1) if (isThere(block)) left += 1;
  expect(left).toBe(4096);
});

test.each([
  ['everything', (cache: PagingCache) => cache.flushAll()],
  ['its domain', (cache: PagingCache) => cache.flushDomain(5)],
  ['its PASID', (cache: PagingCache) => cache.flushPasid(5, 3)],
  ['pages of its domain', (cache: PagingCache) => cache.flushDomainPages(5, 0, 0, 0, false)],
])('wherever a row has its place, it leaves with %s', (_, flush) => {
  const cache = new PagingCache();
  // One of these has the first place of all.
  for (let block = 0; block < 4096; block += 1) {
    cache.insert(STEP_FIRST, 5, 3, block >>> 11, block << 21, 21);
    flush(cache);
    if (cache.live !== 0) expect([block, cache.live]).toEqual([block, 0]);
  }
});

test.each([STEP_FIRST, STEP_SECOND, PAGE_SECOND])(
  'a range of 2^am pages takes what differs below it, and nothing above: kind %i',
  (kind) => {
    const cache = new PagingCache();
    const [hi, lo] = [hi32(BASE), low(BASE)];
    for (let am = 0; am < 64; am += 1) {
      for (const shift of kind === PAGE_SECOND ? [12] : [21, 30]) {
        for (let bit = 12; bit < 64; bit += 1) {
          const iova = BASE ^ (1n << BigInt(bit));
          cache.insert(kind, 5, kind === STEP_FIRST ? 3 : 0, hi32(iova), low(iova), shift);
          if (kind === STEP_FIRST) cache.flushPasidPages(5, 3, hi, lo, am);
          else cache.flushDomainPages(5, hi, lo, am, true);
          const isReachable = bit < Math.max(shift, 12 + am);
          expect([am, shift, bit, cache.live]).toEqual([am, shift, bit, isReachable ? 0 : 1]);
          cache.flushAll();
        }
      }
    }
  },
);

test('a flush of a PASID or a domain takes that, and no other that differs in a bit', () => {
  const twin = new Twin();
  const own = { kind: STEP_FIRST, did: 5, pasid: 3, iova: BASE, shift: 21 };
  const relatives: Key[] = [
    own,
    { ...own, kind: STEP_SECOND, pasid: 0 },
    { ...own, kind: PAGE_SECOND, pasid: 0, shift: 12 },
    ...Array.from({ length: 16 }, (_, bit) => ({ ...own, did: own.did ^ (1 << bit) })),
    ...Array.from({ length: 20 }, (_, bit) => ({ ...own, pasid: own.pasid ^ (1 << bit) })),
  ];
  for (const one of relatives) {
    for (const flush of [
      () => twin.flushPasid(one),
      () => twin.flushPasidPages(one, 0),
      () => twin.flushDomainPages(one, 0, false),
      () => twin.flushDomain(one.did),
    ]) {
      for (const other of relatives) twin.insert(other);
      flush();
      expect([one, twin.cache.live]).toEqual([one, twin.kept.length]);
    }
    twin.compare();
  }
});

test('a flush takes no other domain or PASID, though they may be chained to each other', () => {
  const cache = new PagingCache();
  for (let n = 0; n < 1 << 14; n += 1) {
    const [did, pasid] = [n & 0xfff, (n << 4) | 2];
    const flips: [number, number][] = [
      [0, 1 << (n % 20)],
      [1 << (n % 16), 0],
    ];
    for (const [didBit, pasidBit] of flips) {
      for (const flush of [
        () => cache.flushPasid(did, pasid),
        () => cache.flushPasidPages(did, pasid, 0, 0, 60),
        ...(didBit === 0
          ? []
          : [() => cache.flushDomain(did), () => cache.flushDomainPages(did, 0, 0, 60, true)]),
      ]) {
        cache.insert(STEP_FIRST, did, pasid, 0, 0, 21);
        cache.insert(STEP_FIRST, did ^ didBit, pasid ^ pasidBit, 0, 0, 30);
        flush();
        if (cache.live !== 1) expect([did, pasid, didBit, pasidBit, cache.live]).toEqual([]);
        cache.flushAll();
      }
    }
  }
});
