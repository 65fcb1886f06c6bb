/**
 * What a requester id and a PASID mean, from memory alone (chapters 3.4 and 9): where each entry is looked for, which
 * stages a unit has, how large a directory is, who may ask for pages, and what FPD silences.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { AT, Lookups, legacy, scalable, type Place, type Scalable } from './lookups.js';
import { CAP, ECAP, PASID, SOURCE, type WorldOptions } from './world.js';

const without = (bit: number): WorldOptions => ({ ecap: ECAP & ~(1n << BigInt(bit)) });
const NOWHERE = 0x40_0000_0000n;

/** Asks when nothing else is there, and returns for whom that was answered. */
function alone(lookups: Lookups, build: () => void, source: number, pasid: number): number[] {
  lookups.memory.entries.clear();
  build();
  lookups.flush();
  const found = lookups.find(source, pasid);
  return [found.source, found.pasid, found.did];
}

describe('where an entry is looked for', () => {
  const requesters = Array.from({ length: 256 }, (_, bus) =>
    [0x00, 0x01, 0x7f, 0x80, 0x81, 0xff].map((devfn) => (bus << 8) | devfn),
  ).flat();

  test('of every bus and both halves of it, in scalable mode', () => {
    const lookups = new Lookups();
    const given = requesters.map((source) =>
      alone(lookups, () => scalable(lookups, { source }), source, PASID),
    );
    expect(given).toEqual(requesters.map((source) => [source, PASID, 5]));
  });

  test('of every bus, in legacy mode', () => {
    const lookups = new Lookups();
    const given = requesters.map((source) => alone(lookups, () => legacy(lookups, source), source, NO_PASID));
    expect(given).toEqual(requesters.map((source) => [source, -1, 5]));
  });

  test('of every PASID of a table, and of the first and last tables of a directory', () => {
    const lookups = new Lookups();
    const pasids = [0, 0x40, 0x7fc0, 0x8000, 0xf_ffc0].flatMap((first) =>
      Array.from({ length: 64 }, (_, index) => first + index),
    );
    const given = pasids.map((pasid) =>
      alone(lookups, () => scalable(lookups, { pasid, flags: 0xe1cn, ridPasid: 0x1001n }), SOURCE, pasid),
    );
    expect(given).toEqual(pasids.map((pasid) => [SOURCE, pasid, 5]));
  });

  test('a directory that lies across 4 GiB goes on behind it', () => {
    const lookups = new Lookups();
    const base = 0x34_ffff_e000n;
    for (const index of [0n, 1n, 1023n, 1024n, 1025n, 0x3fffn]) {
      const pasid = Number(index) << 6;
      lookups.memory.entries.clear();
      const { context, directory } = scalable(lookups, { pasid, ridPasid: 1n });
      lookups.memory.entries.delete(directory);
      lookups.put(context, base | 0xe1dn);
      lookups.put(base + index * 8n, AT.pasids | 1n);
      lookups.flush();
      expect([index, lookups.ask(SOURCE, pasid)]).toEqual([index, 0]);
    }
  });

  test.each([
    ['the root entry', 'root', 0, 0x38],
    ['the context entry', 'context', 0, 0x40],
    ['its last quarter', 'context', 3, 0x40],
    ['the directory entry', 'directory', 0, 0x50],
    ['the PASID entry', 'entry', 0, 0x58],
    ['its last word', 'entry', 7, 0x58],
  ] as const)('memory that is not there: %s', (_, which, word, reason) => {
    const lookups = new Lookups();
    lookups.memory.entries.delete(scalable(lookups)[which] + BigInt(word) * 8n);
    expect(lookups.ask()).toBe(reason);
  });

  test.each([
    ['the root entry', 'root', 0, 0x08],
    ['its upper half', 'root', 1, 0x08],
    ['the context entry', 'context', 0, 0x09],
    ['its upper half', 'context', 1, 0x09],
  ] as const)('memory that is not there, in legacy mode: %s', (_, which, word, reason) => {
    const lookups = new Lookups();
    lookups.memory.entries.delete(legacy(lookups)[which] + BigInt(word) * 8n);
    expect(lookups.ask(SOURCE, NO_PASID)).toBe(reason);
  });
});

describe('RTADDR_REG', () => {
  test('a table mode that is none, and a root above the width', () => {
    const lookups = new Lookups({ haw: 39 });
    scalable(lookups);
    for (const [ttm, root, reason] of [
      [1, AT.root, 0],
      [2, AT.root, 0x30],
      [3, AT.root, 0x30],
      [1, AT.root | (1n << 39n), 0x30],
      [1, AT.root | (1n << 63n), 0x30],
      [1, AT.root ^ (1n << 38n), 0x38],
    ] as const) {
      lookups.start(ttm, root);
      lookups.flush();
      expect(lookups.ask()).toBe(reason);
      expect(lookups.contexts.isLegacy).toBe(false);
    }
    lookups.start(0);
    expect(lookups.contexts.isLegacy).toBe(true);
    expect(lookups.ask()).toBe(0x31);
  });
});

/** Widths of the stages of a PASID entry, as chapter 9.6 has them; null: this unit has no such thing. */
interface Unit {
  readonly what: string;
  readonly options: WorldOptions;
  readonly first?: readonly number[];
  readonly second?: readonly number[];
  /** Whose fields of a PASID entry are reserved, since the unit has no such stage at all. */
  readonly lacks?: 'first' | 'second';
  readonly nests?: boolean;
  readonly passes?: boolean;
}

const sagaw = (bits: bigint): WorldOptions => ({ cap: (CAP & ~(0x1fn << 8n)) | (bits << 8n) });
const units: Unit[] = [
  { what: 'everything', options: {} },
  { what: 'no first stage', options: without(47), first: [], lacks: 'first' },
  { what: 'no second stage', options: without(46), second: [], lacks: 'second' },
  { what: 'no nesting', options: without(26), nests: false },
  { what: 'no pass-through', options: without(6), passes: false },
  { what: 'first stages of four levels', options: { cap: CAP & ~(1n << 60n) }, first: [48] },
  { what: 'second stages of 39 bits', options: sagaw(2n), second: [39] },
  { what: 'second stages of 48 bits', options: sagaw(4n), second: [48] },
  { what: 'second stages of 57 bits', options: sagaw(8n), second: [57] },
  { what: 'second stages of widths that are none', options: sagaw(0x11n), second: [] },
];

function widthsOf(unit: Unit, pgtt: number, aw: number, mode: number): [number, number] | null {
  const { first = [48, 57], second = [39, 48, 57], nests = true, passes = true } = unit;
  if (pgtt === 4) return passes ? [0, 0] : null;
  if (pgtt === 0 || pgtt > 4 || (pgtt === 3 && !nests)) return null;
  const firstWidth = pgtt === 2 ? 0 : ([48, 57][mode] ?? -1);
  const secondWidth = pgtt === 1 ? 0 : ([-1, 39, 48, 57][aw] ?? -1);
  const isThere = [0, ...first].includes(firstWidth) && [0, ...second].includes(secondWidth);
  return isThere ? [firstWidth, secondWidth] : null;
}

test.each(units)('which stages a unit has: $what', (unit) => {
  const lookups = new Lookups(unit.options);
  const { entry } = scalable(lookups);
  const [given, wanted]: [unknown[], unknown[]] = [[], []];
  for (let pgtt = 0; pgtt < 8; pgtt += 1) {
    for (let aw = 0; aw < 8; aw += 1) {
      for (let mode = 0; mode < 4; mode += 1) {
        const { lacks } = unit;
        lookups.put(entry, (lacks === 'second' ? 0n : AT.second) | BigInt((pgtt << 6) | (aw << 2) | 1));
        lookups.put(entry + 16n, (lacks === 'first' ? 0n : AT.first | 0x30n) | BigInt(mode << 2));
        // AW is not held against a unit without second stages: Linux writes it all the same.
        const isReserved = lacks === 'first' && mode !== 0;
        lookups.flush();
        const reason = lookups.ask();
        const found = reason === 0 ? lookups.find() : null;
        given.push([pgtt, aw, mode, found === null ? reason : [found.firstWidth, found.secondWidth]]);
        wanted.push([pgtt, aw, mode, isReserved ? 0x5a : (widthsOf(unit, pgtt, aw, mode) ?? 0x5b)]);
      }
    }
  }
  expect(given).toEqual(wanted);
});

test.each([
  ['a width of its own', [0x03, 39, 48, 57, 0x03, 0x03, 0x03, 0x03], {}],
  ['39 bits only', [0x03, 39, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03], sagaw(2n)],
] as const)('legacy contexts have %s', (_, byWidth, options) => {
  const lookups = new Lookups(options);
  const { context } = legacy(lookups);
  const given = byWidth.map((_width, aw) => {
    lookups.put(context + 8n, BigInt(aw) | (5n << 8n));
    lookups.flush();
    const reason = lookups.ask(SOURCE, NO_PASID);
    return reason === 0 ? lookups.find(SOURCE, NO_PASID).secondWidth : reason;
  });
  expect(given).toEqual(byWidth);
});

test.each([
  ['everything', {}, [2, 2, 4, 0x03]],
  ['no device TLB', without(2), [2, 0x03, 4, 0x03]],
  ['no pass-through', without(6), [2, 2, 0x03, 0x03]],
] as const)('legacy translation types of a unit with %s', (_, options, byType) => {
  const lookups = new Lookups(options);
  const { context } = legacy(lookups);
  const given = byType.map((_type, type) => {
    lookups.put(context, AT.second | BigInt(type << 2) | 1n);
    lookups.flush();
    const reason = lookups.ask(SOURCE, NO_PASID);
    return reason === 0 ? lookups.find(SOURCE, NO_PASID).pgtt : reason;
  });
  expect(given).toEqual(byType);
});

describe('how large a PASID may be', () => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])('PDTS %i', (pdts) => {
    const lookups = new Lookups();
    const limit = 1 << (pdts + 13);
    const flags = 0x1cn | BigInt(pdts << 9);
    const ask = (pasid: number, isRid: boolean): number => {
      lookups.memory.entries.clear();
      scalable(lookups, { pasid, flags, ridPasid: isRid ? BigInt(pasid) : 0n });
      lookups.flush();
      return lookups.ask(SOURCE, isRid ? NO_PASID : pasid);
    };
    expect([ask(limit - 1, false), ask(limit - 1, true)]).toEqual([0, 0]);
    if (pdts < 7) expect([ask(limit, false), ask(limit, true)]).toEqual([0x46, 0x43]);
  });

  test('of a unit with eight bits of it', () => {
    const lookups = new Lookups({ ecap: (ECAP & ~(0x1fn << 35n)) | (7n << 35n) });
    scalable(lookups, { pasid: 255 });
    expect([lookups.ask(SOURCE, 255), lookups.ask(SOURCE, 256)]).toEqual([0, 0x89]);
  });

  test('without one RID_PASID counts, with or without PASIDE', () => {
    const lookups = new Lookups();
    for (const flags of [0x1cn, 0n]) {
      scalable(lookups, { pasid: 9, flags, ridPasid: 9n | (1n << 20n) });
      lookups.flush();
      expect(lookups.find(SOURCE, NO_PASID)).toMatchObject({ pasid: 9, did: 5 });
      expect(lookups.contexts.contextSecondLo).toBe(9 | (1 << 20));
      expect(lookups.contexts.contextLo & 0xfff).toBe(Number(flags) | 1);
    }
  });
});

/** What is wrong, how far the request comes, and what it is answered. */
interface Fault {
  readonly reason: number;
  readonly what: string;
  /** Which entries it has passed: 1 context, 2 directory, 3 PASID entry. */
  readonly passed: 1 | 2 | 3;
  readonly options?: Scalable;
  readonly spoil?: (lookups: Lookups, place: Place) => void;
  readonly pasid?: number;
  /** The context entry itself is wrong. */
  readonly isContext?: true;
}

const faults: Fault[] = [
  { reason: 0x41, what: 'no context', passed: 1, spoil: (l, at) => l.flip(at.context, 1n), isContext: true },
  {
    reason: 0x42,
    what: 'a reserved bit of it',
    passed: 1,
    spoil: (l, at) => l.flip(at.context, 32n),
    isContext: true,
  },
  {
    reason: 0x43,
    what: 'PRE without DTE',
    passed: 1,
    spoil: (l, at) => l.flip(at.context, 4n),
    isContext: true,
  },
  { reason: 0x45, what: 'no PASIDE', passed: 1, options: { flags: 0n } },
  { reason: 0x46, what: 'a PASID that is too large', passed: 1, pasid: 1 << 13 },
  {
    reason: 0x43,
    what: 'RID_PASID too large',
    passed: 1,
    pasid: NO_PASID,
    options: { ridPasid: 0xfffffn },
    isContext: true,
  },
  { reason: 0x48, what: 'the PASID that stands for none', passed: 1, options: { ridPasid: BigInt(PASID) } },
  { reason: 0x50, what: 'no directory', passed: 1, spoil: (l, at) => l.memory.entries.delete(at.directory) },
  { reason: 0x51, what: 'no table', passed: 2, spoil: (l, at) => l.flip(at.directory, 1n) },
  { reason: 0x52, what: 'a reserved bit there', passed: 2, spoil: (l, at) => l.flip(at.directory, 4n) },
  {
    reason: 0x58,
    what: 'a table nowhere',
    passed: 2,
    spoil: (l, at) => l.flip(at.directory, AT.pasids ^ NOWHERE),
  },
  { reason: 0x59, what: 'no PASID entry', passed: 3, spoil: (l, at) => l.flip(at.entry, 1n) },
  { reason: 0x5a, what: 'a reserved bit of it', passed: 3, spoil: (l, at) => l.flip(at.entry, 32n) },
  { reason: 0x5b, what: 'no such type', passed: 3, spoil: (l, at) => l.flip(at.entry, 64n) },
];

describe('FPD silences what is met from there on', () => {
  const PLACES = ['context', 'directory', 'entry'] as const;

  test.each(faults.map((fault) => [fault.reason.toString(16), fault.what, fault] as const))(
    '0x%s: %s',
    (_reason, _what, fault) => {
      const { reason, passed, options, spoil, pasid = PASID, isContext } = fault;
      for (const isCached of isContext === true ? [false] : [false, true]) {
        for (const [index, which] of [...PLACES, null].entries()) {
          const lookups = new Lookups();
          const place = scalable(lookups, options);
          if (which !== null) lookups.flip(place[which], 2n);
          // Another PASID of the device, so that its context is cached.
          if (isCached) {
            lookups.put(AT.directory + 8n * 5n, AT.pasids | 1n);
            lookups.ask(SOURCE, 5 * 64 + PASID);
          }
          spoil?.(lookups, place);
          expect(lookups.ask(SOURCE, pasid)).toBe(reason);
          expect([which, lookups.contexts.isSilenced]).toEqual([which, which !== null && index < passed]);
          // That was this request's: the next one meets nothing of it.
          expect([lookups.ask(0x8000), lookups.contexts.isSilenced]).toEqual([0x38, false]);
        }
      }
    },
  );

  test('of a space that is found, all three count', () => {
    const SILENCED = 1 << 19;
    for (const which of PLACES) {
      const lookups = new Lookups();
      const place = scalable(lookups);
      lookups.flip(place[which], 2n);
      expect([which, lookups.find().flags & SILENCED]).toEqual([which, SILENCED]);
      lookups.flip(place[which], 2n);
      lookups.flush();
      expect(lookups.find().flags & SILENCED).toBe(0);
    }
  });

  test.each([
    ['not present', 0x02, 0, 1n],
    ['a reserved bit', 0x0b, 0, 16n],
    ['no such type', 0x03, 0, 12n],
    ['no such width', 0x03, 1, 2n],
  ])('legacy mode: %s', (_, reason, word, bits) => {
    for (const fpd of [0n, 2n]) {
      const lookups = new Lookups();
      const { context } = legacy(lookups);
      lookups.flip(context, fpd);
      lookups.flip(context + BigInt(word) * 8n, bits);
      expect(lookups.ask(SOURCE, NO_PASID)).toBe(reason);
      expect(lookups.contexts.isSilenced).toBe(fpd !== 0n);
      expect([lookups.ask(0x8000, NO_PASID), lookups.contexts.isSilenced]).toEqual([0x08, false]);
    }
  });
});

/** The reason why not, or 0. */
function mayAsk(lookups: Lookups, pasid = PASID, source = SOURCE): number {
  return lookups.contexts.findForPageRequest(source, pasid) >= 0 ? 0 : lookups.contexts.reason;
}

describe('who may ask for pages', () => {
  test('whoever has PRE, and PASIDs of its directory', () => {
    const lookups = new Lookups();
    for (const pasid of [0, 5]) scalable(lookups, { pasid });
    const { context } = scalable(lookups, { ridPasid: 5n });
    const ask = (): number[] => [PASID, 0, NO_PASID, 5, 0x2000].map((pasid) => mayAsk(lookups, pasid));
    expect(ask()).toEqual([0, 0, 0, 0x48, 0x46]);
    // PRE, PASIDE, a directory twice as large; each counts when its invalidation has come.
    for (const [bits, answers] of [
      [16n, [0x47, 0x47, 0x47, 0x47, 0x47]],
      [8n, [0x45, 0x45, 0, 0x45, 0x45]],
      [0x200n, [0, 0, 0, 0x48, 0x50]],
      [1n, [0x41, 0x41, 0x41, 0x41, 0x41]],
      [4n, [0x43, 0x43, 0x43, 0x43, 0x43]],
      [32n, [0x42, 0x42, 0x42, 0x42, 0x42]],
    ] as const) {
      const before = ask();
      lookups.flip(context, bits);
      expect(ask()).toEqual(before);
      lookups.flush();
      expect([bits, ...ask()]).toEqual([bits, ...answers]);
      lookups.flip(context, bits);
      lookups.flush();
    }
    expect(mayAsk(lookups, PASID, 0x8000)).toBe(0x38);
  });

  test('nobody in legacy mode', () => {
    const lookups = new Lookups();
    legacy(lookups);
    expect([mayAsk(lookups), mayAsk(lookups, NO_PASID)]).toEqual([0x32, 0x32]);
  });

  test('FPD of the context silences the refusal, and that of nobody else', () => {
    for (const isCached of [false, true]) {
      for (const fpd of [0n, 2n]) {
        const lookups = new Lookups();
        scalable(lookups, { flags: 0x1cn | fpd });
        if (isCached) lookups.ask();
        expect(mayAsk(lookups, 0x2000)).toBe(0x46);
        expect(lookups.contexts.isSilenced).toBe(fpd !== 0n);
        expect([mayAsk(lookups, PASID, 0x8000), lookups.contexts.isSilenced]).toEqual([0x38, false]);
      }
    }
  });
});

describe('whether a requester has a context at all', () => {
  test.each([
    ['scalable mode', (lookups: Lookups) => scalable(lookups), 0x41],
    ['legacy mode', (lookups: Lookups) => legacy(lookups), 0x02],
  ] as const)('%s', (_, build, reason) => {
    const lookups = new Lookups();
    const { contexts } = lookups;
    const { context } = build(lookups);
    expect(contexts.findContext(SOURCE)).toBe(true);
    expect(contexts.contextLo).toBe(Number(BigInt.asIntN(32, lookups.get(context))));
    lookups.flip(context, 3n);
    expect(contexts.findContext(SOURCE)).toBe(true);
    lookups.flush();
    expect(contexts.findContext(SOURCE)).toBe(false);
    expect([contexts.reason, contexts.isSilenced]).toEqual([reason, true]);
    expect([contexts.findContext(0x8000), contexts.isSilenced]).toEqual([false, false]);
    // And the caches count, whoever asked before.
    lookups.flip(context, 1n);
    expect(contexts.findContext(SOURCE)).toBe(true);
    lookups.flip(context, 1n);
    expect(contexts.findFresh(SOURCE, NO_PASID)).toBe(-1);
    expect(contexts.findContext(SOURCE)).toBe(true);
  });
});
