/**
 * What a scalable-mode request means, said once more and as plainly as possible: bigints, no cache, a function a table.
 * It shares nothing with the unit but the specification.
 */
export interface Model {
  /** The 64-bit word at an HPA; null where no memory is. */
  readonly read: (hpa: bigint) => bigint | null;
  readonly root: bigint;
  readonly haw: bigint;
  readonly mgaw: bigint;
  readonly has1GibFirst: boolean;
}

export interface Question {
  readonly source: number;
  /** -1: none. */
  readonly pasid: number;
  readonly iova: bigint;
  /** READ 1, WRITE 2, EXEC 4, PRIV 8. */
  readonly access: number;
  /** 1: a translation request, which takes what it gets. */
  readonly at?: number;
  /** Somebody looks who sets no bit. */
  readonly isPeek?: boolean;
}

/** Bits that are set on the way, by HPA of their entry. */
export type Sets = ReadonlyMap<bigint, bigint>;

/** Where the byte lies, or the fault reason. */
export type Answer =
  | {
      readonly hpa: bigint;
      /** lg2 of the block around it that goes together. */
      readonly sizeLg2: number;
      /** READ, WRITE, EXEC. */
      readonly permitted: number;
      readonly sets: Sets;
    }
  | { readonly reason: number };
type Found = Exclude<Answer, { readonly reason: number }>;

/** An Error would record a stack, and that is most of a case. */
class Refused {
  constructor(readonly reason: number) {}
}

function refuse(reason: number): never {
  // oxlint-disable-next-line no-throw-literal
  throw new Refused(reason);
}

const bits = (value: bigint, lowest: number, width: number): bigint =>
  (value >> BigInt(lowest)) & ((1n << BigInt(width)) - 1n);
const has = (value: bigint, n: number): boolean => bits(value, n, 1) === 1n;
const PAGE = 0xfffn;
const ADDRESS = 0xf_ffff_ffff_f000n;
const FS_A = 1n << 5n;
const FS_D = 1n << 6n;
const FS_EA = 1n << 10n;
const SS_A = 1n << 8n;
const SS_D = 1n << 9n;
const isInterrupt = (address: bigint): boolean => address >> 20n === 0xfeen;

const identity = (hpa: bigint, permitted: number): Found => ({
  hpa,
  sizeLg2: 12,
  permitted,
  sets: new Map(),
});

/** One line for an answer. */
export function show(answered: Answer): string {
  if ('reason' in answered) return `reason 0x${answered.reason.toString(16)}`;
  const { hpa, sizeLg2, permitted, sets } = answered;
  return `at 0x${hpa.toString(16)}, 2^${sizeLg2} bytes, may ${permitted}${showSets(sets)}`;
}

function showSets(sets: Sets): string {
  return [...sets]
    .map(([at, set]) => `, sets 0x${set.toString(16)} at 0x${at.toString(16)}`)
    .toSorted()
    .join('');
}

export function answer(model: Model, question: Question): Answer {
  try {
    return translate(model, question);
  } catch (error) {
    if (error instanceof Refused) return { reason: error.reason };
    throw error;
  }
}

function translate(model: Model, question: Question): Found {
  const { iova, pasid } = question;
  if (pasid < 0 && isInterrupt(iova)) {
    return question.at !== 1 && (question.access & 7) === 2 ? identity(iova, 2) : refuse(0x87);
  }
  const { read, haw } = model;
  const beyond = (value: bigint): boolean => bits(value, 0, 63) >> haw !== 0n || has(value, 63);
  const source = BigInt(question.source);
  const rootAt = model.root + (source >> 8n) * 16n + (has(source, 7) ? 8n : 0n);
  const root = read(rootAt) ?? refuse(0x38);
  if (!has(root, 0)) refuse(0x39);
  if (bits(root, 1, 11) !== 0n || beyond(root)) refuse(0x3a);
  const at = (root & ~PAGE) + (source & 0x7fn) * 32n;
  const context = read(at) ?? refuse(0x40);
  if (!has(context, 0)) refuse(0x41);
  const [second, third, fourth] = [8n, 16n, 24n].map((more) => read(at + more) ?? refuse(0x40)) as [
    bigint,
    bigint,
    bigint,
  ];
  if (bits(context, 5, 4) !== 0n || beyond(context) || second >> 21n !== 0n || third !== 0n || fourth !== 0n)
    refuse(0x42);
  const limit = 1n << (bits(context, 9, 3) + 7n + 6n);
  const ridPasid = bits(second, 0, 20);
  if ((has(context, 4) && !has(context, 2)) || ridPasid >= limit) refuse(0x43);
  if (pasid >= 0 && !has(context, 3)) refuse(0x45);
  if (BigInt(pasid) >= limit) refuse(0x46);
  if (BigInt(pasid) === ridPasid) refuse(0x48);
  const used = pasid < 0 ? ridPasid : BigInt(pasid);
  const isPriv = (question.access & 8) !== 0 || (pasid < 0 && has(second, 20));
  const directory = read((context & ~PAGE) + (used >> 6n) * 8n) ?? refuse(0x50);
  if (!has(directory, 0)) refuse(0x51);
  if (bits(directory, 2, 10) !== 0n || beyond(directory)) refuse(0x52);
  return space(model, (directory & ~PAGE) + (used & 63n) * 64n, {
    ...question,
    access: (question.access & 7) | (isPriv ? 8 : 0),
    mayAskTranslations: has(context, 2),
  });
}

function space(
  model: Model,
  at: bigint,
  question: Question & { readonly mayAskTranslations: boolean },
): Found {
  const { read, haw } = model;
  const words = Array.from({ length: 8 }, (_, i) => {
    const word = read(at + BigInt(i) * 8n) ?? refuse(0x58);
    if (i === 0 && !has(word, 0)) refuse(0x59);
    return word;
  });
  const [low, cache, first] = words as [bigint, bigint, bigint];
  const beyond = (value: bigint): boolean => value >> haw !== 0n;
  const pgtt = Number(bits(low, 6, 3));
  const hasFirst = pgtt === 1 || pgtt === 3;
  const hasSecond = pgtt === 2 || pgtt === 3;
  const reserved =
    has(low, 5) ||
    bits(low, 10, 2) !== 0n ||
    bits(first, 8, 4) !== 0n ||
    bits(cache, 16, 7) !== 0n ||
    cache >> 25n !== 0n ||
    words.slice(3).some((word) => word !== 0n);
  if (reserved || beyond(first & ~PAGE) || beyond(low & ~PAGE)) refuse(0x5a);
  const fspm = bits(first, 2, 2);
  const aw = bits(low, 2, 3);
  if (pgtt === 0 || pgtt > 4 || (hasFirst && fspm > 1n) || (hasSecond && (aw < 1n || aw > 3n))) refuse(0x5b);
  const width = 30n + aw * 9n;
  if (pgtt === 3 && first >> (width < model.mgaw ? width : model.mgaw) !== 0n) refuse(0x5b);
  if (question.at === 1 && !question.mayAskTranslations) refuse(0x44);
  if (pgtt === 4) {
    if (beyond(question.iova)) refuse(0x83);
    return isInterrupt(question.iova) ? refuse(0x87) : identity(question.iova, 7);
  }
  const second: Second = { model, root: low & ~PAGE, width, tracks: has(low, 9) };
  const stage: First = { model, first, width: fspm === 1n ? 57n : 48n, second: pgtt === 3 ? second : null };
  const noted = new Noted(question.isPeek === true);
  const found = pgtt === 2 ? walkSecondOnly(second, question, noted) : walkFirst(stage, question, noted);
  if (!has(cache, 23) && noted.sets.size > 0) refuse(noted.hasFirst ? 0x90 : 0x7c);
  return found;
}

/** Bits that are set if the walk succeeds. */
class Noted {
  readonly sets = new Map<bigint, bigint>();
  /** Of a first stage. */
  hasFirst = false;

  constructor(readonly isPeek: boolean) {}

  add(at: bigint, set: bigint): void {
    if (this.isPeek) return;
    this.sets.set(at, (this.sets.get(at) ?? 0n) | set);
  }
}

/** What is answered at once is cut where interrupts are, on either side. */
function block(sizeLg2: number, ...addresses: readonly bigint[]): number {
  const size = BigInt(sizeLg2);
  const first = 0xfee0_0000n;
  const isCut = addresses.some((address) => address >> size === first >> size);
  return sizeLg2 > 20 && isCut ? 12 : sizeLg2;
}

/** Second-stage entries say nothing of execution. */
const withExecution = (rights: number): number => ((rights & 1) === 0 ? rights : rights | 4);

interface Second {
  readonly model: Model;
  readonly root: bigint;
  readonly width: bigint;
  readonly tracks: boolean;
}

interface Page {
  readonly address: bigint;
  readonly sizeLg2: number;
  readonly rights: number;
  /** HPA of its leaf, and whether that is to become dirty by a write. */
  readonly leaf: bigint;
  readonly isClean: boolean;
}

/** Nothing at all, no writing, no reading. */
function checkSecond(rights: number, access: number, isPartial: boolean): void {
  const missing = access & 3 & ~rights;
  if (rights === 0 && (isPartial || missing !== 0)) refuse(0x79);
  if (!isPartial && missing !== 0) refuse((missing & 2) !== 0 ? 0x85 : 0x86);
}

function walkSecondOnly(second: Second, { iova, access, at }: Question, noted: Noted): Found {
  const page = walkSecond(second, iova, noted);
  checkSecond(page.rights, access, at === 1);
  if (isInterrupt(page.address)) refuse(0x87);
  if (page.isClean && (access & page.rights & 2) !== 0) noted.add(page.leaf, SS_D);
  const permitted = withExecution(page.rights);
  return { hpa: page.address, sizeLg2: block(page.sizeLg2, iova, page.address), permitted, sets: noted.sets };
}

function walkSecond({ model, root, width, tracks }: Second, address: bigint, noted: Noted): Page {
  if (address >> (width < model.mgaw ? width : model.mgaw) !== 0n) refuse(0x84);
  let table = root;
  let rights = 3;
  for (let shift = width - 9n; ; shift -= 9n) {
    const at = table + ((address >> shift) & 511n) * 8n;
    const entry = model.read(at) ?? refuse(shift === width - 9n ? 0x7b : 0x78);
    if ((entry & 3n) === 0n) refuse(0x79);
    const isLarge = shift > 12n && has(entry, 7);
    const leadsToTable = shift > 12n && !isLarge;
    const reserved =
      bits(entry, 0, 52) >> model.haw !== 0n || has(entry, 62) || (leadsToTable && has(entry, 11));
    if (reserved || (isLarge && (shift > 30n || (entry & ADDRESS & ((1n << shift) - 1n)) !== 0n)))
      refuse(0x7a);
    rights &= Number(entry & 3n);
    if (tracks && !has(entry, 8)) noted.add(at, SS_A);
    if (isLarge || shift === 12n) {
      const low = (1n << shift) - 1n;
      return {
        address: (entry & ADDRESS & ~low) | (address & low),
        sizeLg2: Number(shift),
        rights,
        leaf: at,
        isClean: tracks && !has(entry, 9),
      };
    }
    table = entry & ADDRESS;
  }
}

interface First {
  readonly model: Model;
  /** Word 2 of the PASID entry. */
  readonly first: bigint;
  readonly width: bigint;
  readonly second: Second | null;
}

/** What a path through first-stage entries permits, after section 3.6.1. */
function firstRights(first: bigint, path: bigint, isXd: boolean, isPriv: boolean): number {
  const isUser = has(path, 2);
  if (!isPriv && !isUser) return 0;
  const writes = has(path, 1) || (isPriv && !has(first, 4));
  const executes = has(first, 1) && !isXd && !(isPriv && isUser && has(first, 6));
  return 1 | (writes ? 2 : 0) | (executes ? 4 : 0);
}

/** The last entry of a first stage, and where it leads. */
interface Leaf {
  readonly at: bigint;
  /** The table that it lies in, through the second stage. */
  readonly table: Page | null;
  readonly rights: number;
  /** A, EA; D. */
  readonly accessed: bigint;
  readonly dirty: bigint;
  readonly address: bigint;
  readonly sizeLg2: number;
}

function walkFirst(stage: First, question: Question, noted: Noted): Found {
  const { access } = question;
  const isPartial = question.at === 1;
  const leaf = findLeaf(stage, question, noted);
  checkFirst(leaf, question);
  if (isInterrupt(leaf.address)) refuse(0x87);
  const note = (writes: boolean): void => {
    const wanted = leaf.accessed | (writes ? leaf.dirty : 0n);
    if (wanted !== 0n) noteFirst(noted, leaf.at, wanted, leaf.table);
  };
  if (stage.second === null) {
    note(true);
    const sizeLg2 = block(leaf.sizeLg2, question.iova, leaf.address);
    return { hpa: leaf.address, sizeLg2, permitted: leaf.rights, sets: noted.sets };
  }
  const page = walkSecond(stage.second, leaf.address, noted);
  if (!isPartial) checkSecond(page.rights, access, false);
  if (isInterrupt(page.address)) refuse(0x87);
  const permitted = leaf.rights & withExecution(page.rights);
  if (isPartial && (permitted & 3) === 0) refuse(0x79);
  note((permitted & 2) !== 0);
  if (page.isClean && (access & permitted & 2) !== 0) noted.add(page.leaf, SS_D);
  const smaller = Math.min(leaf.sizeLg2, page.sizeLg2);
  const sizeLg2 = block(smaller, question.iova, leaf.address, page.address);
  return { hpa: page.address, sizeLg2, permitted, sets: noted.sets };
}

function findLeaf({ model, first, width, second }: First, { iova, access }: Question, noted: Noted): Leaf {
  const isPriv = (access & 8) !== 0;
  if (isPriv && !has(first, 0)) refuse(0x5d);
  if ((access & 4) !== 0 && !has(first, 1)) refuse(0x5c);
  const upper = BigInt.asIntN(64, iova) >> (width - 1n);
  if (upper !== 0n && upper !== -1n) refuse(0x80);
  let table = first & ~PAGE;
  let path = 6n;
  let isXd = false;
  for (let shift = width - 9n; ; shift -= 9n) {
    const isTop = shift === width - 9n;
    const page = second === null ? null : locate(model, second, table, isTop, noted);
    const at = (page === null ? table : page.address) + ((iova >> shift) & 511n) * 8n;
    const entry = model.read(at) ?? refuse(isTop ? 0x73 : 0x70);
    if (!has(entry, 0)) refuse(0x71);
    const isLarge = shift > 12n && has(entry, 7);
    const large = (1n << shift) - 1n;
    if (bits(entry, 0, 52) >> model.haw !== 0n) refuse(0x72);
    if (has(entry, 63) && !has(first, 5)) refuse(0x72);
    if (
      isLarge &&
      (shift > 30n || (shift === 30n && !model.has1GibFirst) || (entry & large & ~0x1fffn) !== 0n)
    )
      refuse(0x72);
    path &= entry;
    isXd ||= has(entry, 63);
    const isLeaf = isLarge || shift === 12n;
    const rights = firstRights(first, path, isXd, isPriv);
    const accessed = (FS_A | (has(first, 7) ? FS_EA : 0n)) & ~entry;
    const dirty = isLeaf && (access & rights & 2) !== 0 ? FS_D & ~entry : 0n;
    const isSet = (accessed | dirty) !== 0n && !noted.isPeek;
    if (isSet && page !== null && (page.rights & 2) === 0) refuse(0x77);
    if (isLeaf) {
      const address = (entry & ADDRESS & ~large & ~PAGE) | (iova & large);
      return { at, table: page, rights, accessed, dirty, address, sizeLg2: Number(shift) };
    }
    if (accessed !== 0n) noteFirst(noted, at, accessed, page);
    table = entry & ADDRESS;
  }
}

/** Bits of a first-stage entry; the page that it lies in becomes dirty in the second stage. */
function noteFirst(noted: Noted, at: bigint, set: bigint, table: Page | null): void {
  noted.add(at, set);
  noted.hasFirst = true;
  if (table?.isClean === true) noted.add(table.leaf, SS_D);
}

function locate(model: Model, second: Second, table: bigint, isTop: boolean, noted: Noted): Page {
  const limit = second.width < model.mgaw ? second.width : model.mgaw;
  if (table >> limit !== 0n) refuse(0x74);
  let found: Page;
  try {
    found = walkSecond(second, table, noted);
  } catch (error) {
    if (error instanceof Refused && error.reason === 0x79) refuse(isTop ? 0x75 : 0x76);
    throw error;
  }
  if ((found.rights & 1) === 0) refuse(isTop ? 0x75 : 0x76);
  // With accessed and dirty bits in the second stage tables are read as if they were written.
  return second.tracks && (found.rights & 2) === 0 ? refuse(0x77) : found;
}

function checkFirst({ rights }: Leaf, { access, at }: Question): void {
  const missing = access & 7 & ~rights;
  if (rights === 0 && (at === 1 || missing !== 0)) refuse(0x81);
  if (at !== 1 && missing !== 0) refuse((missing & 2) !== 0 ? 0x85 : 0x82);
}
