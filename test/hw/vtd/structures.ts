/** Scalable-mode structures of one device, written entry by entry, with the place of each entry to be spoiled. */
import { DID, PASID, SOURCE, type World } from './world.js';

export interface Stage {
  /** HPA (or GPA, in a guest's own words) of the root. */
  readonly root: bigint;
  /** HPA of the entry of each level, highest first. */
  readonly entries: readonly bigint[];
}

export interface Space {
  readonly rootEntry: bigint;
  readonly context: bigint;
  readonly directory: bigint;
  /** HPA of the 64-byte PASID entry. */
  readonly entry: bigint;
}

export interface ContextOptions {
  readonly source?: number;
  readonly pasid?: number;
  /** Added to q0 of the context: DTE 4, PASIDE 8, PRE 16, PDTS << 9. */
  readonly flags?: bigint;
}

/** DTE, PASIDE, PRE; a directory of 2^14 entries. */
export const ALL_FLAGS = 4n | 8n | 16n | (7n << 9n);

/** Root, context and PASID directory down to an empty PASID entry; keeps what is there. */
export function context(world: World, options: ContextOptions = {}): Space {
  const { source = SOURCE, pasid = PASID, flags = ALL_FLAGS } = options;
  const rootEntry = world.root + BigInt(source >> 8) * 16n + ((source & 0x80) === 0 ? 0n : 8n);
  const below = (entry: bigint, lg2: number, bits: bigint): bigint => {
    if ((world.get(entry) & 1n) === 0n) world.put(entry, world.table(lg2) | bits | 1n);
    return world.get(entry) & ~0xfffn;
  };
  const contexts = below(rootEntry, 12, 0n);
  const at = contexts + BigInt(source & 0x7f) * 32n;
  const directory = below(at, 17, flags) + BigInt(pasid >> 6) * 8n;
  const entry = below(directory, 12, 0n) + BigInt(pasid & 63) * 64n;
  return { rootEntry, context: at, directory, entry };
}

/** SRE, ERE, WPE, NXE; 4 levels. */
export const FIRST_FLAGS = 1n | 2n | 16n | 32n;
/** PWSNP. */
const PWSNP = 1n << 23n;
export const SSADE = 1n << 9n;

export interface PasidEntry {
  readonly did?: bigint;
  readonly first?: bigint;
  readonly firstFlags?: bigint;
  readonly second?: bigint;
  /** AW: 1, 2, 3. */
  readonly aw?: bigint;
  readonly flags?: bigint;
  /** Added to q1; PWSNP when not given. */
  readonly cache?: bigint;
}

/** Writes a PASID entry of type `pgtt`. */
export function pasidEntry(world: World, at: bigint, pgtt: bigint, entry: PasidEntry = {}): void {
  const { did = DID, first = 0n, second = 0n, aw = 2n, flags = 0n, cache = PWSNP } = entry;
  world.put(at + 16n, first | (entry.firstFlags ?? FIRST_FLAGS));
  world.put(at + 8n, did | cache);
  world.put(at, second | (aw << 2n) | (pgtt << 6n) | flags | 1n);
}

/** P, RW, US, A: an entry of a first stage that points to a table. */
export const FS_TABLE = 1n | 2n | 4n | 32n;
/** And D: a leaf. */
export const FS_LEAF = FS_TABLE | 64n;
/** First stage: P, RW, US and nothing else. */
export const BARE = 7n;
/** Accessed, dirty and extended accessed, in an entry of the first stage. */
export const A = 32n;
export const D = 64n;
export const EA = 1024n;
export const SS_RW = 3n;
/** Accessed and dirty, in an entry of the second stage. */
export const SS_A = 256n;
export const SS_D = 512n;
export const PS = 128n;

/** Maps one page: a path of `levels` tables, the last entry of which is `leaf` at the level that `size` asks for. */
export function mapPage(
  world: World,
  root: bigint,
  iova: bigint,
  leaf: bigint,
  { levels = 4, size = 12, table = FS_TABLE }: { levels?: number; size?: number; table?: bigint } = {},
): bigint[] {
  const entries: bigint[] = [];
  let at = root;
  for (let shift = 12 + 9 * (levels - 1); ; shift -= 9) {
    const entry = at + ((BigInt.asUintN(64, iova) >> BigInt(shift)) & 511n) * 8n;
    entries.push(entry);
    if (shift === size) {
      world.put(entry, leaf | (size > 12 ? PS : 0n));
      return entries;
    }
    if (world.get(entry) === 0n) world.put(entry, world.table() | table);
    at = world.get(entry) & 0xf_ffff_ffff_f000n;
  }
}

export const SECOND = { table: SS_RW } as const;

export interface GuestOptions {
  /** Guest-physical addresses of its tables, highest level first; as many as the path to a page of `1 << size` bytes has. */
  readonly tables: readonly bigint[];
  /** Where the guest has its page, and where that lies. */
  readonly page: bigint;
  readonly hpa: bigint;
  readonly size?: number;
  /** Size of the second-stage page that the guest's page is in. */
  readonly secondSize?: number;
  /** Levels of the second stage. */
  readonly levels?: number;
  /** Bits of the guest's entries. */
  readonly table?: bigint;
  readonly leaf?: bigint;
}

export interface Guest {
  /** HPA of its tables, and of the entry of each that leads to the page. */
  readonly places: readonly bigint[];
  readonly path: readonly bigint[];
  /** Root of the second stage; HPAs of the entries there on the way to each table and to the page. */
  readonly second: bigint;
  readonly toTables: readonly (readonly bigint[])[];
  readonly toPage: readonly bigint[];
}

/** A guest's tables of four levels, none of which lies where the guest thinks, and a second stage that says where. */
export function guestSpace(world: World, iova: bigint, options: GuestOptions): Guest {
  const { tables, page, hpa, size = 12, secondSize = 12, levels = 4 } = options;
  const { table = FS_TABLE, leaf = FS_LEAF } = options;
  const second = world.table();
  const places = tables.map(() => world.table());
  const toTables = tables.map((gpa, level) =>
    mapPage(world, second, gpa, places[level]! | SS_RW, { ...SECOND, levels }),
  );
  const toPage = mapPage(world, second, page, hpa | SS_RW, { ...SECOND, levels, size: secondSize });
  const path = places.map((at, level) => at + ((iova >> BigInt(39 - 9 * level)) & 511n) * 8n);
  for (const [level, entry] of path.entries()) {
    const below = tables[level + 1];
    world.put(entry, below === undefined ? page | leaf | (size > 12 ? PS : 0n) : below | table);
  }
  return { places, path, second, toTables, toPage };
}
