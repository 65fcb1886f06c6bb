/**
 * More requesters and PASIDs than the caches have places for, so that every place is met by many of them: none is answered
 * with what another means, and what has a place is served from it, whichever it is.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { Abilities } from '../../../src/hw/vtd/capabilities.js';
import { Contexts } from '../../../src/hw/vtd/context.js';
import * as space from '../../../src/hw/vtd/spaces.js';
import { Random } from './hostile.js';
import { Lookups, legacy } from './lookups.js';
import { CAP, ECAP, HAW, World, hi32, lo32 } from './world.js';

const MANY = 1 << 13;
/** Requester ids, of every 8th bus. */
const sources = Array.from({ length: MANY }, (_, index) => ((index >> 8) << 11) | (index & 0xff));
/** A requester that is none of these. */
const STRANGER = 0x400;

/** PASIDE and P, and FPD and DTE of every third. */
function flagsOf(index: number): number {
  return index % 3 === 0 ? 0xf : 0x9;
}

/** Legacy: P, and a translation type of 1 for every second. */
function legacyOf(index: number): number {
  return 0x1000 | ((index & 1) << 2) | 1;
}

/** Tables lie below 4 GiB. */
abstract class Many extends World {
  /** Where entry `index` of the contexts is. */
  abstract contextAt(index: number): number;
  abstract readonly ttm: number;

  fill(at: number, lo: number): void {
    this.memory.store64(0, at, 0, lo);
  }

  open(): Contexts {
    const contexts = new Contexts(this.memory, new Abilities({ cap: CAP, ecap: ECAP, haw: HAW }));
    contexts.setRoot(hi32(this.root), lo32(this.root), this.ttm);
    return contexts;
  }
}

/** Requester n has RID_PASID n. All have one directory, of pass-through spaces. */
class Scalable extends Many {
  override readonly ttm = 1;
  readonly directory = Number(this.table());
  readonly #contexts = Number(this.table(18));
  readonly #pasids = Number(this.table(19));

  constructor() {
    super();
    for (const [index, source] of sources.entries()) {
      const half = this.#contexts + (index >> 7) * 0x1000;
      this.fill(Number(this.root) + (source >> 8) * 16 + ((source & 0x80) >> 4), half | 1);
      this.fill(this.contextAt(index), this.directory | flagsOf(index));
      this.fill(this.contextAt(index) + 8, index | ((index & 1) << 20));
      this.fill(this.directory + (index >> 6) * 8, (this.#pasids + (index >> 6) * 0x1000) | 1);
      this.fill(this.#pasids + index * 64, 0x101);
    }
    this.setDomains((pasid) => pasid + 1);
  }

  override contextAt(index: number): number {
    return this.#contexts + (index >> 7) * 0x1000 + (sources[index]! & 0x7f) * 32;
  }

  setDomains(domainOf: (pasid: number) => number): void {
    for (let pasid = 0; pasid < MANY; pasid += 1) this.fill(this.#pasids + pasid * 64 + 8, domainOf(pasid));
  }

  /** No PASID is there any more. */
  clear(): void {
    for (let pasid = 0; pasid < MANY; pasid += 1) this.fill(this.#pasids + pasid * 64, 0);
  }
}

/** Requester n is of domain n. */
class Legacy extends Many {
  override readonly ttm = 0;
  readonly #contexts = Number(this.table(20));

  constructor() {
    super();
    for (const [index, source] of sources.entries()) {
      this.fill(Number(this.root) + (source >> 8) * 16, (this.#contexts + (index >> 8) * 0x1000) | 1);
      this.fill(this.contextAt(index), legacyOf(index));
      this.fill(this.contextAt(index) + 8, 2 | (index << 8));
    }
  }

  override contextAt(index: number): number {
    return this.#contexts + (index >> 8) * 0x1000 + (sources[index]! & 0xff) * 16;
  }
}

/** A requester and a PASID, each as an index; NO_PASID: the requester's own. */
type Request = readonly [index: number, pasid: number];

/** Asks, and compares with what was written. */
function check(world: Scalable, contexts: Contexts, requests: Iterable<Request>): void {
  const { words } = contexts.spaces;
  for (const [index, pasid] of requests) {
    const source = sources[index]!;
    const row = contexts.find(source, pasid);
    // The PASID that stands for none is nobody's to send.
    if (pasid === index) {
      expect([row, contexts.reason]).toEqual([-1, 0x48]);
      continue;
    }
    const isRight =
      words[row + space.S_SOURCE] === source &&
      words[row + space.S_KEY] === (pasid === NO_PASID ? index : pasid) &&
      contexts.contextLo === (world.directory | flagsOf(index)) &&
      contexts.contextSecondLo === (index | ((index & 1) << 20));
    if (!isRight) expect([source, pasid, row]).toBe('what the tables say');
  }
}

function checkLegacy(contexts: Contexts, index: number): void {
  const { words } = contexts.spaces;
  const row = contexts.find(sources[index]!, NO_PASID);
  const isRight =
    words[row + space.S_SOURCE] === sources[index] &&
    words[row + space.S_DID] === index &&
    contexts.contextLo === legacyOf(index) &&
    contexts.contextSecondLo === 0;
  if (!isRight) expect([sources[index], row]).toBe('what the tables say');
}

function* withoutPasidBetween(requests: Iterable<Request>): Generator<Request> {
  for (const request of requests) {
    yield request;
    yield [request[0], NO_PASID];
  }
}

/** All of them, in turn, in another order, and in turn again. */
function* allOf(request: (index: number) => Request): Generator<Request> {
  for (const step of [1, 5, 1]) {
    for (let index = 0; index < MANY; index += 1) yield request((index * step) & (MANY - 1));
  }
}

describe('nobody is answered with what another means', () => {
  test.each([
    ['requesters without PASID', (index: number): Request => [index, NO_PASID]],
    ['one PASID of all requesters', (index: number): Request => [index, 3]],
    ['PASIDs of one requester', (index: number): Request => [76, index]],
  ] as const)('%s', (_, request) => {
    const world = new Scalable();
    check(world, world.open(), allOf(request));
    check(world, world.open(), withoutPasidBetween(allOf(request)));
  });

  test('in any order', () => {
    const world = new Scalable();
    const random = new Random(7);
    function* requests(): Generator<Request> {
      for (let count = 0; count < 4 * MANY; count += 1) {
        // Most of them of a few, so that they are met again.
        const [index, pasid] = [random.below(MANY), random.below(MANY)];
        const isRare = random.chance(20);
        yield [isRare ? index : index & 0xc3, random.chance(30) ? NO_PASID : isRare ? pasid : pasid & 0x1083];
      }
    }
    check(world, world.open(), requests());
  });

  test.each([4098, 4116, 4134, 4152])(
    'in domains numbered as the fillings of places are, requester %i',
    (index) => {
      const world = new Scalable();
      const half = Array.from({ length: MANY / 2 }, (_, pasid) => pasid);
      const contexts = world.open();
      /** By PASID: who had its place before, who has it next. PASID n is the n + 1st filling. */
      const [before, next]: [number[], number[]] = [[], []];
      const holders = new Map<number, number>();
      for (const pasid of half) {
        const row = contexts.find(sources[index]!, pasid);
        const holder = holders.get(row) ?? 0;
        before[pasid] = holder + 1;
        next[holder] = pasid + 1;
        holders.set(row, pasid);
      }
      const requests = half.map((pasid): Request => [index, pasid]);
      for (const domains of [before, next]) {
        world.setDomains((pasid) => domains[pasid] ?? 0);
        check(world, world.open(), [...requests, ...requests, ...requests, ...requests]);
      }
    },
  );

  test('nor with what was in a place before its invalidation', () => {
    const world = new Scalable();
    const contexts = world.open();
    const pasids = Array.from({ length: MANY }, (_, pasid) => pasid);
    for (const pasid of pasids) contexts.find(sources[20]!, pasid);
    world.clear();
    for (const pasid of pasids) contexts.spaces.flushPasid(pasid + 1, pasid);
    expect(contexts.spaces.live).toBe(0);
    expect(pasids.filter((pasid) => contexts.find(sources[20]!, pasid) >= 0)).toEqual([]);
  });

  test('in legacy mode', () => {
    const contexts = new Legacy().open();
    for (const [index] of allOf((at) => [at, NO_PASID])) checkLegacy(contexts, index);
  });
});

describe('what is cached is served, whichever place it has', () => {
  test('PASID entries', () => {
    const world = new Scalable();
    const contexts = world.open();
    check(
      world,
      contexts,
      allOf((index) => [76, index]),
    );
    world.clear();
    // What was remembered in front of the caches goes with any invalidation.
    contexts.flushDevice(STRANGER, 0);
    const rows = [...contexts.spaces.rows()];
    expect(rows.length).toBeGreaterThan(3000);
    expect(rows.map((row) => contexts.find(sources[76]!, contexts.spaces.words[row + space.S_KEY]!))).toEqual(
      rows,
    );
  });

  test('context entries', () => {
    const world = new Scalable();
    const contexts = world.open();
    for (let index = 0; index < MANY; index += 1) {
      check(world, contexts, [[index, NO_PASID]]);
      world.fill(world.contextAt(index), 0);
      contexts.flushDevice(STRANGER, 0);
      check(world, contexts, [[index, NO_PASID]]);
    }
  });

  test('the first place of all', () => {
    const lookups = new Lookups();
    const { contexts } = lookups;
    let source = 0;
    for (; ; source += 1) {
      legacy(lookups, source);
      if (contexts.find(source, NO_PASID) === 0) break;
    }
    lookups.memory.entries.clear();
    contexts.flushDevice(source ^ 1, 0);
    expect(contexts.find(source, NO_PASID)).toBe(0);
  });

  test('legacy context entries', () => {
    const world = new Legacy();
    const contexts = world.open();
    for (let index = 0; index < MANY; index += 1) {
      checkLegacy(contexts, index);
      world.fill(world.contextAt(index), 0);
      contexts.flushDevice(STRANGER, 0);
      checkLegacy(contexts, index);
    }
  });
});

test('what an invalidation has ended stays so, however many come after it, whatever numbers it had', () => {
  const world = new Scalable();
  const contexts = world.open();
  const index = 2;
  const rows = Array.from({ length: MANY }, (_, pasid) => contexts.find(sources[index]!, pasid));
  world.fill(world.contextAt(index), 0);
  contexts.flushDevice(sources[index]!, 0);
  const COUNT = 256;
  const asked = rows.flatMap((row, pasid) => (row < COUNT || pasid < COUNT ? [pasid] : []));
  for (let count = 0; count < COUNT; count += 1) {
    const found = asked.filter((pasid) => contexts.find(sources[index]!, pasid) >= 0);
    expect(found).toEqual([]);
    contexts.flushDevice(STRANGER, 0);
  }
});
