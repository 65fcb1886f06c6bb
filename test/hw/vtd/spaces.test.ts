/** The PASID cache beside a plain list of what should be in it: every invalidation, and what displaces what. */
import { describe, expect, test } from 'vitest';
import { tagHigh, tagLow } from '../../../src/hw/vtd/iotlb.js';
import * as space from '../../../src/hw/vtd/spaces.js';
import { Random } from './hostile.js';

const { LEGACY_KEY, SCRATCH_ROW, Spaces } = space;

/** What is asked for, and under which tags. */
interface Row {
  readonly source: number;
  readonly key: number;
  readonly did: number;
  /** PGTT. */
  readonly kind: number;
  /** In every word and slot that nobody gives a meaning here. */
  readonly filler: number;
}

const FREE_WORDS = [
  space.S_FLAGS,
  space.S_FIRST_HI,
  space.S_FIRST_LO,
  space.S_SECOND_HI,
  space.S_SECOND_LO,
  space.S_FIRST_WIDTH,
  space.S_SECOND_WIDTH,
];

function keep(spaces: space.Spaces, { source, key, did, kind, filler }: Row): number {
  const { words, slots, seen } = spaces;
  words[SCRATCH_ROW + space.S_SOURCE] = source;
  words[SCRATCH_ROW + space.S_KEY] = key;
  words[SCRATCH_ROW + space.S_DID] = did;
  words[SCRATCH_ROW + space.S_KIND] = kind;
  for (const word of FREE_WORDS) words[SCRATCH_ROW + word] = filler * 16 + word;
  const at = space.slotsOf(SCRATCH_ROW);
  for (let slot = 0; slot < 4; slot += 1) slots[at + slot] = filler * 4 + slot;
  seen[space.seenOf(SCRATCH_ROW)] = filler;
  return spaces.keepScratch();
}

/** What lies at an offset, as it was kept. */
function rowAt({ words, slots, seen }: space.Spaces, at: number): Row | string {
  const filler = seen[space.seenOf(at)]!;
  const isWhole =
    FREE_WORDS.every((word) => words[at + word] === filler * 16 + word) &&
    [0, 1, 2, 3].every((slot) => slots[space.slotsOf(at) + slot] === filler * 4 + slot);
  if (!isWhole) return 'words of another row';
  return {
    source: words[at + space.S_SOURCE]!,
    key: words[at + space.S_KEY]!,
    did: words[at + space.S_DID]!,
    kind: words[at + space.S_KIND]!,
    filler,
  };
}

/** The rows in use, by offset. */
type Model = Map<number, Row>;

function expectSame(spaces: space.Spaces, model: Model): void {
  expect(spaces.live).toBe(model.size);
  const listed = [...spaces.rows()];
  expect(listed).toEqual([...model.keys()].toSorted((a, b) => a - b));
  expect(listed.map((at) => rowAt(spaces, at))).toEqual(listed.map((at) => model.get(at)));
  const found = [...model.values()].map(({ source, key }) => spaces.find(source, key));
  expect(found).toEqual([...model.keys()]);
}

function drop(model: Model, isGone: (row: Row) => boolean): void {
  for (const [at, row] of model) if (isGone(row)) model.delete(at);
}

/** Few of each, so that they meet; those of 16 and 20 bits among them. */
const someSources = [0, 1, 2, 0x100, 0x101, 0x8000, 0xffff];
const keys = [0, 1, 2, 64, 0x1000, 0x1001, 0xfffff, LEGACY_KEY];
const domains = [0, 1, 5, 0x100, 0x8005, 0xffff];

/** A requester whose row of `key` is the first of all. */
function firstOf(key: number): number {
  const spaces = new Spaces();
  let source = 3;
  while (keep(spaces, { source, key, did: 0, kind: 1, filler: 0 }) !== 0) source += 1;
  return source;
}

test('whatever is kept and dropped, it has what the list has', () => {
  const random = new Random(11);
  const spaces = new Spaces();
  const model: Model = new Map();
  const sources = [...someSources, firstOf(1), firstOf(LEGACY_KEY)];
  let count = 0;
  const actions: (() => void)[] = [
    () => {
      const did = random.pick(domains);
      const isLegacyOnly = random.chance(50);
      spaces.flushDomain(did, isLegacyOnly);
      drop(model, (row) => row.did === did && (!isLegacyOnly || row.key === LEGACY_KEY));
    },
    () => {
      const [did, pasid] = [random.pick(domains), random.pick(keys)];
      spaces.flushPasid(did, pasid);
      drop(model, (row) => row.did === did && row.key === pasid);
    },
    () => {
      const source = random.pick(sources);
      spaces.flushLegacy(source);
      drop(model, (row) => row.source === source && row.key === LEGACY_KEY);
    },
    () => {
      const isLegacyOnly = random.chance(80);
      spaces.flushAll(isLegacyOnly);
      drop(model, (row) => !isLegacyOnly || row.key === LEGACY_KEY);
    },
  ];
  for (let turn = 0; turn < 400; turn += 1) {
    for (let more = random.below(12); more > 0; more -= 1) {
      count += 1;
      const row = {
        source: random.pick(sources),
        key: random.pick(keys),
        did: random.pick(domains),
        kind: 1 + random.below(4),
        filler: count,
      };
      const at = keep(spaces, row);
      // Wherever it lies, what was there is gone.
      model.set(at, row);
    }
    random.pick(actions)();
    expectSame(spaces, model);
  }
});

test('more than there is place for: each is found until another has its place, and under no other name', () => {
  const spaces = new Spaces();
  const model: Model = new Map();
  let filler = 0;
  for (let source = 0; source < 0x80; source += 1) {
    for (let key = 0; key < 0x80; key += 1) {
      const row = { source, key, did: (source ^ key) & 0xff, kind: 1, filler: (filler += 1) };
      model.set(keep(spaces, row), row);
    }
  }
  expectSame(spaces, model);
  // What was displaced is not there, and neither is what was never asked for.
  const isKept = new Set([...model.values()].map(({ source, key }) => source * 256 + key));
  for (let source = 0; source < 0x81; source += 1) {
    for (let key = 0; key < 0x81; key += 1) {
      if (spaces.find(source, key) >= 0 !== isKept.has(source * 256 + key))
        expect([source, key]).toBe('right');
    }
  }
  expect(model.size).toBeGreaterThan(3000);
  for (let did = 0; did < 0x100; did += 1) {
    spaces.flushDomain(did, false);
    drop(model, (row) => row.did === did);
    if (did % 64 === 0) expectSame(spaces, model);
  }
  expect([spaces.live, model.size]).toEqual([0, 0]);
});

test.each([
  ['all', (spaces: space.Spaces) => spaces.flushAll(true)],
  ['domain', (spaces: space.Spaces) => spaces.flushDomain(5, true)],
  ['PASID', (spaces: space.Spaces) => spaces.flushPasid(5, LEGACY_KEY)],
  ['legacy context', (spaces: space.Spaces, source: number) => spaces.flushLegacy(source)],
] as const)('the first place of all is dropped like any other: %s', (_, flush) => {
  const spaces = new Spaces();
  const source = firstOf(LEGACY_KEY);
  expect(keep(spaces, { source, key: LEGACY_KEY, did: 5, kind: 2, filler: 1 })).toBe(0);
  flush(spaces, source);
  expect([spaces.live, spaces.find(source, LEGACY_KEY)]).toEqual([0, -1]);
});

describe('stamps', () => {
  const row: Row = { source: 1, key: 2, did: 3, kind: 1, filler: 1 };

  test('no two fillings have the same, and none has 0', () => {
    const spaces = new Spaces();
    const stamps = new Set<number>();
    for (let count = 0; count < 1000; count += 1) {
      const at = keep(spaces, { ...row, source: count & 7 });
      stamps.add(spaces.words[at + space.S_STAMP]!);
    }
    expect([stamps.size, stamps.has(0)]).toEqual([1000, false]);
  });

  test('what is dropped has 0', () => {
    const spaces = new Spaces();
    const at = keep(spaces, row);
    spaces.flushAll(false);
    expect(spaces.words[at + space.S_STAMP]).toBe(0);
    expect(spaces.find(row.source, row.key)).toBe(-1);
  });
});

/** Translations of a second stage are those of all PASIDs, the others those of one. */
test.each([
  ['first stage', 1, true],
  ['second stage', 2, false],
  ['nested', 3, true],
])('tags of a %s are those of the IOTLB', (_, kind, hasPasid) => {
  const spaces = new Spaces();
  for (const did of [0, 1, 5, 0x8000]) {
    for (const key of [0, 1, 0x800, 0x1000, 0x80000]) {
      const at = keep(spaces, { source: 9, key, did, kind, filler: 1 });
      expect(tagsAt(spaces, at)).toEqual(tagsOf(did, kind, hasPasid ? key : 0));
    }
  }
});

test.each([
  ['second stage', 2],
  ['pass-through', 0],
])('a legacy context has no PASID: %s', (_, kind) => {
  const spaces = new Spaces();
  const at = keep(spaces, { source: 9, key: LEGACY_KEY, did: 5, kind: kind === 0 ? 4 : kind, filler: 1 });
  expect(tagsAt(spaces, at)).toEqual(tagsOf(5, kind, 0));
});

function tagsAt({ words }: space.Spaces, at: number): number[] {
  return [words[at + space.S_TAG_HIGH]!, words[at + space.S_TAG_LOW]!];
}

function tagsOf(did: number, kind: number, pasid: number): number[] {
  return [tagHigh(pasid), tagLow(did, kind, pasid)];
}
