/** Every granularity of every invalidation: what must go, and what must stay (section 6.5.2). */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { FS_LEAF, FS_TABLE, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import {
  QueueWorld,
  contextInvalidate,
  iotlbInvalidate,
  pages,
  pasidCacheInvalidate,
  pasidIotlbInvalidate,
} from './queue-world.js';
import { CAP, SOURCE } from './world.js';

const A = 0x40_0000_0000n;
const PAGE = 0x1000n;
const OLD = 0x1_0000_0000n;
const NEW = 0x2_0000_0000n;
const OTHER = 0x101;

/** What is cached, each with a name: (source, PASID, page), where it leads before and after the tables change. */
const spaces = [
  { name: 'first, DID 5 PASID 3', source: SOURCE, pasid: 3, did: 5n, kind: 1n },
  { name: 'first, DID 5 PASID 4', source: SOURCE, pasid: 4, did: 5n, kind: 1n },
  { name: 'first, DID 6 PASID 3', source: OTHER, pasid: 3, did: 6n, kind: 1n },
  { name: 'second, DID 5', source: SOURCE, pasid: 5, did: 5n, kind: 2n },
  { name: 'second, DID 6', source: SOURCE, pasid: 6, did: 6n, kind: 2n },
  { name: 'nested, DID 5 PASID 7', source: SOURCE, pasid: 7, did: 5n, kind: 3n },
  { name: 'nested, DID 6 PASID 7', source: OTHER, pasid: 7, did: 6n, kind: 3n },
] as const;

/** Pages 0, 1 and 4 of A, all cached. */
const pageNumbers = [0n, 1n, 4n];

function build(): {
  world: QueueWorld;
  leaves: bigint[];
  entries: Map<string, bigint>;
} {
  const world = new QueueWorld();
  const leaves: bigint[] = [];
  const entries = new Map<string, bigint>();
  for (const space of spaces) {
    const root = world.table();
    const second = world.table();
    for (const page of pageNumbers) {
      const iova = A + page * PAGE;
      const hpa = OLD + page * PAGE;
      if (space.kind === 2n) leaves.push(mapPage(world, root, iova, hpa | SS_RW, SECOND).at(-1)!);
      else if (space.kind === 1n) leaves.push(mapPage(world, root, iova, hpa | FS_LEAF).at(-1)!);
      else {
        // The guest's tables lie where the guest thinks; its page is at A in the second stage.
        const path = mapPage(world, root, iova, (A + page * PAGE) | FS_LEAF);
        for (const entry of path) mapPage(world, second, entry & ~0xfffn, (entry & ~0xfffn) | SS_RW, SECOND);
        leaves.push(mapPage(world, second, A + page * PAGE, hpa | SS_RW, SECOND).at(-1)!);
      }
    }
    const { entry } = context(world, space);
    entries.set(space.name, entry);
    const first = space.kind === 2n ? {} : { first: root };
    pasidEntry(world, entry, space.kind, {
      did: space.did,
      ...first,
      second: space.kind === 3n ? second : space.kind === 2n ? root : 0n,
    });
  }
  world.start();
  return { world, leaves, entries };
}

/** Who still gets the old page: `name/page`. */
function stillOld(world: QueueWorld): string[] {
  const old: string[] = [];
  for (const { name, source, pasid } of spaces) {
    for (const page of pageNumbers) {
      const hpa = world.ask(A + page * PAGE, { source, pasid });
      if (hpa === OLD + page * PAGE) old.push(`${name}/${page}`);
      else expect(hpa).toBe(NEW + page * PAGE);
    }
  }
  return old;
}

const all = spaces.flatMap(({ name }) => pageNumbers.map((page) => `${name}/${page}`));
const named = (match: (space: (typeof spaces)[number]) => boolean, onlyPages = pageNumbers): string[] =>
  spaces.filter(match).flatMap(({ name }) => onlyPages.map((page) => `${name}/${page}`));

interface Row {
  readonly what: string;
  readonly descriptor: readonly bigint[];
  readonly goes: readonly string[];
}

const rows: Row[] = [
  { what: 'IOTLB, global', descriptor: [iotlbInvalidate(1n)], goes: all },
  { what: 'IOTLB, domain 5', descriptor: [iotlbInvalidate(2n)], goes: named(({ did }) => did === 5n) },
  { what: 'IOTLB, domain 7', descriptor: [iotlbInvalidate(2n, 7n)], goes: [] },
  {
    what: 'IOTLB, one page of domain 5, and all that is nested or of a first stage there',
    descriptor: [iotlbInvalidate(3n), pages(A + PAGE)],
    goes: [
      ...named(({ kind, did }) => kind === 2n && did === 5n, [1n]),
      ...named(({ kind, did }) => kind !== 2n && did === 5n),
    ],
  },
  {
    what: 'IOTLB, two pages of domain 6',
    descriptor: [iotlbInvalidate(3n, 6n), pages(A, 1n)],
    goes: [
      ...named(({ kind, did }) => kind === 2n && did === 6n, [0n, 1n]),
      ...named(({ kind, did }) => kind !== 2n && did === 6n),
    ],
  },
  {
    what: 'IOTLB, the largest range',
    descriptor: [iotlbInvalidate(3n), pages(A, 18n)],
    goes: named(({ did }) => did === 5n),
  },
  {
    what: 'PASID-based IOTLB, DID 5 PASID 3',
    descriptor: [pasidIotlbInvalidate(2n)],
    goes: named(({ pasid, did }) => pasid === 3 && did === 5n),
  },
  {
    what: 'PASID-based IOTLB, DID 6 PASID 7, nested',
    descriptor: [pasidIotlbInvalidate(2n, { did: 6n, pasid: 7 })],
    goes: named(({ pasid, did }) => pasid === 7 && did === 6n),
  },
  {
    what: 'PASID-based IOTLB of a second stage, which has no PASID',
    descriptor: [pasidIotlbInvalidate(2n, { pasid: 5 })],
    goes: [],
  },
  {
    what: 'PASID-based IOTLB, one page',
    descriptor: [pasidIotlbInvalidate(3n), pages(A + 4n * PAGE)],
    goes: named(({ pasid, did }) => pasid === 3 && did === 5n, [4n]),
  },
  {
    what: 'PASID-based IOTLB, four pages, leaves only',
    descriptor: [pasidIotlbInvalidate(3n, { pasid: 4 }), pages(A, 2n, 1n)],
    goes: named(({ pasid }) => pasid === 4, [0n, 1n]),
  },
  {
    what: 'PASID-based IOTLB, 64 pages: found among what is cached',
    descriptor: [pasidIotlbInvalidate(3n), pages(A, 6n)],
    goes: named(({ pasid, did }) => pasid === 3 && did === 5n),
  },
  {
    what: 'PASID-based IOTLB, the wrong domain',
    descriptor: [pasidIotlbInvalidate(2n, { did: 7n })],
    goes: [],
  },
  { what: 'context cache, global', descriptor: [contextInvalidate(1n)], goes: [] },
  { what: 'PASID cache, global', descriptor: [pasidCacheInvalidate(3n)], goes: [] },
];

describe('a leaf has changed', () => {
  test('and nothing is invalidated: everybody still gets the old page, and it is told', () => {
    const { world, leaves } = build();
    stillOld(world);
    for (const leaf of leaves) world.put(leaf, world.get(leaf) - OLD + NEW);
    expect(stillOld(world)).toEqual(all);
    expect(world.stale).toHaveLength(all.length);
    const missing = new Set(world.stale.map((event) => event.missing));
    expect(missing).toEqual(
      new Set([
        'PASID-based IOTLB invalidate, DID 5 PASID 3',
        'PASID-based IOTLB invalidate, DID 5 PASID 4',
        'PASID-based IOTLB invalidate, DID 6 PASID 3',
        'IOTLB invalidate, DID 5',
        'IOTLB invalidate, DID 6',
      ]),
    );
    expect(world.stale[0]).toMatchObject({
      unit: 'vtd0',
      device: 'device',
      pasid: 3,
      iova: A,
      cached: OLD,
      current: NEW,
    });
    // Told once: nothing has changed since.
    expect(stillOld(world)).toEqual(all);
    expect(world.stale).toHaveLength(all.length);
  });

  test.each(rows.map((row) => [row.what, row] as const))('%s', (_, { descriptor, goes }) => {
    const { world, leaves } = build();
    expect(stillOld(world)).toEqual(all);
    for (const leaf of leaves) world.put(leaf, world.get(leaf) - OLD + NEW);
    world.submit(...descriptor);
    expect(world.status & 0x10).toBe(0);
    const gone = new Set(goes);
    expect(stillOld(world)).toEqual(all.filter((name) => !gone.has(name)));
    expect(world.faults()).toEqual([]);
  });
});

describe('a table pointer has changed', () => {
  test.each([
    ['leaves only: the step is still cached', 1n, OLD + PAGE],
    ['all: the step goes too', 0n, NEW + PAGE],
  ] as const)('first stage, %s', (_, ih, expected) => {
    const { world, entries } = build();
    stillOld(world);
    const first = world.get(entries.get('first, DID 5 PASID 3')! + 16n) & ~0xfffn;
    const other = world.table();
    mapPage(world, other, A + PAGE, (NEW + PAGE) | FS_LEAF);
    world.put(pdeOf(world, first), world.get(pdeOf(world, other)));
    world.submit(pasidIotlbInvalidate(3n), pages(A + PAGE, 0n, ih));
    expect(world.ask(A + PAGE)).toBe(expected);
  });

  test.each([
    ['leaves only: the step is still cached', 1n, OLD + PAGE],
    ['all: the step goes too', 0n, NEW + PAGE],
  ] as const)('second stage, %s', (_, ih, expected) => {
    const { world, entries } = build();
    stillOld(world);
    const second = world.get(entries.get('second, DID 5')!) & ~0xfffn;
    const other = world.table();
    mapPage(world, other, A + PAGE, (NEW + PAGE) | SS_RW, SECOND);
    world.put(pdeOf(world, second), world.get(pdeOf(world, other)));
    world.submit(iotlbInvalidate(3n), pages(A + PAGE, 0n, ih));
    expect(world.ask(A + PAGE, { pasid: 5 })).toBe(expected);
  });
});

/** The entry of the 2 MiB level that A is under. */
function pdeOf(world: QueueWorld, root: bigint): bigint {
  let at = root;
  for (const shift of [39n, 30n]) at = world.get(at + ((A >> shift) & 511n) * 8n) & 0xf_ffff_ffff_f000n;
  return at + ((A >> 21n) & 511n) * 8n;
}

describe('a PASID entry has changed', () => {
  const name = 'first, DID 5 PASID 3';
  function changed(): QueueWorld {
    const { world, entries } = build();
    stillOld(world);
    const root = world.table();
    mapPage(world, root, A, NEW | FS_LEAF);
    pasidEntry(world, entries.get(name)!, 1n, { first: root });
    return world;
  }

  test.each([
    ['its IOTLB entries alone', [pasidIotlbInvalidate(2n)], OLD],
    ['the PASID cache alone', [pasidCacheInvalidate(1n)], OLD],
    ['both, PASID-selective', [pasidCacheInvalidate(1n), pasidIotlbInvalidate(2n)], NEW],
    ['both, the domain', [pasidCacheInvalidate(0n), iotlbInvalidate(2n)], NEW],
    ['both, everything', [pasidCacheInvalidate(3n), iotlbInvalidate(1n)], NEW],
    ['another PASID', [pasidCacheInvalidate(1n, { pasid: 4 }), pasidIotlbInvalidate(2n)], OLD],
    ['another domain', [pasidCacheInvalidate(0n, { did: 6n }), pasidIotlbInvalidate(2n)], OLD],
    ['the context cache', [contextInvalidate(1n), pasidIotlbInvalidate(2n)], OLD],
  ] as const)('%s', (_, descriptors, expected) => {
    const world = changed();
    for (const descriptor of descriptors) world.submit(descriptor);
    expect(world.ask(A)).toBe(expected);
  });

  test('an entry that was not present is never cached', () => {
    const world = new QueueWorld();
    const { entry } = context(world);
    world.start();
    expect(world.ask(A)).toBe(null);
    const root = world.table();
    mapPage(world, root, A, NEW | FS_LEAF);
    pasidEntry(world, entry, 1n, { first: root });
    expect(world.ask(A)).toBe(NEW);
  });

  test('a stale PASID entry is named', () => {
    const world = changed();
    expect(world.ask(A)).toBe(OLD);
    expect(world.stale.at(-1)!.missing).toBe(
      'PASID-cache invalidate, DID 5 PASID 3, then PASID-based IOTLB invalidate',
    );
  });
});

/** PASIDE is cleared. */
function changedContext(): QueueWorld {
  const { world } = build();
  stillOld(world);
  const at = context(world).context;
  world.put(at, world.get(at) & ~8n);
  return world;
}

describe('a context entry has changed', () => {
  test.each([
    ['nothing', [], OLD],
    ['global', [contextInvalidate(1n)], null],
    ['domain, which a scalable context has not', [contextInvalidate(2n)], null],
    ['the device', [contextInvalidate(3n)], null],
    ['another device', [contextInvalidate(3n, { source: OTHER })], OLD],
    ['another device, all functions of it', [contextInvalidate(3n, { source: OTHER, fm: 3 })], null],
    ['the PASID cache', [pasidCacheInvalidate(3n)], OLD],
    ['the IOTLB', [iotlbInvalidate(1n)], OLD],
  ] as const)('%s', (_, descriptors, expected) => {
    const world = changedContext();
    for (const descriptor of descriptors) world.submit(descriptor);
    expect(world.ask(A)).toBe(expected);
  });
});

/** Two devices, cached; then both entries are cleared. */
function legacyWorld(): QueueWorld {
  const world = new QueueWorld();
  const contexts = world.table();
  world.put(world.root + 16n, contexts | 1n);
  for (const [index, did] of [
    [0n, 5n],
    [1n, 6n],
  ] as const) {
    const root = world.table();
    mapPage(world, root, A, OLD | SS_RW, SECOND);
    world.put(contexts + index * 16n, root | 1n);
    world.put(contexts + index * 16n + 8n, 2n | (did << 8n));
  }
  world.start(0);
  for (const source of [SOURCE, OTHER]) expect(world.ask(A, { source, pasid: NO_PASID })).toBe(OLD);
  for (const index of [0n, 1n]) world.put(contexts + index * 16n, 0n);
  return world;
}

describe('legacy contexts', () => {
  test.each([
    ['global', contextInvalidate(1n), [null, null]],
    ['domain 5', contextInvalidate(2n), [null, OLD]],
    ['device', contextInvalidate(3n), [null, OLD]],
    ['functions 0 to 7', contextInvalidate(3n, { fm: 3 }), [null, null]],
  ] as const)('%s', (_, descriptor, expected) => {
    const world = legacyWorld();
    world.submit(descriptor);
    expect([SOURCE, OTHER].map((source) => world.ask(A, { source, pasid: NO_PASID }))).toEqual(expected);
  });
});

test('SRTP flushes everything where CAP.ESRTPS says so, and nothing elsewhere', () => {
  for (const [cap, expected] of [
    [0n, OLD],
    [1n << 63n, null],
  ] as const) {
    const world = new QueueWorld({ cap: CAP | cap });
    const root = world.table();
    const [, , , leaf] = mapPage(world, root, A, OLD | SS_RW, SECOND);
    pasidEntry(world, context(world).entry, 2n, { second: root });
    world.start();
    expect(world.ask(A)).toBe(OLD);
    world.put(leaf!, 0n);
    world.start();
    expect(world.ask(A)).toBe(expected);
  }
});

test('after SRTP nobody is known by what the old root said, whoever shares a domain with him', () => {
  const world = new QueueWorld({ cap: CAP | (1n << 63n) });
  const first = world.table();
  mapPage(world, first, A, OLD | FS_LEAF);
  for (const source of [SOURCE, OTHER]) pasidEntry(world, context(world, { source }).entry, 1n, { first });
  world.start();
  for (const source of [SOURCE, OTHER]) expect(world.ask(A, { source })).toBe(OLD);
  // The new root has one of them alone: PASID, domain and translation are what they were.
  const root = world.table();
  const contexts = world.table();
  world.put(root + 16n, contexts | 1n);
  const old = context(world, { source: OTHER }).context;
  for (const at of [0n, 8n, 16n, 24n]) world.put(contexts + 32n + at, world.get(old + at));
  world.start(1, root);
  expect(world.ask(A, { source: OTHER })).toBe(OLD);
  expect(world.ask(A)).toBe(null);
});

test('a large page leaves with any page in it', () => {
  for (const size of [21, 30]) {
    const world = new QueueWorld();
    const root = world.table();
    mapPage(world, root, 0n, (1n << 30n) | FS_TABLE | 64n, { size });
    pasidEntry(world, context(world).entry, 1n, { first: root });
    world.start();
    expect(world.ask(0x1f_f123n)).toBe((1n << 30n) | 0x1f_f123n);
    expect(world.unit.statistics.iotlbEntries).toBe(1);
    world.submit(pasidIotlbInvalidate(3n), pages(0x20_0000n));
    expect(world.unit.statistics.iotlbEntries).toBe(size === 21 ? 1 : 0);
    world.submit(pasidIotlbInvalidate(3n), pages(0x10_0000n));
    expect(world.unit.statistics.iotlbEntries).toBe(0);
  }
});
