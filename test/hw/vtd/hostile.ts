/** Random structures, spoiled in a few places: what a hostile or confused owner of tables can leave behind. */
import type { Question } from './reference.js';
import { CAP, SOURCE, World } from './world.js';

/** xorshift32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)]!;
  }
}

const POOL_LG2 = 17;
const NOWHERE = 0x40_0000_0000n;
/** Where nested tables put the guest's data page. */
const GUEST_PAGE = 0x4_8000_0000n;
const RESULT = 0x9_8765_4000n;
/** PGTT: a first stage on a second one. */
export const NESTED = 3;

/** One world, filled anew for each case; its unit drops every cache at SRTP. */
export class HostileWorld extends World {
  readonly #pool = this.table(POOL_LG2);
  #next = 0n;
  #written: bigint[] = [];
  /** PGTT of the space that was built last. */
  kind = 0;
  /** Entries that the request will meet. */
  path: bigint[] = [];
  /** Addresses that tables are found at. */
  tables: bigint[] = [];

  constructor(readonly random: Random) {
    super({ cap: CAP | (1n << 63n) });
  }

  write(at: bigint, value: bigint): void {
    this.put(at, value);
    this.#written.push(at);
  }

  /** Zeroes what the last case wrote. */
  clear(): void {
    for (const at of this.#written) this.put(at, 0n);
    this.#written = [];
    this.path = [];
    this.tables = [];
    this.#next = 0n;
  }

  frame(): bigint {
    const at = this.#pool + this.#next;
    this.#next += 0x1000n;
    this.tables.push(at);
    return at;
  }

  /** Structures and stages for one request, which it returns; most of them work. */
  build(): Question {
    const { random } = this;
    const ridPasid = random.chance(99) ? random.below(1 << 13) : random.below(1 << 20);
    const own = random.chance(97) ? random.below(1 << 13) : random.below(1 << 20);
    const pasid = random.chance(20) ? -1 : random.chance(1) ? ridPasid : own;
    const access = random.pick([1, 1, 1, 2, 3, 4, 5, 9, 10]);
    const kind = random.pick([1, 1, 2, 2, NESTED, NESTED, NESTED, 4]);
    this.kind = kind;
    const five = random.chance(30);
    const iova = this.#address(kind, five);
    const contexts = this.frame();
    this.#entry(this.root + 16n, contexts | 1n);
    const pdts = BigInt(random.below(3));
    // DTE, and PRE, which needs it.
    const ats = random.chance(3) ? 16n : random.pick([0n, 4n, 20n]);
    const used = BigInt(pasid < 0 ? ridPasid : pasid);
    this.#entry(contexts, this.#directory(used) | (pdts << 9n) | ats | 8n | 1n);
    this.#entry(contexts + 8n, BigInt(ridPasid) | (random.chance(20) ? 1n << 20n : 0n));
    this.#space(kind, five, iova);
    return { source: SOURCE, pasid, iova, access };
  }

  /** Changes one entry of the path as somebody hostile would. */
  spoil(): void {
    const { random } = this;
    const at = random.pick(this.path);
    const old = this.get(at);
    const changes: (() => bigint)[] = [
      () => old ^ (1n << BigInt(random.below(64))),
      () => old ^ (1n << BigInt(random.below(12))),
      () => (old & 0xfffn) | random.pick(this.tables),
      () => (old & 0xfffn) | (at & ~0xfffn),
      () => (old & 0xfffn) | NOWHERE,
      () => 0n,
      () => old | 128n,
      // Above the shortest second stage.
      () => (old & 0xfffn) | (1n << BigInt(39 + random.below(9))),
      () => (old & 0xfffn) | (0xffff_ffff_ffff_f000n >> BigInt(random.below(30))),
      () => (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32)),
      () => (old & 0xfffn) | 0xfee0_0000n | (BigInt(random.below(256)) << 12n),
    ];
    this.write(at, random.pick(changes)());
  }

  #entry(at: bigint, value: bigint): void {
    this.write(at, value);
    this.path.push(at);
  }

  #address(kind: number, five: boolean): bigint {
    const { random } = this;
    const word = (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32));
    if (random.chance(4)) return word;
    if (random.chance(3)) return 0xfee0_0000n | (word & 0xfffffn);
    const width = kind === 1 || kind === 3 ? (five ? 56n : 47n) : kind === 4 ? 46n : 38n;
    const low = BigInt.asUintN(Number(width), word);
    const isNegative = (kind === 1 || kind === 3) && random.chance(30);
    return isNegative ? BigInt.asUintN(64, low | (-1n << width)) : low;
  }

  /** A directory and a table; where the PASID entry goes. */
  #pasidAt = 0n;
  #directory(pasid: bigint): bigint {
    const directory = this.frame();
    const table = this.frame();
    // PASIDs of up to 13 bits are in the first page of the directory.
    this.#entry(directory + ((pasid >> 6n) & 511n) * 8n, table | 1n);
    this.#pasidAt = table + (pasid & 63n) * 64n;
    return directory;
  }

  #space(kind: number, five: boolean, iova: bigint): void {
    const { random } = this;
    const at = this.#pasidAt;
    const aw = BigInt(random.below(3) + 1);
    const width = kind === 2 || kind === 3 ? 30n + aw * 9n : 0n;
    const second = this.frame();
    const first = this.frame();
    const tracks = random.chance(40);
    const rights = (bits: bigint): bigint =>
      bits & ~(random.chance(4) ? 1n : 0n) & ~(random.chance(4) ? 2n : 0n);
    const secondBits = (): bigint => rights(3n) | (random.chance(70) ? 0x300n : 0n);
    const firstBits = (): bigint =>
      1n |
      (random.chance(97) ? 2n : 0n) |
      (random.chance(98) ? 4n : 0n) |
      (random.chance(70) ? 0x460n : 0n) |
      (random.chance(2) ? 1n << 63n : 0n);
    if (kind === 2) this.#map(second, width, iova, RESULT, secondBits);
    if (kind === 1) this.#map(first, five ? 57n : 48n, iova, RESULT, firstBits);
    if (kind === 3) {
      const guest = this.#map(first, five ? 57n : 48n, iova, GUEST_PAGE, firstBits);
      for (const page of new Set([...guest, GUEST_PAGE])) {
        this.#map(second, width, page, page === GUEST_PAGE ? RESULT : page, secondBits);
      }
    }
    const flags =
      BigInt(random.below(4)) |
      (random.chance(80) ? 3n : 0n) |
      (random.chance(50) ? 16n : 0n) |
      (random.chance(95) ? 32n : 0n);
    const more = (random.chance(10) ? 64n : 0n) | (random.chance(20) ? 128n : 0n);
    this.#entry(at + 16n, first | flags | more | (five ? 4n : 0n));
    this.#entry(at + 8n, 5n | (random.chance(85) ? 1n << 23n : 0n));
    this.#entry(at, second | 1n | (aw << 2n) | (BigInt(kind) << 6n) | (tracks ? 512n : 0n));
    if (random.chance(10)) this.path.push(at + BigInt(random.below(5) + 3) * 8n);
  }

  /** Tables from `root` down to a leaf, now and then a large one; returns the addresses of the tables. */
  #map(root: bigint, width: bigint, va: bigint, to: bigint, entryBits: () => bigint): bigint[] {
    const used = [root];
    let at = root;
    const leaf = this.random.pick([12n, 12n, 12n, 12n, 21n, 30n]);
    for (let shift = width - 9n; ; shift -= 9n) {
      const entry = at + ((va >> shift) & 511n) * 8n;
      const old = this.get(entry);
      const isLarge = shift <= leaf && shift > 12n && old === 0n && to === RESULT;
      if (shift === 12n || isLarge) {
        if (old === 0n) this.#entry(entry, (to & (-1n << shift)) | entryBits() | (isLarge ? 128n : 0n));
        return used;
      }
      if ((old & 128n) !== 0n) return used;
      if (old === 0n) this.#entry(entry, this.frame() | entryBits());
      at = this.get(entry) & 0xf_ffff_ffff_f000n;
      used.push(at);
    }
  }
}
