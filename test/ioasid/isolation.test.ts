/**
 * Random calls through five doors of one machine (two files of /dev/ioasid, two of /dev/iommu, a container; of two
 * processes) beside a model that knows nothing but who was given what. Whatever a device does, it reaches what its own
 * address space says, and not a byte of anything else.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { LocalClient } from '../../src/machine/local-client.js';
import { refusalOf } from '../refusal.js';
import { ContainerDoor, IoasidDoor, IommuDoor, type Door, type Kind } from './doors.js';

const PAGES = 4;
const PAGE = 4096;
const IOVA = 0x10_0000n;
const DEVICES = 3;
const iovaOf = (place: number): bigint => IOVA + BigInt(place * PAGE);

/** The pages of a process that devices are meant for; the same addresses in each. */
interface Process {
  readonly client: LocalClient;
  readonly at: bigint;
  /** What the model says is at the beginning of each page. */
  readonly bytes: number[];
}

/** An address space, as far as it is anybody's business. */
interface Space {
  readonly id: number;
  readonly kind: Kind;
  /** By place: which page of the process. */
  readonly maps: Map<number, number>;
}

type DoorKind = 'ioasid' | 'iommu' | 'container';

/** A door, and what the model knows of it. */
class Side {
  door: Door;
  spaces: Space[] = [];
  readonly bound = new Set<number>();

  constructor(
    readonly kind: DoorKind,
    readonly process: Process,
  ) {
    this.door = this.#open();
  }

  #open(): Door {
    const { client } = this.process;
    if (this.kind === 'ioasid') return new IoasidDoor(client);
    return this.kind === 'iommu' ? new IommuDoor(client) : new ContainerDoor(client);
  }

  reopen(): void {
    this.door.close();
    this.door = this.#open();
    this.spaces = [];
    this.bound.clear();
  }

  space(id: number): Space | null {
    return this.spaces.find((space) => space.id === id) ?? null;
  }
}

/** Which page lies there; none: undefined. A process's own pages are where the process has them. */
function pageIn({ kind, maps }: Space, place: number, isOwn: boolean): number | undefined {
  if (kind === 'sva') return isOwn ? place : undefined;
  return isOwn ? undefined : maps.get(place);
}

const processOf = (client: LocalClient): Process => ({
  client,
  at: client.memory.alloc(PAGES * PAGE),
  bytes: Array.from({ length: PAGES }, () => 0),
});

/** The beginnings of its pages, as they are and as the model has them. */
const pagesOf = ({ client, at }: Process): number[][] =>
  Array.from({ length: PAGES }, (_, page) => [...client.memory.load(at + BigInt(page * PAGE), 9)]);
const saidOf = ({ bytes }: Process): number[][] =>
  bytes.map((value) => [...Array.from({ length: 8 }, () => value), 0]);

class World {
  readonly machine: Machine = createMachine({
    topology: {
      devices: Object.fromEntries(
        Array.from({ length: DEVICES }, (_, index) => [`0000:00:0${index + 1}.0`, {}]),
      ),
    },
  });
  readonly processes: readonly Process[];
  readonly sides: readonly Side[];
  /** `device:pasid` has this space. */
  readonly attached = new Map<string, { side: Side; space: Space }>();
  /** How many reached something. */
  stores = 0;
  #value = 0;

  constructor() {
    this.processes = [processOf(this.machine.client), processOf(this.machine.newClient())];
    const [first, second] = this.processes as [Process, Process];
    expect(first.at).toBe(second.at);
    this.sides = [
      new Side('ioasid', first),
      new Side('ioasid', second),
      new Side('iommu', first),
      new Side('iommu', second),
      new Side('container', second),
    ];
  }

  /** Something to begin with: each device in a door, which has address spaces with a page in each. */
  begin(shift: number): void {
    for (let device = 0; device < DEVICES; device++) {
      const side = this.sides[(device * 2 + shift) % this.sides.length]!;
      this.bind(side, device);
      this.make(side, 'kernel', device);
      this.make(side, 'sva', device);
      for (const { id, kind, maps } of side.spaces)
        if (kind === 'kernel' && maps.size === 0) this.map(side, id, 0, device);
    }
  }

  sideOf(device: number): Side | null {
    return this.sides.find(({ bound }) => bound.has(device)) ?? null;
  }

  /** Does it, and holds the outcome to what the model says. */
  expectThat(isRight: boolean, act: () => unknown): boolean {
    const isDone = refusalOf(act) === null;
    expect(isDone).toBe(isRight);
    return isDone;
  }

  #forget(keep: (side: Side, device: number) => boolean): void {
    for (const [key, { side }] of [...this.attached])
      if (!keep(side, Number(key.split(':')[0]))) this.attached.delete(key);
  }

  bind(side: Side, device: number): void {
    if (!this.expectThat(this.sideOf(device) === null, () => side.door.bind(device))) return;
    if (side.kind === 'container') {
      if (side.bound.size === 0) side.spaces = [{ id: 0, kind: 'kernel', maps: new Map() }];
      this.attached.set(`${device}:0`, { side, space: side.spaces[0]! });
    }
    side.bound.add(device);
  }

  unbind(device: number): void {
    const side = this.sideOf(device);
    if (side === null) return;
    side.door.unbind(device);
    side.bound.delete(device);
    this.#forget((_, other) => other !== device);
    if (side.kind === 'container' && side.bound.size === 0) side.spaces = [];
  }

  reopen(side: Side): void {
    side.reopen();
    this.#forget((other) => other !== side);
  }

  make(side: Side, kind: Kind, device: number): void {
    const isRight = {
      ioasid: side.bound.size > 0,
      iommu: kind === 'kernel' || side.bound.has(device),
      container: false,
    }[side.kind];
    let id = 0;
    if (this.expectThat(isRight, () => (id = side.door.make(kind, device))))
      side.spaces.push({ id, kind, maps: new Map() });
  }

  map(side: Side, id: number, place: number, page: number): void {
    const space = side.space(side.kind === 'container' ? 0 : id);
    const isRight = space?.kind === 'kernel' && !space.maps.has(place);
    const va = side.process.at + BigInt(page * PAGE);
    if (this.expectThat(isRight, () => side.door.map(id, iovaOf(place), va))) space!.maps.set(place, page);
  }

  /** That nothing was there is no error of a container's. */
  unmap(side: Side, id: number, place: number): void {
    const space = side.space(side.kind === 'container' ? 0 : id);
    const isThere = space?.maps.has(place) ?? false;
    const isRight = isThere || (side.kind === 'container' && space !== null);
    if (this.expectThat(isRight, () => side.door.unmap(id, iovaOf(place)))) space!.maps.delete(place);
  }

  destroy(side: Side, id: number): void {
    const space = side.space(id);
    const isUsed = [...this.attached.values()].some((other) => other.space === space);
    const isRight = side.kind !== 'container' && space !== null && !isUsed;
    // What iommufd calls by other numbers is not ours to destroy here.
    if (side.kind === 'iommu' && !isRight) return;
    if (this.expectThat(isRight, () => side.door.destroy(id)))
      side.spaces = side.spaces.filter((other) => other !== space);
  }

  attach(device: number, pasid: number, id: number): void {
    const side = this.sideOf(device);
    if (side === null) return;
    const key = `${device}:${pasid}`;
    const space = side.space(id);
    if (side.kind === 'iommu' && space === null) return;
    // iommufd replaces what is attached.
    const isFree = side.kind === 'iommu' || !this.attached.has(key);
    const isRight = side.kind !== 'container' && space !== null && isFree;
    if (this.expectThat(isRight, () => side.door.attach(device, pasid, id)))
      this.attached.set(key, { side, space: space! });
  }

  /** iommufd does not ask what was attached. */
  detach(device: number, pasid: number, id: number): void {
    const side = this.sideOf(device);
    if (side === null) return;
    const key = `${device}:${pasid}`;
    const space = side.space(id);
    const isIts = space !== null && this.attached.get(key)?.space === space;
    const isRight = side.kind === 'iommu' || (side.kind === 'ioasid' && isIts);
    if (this.expectThat(isRight, () => side.door.detach(device, pasid, id))) this.attached.delete(key);
  }

  /** `isOwn`: at the address of a page of a process, which is the same in all of them. */
  dma(device: number, pasid: number, place: number, isOwn: boolean): void {
    const side = this.sideOf(device);
    if (side === null) return;
    const found = this.attached.get(`${device}:${pasid}`);
    const page = found === undefined ? undefined : pageIn(found.space, place, isOwn);
    this.#value = (this.#value % 255) + 1;
    const iova = isOwn ? side.process.at + BigInt(place * PAGE) : iovaOf(place);
    expect(side.door.dma(device, pasid, iova, this.#value)).toBe(page !== undefined);
    if (page !== undefined) {
      found!.side.process.bytes[page] = this.#value;
      this.stores += 1;
    }
    this.checkMemory();
  }

  /** Not a byte is anywhere that the model does not know of. */
  checkMemory(): void {
    expect(this.processes.map(pagesOf)).toEqual(this.processes.map(saidOf));
  }

  end(): void {
    for (const { client } of this.processes) client.exit();
    const left = { ...this.machine.leaks() };
    expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
  }
}

const side = fc.integer({ min: 0, max: 4 });
const device = fc.integer({ min: 0, max: DEVICES - 1 });
const pasid = fc.constantFrom(0, 0, 1, 2);
const place = fc.integer({ min: 0, max: PAGES - 1 });
/** Ids are small, and the same ones are in every file. */
const id = fc.integer({ min: 1, max: 8 });
const kind = fc.constantFrom<Kind>('kernel', 'kernel', 'sva');
/** An id of the file, more often than any. */
const pick = fc.record({ id, nth: fc.integer({ min: 0, max: 3 }), isAny: fc.integer({ min: 0, max: 4 }) });
type Pick = { readonly id: number; readonly nth: number; readonly isAny: number };
const idIn = ({ spaces }: Side, { id: any, nth, isAny }: Pick): number =>
  isAny === 0 ? any : (spaces[nth % Math.max(1, spaces.length)]?.id ?? any);

type Step = (w: World) => void;
const sideIn = (w: World, index: number): Side => w.sides[index]!;
const byDevice = (w: World, index: number, picked: Pick): number => {
  const found = w.sideOf(index);
  return found === null ? picked.id : idIn(found, picked);
};

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.tuple(side, device).map(
      ([s, d]): Step =>
        (w) =>
          w.bind(sideIn(w, s), d),
    ),
  },
  {
    weight: 1,
    arbitrary: device.map(
      (d): Step =>
        (w) =>
          w.unbind(d),
    ),
  },
  {
    weight: 1,
    arbitrary: side.map(
      (s): Step =>
        (w) =>
          w.reopen(sideIn(w, s)),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.tuple(side, kind, device).map(
      ([s, k, d]): Step =>
        (w) =>
          w.make(sideIn(w, s), k, d),
    ),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(side, pick, place, place).map(
      ([s, p, to, page]): Step =>
        (w) =>
          w.map(sideIn(w, s), idIn(sideIn(w, s), p), to, page),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(side, pick, place).map(
      ([s, p, to]): Step =>
        (w) =>
          w.unmap(sideIn(w, s), idIn(sideIn(w, s), p), to),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(side, pick).map(
      ([s, p]): Step =>
        (w) =>
          w.destroy(sideIn(w, s), idIn(sideIn(w, s), p)),
    ),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(device, pasid, pick).map(
      ([d, number, p]): Step =>
        (w) =>
          w.attach(d, number, byDevice(w, d, p)),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(device, pasid, pick).map(
      ([d, number, p]): Step =>
        (w) =>
          w.detach(d, number, byDevice(w, d, p)),
    ),
  },
  {
    weight: 14,
    arbitrary: fc.tuple(device, pasid, place, fc.boolean()).map(
      ([d, number, to, own]): Step =>
        (w) =>
          w.dma(d, number, to, own),
    ),
  },
);

test('R41, R43: a device reaches what it was given, through whichever door, and nothing else', () => {
  let done = 0;
  fc.assert(
    fc.property(side, fc.array(steps, { minLength: 40, maxLength: 100 }), (shift, all) => {
      const w = new World();
      w.begin(shift);
      for (const step of all) step(w);
      done += w.stores;
      w.end();
    }),
    { numRuns: 40 },
  );
  // Devices did reach something.
  expect(done).toBeGreaterThan(40);
});
