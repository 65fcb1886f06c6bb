/**
 * What an IOAS is, said as plainly as possible: lists of ranges, searched from the front, and pins that are counted
 * anew whenever somebody asks. No trees, no page tables, no bookkeeping. The order of the checks is Linux'.
 */
import type { ErrnoName } from '../../src/base/errno.js';

const PAGE = 4096n;
const MAX = (1n << 64n) - 1n;
const HUGE = 1n << 21n;
/** The mock IOMMU: aperture and smallest page. */
const APERTURE = { start: 0x1000000n, last: 0x7fffffffn };
const TABLE_ALIGNMENT = 2048n;
const READ = 1;
const WRITE = 2;

/** Thrown where Linux returns this errno. */
export class Refused extends Error {
  constructor(readonly code: ErrnoName) {
    super(code);
  }
}

export interface Range {
  readonly start: bigint;
  readonly last: bigint;
}

/** Memory of the client. */
export interface Buffer {
  readonly at: bigint;
  readonly writable: boolean;
  /** What is in it. */
  readonly bytes: Uint8Array;
}

/** What one map call made: its pages are pinned and counted together, however often they are mapped. */
interface PageArray {
  readonly buffer: Buffer;
  readonly writable: boolean;
}

export interface Mapping extends Range {
  readonly array: PageArray;
  /** Client address behind `start`. */
  readonly at: bigint;
  readonly prot: number;
}

/** Pages that an access keeps pinned. */
interface Pin extends Range {
  readonly array: PageArray;
}

export interface Table {
  readonly id: number;
  readonly ioas: Ioas;
  /** Made by an attachment, and goes with the last one. */
  readonly automatic: boolean;
  readonly devices: Set<Device>;
}

export interface Device {
  readonly stdev: number;
  readonly dev: number;
  table: Table;
}

interface Item extends Range {
  readonly id: number;
  readonly pins: readonly Pin[];
}

export interface Access {
  readonly fd: number;
  readonly pinning: boolean;
  ioas: Ioas;
  items: Item[];
}

export interface Ioas {
  readonly id: number;
  mappings: Mapping[];
  reserved: (Range & { readonly owner: object | null })[];
  allowed: readonly Range[];
  readonly tables: Table[];
  readonly accesses: Set<Access>;
  largePages: boolean;
}

const overlap = (a: Range, b: Range): boolean => a.start <= b.last && a.last >= b.start;
const refuse = (code: ErrnoName): never => {
  throw new Refused(code);
};
const pageOf = (at: bigint): bigint => at - (at % PAGE);
const alignUp = (at: bigint, to: bigint): bigint => ((at + to - 1n) / to) * to;

/** What `taken` leaves of `within`, in order. */
export function holes(within: Range, taken: readonly Range[]): Range[] {
  const found: Range[] = [];
  let from = within.start;
  for (const each of taken.toSorted((a, b) => (a.start < b.start ? -1 : 1))) {
    if (each.start > from) found.push({ start: from, last: each.start - 1n });
    if (each.last >= from) from = each.last + 1n;
  }
  if (from <= within.last) found.push({ start: from, last: within.last });
  return found
    .filter((hole) => hole.start <= within.last)
    .map(({ start, last }) => ({
      start,
      last: last < within.last ? last : within.last,
    }));
}

export class Reference {
  readonly ioases: Ioas[] = [];
  readonly devices: Device[] = [];
  readonly accesses: Access[] = [];

  constructor(
    /** Pages that may be locked. */
    readonly limit: number,
  ) {}

  addIoas(id: number): void {
    this.ioases.push({
      id,
      mappings: [],
      reserved: [],
      allowed: [],
      tables: [],
      accesses: new Set<Access>(),
      largePages: true,
    });
  }

  alignment({ largePages, tables, accesses }: Ioas): bigint {
    let alignment = largePages ? 1n : PAGE;
    if (tables.length > 0 && alignment < TABLE_ALIGNMENT) alignment = TABLE_ALIGNMENT;
    if ([...accesses].some((access) => access.pinning)) alignment = PAGE;
    return alignment;
  }

  /** How many arrays have each page pinned, by address. */
  pinCounts(): Map<bigint, number> {
    const counts = new Map<bigint, number>();
    for (const pages of this.#pinned([]).values()) {
      for (const page of pages) counts.set(page, (counts.get(page) ?? 0) + 1);
    }
    return counts;
  }

  /** Pages pinned in all, if `more` were pinned too. */
  pinned(more: readonly Pin[] = []): number {
    let pages = 0;
    for (const each of this.#pinned(more).values()) pages += each.size;
    return pages;
  }

  #pinned(more: readonly Pin[]): Map<PageArray, Set<bigint>> {
    const pins = [...more];
    for (const { tables, mappings } of this.ioases) if (tables.length > 0) pins.push(...mappings.map(pinOf));
    for (const { items } of this.accesses) for (const item of items) pins.push(...item.pins);
    const pinned = new Map<PageArray, Set<bigint>>();
    for (const { array, start, last } of pins) {
      const pages = pinned.get(array) ?? new Set();
      for (let page = pageOf(start); page <= last; page += PAGE) pages.add(page);
      pinned.set(array, pages);
    }
    return pinned;
  }

  /** Refuses if the pins, one after the other, cannot all be made. */
  #checkPins(pins: readonly Pin[]): void {
    pins.forEach(({ array }, index) => {
      if (array.writable && !array.buffer.writable) refuse('EFAULT');
      if (this.pinned(pins.slice(0, index + 1)) > this.limit) refuse('ENOMEM');
    });
  }

  map(ioas: Ioas, buffer: Buffer, at: bigint, length: bigint, iova: bigint | null, prot: number): bigint {
    if (length === 0n) refuse('EINVAL');
    const array = { buffer, writable: (prot & WRITE) !== 0 };
    return this.#place(ioas, [{ array, at, length }], length, iova, prot);
  }

  copy(from: Ioas, source: bigint, length: bigint, to: Ioas, iova: bigint | null, prot: number): bigint {
    if (length === 0n) refuse('EINVAL');
    const range = { start: source, last: source + length - 1n };
    const { parts, complete } = this.#parts(from, range);
    if (!complete) refuse('ENOENT');
    const slices = parts.map(({ array, at, start, last }) => ({ array, at, length: last - start + 1n }));
    return this.#place(to, slices, length, iova, prot);
  }

  /** The pieces of mappings from the start of `range` to its end, or to the first gap. */
  #parts(ioas: Ioas, { start, last }: Range): { parts: Mapping[]; complete: boolean } {
    const parts: Mapping[] = [];
    let at = start;
    for (const mapping of ioas.mappings) {
      if (mapping.last < at || mapping.start > at) continue;
      const end = mapping.last < last ? mapping.last : last;
      parts.push({ ...mapping, start: at, last: end, at: mapping.at + (at - mapping.start) });
      at = end + 1n;
      if (at > last) return { parts, complete: true };
    }
    return { parts, complete: false };
  }

  #place(
    ioas: Ioas,
    slices: readonly { readonly array: PageArray; readonly at: bigint; readonly length: bigint }[],
    length: bigint,
    wanted: bigint | null,
    prot: number,
  ): bigint {
    const alignment = this.alignment(ioas);
    if (length % alignment !== 0n) refuse('EINVAL');
    const iova = wanted ?? this.#findPlace(ioas, slices[0]!.at, length, alignment);
    if (wanted !== null) this.#checkFixed(ioas, { start: iova, last: iova + length - 1n }, alignment);
    const made: Mapping[] = [];
    let start = iova;
    for (const { array, at, length: bytes } of slices) {
      if ((prot & WRITE) !== 0 && !array.writable) refuse('EPERM');
      if ((at % PAGE) % alignment !== 0n) refuse('EINVAL');
      made.push({ array, at, start, last: start + bytes - 1n, prot });
      start += bytes;
    }
    if (ioas.tables.length > 0) this.#checkPins(made.map(pinOf));
    ioas.mappings = [...ioas.mappings, ...made].toSorted((a, b) => (a.start < b.start ? -1 : 1));
    return iova;
  }

  #checkFixed(ioas: Ioas, range: Range, alignment: bigint): void {
    if (range.start % alignment !== 0n) refuse('EINVAL');
    if (ioas.reserved.some((each) => overlap(each, range))) refuse('EINVAL');
    if (ioas.mappings.some((each) => overlap(each, range))) refuse('EEXIST');
  }

  #findPlace(ioas: Ioas, address: bigint, length: bigint, least: bigint): bigint {
    let alignment = 1n;
    while (alignment < length) alignment *= 2n;
    while (address % alignment !== 0n) alignment /= 2n;
    if (alignment > HUGE) alignment = HUGE;
    if (alignment < least) refuse('EINVAL');
    const fit = ({ start, last }: Range): Range | null => {
      const at = alignUp(start, alignment) | (address % PAGE);
      return at < last && last - at >= length - 1n ? { start: at, last } : null;
    };
    const everything = { start: PAGE, last: MAX - PAGE };
    for (const window of ioas.allowed.length === 0 ? [everything] : inside(everything, ioas.allowed)) {
      const usable = fit(window);
      if (usable === null) continue;
      for (const hole of holes(usable, [...ioas.reserved, ...ioas.mappings])) {
        const found = fit(hole);
        if (found !== null) return found.start;
      }
    }
    return refuse('ENOSPC');
  }

  /** Returns how many bytes are gone. What goes before a refusal stays gone. */
  unmap(ioas: Ioas, range: Range, all = false): bigint {
    let unmapped = 0n;
    for (const mapping of ioas.mappings.filter((each) => overlap(each, range))) {
      if (mapping.start < range.start || mapping.last > range.last) refuse('ENOENT');
      for (const access of ioas.accesses)
        access.items = access.items.filter((item) => !overlap(item, mapping));
      ioas.mappings = ioas.mappings.filter((each) => each !== mapping);
      unmapped += mapping.last - mapping.start + 1n;
    }
    if (unmapped === 0n && !all) refuse('ENOENT');
    return unmapped;
  }

  allow(ioas: Ioas, ranges: readonly Range[]): void {
    ranges.forEach((range, index) => {
      if (range.start >= range.last) refuse('EINVAL');
      if (ranges.slice(0, index).some((each) => overlap(each, range))) refuse('EINVAL');
    });
    if (ranges.some((range) => ioas.reserved.some((each) => overlap(each, range)))) refuse('EADDRINUSE');
    ioas.allowed = ranges.toSorted((a, b) => (a.start < b.start ? -1 : 1));
  }

  reserve(ioas: Ioas, range: Range, owner: object | null = null): void {
    if ([...ioas.mappings, ...ioas.allowed].some((each) => overlap(each, range))) refuse('EADDRINUSE');
    ioas.reserved = [...ioas.reserved, { ...range, owner }];
  }

  setLargePages(ioas: Ioas, enable: boolean): void {
    if (ioas.largePages === enable) return;
    if (!enable && ioas.tables.length > 0 && ioas.mappings.length > 0) refuse('EINVAL');
    if (!enable) this.#checkAlignment(ioas, PAGE);
    ioas.largePages = enable;
  }

  #checkAlignment(ioas: Ioas, alignment: bigint): void {
    if (alignment <= this.alignment(ioas)) return;
    for (const { start, last, at } of ioas.mappings) {
      if ([start, last - start + 1n, at % PAGE].some((each) => each % alignment !== 0n)) refuse('EADDRINUSE');
    }
  }

  /** A page table that shows `ioas`; its id is known only when the real one has been made. */
  checkTable(ioas: Ioas): void {
    this.#checkAlignment(ioas, TABLE_ALIGNMENT);
    const promised = [...ioas.mappings, ...ioas.allowed];
    if (promised.some(({ start, last }) => start < APERTURE.start || last > APERTURE.last))
      refuse('EADDRINUSE');
    if (ioas.tables.length === 0) this.#checkPins(ioas.mappings.map(pinOf));
  }

  addTable(id: number, ioas: Ioas, automatic: boolean): Table {
    const table = { id, ioas, automatic, devices: new Set<Device>() };
    ioas.tables.push(table);
    const below = { start: 0n, last: APERTURE.start - 1n, owner: table };
    const above = { start: APERTURE.last + 1n, last: MAX, owner: table };
    ioas.reserved = [...ioas.reserved, below, above];
    return table;
  }

  /** The page table that an attachment to `ioas` would use, if there is one. */
  automaticTable(ioas: Ioas): Table | undefined {
    return ioas.tables.find((table) => table.automatic);
  }

  removeTable(table: Table): void {
    const { ioas } = table;
    ioas.tables.splice(ioas.tables.indexOf(table), 1);
    ioas.reserved = ioas.reserved.filter(({ owner }) => owner !== table);
  }

  moveDevice(device: Device, to: Table | null): void {
    const { table } = device;
    if (table === to) return;
    table.devices.delete(device);
    if (to !== null) {
      to.devices.add(device);
      device.table = to;
    }
    if (table.automatic && table.devices.size === 0) this.removeTable(table);
  }

  checkAccess(ioas: Ioas, pinning: boolean): void {
    if (pinning) this.#checkAlignment(ioas, PAGE);
  }

  /** Pins for item `id`, which is given when it has been made. */
  pin(access: Access, range: Range, write: boolean): readonly Pin[] {
    if (!access.pinning) refuse('EOPNOTSUPP');
    if (range.last < range.start) refuse('EINVAL');
    const { parts, complete } = this.#parts(access.ioas, range);
    const pins: Pin[] = [];
    for (const part of parts) {
      const endsInside = part.last < range.last && (part.at + (part.last - part.start) + 1n) % PAGE !== 0n;
      if (part.at % PAGE !== 0n || endsInside) refuse('EINVAL');
      if ((part.prot & (write ? WRITE : READ)) === 0) refuse('EPERM');
      pins.push(pinOf(part));
      this.#checkPins(pins);
    }
    if (!complete) refuse('ENOENT');
    return pins;
  }

  /** Copies between `data` and what is mapped. Writes before a refusal stay. */
  rw(access: Access, start: bigint, data: Uint8Array, write: boolean, slow: boolean): void {
    const { parts, complete } = this.#parts(access.ioas, { start, last: start + BigInt(data.length) - 1n });
    for (const { array, at, start: from, last, prot } of parts) {
      const { buffer } = array;
      if ((prot & (write ? WRITE : READ)) === 0) refuse('EPERM');
      const pages = pageOf(at) !== pageOf(at + (last - from));
      if (!buffer.writable && (write || (slow && pages && array.writable))) refuse('EFAULT');
      const bytes = buffer.bytes.subarray(Number(at - buffer.at), Number(at - buffer.at + (last - from)) + 1);
      const piece = data.subarray(Number(from - start), Number(last - start) + 1);
      if (write) bytes.set(piece);
      else piece.set(bytes);
    }
    if (!complete) refuse('ENOENT');
  }
}

const pinOf = ({ array, at, start, last }: Mapping): Pin => ({ array, start: at, last: at + (last - start) });

/** What of `ranges`, merged where they touch, lies in `bounds`. */
function inside(bounds: Range, ranges: readonly Range[]): Range[] {
  const gaps = holes({ start: 0n, last: MAX }, ranges);
  return holes(bounds, gaps);
}
