/**
 * A flat address space beside three that are translated: two by second-stage tables, under the same PASID of two devices,
 * and one by a guest's first stage on top of second-stage tables. The oracle knows for each page which frame it is and
 * what may be done with it, and for each frame its bytes. Every mapped frame lies between two that nobody maps, and the
 * first and the last lie in different windows.
 */
import { DmaPort, type Resolver } from '../../../src/bus/dma-port.js';
import { SparsePages } from '../../../src/machine/local-memory.js';
import { dice } from '../../dice.js';
import { iotlbInvalidate, pages, pasidIotlbInvalidate, QueueWorld } from './queue-world.js';
import { context, mapPage, pasidEntry, SECOND } from './structures.js';
import { CAP, READ, SOURCE, WRITE } from './world.js';

export const PAGES = 1024;
const FRAMES = 1024;
const PAGE = 4096;
const MEMORY_BYTES = 2 * FRAMES * PAGE + PAGE;
/** Where that lies in its file: a window ends in the middle of it, between a frame and a canary. */
const MEMORY_AT = 2 ** 30 - (FRAMES + 1) * PAGE;
const CANARY = 0xca;
/** The pages lie on both sides of a GiB. */
const START_LO = 0x3fe0_0000;
const START_HI = 1;
const START = 0x1_3fe0_0000n;
/** Where the guest has its data and its tables. */
const GUEST_DATA = 0x80_0000_0000n;
const GUEST_TABLES = 0x90_0000_0000n;
const LONGEST = 64;
/** Pages of client memory, behind the frames, for the guest's tables and for the queue: nobody counts their changes. */
const TABLES = 16;
const QUEUE = 1;
/** How many accesses are made to one buffer. */
const STAYS = 8;
/** A second device. */
const OTHER = 0x101;
/** First-stage leaf: P, US, A, D. */
const LEAF = 1n | 4n | 32n | 64n;

export interface Counts {
  accesses: number;
  /** Of them, those for which the unit was not asked. */
  held: number;
  moved: number;
  refused: number;
  changes: number;
  /** Accesses to pages that were changed and not yet invalidated; those that still got the old page. */
  unsettled: number;
  old: number;
}

/** One translated address space, and what the oracle knows of it. */
abstract class Space {
  /** By page: the frame, or -1; READ and WRITE. */
  readonly frames = new Int32Array(PAGES).fill(-1);
  readonly rights = new Uint8Array(PAGES);
  /** By page: what was there before, as long as no invalidation says that it is not; -2: nothing of the kind. */
  readonly before = new Int32Array(PAGES).fill(-2);
  readonly port: DmaPort;
  /** How often the unit was asked. */
  asked = 0;
  /** What the device uses for a while. */
  page = 0;
  offset = 0;
  length = 0;
  /** HPA of the entry of page 0 and of its fellows. */
  protected readonly entries: bigint[] = [];

  constructor(
    readonly name: string,
    readonly world: QueueWorld,
    readonly frameAt: (frame: number) => bigint,
    { source = SOURCE, pasid }: { readonly source?: number; readonly pasid: number },
  ) {
    const { unit } = world;
    const resolver: Resolver = {
      translate: (request) => unit.translate(request),
      translateRuns: (request, length, runs) => {
        this.asked += 1;
        return unit.translateRuns(request, length, runs);
      },
    };
    this.port = new DmaPort(source, resolver, world.memory);
    this.port.pasid = pasid;
  }

  abstract write(page: number, frame: number, rights: number): void;
  abstract invalidate(page: number): void;
}

class Direct extends Space {
  readonly #did: bigint;

  constructor(world: QueueWorld, frameAt: (frame: number) => bigint, source: number, did: bigint) {
    super(`direct, device ${source}`, world, frameAt, { source, pasid: 3 });
    this.#did = did;
    const root = world.table();
    pasidEntry(world, context(world, { source, pasid: 3 }).entry, 2n, { did, second: root });
    for (let page = 0; page < PAGES; page += 1) {
      this.entries.push(mapPage(world, root, START + BigInt(page * PAGE), 0n, SECOND).at(-1)!);
    }
  }

  write(page: number, frame: number, rights: number): void {
    this.world.put(this.entries[page]!, frame < 0 ? 0n : this.frameAt(frame) | BigInt(rights));
  }

  invalidate(page: number): void {
    this.world.submit(iotlbInvalidate(3n, this.#did), pages(START + BigInt(page * PAGE)));
  }
}

class Nested extends Space {
  readonly #did = 6n;

  constructor(world: QueueWorld, frameAt: (frame: number) => bigint, tablesAt: bigint) {
    super('nested', world, frameAt, { pasid: 4 });
    const parent = world.table();
    let next = GUEST_TABLES;
    const guestTable = (): { gpa: bigint; hpa: bigint } => {
      const gpa = next;
      const hpa = tablesAt + (gpa - GUEST_TABLES);
      next += BigInt(PAGE);
      mapPage(world, parent, gpa, hpa | 3n, SECOND);
      return { gpa, hpa };
    };
    for (let frame = 0; frame < FRAMES; frame += 1) {
      mapPage(world, parent, GUEST_DATA + BigInt(frame * PAGE), frameAt(frame) | 3n, SECOND);
    }
    const root = guestTable();
    const tables = new Map([[root.gpa, root.hpa]]);
    for (let page = 0; page < PAGES; page += 1) {
      let at = root.gpa;
      for (let shift = 39n; shift > 12n; shift -= 9n) {
        const entry = tables.get(at)! + (((START + BigInt(page * PAGE)) >> shift) & 511n) * 8n;
        if (world.get(entry) === 0n) {
          const below = guestTable();
          tables.set(below.gpa, below.hpa);
          world.put(entry, below.gpa | LEAF | 2n);
        }
        at = world.get(entry) & ~0xfffn;
      }
      this.entries.push(tables.get(at)! + (((START >> 12n) + BigInt(page)) & 511n) * 8n);
    }
    const { entry } = context(world, { pasid: 4 });
    pasidEntry(world, entry, 3n, { did: this.#did, first: root.gpa, second: parent });
  }

  write(page: number, frame: number, rights: number): void {
    const value = (GUEST_DATA + BigInt(frame * PAGE)) | LEAF | ((rights & WRITE) === 0 ? 0n : 2n);
    this.world.put(this.entries[page]!, frame < 0 ? 0n : value);
  }

  invalidate(page: number): void {
    const descriptor = pasidIotlbInvalidate(3n, { did: this.#did, pasid: 4 });
    this.world.submit(descriptor, pages(START + BigInt(page * PAGE)));
  }
}

export class Oracle {
  readonly counts: Counts = { accesses: 0, held: 0, moved: 0, refused: 0, changes: 0, unsettled: 0, old: 0 };
  readonly #world = new QueueWorld({ cap: CAP });
  readonly #backing = new SparsePages(MEMORY_AT + MEMORY_BYTES + (TABLES + QUEUE) * PAGE);
  /** What the memory should hold, canaries and all. */
  readonly #bytes = new Uint8Array(MEMORY_BYTES).fill(CANARY);
  readonly #spaces: readonly Space[];
  readonly #next: (below: number) => number;
  readonly #buffers = Array.from({ length: LONGEST + 1 }, (_, length) => new Uint8Array(length));

  constructor(seed: number) {
    this.#next = dice(seed);
    const world = this.#world;
    const { memory } = world;
    this.#backing.write(BigInt(MEMORY_AT), this.#bytes);
    memory.window(this.#backing, BigInt(MEMORY_AT), BigInt(this.#backing.size - MEMORY_AT));
    const frameAt = (frame: number): bigint =>
      memory.hpaOf(this.#backing, BigInt(MEMORY_AT + (2 * frame + 1) * PAGE))!;
    const tablesAt = memory.hpaOf(this.#backing, BigInt(MEMORY_AT + MEMORY_BYTES))!;
    this.#spaces = [
      new Direct(world, frameAt, SOURCE, 5n),
      new Direct(world, frameAt, OTHER, 7n),
      new Nested(world, frameAt, tablesAt),
    ];
    world.moveQueue(tablesAt + BigInt(TABLES * PAGE));
    for (const space of this.#spaces) {
      for (let page = 0; page < PAGES; page += 1) if (this.#next(8) !== 0) this.#change(space, page);
    }
    world.start();
  }

  /** Makes `count` accesses, and a change of a page now and then; what went wrong first, or null. */
  run(count: number): string | null {
    const next = this.#next;
    for (let left = count; left > 0; left -= 1) {
      const space = this.#spaces[next(this.#spaces.length)]!;
      // Now and then what is in use.
      if (next(100) === 0) this.#turn(space, next(4) === 0 ? space.page : next(PAGES));
      const { asked } = space;
      const wrong = this.#access(space);
      if (space.asked === asked) this.counts.held += 1;
      if (wrong !== null) return `${space.name}, access ${this.counts.accesses}: ${wrong}`;
    }
    return null;
  }

  /** Whether every byte of the memory, canaries first of all, is what it should be. */
  isIntact(): boolean {
    const now = new Uint8Array(this.#bytes.length);
    this.#backing.read(BigInt(MEMORY_AT), now);
    return Buffer.compare(now, this.#bytes) === 0;
  }

  /** Settles a page, or changes it; the invalidation follows at once in three of four cases. */
  #turn(space: Space, page: number): void {
    if (space.before[page] === -2) {
      const before = (space.rights[page]! & READ) === 0 ? -1 : space.frames[page]!;
      this.#change(space, page);
      this.counts.changes += 1;
      if (this.#next(4) === 0) {
        space.before[page] = before;
        return;
      }
    }
    space.invalidate(page);
    space.before[page] = -2;
  }

  #change(space: Space, page: number): void {
    const frame = this.#next(8) === 0 ? -1 : this.#next(FRAMES);
    const rights = frame < 0 ? 0 : this.#next(4) === 0 ? READ : READ | WRITE;
    space.frames[page] = frame;
    space.rights[page] = rights;
    space.write(page, frame, rights);
  }

  #access(space: Space): string | null {
    const next = this.#next;
    this.counts.accesses += 1;
    if (space.length === 0 || next(STAYS) === 0) {
      space.page = next(PAGES);
      // One in four may run into the next page, which lies elsewhere.
      space.offset = next(4) === 0 ? PAGE - 1 - next(LONGEST) : next(PAGE);
      space.length = 1 + next(LONGEST);
    }
    // All of the buffer, or what follows some byte of it.
    const skipped = next(2) === 0 ? 0 : next(space.length);
    const isNext = space.offset + skipped >= PAGE && space.page + 1 < PAGES;
    const page = isNext ? space.page + 1 : space.page;
    const offset = (space.offset + skipped) & (PAGE - 1);
    const length = space.length - skipped;
    if (space.before[page] !== -2)
      return this.#unsettled(space, page, offset, Math.min(length, PAGE - offset));
    // One that runs into an unsettled page, or out of the space, ends before it.
    const crosses = offset + length > PAGE;
    const isAlone = crosses && (page + 1 === PAGES || space.before[page + 1] !== -2);
    const total = isAlone ? PAGE - offset : length;
    const access = next(2) === 0 ? WRITE : READ;
    const first = Math.min(total, PAGE - offset);
    let expected = 0;
    if ((space.rights[page]! & access) !== 0) expected = first;
    if (expected === first && total > first && (space.rights[page + 1]! & access) !== 0) expected = total;
    const buffer = this.#buffers[total]!;
    const at = START_LO + page * PAGE + offset;
    const { port } = space;
    if (access === WRITE) {
      for (let i = 0; i < total; i += 1) buffer[i] = next(256);
      port.write(START_HI, at | 0, buffer);
    } else {
      port.read(START_HI, at | 0, buffer);
    }
    if (expected === total) this.counts.moved += 1;
    else this.counts.refused += 1;
    if (port.done !== expected) return `${port.done} bytes of page ${page} moved, not ${expected}`;
    const here = (2 * space.frames[page]! + 1) * PAGE + offset;
    const there = expected > first ? (2 * space.frames[page + 1]! + 1) * PAGE : 0;
    for (let i = 0; i < expected; i += 1) {
      const byte = i < first ? here + i : there + i - first;
      if (access === WRITE) this.#bytes[byte] = buffer[i]!;
      else if (buffer[i] !== this.#bytes[byte]) return `a byte of page ${page} is not what was written`;
    }
    return null;
  }

  /** A page that was changed without an invalidation is read as it is, or as it was. */
  #unsettled(space: Space, page: number, offset: number, length: number): string | null {
    const { port } = space;
    const buffer = this.#buffers[length]!;
    this.counts.unsettled += 1;
    port.read(START_HI, (START_LO + page * PAGE + offset) | 0, buffer);
    const now = (space.rights[page]! & READ) === 0 ? -1 : space.frames[page]!;
    const before = space.before[page]!;
    if (port.done === 0) return now < 0 ? null : 'refused what is mapped';
    const isNow = now >= 0 && this.#holds(now, offset, buffer);
    const isBefore = before >= 0 && this.#holds(before, offset, buffer);
    // What has been translated anew does not become old again.
    if (isNow && !isBefore) space.before[page] = -2;
    if (isNow) return null;
    this.counts.old += 1;
    if (isBefore) return null;
    return `page ${page} is neither what it is nor what it was`;
  }

  #holds(frame: number, offset: number, bytes: Uint8Array): boolean {
    const at = (2 * frame + 1) * PAGE + offset;
    for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== this.#bytes[at + i]) return false;
    return true;
  }
}
