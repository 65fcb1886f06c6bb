/**
 * Five doors of one machine (two files of /dev/ioasid, two of /dev/iommu, a container; of two processes), and beside it a
 * model that knows nothing but who was given what: which call is right, and which page of whose a device reaches. Calls
 * come from the process that opened a file, or from the other, to which its descriptor was passed: what that one maps or
 * shares is its own memory.
 */
import { expect } from 'vitest';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { LocalClient } from '../../src/machine/local-client.js';
import type { OpenFile } from '../../src/mem/task.js';
import * as k from '../../src/wire/uapi/kvm.js';
import { refusalOf } from '../refusal.js';
import { ContainerDoor, IoasidDoor, IommuDoor, type Door, type Kind, type TableOfProgram } from './doors.js';

export const PAGES = 4;
const PAGE = 4096;
const IOVA = 0x10_0000n;
/** Where parents have the tables that stand on them. */
const TABLES = 0x4000_0000n;
export const DEVICES = 3;
const iovaOf = (place: number): bigint => IOVA + BigInt(place * PAGE);
/** In an entry: present, may be written, is the user's. */
const ENTRY_FLAGS = 7n;

/** The pages of a process that devices are meant for; the same addresses in each. */
interface Process {
  readonly client: LocalClient;
  readonly at: bigint;
  /** What the model says is at the beginning of each page. */
  readonly bytes: number[];
}

interface Page {
  readonly process: Process;
  readonly page: number;
}

/** What a process prepared for a table; `va`: where a table is that stands on a parent. */
interface Prepared extends TableOfProgram {
  readonly va?: bigint;
}

/** An address space, as far as it is anybody's business. */
interface Space {
  readonly id: number;
  readonly kind: Kind;
  /** Whose it is, if it is somebody's. */
  readonly process: Process;
  /** By place: which page. */
  readonly maps: Map<number, Page>;
  /** By place: which place of the parent, if it stands on one. */
  readonly nested: Map<number, number>;
  readonly parent: Space | null;
  readonly table: Prepared;
}

type DoorKind = 'ioasid' | 'iommu' | 'container';

/** A door, and what the model knows of it. */
export class Side {
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
function pageIn(
  { kind, process, maps, nested, parent }: Space,
  place: number,
  isOwn: boolean,
): Page | undefined {
  if (kind === 'sva') return isOwn ? { process, page: place } : undefined;
  if (isOwn) return undefined;
  return kind === 'nested' ? parent!.maps.get(nested.get(place) ?? -1) : maps.get(place);
}

const processOf = (client: LocalClient): Process => ({
  client,
  at: client.memory.alloc(PAGES * PAGE),
  bytes: Array.from({ length: PAGES }, () => 0),
});

const addressOf = ({ process, page }: Page): bigint => process.at + BigInt(page * PAGE);

/** The beginnings of its pages, as they are and as the model has them. */
const pagesOf = ({ client, at }: Process): number[][] =>
  Array.from({ length: PAGES }, (_, page) => [...client.memory.load(at + BigInt(page * PAGE), 9)]);
const saidOf = ({ bytes }: Process): number[][] =>
  bytes.map((value) => [...Array.from({ length: 8 }, () => value), 0]);

function writeEntry({ client }: Process, table: bigint, index: bigint, entry: bigint): void {
  client.memory.write(table + index * 8n, new Uint8Array(new BigUint64Array([entry]).buffer));
}

/** Four levels that lead to all places, where nothing is yet; for whoever walks it, it begins at `base`. */
function writeTable(process: Process, root: bigint, base: bigint): void {
  for (let level = 0n; level < 3n; level += 1n) {
    const index = (IOVA >> (39n - 9n * level)) & 511n;
    const next = base + (level + 1n) * BigInt(PAGE);
    writeEntry(process, root + level * BigInt(PAGE), index, next | ENTRY_FLAGS);
  }
}

const beginning: readonly (readonly [Kind, isOther: boolean])[] = [
  ['kernel', false],
  ['sva', false],
  ['sva', true],
  ['kvm', true],
  ['user', false],
  ['user', true],
  ['nested', true],
];

export class World {
  readonly machine: Machine = createMachine({
    topology: {
      devices: Object.fromEntries(
        Array.from({ length: DEVICES }, (_, index) => [`0000:00:0${index + 1}.0`, {}]),
      ),
    },
  });
  readonly processes: readonly [Process, Process];
  readonly sides: readonly Side[];
  /** `device:pasid` has this space. */
  readonly attached = new Map<string, { side: Side; space: Space }>();
  /** How many stores reached something, by kind of table. */
  readonly stores = new Map<Kind, number>();
  #value = 0;
  #tables = 0n;

  constructor() {
    this.processes = [processOf(this.machine.client), processOf(this.machine.newClient())];
    const [first, second] = this.processes;
    expect(first.at).toBe(second.at);
    this.sides = [
      new Side('ioasid', first),
      new Side('ioasid', second),
      new Side('iommu', first),
      new Side('iommu', second),
      new Side('container', second),
    ];
  }

  /**
   * Something to begin with: each device in a door, which has address spaces of each kind with a page in each, of its own
   * process and of the other.
   */
  begin(shift: number): void {
    for (let device = 0; device < DEVICES; device++) {
      const side = this.sides[(device * 2 + shift) % this.sides.length]!;
      this.bind(side, device);
      for (const [kind, isOther] of beginning) {
        this.make(side, kind, device, side.spaces[0]?.id ?? 1, isOther);
        const made = side.spaces[side.spaces.length - 1];
        if (made?.kind === kind && kind !== 'sva')
          this.change(side, made.id, 0, kind === 'nested' ? 0 : device, isOther);
      }
      side.spaces.slice(1).forEach(({ id }, nth) => this.attach(device, nth + 1, id, false));
    }
  }

  sideOf(device: number): Side | null {
    return this.sides.find(({ bound }) => bound.has(device)) ?? null;
  }

  /** Does it, and holds the outcome to what the model says. */
  expectThat(isRight: boolean, act: () => unknown): boolean {
    const refusal = refusalOf(act);
    expect({ isDone: refusal === null, refusal: isRight ? refusal : null }).toEqual({
      isDone: isRight,
      refusal: null,
    });
    return isRight;
  }

  /** The other process has the descriptors: it makes the calls of `act`. */
  #asOther<T>({ door, process }: Side, isOther: boolean, act: (caller: Process) => T): T {
    const [first, second] = this.processes;
    const caller = isOther ? (process === first ? second : first) : process;
    door.caller = caller.client;
    try {
      return act(caller);
    } finally {
      door.caller = process.client;
    }
  }

  #forget(keep: (side: Side, device: number) => boolean): void {
    for (const [key, { side }] of [...this.attached])
      if (!keep(side, Number(key.split(':')[0]))) this.attached.delete(key);
  }

  bind(side: Side, device: number): void {
    if (!this.expectThat(this.sideOf(device) === null, () => side.door.bind(device))) return;
    if (side.kind === 'container') {
      if (side.bound.size === 0) side.spaces = [this.#space(side, 0, 'kernel', side.process)];
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

  #space(side: Side, id: number, kind: Kind, process: Process, table: Prepared = {}): Space {
    const parent = kind === 'nested' ? side.space(table.parent!) : null;
    return { id, kind, process, maps: new Map(), nested: new Map(), parent, table };
  }

  /** `parentId`: what a nested table shall stand on. */
  make(side: Side, kind: Kind, device: number, parentId: number, isOther: boolean): void {
    const parent = side.space(parentId);
    // What iommufd calls by other numbers may be a parent, and is not ours.
    if (side.kind === 'iommu' && kind === 'nested' && parent === null) return;
    const isRight =
      {
        ioasid: side.bound.size > 0,
        iommu: kind === 'kernel' || side.bound.has(device),
        container: false,
      }[side.kind] &&
      (kind !== 'nested' || parent?.kind === 'kernel');
    this.#asOther(side, isOther, (caller) => {
      const table = this.#prepare(side, kind, caller, isRight && kind === 'nested' ? parent : null);
      let id = 0;
      const act = (): unknown => (id = side.door.make(kind, device, { parent: parentId, ...table }));
      if (this.expectThat(isRight, act))
        side.spaces.push(this.#space(side, id, kind, caller, { parent: parentId, ...table }));
    });
  }

  /** Of a machine whose descriptor it was given, nobody but its own process makes anything. */
  makeOfOther(side: Side, device: number, isOther: boolean): void {
    this.#asOther(side, isOther, ({ client }) => {
      const { client: owner } = this.processes.find((process) => process.client !== client)!;
      const kvm = owner.open('/dev/kvm');
      const machine = owner.fileOf(owner.ioctl(kvm, k.KVM_CREATE_VM, 0n)) as OpenFile;
      const vm = client.installFd(machine)!;
      this.expectThat(false, () => side.door.make('kvm', device, { vm }));
    });
  }

  /** What is there before a table is: a machine, or the table itself. */
  #prepare({ door }: Side, kind: Kind, process: Process, parent: Space | null): Prepared {
    const { client } = process;
    if (kind === 'kvm') {
      const kvm = client.open('/dev/kvm');
      const vm = client.ioctl(kvm, k.KVM_CREATE_VM, 0n);
      client.close(kvm);
      return { vm };
    }
    if (kind !== 'user' && kind !== 'nested') return {};
    const root = client.memory.alloc(4 * PAGE);
    const base = kind === 'user' ? root : TABLES + this.#tables * BigInt(4 * PAGE);
    this.#tables += 1n;
    writeTable(process, root, base);
    if (parent !== null)
      for (let page = 0n; page < 4n; page += 1n)
        door.map(parent.id, base + page * BigInt(PAGE), root + page * BigInt(PAGE));
    return kind === 'user' ? { root } : { root: base, va: root };
  }

  /** The call that maps: for tables of ioasis' alone. */
  map(side: Side, id: number, place: number, page: number, isOther: boolean): void {
    const space = side.space(side.kind === 'container' ? 0 : id);
    const isRight = space?.kind === 'kernel' && !space.maps.has(place);
    this.#asOther(side, isOther, (process) => {
      const va = addressOf({ process, page });
      if (this.expectThat(isRight, () => side.door.map(id, iovaOf(place), va)))
        space!.maps.set(place, { process, page });
    });
  }

  /** That nothing was there is no error of a container's. */
  unmap(side: Side, id: number, place: number, isOther: boolean): void {
    const space = side.space(side.kind === 'container' ? 0 : id);
    const isThere = space?.kind === 'kernel' && space.maps.has(place);
    const isRight = isThere || (side.kind === 'container' && space !== null);
    this.#asOther(side, isOther, () => {
      if (this.expectThat(isRight, () => side.door.unmap(id, iovaOf(place)))) space!.maps.delete(place);
    });
  }

  /** Whoever has the table puts `page` there (of a parent: its place of that number), or nothing where something was. */
  change(side: Side, id: number, place: number, page: number, isOther: boolean): void {
    const space = side.space(id);
    if (space === null || side.kind === 'container') return;
    if (space.kind === 'kvm') return this.#changeSlot(side, space, place, page, isOther);
    if (space.kind === 'user' || space.kind === 'nested') this.#changeEntry(space, place, page);
    if (space.kind === 'kernel') this.map(side, id, place, page, isOther);
    else this.invalidate(side, id, place, isOther);
  }

  #changeEntry({ kind, process, table, maps, nested }: Space, place: number, page: number): void {
    const isThere = maps.has(place) || nested.has(place);
    const target = kind === 'user' ? addressOf({ process, page }) : iovaOf(page);
    const leaves = (table.va ?? table.root!) + BigInt(3 * PAGE);
    const index = (iovaOf(place) >> 12n) & 511n;
    writeEntry(process, leaves, index, isThere ? 0n : target | ENTRY_FLAGS);
    if (isThere) void (maps.delete(place), nested.delete(place));
    else if (kind === 'user') maps.set(place, { process, page });
    else nested.set(place, page);
  }

  /** A machine obeys its own process. */
  #changeSlot(
    side: Side,
    { process, maps, table }: Space,
    place: number,
    page: number,
    isOther: boolean,
  ): void {
    const isThere = maps.has(place);
    this.#asOther(side, isOther, (caller) => {
      const bytes = new Uint8Array(k.kvm_userspace_memory_region.size);
      k.kvm_userspace_memory_region.encode(
        {
          slot: place,
          flags: 0,
          guest_phys_addr: iovaOf(place),
          memory_size: isThere ? 0n : BigInt(PAGE),
          userspace_addr: addressOf({ process, page }),
        },
        bytes,
      );
      const at = caller.client.memory.store(bytes);
      const file = process.client.fileOf(table.vm!) as OpenFile;
      const isRight = caller.client === process.client;
      if (!this.expectThat(isRight, () => file.ioctl(k.KVM_SET_USER_MEMORY_REGION, at, caller.client)))
        return;
      if (isThere) maps.delete(place);
      else maps.set(place, { process, page });
    });
  }

  /** The call that invalidates: for tables of a program alone. */
  invalidate(side: Side, id: number, place: number, isOther: boolean): void {
    const space = side.space(id);
    if (side.kind === 'iommu' && space === null) return;
    const isRight = side.kind !== 'container' && (space?.kind === 'user' || space?.kind === 'nested');
    this.#asOther(side, isOther, () =>
      this.expectThat(isRight, () => side.door.invalidate(id, iovaOf(place))),
    );
  }

  destroy(side: Side, id: number, isOther: boolean): void {
    const space = side.space(id);
    const isUsed =
      [...this.attached.values()].some((other) => other.space === space) ||
      side.spaces.some(({ parent }) => parent === space);
    const isRight = side.kind !== 'container' && space !== null && !isUsed;
    // What iommufd calls by other numbers is not ours to destroy here.
    if (side.kind === 'iommu' && !isRight) return;
    this.#asOther(side, isOther, () => {
      if (this.expectThat(isRight, () => side.door.destroy(id)))
        side.spaces = side.spaces.filter((other) => other !== space);
    });
  }

  attach(device: number, pasid: number, id: number, isOther: boolean): void {
    const side = this.sideOf(device);
    if (side === null) return;
    const key = `${device}:${pasid}`;
    const space = side.space(id);
    if (side.kind === 'iommu' && space === null) return;
    // iommufd replaces what is attached.
    const isFree = side.kind === 'iommu' || !this.attached.has(key);
    const isRight = side.kind !== 'container' && space !== null && isFree;
    this.#asOther(side, isOther, () => {
      if (this.expectThat(isRight, () => side.door.attach(device, pasid, id)))
        this.attached.set(key, { side, space: space! });
    });
  }

  /** iommufd does not ask what was attached. */
  detach(device: number, pasid: number, id: number, isOther: boolean): void {
    const side = this.sideOf(device);
    if (side === null) return;
    const key = `${device}:${pasid}`;
    const space = side.space(id);
    const isIts = space !== null && this.attached.get(key)?.space === space;
    const isRight = side.kind === 'iommu' || (side.kind === 'ioasid' && isIts);
    this.#asOther(side, isOther, () => {
      if (this.expectThat(isRight, () => side.door.detach(device, pasid, id))) this.attached.delete(key);
    });
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
      page.process.bytes[page.page] = this.#value;
      const { kind } = found!.space;
      this.stores.set(kind, (this.stores.get(kind) ?? 0) + 1);
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
