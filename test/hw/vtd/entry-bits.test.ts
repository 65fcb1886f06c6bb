/**
 * Every bit of every structure on the way to an address space (chapter 9), turned round one at a time: what it means, or
 * that it is reserved, on units with and without what it is for.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { AT, Lookups, legacy, scalable, type Found, type Place, type Scalable } from './lookups.js';
import { ECAP, PASID, SOURCE, type WorldOptions } from './world.js';

/** Of 64-bit word `word` of an entry: bits `first` to `last` give `reason`. */
type Row = readonly [word: number, first: number, last: number, reason: number];

/** The reason that bit `bit` of word `word` gives: that of the first row that has it, or none. */
function reasonOf(rows: readonly Row[], word: number, bit: number): number {
  return rows.find(([at, first, last]) => at === word && bit >= first && bit <= last)?.[3] ?? 0;
}

function each(words: number, body: (word: number, bit: number) => void): void {
  for (let word = 0; word < words; word += 1) for (let bit = 0; bit < 64; bit += 1) body(word, bit);
}

/** Turns each bit of an entry of `words` words round, and asks. */
function turn(
  lookups: Lookups,
  at: bigint,
  words: number,
  rows: readonly Row[],
  ask: () => number = () => lookups.ask(),
): void {
  const wrong: unknown[] = [];
  each(words, (word, bit) => {
    const place = at + BigInt(word) * 8n;
    lookups.flip(place, 1n << BigInt(bit));
    lookups.flush();
    const [given, wanted] = [ask(), reasonOf(rows, word, bit)];
    if (given !== wanted) wrong.push({ word, bit, given, wanted });
    lookups.flip(place, 1n << BigInt(bit));
  });
  lookups.flush();
  expect(wrong).toEqual([]);
  expect(ask()).toBe(0);
}

const widths = [39, 48, 52] as const;
const without = (bit: number): WorldOptions => ({ ecap: ECAP & ~(1n << BigInt(bit)) });

describe.each(widths)('scalable mode, %i bits of an address', (haw) => {
  function built(options: Scalable = {}): { lookups: Lookups; place: Place } {
    const lookups = new Lookups({ haw });
    return { lookups, place: scalable(lookups, options) };
  }

  const root: Row[] = [
    [0, 0, 0, 0x39],
    [0, 1, 11, 0x3a],
    [0, 12, haw - 1, 0x40],
    [0, haw, 63, 0x3a],
  ];

  test('the root entry of the lower half', () => {
    const { lookups, place } = built();
    lookups.put(place.root + 8n, 0n);
    turn(lookups, place.root, 2, root);
  });

  test('the root entry of the upper half', () => {
    const { lookups, place } = built({ source: SOURCE | 0x80 });
    lookups.put(place.root - 8n, 0n);
    turn(
      lookups,
      place.root - 8n,
      2,
      root.map(([, ...row]): Row => [1, ...row]),
      () => lookups.ask(SOURCE | 0x80),
    );
  });

  const context: Row[] = [
    [0, 0, 0, 0x41],
    // PRE is set.
    [0, 2, 2, 0x43],
    [0, 3, 3, 0x45],
    [0, 5, 8, 0x42],
    [0, 12, haw - 1, 0x50],
    [0, haw, 63, 0x42],
    // A RID_PASID that the directory has not.
    [1, 13, 19, 0x43],
    [1, 21, 63, 0x42],
    [2, 0, 63, 0x42],
    [3, 0, 63, 0x42],
  ];

  test('the context entry', () => {
    const { lookups, place } = built();
    turn(lookups, place.context, 4, context);
  });

  test('the PASID directory entry', () => {
    const { lookups, place } = built();
    turn(lookups, place.directory, 1, [
      [0, 0, 0, 0x51],
      [0, 2, 11, 0x52],
      [0, 12, haw - 1, 0x58],
      [0, haw, 63, 0x52],
    ]);
  });

  const reserved: Row[] = [
    [0, 5, 5, 0x5a],
    [0, 10, 11, 0x5a],
    // Memory types: this unit has none.
    [1, 16, 22, 0x5a],
    [1, 25, 63, 0x5a],
    [2, 8, 11, 0x5a],
    [0, haw, 63, 0x5a],
    [2, haw, 63, 0x5a],
    ...[3, 4, 5, 6, 7].map((word): Row => [word, 0, 63, 0x5a]),
  ];
  const mode: Row = [2, 3, 3, 0x5b];
  /** AW is 2. */
  const width: Row[] = [
    [0, 3, 4, 0x5b],
    [0, 4, 4, 0x5b],
  ];

  test.each([
    // Another bit of PGTT leads to 0, 3 and 5; to 3, 0 and 6; to 2, 1 and 7; to 5, 6 and 0.
    ['first stage', 1n, [mode, [0, 6, 6, 0x5b], [0, 8, 8, 0x5b]]],
    ['second stage', 2n, [...width, [0, 7, 8, 0x5b]]],
    ['nested', 3n, [mode, ...width, [0, 8, 8, 0x5b], [2, 48, 63, 0x5b]]],
    ['pass-through', 4n, [[0, 6, 8, 0x5b]]],
  ] as const)('the PASID entry, %s', (_, pgtt, rows) => {
    const { lookups, place } = built({ pgtt });
    turn(lookups, place.entry, 8, [[0, 0, 0, 0x59], ...reserved, ...rows]);
  });
});

describe('a bit is reserved on a unit that has nothing for it', () => {
  test.each([
    ['DTE, on one without device TLBs', 2, 'context', 0, 2, 2, 0x42],
    ['PASIDE, on one without PASIDs', 40, 'context', 0, 3, 3, 0x42],
    ['PRE, on one without page requests', 29, 'context', 0, 4, 4, 0x42],
    ['RID_PASID, on one without', 49, 'context', 1, 0, 19, 0x42],
    ['RID_PRIV, on one without', 53, 'context', 1, 20, 20, 0x42],
    ['PWSNP, on one whose walks are never coherent', 48, 'entry', 1, 23, 23, 0x5a],
    ['PGSNP, on one without snoop control', 7, 'entry', 1, 24, 24, 0x5a],
    ['SSADE, on one without accessed bits in the second stage', 45, 'entry', 0, 9, 9, 0x5a],
    ['SRE, on one without privileged requests', 31, 'entry', 2, 0, 0, 0x5a],
    ['ERE, on one without execution', 30, 'entry', 2, 1, 1, 0x5a],
    ['EAFE, on one without extended accessed bits', 34, 'entry', 2, 7, 7, 0x5a],
  ] as const)('%s', (_, capability, which, word, first, last, reason) => {
    const refusedBy = (options: WorldOptions): number[] => {
      const lookups = new Lookups(options);
      const place = scalable(lookups, { pasid: 0, flags: 0n });
      lookups.put(place.entry + 16n, AT.first | 0x30n);
      const at = place[which] + BigInt(word) * 8n;
      const old = lookups.get(at);
      return Array.from({ length: 64 }, (_bit, bit) => bit).filter((bit) => {
        lookups.put(at, old | (1n << BigInt(bit)));
        lookups.flush();
        return lookups.ask(SOURCE, NO_PASID) === reason;
      });
    };
    const always = new Set(refusedBy({}));
    const its = refusedBy(without(capability)).filter((bit) => !always.has(bit));
    expect(its).toEqual(Array.from({ length: last - first + 1 }, (_bit, n) => first + n));
  });

  test('all of them, on a unit that has nothing but second stages', () => {
    const lookups = new Lookups({ ecap: 1n << 46n });
    const place = scalable(lookups, { pasid: 0, flags: 0n, pgtt: 2n });
    lookups.put(place.entry + 16n, 0n);
    const ask = (): number => lookups.ask(SOURCE, NO_PASID);
    turn(
      lookups,
      place.context,
      2,
      [
        [0, 0, 0, 0x41],
        [0, 2, 8, 0x42],
        [0, 12, 47, 0x50],
        [0, 48, 63, 0x42],
        [1, 0, 63, 0x42],
      ],
      ask,
    );
    const entry: Row[] = [
      [0, 0, 0, 0x59],
      [0, 3, 4, 0x5b],
      [0, 6, 8, 0x5b],
      [0, 5, 11, 0x5a],
      [0, 48, 63, 0x5a],
      [1, 16, 63, 0x5a],
      [2, 0, 4, 0x5a],
      [2, 7, 63, 0x5a],
    ];
    turn(lookups, place.entry, 3, entry, ask);
  });
});

describe.each(widths)('legacy mode, %i bits of an address', (haw) => {
  test('the root entry', () => {
    const lookups = new Lookups({ haw });
    const { root } = legacy(lookups);
    const rows: Row[] = [
      [0, 0, 0, 0x01],
      [0, 1, 11, 0x0a],
      [0, 12, haw - 1, 0x09],
      [0, haw, 63, 0x0a],
      [1, 0, 63, 0x0a],
    ];
    turn(lookups, root, 2, rows, () => lookups.ask(SOURCE, NO_PASID));
  });

  test('the context entry', () => {
    const lookups = new Lookups({ haw });
    const { context } = legacy(lookups);
    const rows: Row[] = [
      [0, 0, 0, 0x02],
      [0, 4, 11, 0x0b],
      [0, haw, 63, 0x0b],
      [1, 1, 2, 0x03],
      [1, 7, 7, 0x0b],
      [1, 24, 63, 0x0b],
    ];
    turn(lookups, context, 2, rows, () => lookups.ask(SOURCE, NO_PASID));
  });
});

/** FPD is bit 1; SSADE, PWSNP and FPD of what is found stand above the bits of word 4. */
const SSADE = 1 << 17;
const SNOOPS = 1 << 18;
const SILENCED = 1 << 19;

describe('what a PASID entry says', () => {
  test.each([1, 2, 3, 4])('PGTT %i', (pgtt) => {
    const lookups = new Lookups();
    const place = scalable(lookups, { pgtt: BigInt(pgtt) });
    const plain: Found = {
      source: SOURCE,
      pasid: PASID,
      did: 5,
      pgtt,
      flags: 0x32,
      first: AT.first,
      second: AT.second,
      firstWidth: pgtt === 1 || pgtt === 3 ? 48 : 0,
      secondWidth: pgtt === 2 || pgtt === 3 ? 48 : 0,
    };
    expect(lookups.find()).toEqual(plain);
    const meaning = (word: number, bit: number): Found => {
      const value = 1n << BigInt(bit);
      if (word === 0 && bit === 1) return { ...plain, flags: plain.flags | SILENCED };
      if (word === 0 && bit === 2 && plain.secondWidth !== 0) return { ...plain, secondWidth: 57 };
      if (word === 0 && bit === 9) return { ...plain, flags: plain.flags | SSADE };
      if (word === 0 && bit >= 12) return { ...plain, second: plain.second ^ value };
      if (word === 1 && bit < 16) return { ...plain, did: plain.did ^ Number(value) };
      if (word === 1 && bit === 23) return { ...plain, flags: plain.flags | SNOOPS };
      if (word === 2 && bit < 8) {
        const firstWidth = bit === 2 && plain.firstWidth !== 0 ? 57 : plain.firstWidth;
        return { ...plain, flags: plain.flags ^ Number(value), firstWidth };
      }
      if (word === 2 && bit >= 12) return { ...plain, first: plain.first ^ value };
      return plain;
    };
    const [given, wanted]: [Found[], Found[]] = [[], []];
    each(3, (word, bit) => {
      // Other types are other rows.
      if (word === 0 && bit >= 6 && bit <= 8) return;
      const at = place.entry + BigInt(word) * 8n;
      lookups.flip(at, 1n << BigInt(bit));
      lookups.flush();
      if (lookups.ask() === 0) {
        given.push(lookups.find());
        wanted.push(meaning(word, bit));
      }
      lookups.flip(at, 1n << BigInt(bit));
    });
    expect(given).toEqual(wanted);
  });
});

describe('what a legacy context entry says', () => {
  test('bit for bit', () => {
    const lookups = new Lookups();
    // Nothing is left of what was met before.
    scalable(lookups);
    expect(lookups.find()).toMatchObject({ first: AT.first, firstWidth: 48 });
    const { context } = legacy(lookups);
    const plain: Found = {
      source: SOURCE,
      pasid: -1,
      did: 5,
      pgtt: 2,
      flags: 1 << 16,
      first: 0n,
      second: AT.second,
      firstWidth: 0,
      secondWidth: 48,
    };
    const meaning = (word: number, bit: number): Found => {
      const value = 1n << BigInt(bit);
      if (word === 0 && bit === 1) return { ...plain, flags: plain.flags | SILENCED };
      if (word === 0 && bit === 3) return { ...plain, pgtt: 4 };
      if (word === 0 && bit >= 12) return { ...plain, second: plain.second ^ value };
      if (word === 1 && bit === 0) return { ...plain, secondWidth: 57 };
      if (word === 1 && bit >= 8) return { ...plain, did: plain.did ^ Number(value >> 8n) };
      return plain;
    };
    const [given, wanted]: [Found[], Found[]] = [[], []];
    each(2, (word, bit) => {
      const at = context + BigInt(word) * 8n;
      lookups.flip(at, 1n << BigInt(bit));
      lookups.flush();
      if (lookups.ask(SOURCE, NO_PASID) === 0) {
        given.push(lookups.find(SOURCE, NO_PASID));
        wanted.push(meaning(word, bit));
      }
      lookups.flip(at, 1n << BigInt(bit));
    });
    expect(given).toEqual(wanted);
  });
});
