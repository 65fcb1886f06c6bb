/**
 * What is remembered of contexts and spaces: as long as no invalidation names it, and no longer (section 6.5.2.1); what is
 * asked past all caches; and where it came from.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { Abilities } from '../../../src/hw/vtd/capabilities.js';
import { Contexts } from '../../../src/hw/vtd/context.js';
import * as space from '../../../src/hw/vtd/spaces.js';
import { AT, Lookups, legacy, scalable } from './lookups.js';
import { ALL_FLAGS, context, pasidEntry } from './structures.js';
import { CAP, ECAP, HAW, PASID, SOURCE, World, hi32, lo32 } from './world.js';

/** A requester of another context table. */
const OTHER = SOURCE | 0x81;

function contextsOf(world: World, ttm = 1): Contexts {
  const contexts = new Contexts(world.memory, new Abilities({ cap: CAP, ecap: ECAP, haw: HAW }));
  contexts.setRoot(hi32(world.root), lo32(world.root), ttm);
  return contexts;
}

/** Three devices of eight functions each, on buses far apart. */
const functions = [0x100, 0x648, 0xfe50].flatMap((device) => Array.from({ length: 8 }, (_, n) => device | n));

interface Cached {
  readonly lookups: Lookups;
  /** Clears every context entry, or puts it back. */
  readonly toggle: () => void;
  readonly ask: () => number[];
  /** Of whom the PASID cache has a row; in legacy mode that is what the context entry said. */
  readonly listed: () => number[];
  readonly pasid: number;
}

function cached(isLegacy: boolean): Cached {
  const lookups = new Lookups();
  const entries = functions.map(
    (source) => (isLegacy ? legacy(lookups, source) : scalable(lookups, { source })).context,
  );
  const pasid = isLegacy ? NO_PASID : PASID;
  return {
    lookups,
    pasid,
    toggle: () => entries.forEach((entry) => lookups.flip(entry, 1n)),
    ask: () => functions.filter((source) => lookups.ask(source, pasid) === 0),
    listed: () => {
      const { spaces } = lookups.contexts;
      const rows = [...spaces.rows()].map((row) => spaces.words[row + space.S_SOURCE]!);
      return rows.toSorted((a, b) => a - b);
    },
  };
}

describe.each([
  ['scalable mode', false],
  ['legacy mode', true],
] as const)('context-cache invalidation, %s', (_, isLegacy) => {
  test('by device: that function, and those that differ in bits that do not count', () => {
    const { lookups, toggle, ask, listed } = cached(isLegacy);
    for (const mask of [0, 4, 6, 7]) {
      for (const source of functions) {
        lookups.flush();
        expect(ask()).toEqual(functions);
        toggle();
        lookups.contexts.flushDevice(source, mask);
        const left = functions.filter((other) => (other & ~mask) !== (source & ~mask));
        expect([mask, source, listed()]).toEqual([mask, source, isLegacy ? left : functions]);
        expect([mask, source, ask()]).toEqual([mask, source, left]);
        toggle();
      }
    }
  });

  test('of every other device: it stays', () => {
    const { lookups, toggle, ask } = cached(isLegacy);
    ask();
    toggle();
    for (let source = 0; source < 0x1_0000; source += 1) {
      if (!functions.includes(source)) lookups.contexts.flushDevice(source, 0);
    }
    expect(ask()).toEqual(functions);
  });

  test('global: all of it, however often that was done', () => {
    const { lookups, toggle, ask, listed } = cached(isLegacy);
    for (let count = 0; count < 40; count += 1) {
      expect(ask()).toEqual(functions);
      toggle();
      expect(ask()).toEqual(functions);
      lookups.contexts.flushAll();
      expect(listed()).toEqual(isLegacy ? [] : functions);
      expect(ask()).toEqual([]);
      toggle();
    }
  });
});

describe('context-cache invalidation by domain', () => {
  test('in scalable mode all of it, since no context entry names one', () => {
    const { lookups, toggle, ask } = cached(false);
    ask();
    toggle();
    lookups.contexts.flushDomain(0x7777);
    expect(ask()).toEqual([]);
  });

  test('in legacy mode what names it, and nothing else', () => {
    const lookups = new Lookups();
    const domains = [0, 1, ...Array.from({ length: 16 }, (_, n) => 0x5a5a ^ (1 << n))];
    const entries = domains.map((did, devfn) => {
      const { context: at } = legacy(lookups, devfn);
      lookups.put(at + 8n, 2n | (BigInt(did) << 8n));
      return at;
    });
    const ask = (): number[] => domains.filter((_did, source) => lookups.ask(source, NO_PASID) === 0);
    const toggle = (): void => entries.forEach((at) => lookups.flip(at, 1n));
    for (const did of [0x5a5a, ...domains]) {
      lookups.flush();
      expect(ask()).toEqual(domains);
      toggle();
      lookups.contexts.flushDomain(did);
      const { live } = lookups.contexts.spaces;
      expect([did, live]).toEqual([did, domains.filter((other) => other !== did).length]);
      expect([did, ask()]).toEqual([did, domains.filter((other) => other !== did)]);
      toggle();
    }
  });

  test.each([
    // 0x41: nothing is there now. 0x58: what was is still believed, and read as what it was not written as.
    ['global', (contexts: Contexts) => contexts.flushAll(), 0x41],
    ['by domain', (contexts: Contexts) => contexts.flushDomain(5), 0x41],
    ['by another domain', (contexts: Contexts) => contexts.flushDomain(6), 0x58],
    ['by device', (contexts: Contexts, source: number) => contexts.flushDevice(source, 0), 0x41],
    ['by another device', (contexts: Contexts) => contexts.flushDevice(0x202, 0), 0x58],
  ] as const)('%s: the entry itself goes, whatever table it is read from next', (_, flush, reason) => {
    for (const source of [SOURCE, SOURCE ^ 1]) {
      const lookups = new Lookups();
      const { context: at } = legacy(lookups, source);
      expect(lookups.ask(source, NO_PASID)).toBe(0);
      flush(lookups.contexts, source);
      lookups.memory.entries.delete(at);
      lookups.put(AT.root + 16n, AT.contexts | 1n);
      lookups.put(AT.contexts + BigInt(source & 0x7f) * 32n, 0n, 0n, 0n, 0n);
      // Domain and width are those of RID_PASID 0x502, the second stage's root is its directory.
      lookups.put(AT.second + 0x14n * 8n, AT.pasids | 1n);
      lookups.start(1);
      expect(lookups.ask(source, NO_PASID)).toBe(reason);
    }
  });
});

test('a context entry that is recalled is all of it, whoever asked in between', () => {
  const lookups = new Lookups();
  scalable(lookups, { pasid: 4 });
  scalable(lookups);
  // The directory of another device lies in other 4 GiB.
  const { context: at } = scalable(lookups, { source: OTHER });
  lookups.put(at, AT.second | 0x9n);
  lookups.put(AT.second, AT.pasids | 1n);
  expect([lookups.ask(), lookups.ask(OTHER), lookups.ask(SOURCE, 4)]).toEqual([0, 0, 0]);
});

describe('what is asked past all caches', () => {
  test.each([
    ['scalable mode', false],
    ['legacy mode', true],
  ] as const)('%s: comes from memory, and stays nowhere', (_, isLegacy) => {
    const { lookups, toggle, ask, pasid } = cached(isLegacy);
    const { contexts } = lookups;
    const { spaces } = contexts;
    expect(contexts.findFresh(SOURCE, pasid)).toBe(space.SCRATCH_ROW);
    expect(lookups.found(space.SCRATCH_ROW)).toMatchObject({ source: SOURCE, did: 5 });
    expect(contexts.contextSecondLo).toBe(0);
    expect(spaces.live).toBe(0);
    toggle();
    expect(ask()).toEqual([]);
    toggle();
    expect(ask()).toEqual(functions);
    toggle();
    expect(contexts.findFresh(SOURCE, pasid)).toBe(-1);
    expect(contexts.reason).toBe(isLegacy ? 0x02 : 0x41);
    expect(spaces.live).toBe(functions.length);
    expect(ask()).toEqual(functions);
  });

  test('who asks for pages after that is answered from the caches', () => {
    const { lookups, toggle, ask } = cached(false);
    const { contexts } = lookups;
    ask();
    toggle();
    expect(contexts.findFresh(SOURCE, PASID)).toBe(-1);
    expect(contexts.findForPageRequest(SOURCE, PASID)).toBeGreaterThanOrEqual(0);
    expect(contexts.isContextStale(SOURCE)).toBe(true);
    expect(contexts.findForPageRequest(SOURCE, PASID)).toBeGreaterThanOrEqual(0);
  });
});

describe('whether a cached context entry is what its table says', () => {
  test('every bit of it counts', () => {
    const lookups = new Lookups();
    const { context: at } = scalable(lookups);
    expect(lookups.contexts.isContextStale(SOURCE)).toBe(false);
    lookups.ask();
    expect(lookups.contexts.isContextStale(SOURCE)).toBe(false);
    const missed: string[] = [];
    for (let word = 0n; word < 4n; word += 1n) {
      for (let bit = 0n; bit < 64n; bit += 1n) {
        lookups.flip(at + word * 8n, 1n << bit);
        if (!lookups.contexts.isContextStale(SOURCE)) missed.push(`${word}: ${bit}`);
        expect(lookups.ask()).toBe(0);
        lookups.flip(at + word * 8n, 1n << bit);
      }
    }
    expect(missed).toEqual([]);
    // Nor is it there when nothing leads to it.
    lookups.memory.entries.clear();
    expect(lookups.contexts.isContextStale(SOURCE)).toBe(true);
  });

  test('a device whose entry is not cached has none that is stale', () => {
    const lookups = new Lookups();
    const { context: at } = scalable(lookups);
    lookups.ask();
    lookups.flush();
    lookups.flip(at, 1n);
    expect(lookups.contexts.isContextStale(SOURCE)).toBe(false);
    expect(lookups.contexts.isContextStale(SOURCE ^ 1)).toBe(false);
  });
});

/** An arena for each kind of table: contexts, PASIDs, first stage, second stage. */
function arenas(world: World) {
  const [contexts, pasids, first, second] = [0, 1, 2, 3].map(() => world.memory.tables.openArena());
  return {
    contexts: world.table(12, contexts),
    pasids: world.table(12, pasids),
    first: world.table(12, first),
    second: world.table(12, second),
  };
}

function slotsOf(contexts: Contexts, row: number): number[] {
  const at = space.slotsOf(row);
  return [...contexts.spaces.slots.subarray(at, at + 4)];
}

describe('where a space came from', () => {
  test.each([
    ['first stage', 1n, ['contexts', 'pasids', 'first', 'second']],
    ['second stage', 2n, ['contexts', 'pasids', 'first', 'second']],
    // The first stage's tables lie where a guest thinks.
    ['nested', 3n, ['contexts', 'pasids', null, 'second']],
    ['pass-through', 4n, ['contexts', 'pasids', 'first', 'second']],
  ] as const)('%s', (_, pgtt, names) => {
    const world = new World();
    const { tables } = world.memory;
    const tableOf = arenas(world);
    world.put(world.root + 16n, tableOf.contexts | 1n);
    const directory = world.table();
    world.put(tableOf.contexts, directory | ALL_FLAGS | 1n);
    world.put(directory, tableOf.pasids | 1n);
    const slotAt = (hpa: bigint): number => tables.slotAt(hi32(hpa), lo32(hpa));
    for (const pasid of [PASID, 4]) {
      const { entry } = context(world, { pasid });
      pasidEntry(world, entry, pgtt, { first: tableOf.first, second: tableOf.second });
    }
    const contexts = contextsOf(world);
    const [slot, pasidSlot] = [slotAt(tableOf.contexts), slotAt(tableOf.pasids)];
    const seen = tables.generations[slot]!;
    const row = contexts.find(SOURCE, PASID);
    const wanted = names.map((name) => (name === null ? 0 : slotAt(tableOf[name])));
    expect(new Set(wanted).size).toBe(4);
    expect(slotsOf(contexts, row)).toEqual(wanted);
    expect(contexts.spaces.seen[space.seenOf(row)]).toBe(seen + tables.generations[pasidSlot]!);
    // The context entry is cached: that of the next PASID was seen then, its PASID entry now.
    world.put(tableOf.contexts + 0x800n, 1n);
    world.put(tableOf.pasids + 0x800n, 1n);
    // Somebody else's is read in between, from elsewhere.
    pasidEntry(world, context(world, { source: OTHER }).entry, 4n);
    expect(contexts.find(OTHER, PASID)).toBeGreaterThanOrEqual(0);
    const other = contexts.find(SOURCE, 4);
    expect(slotsOf(contexts, other)).toEqual(wanted);
    expect(contexts.spaces.seen[space.seenOf(other)]).toBe(seen + tables.generations[pasidSlot]!);
  });

  test('a root where no table is, though one has the same low half', () => {
    const world = new World();
    const tableOf = arenas(world);
    const far = 1n << 32n;
    const { entry } = context(world);
    pasidEntry(world, entry, 1n, { first: tableOf.first | far, second: tableOf.second | far });
    const contexts = contextsOf(world);
    const row = contexts.find(SOURCE, PASID);
    expect(slotsOf(contexts, row).slice(2)).toEqual([0, 0]);
  });

  test('legacy', () => {
    const world = new World();
    const { tables } = world.memory;
    const tableOf = arenas(world);
    world.put(world.root + 16n, tableOf.contexts | 1n);
    world.put(tableOf.contexts + 8n, 2n | (5n << 8n));
    world.put(tableOf.contexts, tableOf.second | 1n);
    const contexts = contextsOf(world, 0);
    const row = contexts.find(SOURCE, NO_PASID);
    const slot = tables.slotAt(hi32(tableOf.contexts), lo32(tableOf.contexts));
    const second = tables.slotAt(hi32(tableOf.second), lo32(tableOf.second));
    expect(slotsOf(contexts, row)).toEqual([slot, 0, 0, second]);
    expect(contexts.spaces.seen[space.seenOf(row)]).toBe(tables.generations[slot]);
  });
});
