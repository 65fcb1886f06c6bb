/**
 * Devices that go on in the same memory while their address spaces change under them: whatever is held of a translation,
 * each access reaches what is mapped at that moment, and dirty pages are those that were written.
 */
import { expect, test, vi, type MockInstance } from 'vitest';
import type { Resolver } from '../../src/bus/dma-port.js';
import { uapi } from '../../src/index.js';
import { dice } from '../dice.js';
import { PAGE, scene, type Bound, type Scene } from './vtd-machine.js';

const TOPOLOGY = {
  units: { vtd0: { type: 'vtd' }, vtd1: { type: 'vtd' } },
  buses: {
    pci0: { type: 'pci', segment: 0, unit: 'vtd0' },
    pci1: { type: 'pci', segment: 1, unit: 'vtd1' },
  },
  devices: { '0000:00:01.0': {}, '0000:00:02.0': {}, '0001:00:01.0': {} },
} as const;
const NAMES = Object.keys(TOPOLOGY.devices);
const PASIDS = [0, 3] as const;
const BYTES = Number(PAGE);
const { IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID } = uapi;
const READ_WRITE = uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_READABLE;
/** Pages of an IOAS, and of the memory that they come from. */
const PAGES = 24;
const FRAMES = 40;
/** Where they begin: a GiB ends among them. */
const START = 0x4000_0000n - 8n * PAGE;
/** A guest has its table in its parent: levels 4 to 2, and level 1 of each of two GiB. */
const TABLES = 0x1_0000_0000n;
const WALKED = 6;

const iovaOf = (page: number): bigint => START + BigInt(page) * PAGE;

/** Frame, where in it, how many bytes. */
type Piece = [frame: number, at: number, length: number];

const bytesOf = (pieces: readonly Piece[]): number => pieces.reduce((sum, [, , length]) => sum + length, 0);

class Space {
  /** By page: the frame, or null. */
  readonly frames: (number | null)[] = Array.from({ length: PAGES }, () => null);

  constructor(readonly id: number) {}
}

/** A page table, and which of its pages are dirty as far as anybody knows; null: nobody asks. */
class Table {
  dirty: Set<number> | null = null;
  isTracking = false;

  constructor(
    readonly id: number,
    readonly space: Space,
    /** Of a nested table: the one below, which becomes dirty. */
    readonly parent: Table | null = null,
  ) {}

  wrote(page: number): void {
    const table = this.parent ?? this;
    if (table.isTracking) table.dirty!.add(page);
  }
}

class Model {
  readonly scene: Scene;
  readonly memory: Uint8Array;
  readonly va: bigint;
  readonly devices: { bound: Bound; name: string; tables: Map<number, Table> }[];
  readonly spaces: Space[];
  readonly tables: Table[];
  readonly next: (below: number) => number;
  readonly #units: readonly MockInstance[];
  /** Accesses that no unit was asked for. */
  unasked = 0;
  faulted = 0;
  dirtied = 0;
  /** What devices do for a while. */
  focus = { device: 0, pasid: 0, page: 0, kind: 0 };

  constructor(seed: number) {
    this.next = dice(seed);
    this.scene = scene({ topology: TOPOLOGY });
    const { machine, iommufd, bind } = this.scene;
    this.va = machine.memory.alloc(FRAMES * BYTES);
    this.memory = new Uint8Array(FRAMES * BYTES).map((_, at) => at >> 12);
    machine.memory.write(this.va, this.memory);
    this.devices = NAMES.map((name) => ({ bound: bind(name), name, tables: new Map() }));
    this.spaces = [0, 1].map(() => new Space(iommufd.call(uapi.IOMMU_IOAS_ALLOC).out_ioas_id));
    const [first, second] = this.spaces as [Space, Space];
    const tracks = IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID;
    const parent = this.#table(first, tracks | IOMMU_HWPT_ALLOC_NEST_PARENT);
    const plain = this.#table(second, IOMMU_HWPT_ALLOC_PASID);
    this.tables = [parent, plain, this.#table(second, tracks), this.#nested(parent)];
    for (const table of [parent, this.tables[2]!]) table.dirty = new Set();
    const ports = this.devices.map(({ name }) => machine.device(name).dma!.ports[0]!);
    this.#units = [...new Set(ports.map(({ resolver }) => resolver as Required<Resolver>))].map((unit) =>
      vi.spyOn(unit, 'translateRuns'),
    );
  }

  get #asked(): number {
    return this.#units.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  }

  #table(space: Space, flags: number, values: object = {}): Table {
    const of = { dev_id: this.devices[0]!.bound.id, pt_id: space.id, flags, ...values };
    return new Table(this.scene.iommufd.call(uapi.IOMMU_HWPT_ALLOC, of).out_hwpt_id, space);
  }

  /** A guest whose addresses are its memory's, with all bits set that a unit would set. */
  #nested(parent: Table): Table {
    const { iommufd, machine } = this.scene;
    const at = machine.memory.alloc(WALKED * BYTES);
    const put = (table: number, iova: bigint, shift: bigint, entry: bigint): void => {
      const place = at + BigInt(table) * PAGE + ((iova >> shift) & 511n) * 8n;
      machine.memory.write(place, new Uint8Array(new BigUint64Array([entry | 0x67n]).buffer));
    };
    const gpa = (table: number): bigint => TABLES + BigInt(table) * PAGE;
    for (let page = 0; page < PAGES; page += 1) {
      const iova = iovaOf(page);
      const upper = iova < 0x4000_0000n ? 0 : 1;
      put(0, iova, 39n, gpa(1));
      put(1, iova, 30n, gpa(2 + upper));
      put(2 + upper, iova, 21n, gpa(4 + upper));
      put(4 + upper, iova, 12n, iova);
    }
    const map = { flags: READ_WRITE | uapi.IOMMU_IOAS_MAP_FIXED_IOVA, ioas_id: parent.space.id, user_va: at };
    iommufd.call(uapi.IOMMU_IOAS_MAP, { ...map, length: BigInt(WALKED) * PAGE, iova: TABLES });
    const data = new Uint8Array(24);
    uapi.iommu_hwpt_vtd_s1.encode(
      uapi.iommu_hwpt_vtd_s1.create({ pgtbl_addr: TABLES, addr_width: 48 }),
      data,
    );
    const values = { pt_id: parent.id, data_type: 1, data_len: 24, data_uptr: machine.memory.store(data) };
    const { id } = this.#table(parent.space, IOMMU_HWPT_ALLOC_PASID, values);
    return new Table(id, parent.space, parent);
  }

  step(): void {
    if (this.next(24) === 0) this.change();
    if (this.next(10) === 0) this.#readDirty(this.tables[this.next(2) * 2]!);
    if (this.next(30) === 0) {
      const [device, pasid] = [this.next(this.devices.length), PASIDS[this.next(PASIDS.length)]!];
      this.focus = { device, pasid, page: this.next(PAGES - 3), kind: this.next(3) };
    }
    const asked = this.#asked;
    this.access();
    if (this.#asked === asked) this.unasked += 1;
  }

  change(): void {
    const kind = this.next(10);
    if (kind < 5) this.#remap(this.spaces[this.next(2)]!, this.next(PAGES));
    else if (kind < 9) this.#move();
    else this.#track(this.tables[this.next(2) * 2]!);
  }

  #remap(space: Space, page: number): void {
    const { iommufd } = this.scene;
    const iova = iovaOf(page);
    if (space.frames[page] !== null) {
      iommufd.call(uapi.IOMMU_IOAS_UNMAP, { ioas_id: space.id, iova, length: PAGE });
      for (const table of this.tables) if (table.space === space) table.dirty?.delete(page);
      space.frames[page] = null;
    }
    if (this.next(12) === 0) return;
    const [source, from] = [this.spaces[this.next(2)]!, this.next(PAGES)];
    const known = source.frames[from] ?? null;
    const flags = READ_WRITE | uapi.IOMMU_IOAS_MAP_FIXED_IOVA;
    if (known !== null && this.next(2) === 0) {
      const of = { dst_ioas_id: space.id, src_ioas_id: source.id, length: PAGE, dst_iova: iova };
      iommufd.call(uapi.IOMMU_IOAS_COPY, { ...of, flags, src_iova: iovaOf(from) });
      space.frames[page] = known;
      return;
    }
    const frame = this.next(4) === 0 ? this.next(FRAMES) : page;
    const user_va = this.va + BigInt(frame) * PAGE;
    iommufd.call(uapi.IOMMU_IOAS_MAP, { flags, ioas_id: space.id, user_va, length: PAGE, iova });
    space.frames[page] = frame;
  }

  /** Attaches, replaces or detaches a PASID of a device, or the device itself. */
  #move(): void {
    const { bound, tables } = this.devices[this.next(this.devices.length)]!;
    const pasid = PASIDS[this.next(PASIDS.length)]!;
    const table = this.tables[this.next(this.tables.length)]!;
    if (!tables.has(pasid)) bound.attach(table.id, pasid);
    else if (this.next(8) > 0) bound.replace(table.id, pasid);
    else {
      bound.detach(pasid);
      tables.delete(pasid);
      return;
    }
    tables.set(pasid, table);
  }

  #track(table: Table): void {
    table.isTracking = this.next(4) > 0;
    if (table.isTracking) table.dirty!.clear();
    const flags = table.isTracking ? uapi.IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0;
    this.scene.iommufd.call(uapi.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: table.id, flags });
  }

  #readDirty(table: Table): void {
    const { iommufd, machine } = this.scene;
    // A hole ends the reading.
    const page = this.next(PAGES);
    const hole = table.space.frames.indexOf(null, page);
    const length = Math.min(1 + this.next(PAGES), (hole < 0 ? PAGES : hole) - page);
    if (length <= 0) return;
    const noClear = this.next(3) > 0;
    const data = machine.memory.store(new Uint8Array(8));
    const of = {
      hwpt_id: table.id,
      iova: iovaOf(page),
      length: BigInt(length) * PAGE,
      page_size: PAGE,
      data,
    };
    const flags = noClear ? uapi.IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0;
    iommufd.call(uapi.IOMMU_HWPT_GET_DIRTY_BITMAP, { ...of, flags });
    const bits = new DataView(machine.memory.load(data, 4).buffer).getUint32(0, true);
    for (let each = 0; each < length; each += 1) {
      const isDirty = table.dirty!.has(page + each);
      expect((bits >>> each) & 1, `page ${page + each} of table ${table.id}`).toBe(isDirty ? 1 : 0);
      if (isDirty) this.dirtied += 1;
      if (!noClear) table.dirty!.delete(page + each);
    }
  }

  access(): void {
    const { device, pasid, page, kind } = this.focus;
    const { name, tables } = this.devices[device]!;
    const { dma } = this.scene.machine.device(name);
    const at = page + this.next(2);
    const isWhole = this.next(6) > 0;
    const offset = isWhole ? 0 : this.next(BYTES);
    const length = isWhole ? BYTES : 1 + this.next(BYTES);
    const target = at + 2;
    const table = tables.get(pasid) ?? null;
    const place = pasid === 0 ? {} : { pasid };
    const iova = iovaOf(at) + BigInt(offset);
    const from = this.#pieces(table, at, offset, length);
    const to = this.#pieces(table, target, offset, length);
    // Of two that share memory it matters in which order bytes are copied.
    const mayCopy = !from.some(([frame]) => to.some(([other]) => other === frame));
    if (kind === 0) {
      const data = new Uint8Array(length).fill(this.next(256));
      expect(dma!.submit({ kind: 'write', iova, length, data, ...place }).bytes).toBe(bytesOf(from));
      this.#wrote(table, at, from, data);
    } else if (kind === 1 && mayCopy) {
      const data = this.#contents(from);
      const both = { iova, target: iovaOf(target) + BigInt(offset) };
      const done = Math.min(bytesOf(from), bytesOf(to));
      expect(dma!.submit({ kind: 'copy', ...both, length, ...place }).bytes).toBe(done);
      this.#wrote(table, target, to, data.subarray(0, done));
    } else {
      const job = dma!.submit({ kind: 'read', iova, length, ...place });
      expect(job.bytes).toBe(bytesOf(from));
      expect(Buffer.compare(job.data!.subarray(0, job.bytes), this.#contents(from))).toBe(0);
    }
    if (bytesOf(from) < length) this.faulted += 1;
  }

  /** Where a range lies, page by page, as far as it is mapped. */
  #pieces(table: Table | null, page: number, offset: number, length: number): Piece[] {
    const pieces: Piece[] = [];
    for (let left = length, at = page * BYTES + offset; left > 0;) {
      const frame = table?.space.frames[at >> 12] ?? null;
      if (frame === null) break;
      const inPage = at & (BYTES - 1);
      const piece = Math.min(left, BYTES - inPage);
      pieces.push([frame, inPage, piece]);
      at += piece;
      left -= piece;
    }
    return pieces;
  }

  #contents(pieces: readonly Piece[]): Uint8Array {
    return Buffer.concat(
      pieces.map(([frame, at, length]) =>
        this.memory.subarray(frame * BYTES + at, frame * BYTES + at + length),
      ),
    );
  }

  #wrote(table: Table | null, first: number, pieces: readonly Piece[], bytes: Uint8Array): void {
    let done = 0;
    pieces.forEach(([frame, at, length], i) => {
      if (done >= bytes.length) return;
      this.memory.set(bytes.subarray(done, Math.min(done + length, bytes.length)), frame * BYTES + at);
      table!.wrote(first + i);
      done += length;
    });
  }

  expectIntact(): void {
    const found = this.scene.machine.memory.load(this.va, this.memory.length);
    expect(Buffer.compare(found, this.memory)).toBe(0);
  }
}

test.each([false, true])(
  'checked: %s; maps, tables and dirty bits change, and devices meet what there is',
  (isChecked) => {
    const model = new Model(isChecked ? 11 : 12);
    const { machine } = model.scene;
    const stale: string[] = [];
    machine.events.listen((event) => void (event.kind === 'stale-hit' && stale.push(event.missing)));
    if (isChecked) for (const { hardware } of machine.engine.built.units) hardware.checking = true;
    for (let turn = 0; turn < 600; turn += 1) model.change();
    const accesses = 10_000;
    for (let step = 0; step < accesses; step += 1) {
      model.step();
      if (step % 1000 === 0) model.expectIntact();
    }
    model.expectIntact();
    expect(stale).toEqual([]);
    const { unasked, faulted, dirtied } = model;
    console.log(`${accesses} accesses: ${unasked} held, ${faulted} with a fault; ${dirtied} dirty pages`);
    if (isChecked) expect(unasked).toBe(0);
    else expect(unasked).toBeGreaterThan(accesses / 4);
    expect(dirtied).toBeGreaterThan(accesses / 100);
  },
);
