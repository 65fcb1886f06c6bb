/**
 * What each invalidation takes and what it leaves, over spaces whose tags differ in single bits: whatever is not named is
 * served without a load, whatever is named is looked up again, and then it is what the tables say.
 */
import { expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { dice } from '../../dice.js';
import {
  contextInvalidate,
  iotlbInvalidate,
  pages as pagesOf,
  pasidCacheInvalidate,
  pasidIotlbInvalidate,
  QueueWorld,
} from './queue-world.js';
import { context, FIRST_FLAGS, FS_LEAF, mapPage, pasidEntry, SECOND, SS_RW } from './structures.js';

const FIRST = 1n;
const SECOND_STAGE = 2n;
const NESTED = 3n;
/** Five levels: FSPM 1 of a first stage, AW 3 of a second. */
const FSPM_5 = 1n << 2n;

/** Who shares a DID and a PASID, or a DID and a second stage, shares the tables too. */
const groups = [
  { kind: FIRST, did: 5n, pasid: 3, sources: [0x100, 0x101] },
  { kind: FIRST, did: 5n, pasid: 0x1003, sources: [0x100] },
  { kind: FIRST, did: 5n, pasid: 0x80003, sources: [0x100, 0x2ff] },
  { kind: FIRST, did: 0x8005n, pasid: 3, sources: [0x180] },
  { kind: FIRST, did: 6n, pasid: 2, sources: [0x100] },
  { kind: FIRST, did: 5n, pasid: 0xfffff, sources: [0x180], levels: 5 },
  { kind: SECOND_STAGE, did: 7n, pasid: 9, sources: [0x100, 0x101, 0x2ff] },
  { kind: SECOND_STAGE, did: 0x107n, pasid: 0x40, sources: [0x180] },
  { kind: SECOND_STAGE, did: 8n, pasid: 0, sources: [0x101], levels: 5 },
  { kind: NESTED, did: 5n, pasid: 7, sources: [0x2ff] },
  { kind: NESTED, did: 9n, pasid: 0x100, sources: [0x100] },
  { kind: NESTED, did: 0x19n, pasid: 0x100, sources: [0x101] },
] as const;

/** Address and size of what is mapped in each group; what a first stage has at negative addresses too. */
const places = [
  { iova: 0x40_0000_0000n, size: 12 },
  { iova: 0x40_0000_1000n, size: 12 },
  { iova: 0x40_0001_0000n, size: 12 },
  { iova: 0x40_8000_0000n, size: 12 },
  { iova: 0x5000_0000_0000n, size: 12 },
  { iova: 0x41_0020_0000n, size: 21 },
  { iova: 0x42_0000_0000n, size: 30 },
  { iova: 0xffff_ffff_8000_0000n, size: 12 },
] as const;
type Place = (typeof places)[number];

/** One translation that somebody may have. */
interface Cached {
  readonly group: (typeof groups)[number];
  readonly source: number;
  /** As the device sends it; {@link NO_PASID} is PASID 0 in its tables. */
  readonly pasid: number;
  readonly place: Place;
  /** Where its leaf is. */
  readonly leaf: bigint;
}

class Scene extends QueueWorld {
  readonly cached: Cached[] = [];
  /** By leaf, where it leads. */
  readonly truth = new Map<bigint, bigint>();
  /** Of nobody's tables, so that a descriptor that is written makes no translation look stale. */
  override readonly queue = this.table(12, this.memory.tables.openArena());
  #lastBlock = 1n;

  constructor() {
    super();
    this.unit.write64(0x90, this.queue | 0x800n);
    for (const group of groups) this.#build(group);
    this.start();
  }

  /** Somewhere else for a page of 1 GiB at most. */
  fresh(): bigint {
    this.#lastBlock = (this.#lastBlock % 0x2000n) + 1n;
    return this.#lastBlock << 30n;
  }

  #build(group: (typeof groups)[number]): void {
    const levels = 'levels' in group ? group.levels : 4;
    const root = this.table();
    const second = this.table();
    const leaves = new Map<Place, bigint>();
    for (const place of places) {
      if (place.iova >> 47n !== 0n && group.kind !== FIRST) continue;
      leaves.set(place, this.#map(group.kind, root, second, place, levels));
    }
    for (const source of group.sources) {
      const { entry } = context(this, { source, pasid: group.pasid });
      const isFive = levels === 5;
      pasidEntry(this, entry, group.kind, {
        did: group.did,
        first: group.kind === SECOND_STAGE ? 0n : root,
        second: group.kind === SECOND_STAGE ? root : group.kind === NESTED ? second : 0n,
        firstFlags: FIRST_FLAGS | (isFive ? FSPM_5 : 0n),
        aw: isFive ? 3n : 2n,
      });
      for (const [place, leaf] of leaves) {
        this.cached.push({ group, source, pasid: group.pasid || NO_PASID, place, leaf });
      }
    }
  }

  /** Returns the leaf that decides: of a nested space that of the second stage. */
  #map(kind: bigint, root: bigint, second: bigint, { iova, size }: Place, levels: number): bigint {
    const hpa = this.fresh();
    if (kind !== NESTED) {
      const options = kind === FIRST ? { levels, size } : { ...SECOND, levels, size };
      const leaf = mapPage(this, root, iova, hpa | (kind === FIRST ? FS_LEAF : SS_RW), options).at(-1)!;
      this.truth.set(leaf, hpa);
      return leaf;
    }
    for (const entry of mapPage(this, root, iova, iova | FS_LEAF, { size })) {
      mapPage(this, second, entry & ~0xfffn, (entry & ~0xfffn) | SS_RW, SECOND);
    }
    const leaf = mapPage(this, second, iova, hpa | SS_RW, { ...SECOND, size }).at(-1)!;
    this.truth.set(leaf, hpa);
    return leaf;
  }

  /** Where a translation leads, and how many loads that took. */
  look({ source, pasid, place }: Cached): { hpa: bigint | null; loads: number } {
    const before = this.memory.loads;
    const hpa = this.ask(place.iova, { source, pasid });
    return { hpa, loads: this.memory.loads - before };
  }

  /** Everything is cached afterwards. */
  warm(): void {
    for (const one of this.cached) this.look(one);
  }
}

/** A command, and what it takes of a translation: nothing, the context, the PASID entry, or the translation itself. */
interface Command {
  readonly what: string;
  readonly descriptor: readonly bigint[];
  readonly takes: (one: Cached) => boolean;
  /** Of what it takes of these, one has to be found again for all. */
  readonly shared: (one: Cached) => unknown;
}

const inRange = ({ iova, size }: Place, address: bigint, am: bigint): boolean => {
  const width = BigInt(size) > am + 12n ? BigInt(size) : am + 12n;
  return BigInt.asUintN(64, iova) >> width === BigInt.asUintN(64, address) >> width;
};

type Roll = ReturnType<typeof dice>;

/** A command for this translation, or one that misses it by a bit. */
function command(next: Roll, { group, source, place }: Cached): Command {
  const isNear = next(4) === 0;
  const did = isNear ? group.did ^ (1n << BigInt(next(16))) : group.did;
  const pasid = isNear || next(6) > 0 ? group.pasid : group.pasid ^ (1 << next(20));
  const am = BigInt(next(3) === 0 ? next(19) : 0);
  const address =
    ((next(5) === 0 ? place.iova ^ (1n << BigInt(12 + next(34))) : place.iova) >> (12n + am)) << (12n + am);
  const ih = BigInt(next(2));
  const same = (one: Cached): boolean => one.group.did === did && one.group.pasid === pasid;
  const where = `DID ${did}, PASID ${pasid}, 0x${address.toString(16)}, AM ${am}, IH ${ih}`;
  const fm = next(4);
  const mask = [0, 4, 6, 7][fm]!;
  const leaf = (one: Cached): unknown => one.leaf;
  const entry = (one: Cached): unknown => `${one.source}/${one.group.pasid}`;
  const device = (one: Cached): unknown => one.source;
  const isOfDomain = (one: Cached): boolean => one.group.did === did;
  const hasPasid = (one: Cached): boolean => same(one) && one.group.kind !== SECOND_STAGE;
  const commands: Omit<Command, 'what'>[] = [
    { descriptor: [iotlbInvalidate(1n)], takes: () => true, shared: leaf },
    { descriptor: [iotlbInvalidate(2n, did)], takes: isOfDomain, shared: leaf },
    {
      descriptor: [iotlbInvalidate(3n, did), pagesOf(address, am, ih)],
      takes: (one) => isOfDomain(one) && (one.group.kind !== SECOND_STAGE || inRange(one.place, address, am)),
      shared: leaf,
    },
    { descriptor: [pasidIotlbInvalidate(2n, { did, pasid })], takes: hasPasid, shared: leaf },
    {
      descriptor: [pasidIotlbInvalidate(3n, { did, pasid }), pagesOf(address, am, ih)],
      takes: (one) => hasPasid(one) && inRange(one.place, address, am),
      shared: leaf,
    },
    { descriptor: [pasidCacheInvalidate(0n, { did })], takes: isOfDomain, shared: entry },
    { descriptor: [pasidCacheInvalidate(1n, { did, pasid })], takes: same, shared: entry },
    { descriptor: [pasidCacheInvalidate(3n)], takes: () => true, shared: entry },
    { descriptor: [contextInvalidate(1n)], takes: () => true, shared: device },
    { descriptor: [contextInvalidate(2n, { did })], takes: () => true, shared: device },
    {
      descriptor: [contextInvalidate(3n, { source, fm })],
      takes: (one) => (one.source & ~mask) === (source & ~mask),
      shared: device,
    },
  ];
  const index = next(commands.length);
  return {
    ...commands[index]!,
    what: `command ${index}, ${where}, source 0x${source.toString(16)}, FM ${fm}`,
  };
}

/** A command that makes a change of this leaf seen. */
function sufficient(next: Roll, one: Cached): readonly bigint[] {
  const { did, pasid, kind } = one.group;
  const { iova, size } = one.place;
  const am = BigInt(Math.min(18, size - 12 + next(4)));
  const at = pagesOf((iova >> (12n + am)) << (12n + am), am, BigInt(next(2)));
  const rows = [
    [iotlbInvalidate(1n)],
    [iotlbInvalidate(2n, did)],
    kind === FIRST ? [pasidIotlbInvalidate(3n, { did, pasid }), at] : [iotlbInvalidate(3n, did), at],
    kind === FIRST ? [pasidIotlbInvalidate(2n, { did, pasid })] : [iotlbInvalidate(3n, did), at],
  ];
  return rows[next(rows.length)]!;
}

/** Of everything, what does not lead where the tables say. */
function wrong(scene: Scene): string[] {
  return scene.cached.filter((one) => scene.look(one).hpa !== scene.truth.get(one.leaf)).map(nameOf);
}

const nameOf = ({ group, source, place }: Cached): string =>
  `DID ${group.did}, PASID ${group.pasid}, source 0x${source.toString(16)}, 0x${place.iova.toString(16)}`;

test('everything that was asked for once is cached', () => {
  const scene = new Scene();
  scene.warm();
  for (const one of scene.cached) {
    expect(scene.look(one)).toEqual({ hpa: scene.truth.get(one.leaf), loads: 0 });
  }
});

test('an invalidation takes what it names, and leaves the rest', () => {
  const next = dice(3);
  const scene = new Scene();
  scene.warm();
  for (let step = 0; step < 800; step += 1) {
    const { what, descriptor, takes, shared } = command(next, scene.cached[next(scene.cached.length)]!);
    scene.submit(...descriptor);
    const mistakes: string[] = [];
    const again = new Set<unknown>();
    for (const one of scene.cached) {
      const { hpa, loads } = scene.look(one);
      const isTaken = takes(one) && !again.has(shared(one));
      if (takes(one)) again.add(shared(one));
      const isRight = isTaken ? loads > 0 : takes(one) || loads === 0;
      if (hpa !== scene.truth.get(one.leaf) || !isRight) mistakes.push(`${nameOf(one)}: ${loads} loads`);
    }
    expect([what, mistakes]).toEqual([what, []]);
  }
});

const levelsOf = ({ group }: Cached): number => ('levels' in group ? group.levels : 4);

/** Tables that cover 1 GiB at most are cached: of a path one load is left, of that to a page of 1 GiB all. */
test('an invalidation of leaves leaves the tables above them cached, any other takes them too', () => {
  const scene = new Scene();
  scene.warm();
  for (const one of scene.cached.filter(({ group }) => group.kind !== NESTED)) {
    const { did, pasid, kind } = one.group;
    const above = (one.place.size - 12) / 9;
    const all = levelsOf(one) - above;
    for (const [ih, expected] of [
      [1n, above === 2 ? all : 1],
      [0n, all],
    ] as const) {
      scene.submit(iotlbInvalidate(1n));
      expect(scene.look(one).loads).toBe(all);
      const name = kind === FIRST ? pasidIotlbInvalidate(3n, { did, pasid }) : iotlbInvalidate(3n, did);
      scene.submit(name, pagesOf(one.place.iova, BigInt(one.place.size - 12), ih));
      expect([nameOf(one), ih, scene.look(one).loads]).toEqual([nameOf(one), ih, expected]);
    }
  }
});

test('a leaf that changes is seen once it is invalidated, and only then', () => {
  const next = dice(4);
  const scene = new Scene();
  scene.warm();
  for (let step = 0; step < 800; step += 1) {
    const one = scene.cached[next(scene.cached.length)]!;
    const old = scene.truth.get(one.leaf)!;
    const now = next(6) === 0 ? old : scene.fresh();
    scene.put(one.leaf, scene.get(one.leaf) - old + now);
    expect(scene.look(one).hpa).toBe(old);
    scene.submit(...sufficient(next, one));
    scene.truth.set(one.leaf, now);
    expect(wrong(scene)).toEqual([]);
  }
});
