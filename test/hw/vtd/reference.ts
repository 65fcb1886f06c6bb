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
}

/** Where the byte lies, or the fault reason. */
export type Answer = { readonly hpa: bigint } | { readonly reason: number };

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
const isInterrupt = (address: bigint): boolean => address >> 20n === 0xfeen;

export function answer(model: Model, question: Question): Answer {
  try {
    return { hpa: translate(model, question) };
  } catch (error) {
    if (error instanceof Refused) return { reason: error.reason };
    throw error;
  }
}

function translate(model: Model, question: Question): bigint {
  const { iova, pasid } = question;
  if (pasid < 0 && isInterrupt(iova)) {
    return (question.access & 7) === 2 ? iova : refuse(0x87);
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
  });
}

function space(model: Model, at: bigint, question: Question): bigint {
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
  const snoops = has(cache, 23);
  const secondStage: Second = { model, root: low & ~PAGE, width, tracks: has(low, 9) };
  if (pgtt === 4) {
    if (beyond(question.iova)) refuse(0x83);
    return isInterrupt(question.iova) ? refuse(0x87) : question.iova;
  }
  if (pgtt === 2) {
    const found = walkSecond(secondStage, question.iova);
    checkSecond(question.access, found.rights);
    if (isInterrupt(found.address)) refuse(0x87);
    if (!snoops && (found.misses || (found.isClean && (question.access & 2) !== 0))) refuse(0x7c);
    return found.address;
  }
  const stage: First = {
    model,
    first,
    width: fspm === 1n ? 57n : 48n,
    second: pgtt === 3 ? secondStage : null,
  };
  return walkFirst(stage, question, snoops);
}

/** Nothing at all, no writing, no reading. */
function checkSecond(access: number, rights: number): void {
  const missing = access & 3 & ~rights;
  if (missing !== 0) refuse(rights === 0 ? 0x79 : (missing & 2) !== 0 ? 0x85 : 0x86);
}

interface Second {
  readonly model: Model;
  readonly root: bigint;
  readonly width: bigint;
  readonly tracks: boolean;
}

interface Found {
  readonly address: bigint;
  readonly rights: number;
  /** An accessed bit is to be set; the leaf is not dirty. */
  readonly misses: boolean;
  readonly isClean: boolean;
}

function walkSecond({ model, root, width, tracks }: Second, address: bigint): Found {
  if (address >> (width < model.mgaw ? width : model.mgaw) !== 0n) refuse(0x84);
  let table = root;
  let rights = 3;
  let misses = false;
  for (let shift = width - 9n; ; shift -= 9n) {
    const entry =
      model.read(table + ((address >> shift) & 511n) * 8n) ?? refuse(shift === width - 9n ? 0x7b : 0x78);
    if ((entry & 3n) === 0n) refuse(0x79);
    const isLarge = shift > 12n && has(entry, 7);
    const leadsToTable = shift > 12n && !isLarge;
    const reserved =
      bits(entry, 0, 52) >> model.haw !== 0n || has(entry, 62) || (leadsToTable && has(entry, 11));
    if (reserved || (isLarge && (shift > 30n || (entry & ADDRESS & ((1n << shift) - 1n)) !== 0n)))
      refuse(0x7a);
    rights &= Number(entry & 3n);
    misses ||= tracks && !has(entry, 8);
    if (isLarge || shift === 12n) {
      const low = (1n << shift) - 1n;
      return {
        address: (entry & ADDRESS & ~low) | (address & low),
        rights,
        misses,
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

function walkFirst(
  { model, first, width, second }: First,
  { iova, access }: Question,
  snoops: boolean,
): bigint {
  const isPriv = (access & 8) !== 0;
  if (isPriv && !has(first, 0)) refuse(0x5d);
  if ((access & 4) !== 0 && !has(first, 1)) refuse(0x5c);
  const upper = BigInt.asIntN(64, iova) >> (width - 1n);
  if (upper !== 0n && upper !== -1n) refuse(0x80);
  let table = first & ~PAGE;
  let path = 6n;
  let isXd = false;
  let misses = { first: false, second: false };
  for (let shift = width - 9n; ; shift -= 9n) {
    const isTop = shift === width - 9n;
    const page = second === null ? null : locate(model, second, table, isTop);
    const hpa = page === null ? table : page.address;
    if (page?.misses === true) misses.second = true;
    const entry = model.read(hpa + ((iova >> shift) & 511n) * 8n) ?? refuse(isTop ? 0x73 : 0x70);
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
    const mayWrite = has(path, 1) ? isPriv || has(path, 2) : isPriv && !has(first, 4);
    const wants =
      !has(entry, 5) ||
      (has(first, 7) && !has(entry, 10)) ||
      (isLeaf && (access & 2) !== 0 && mayWrite && !has(entry, 6));
    if (wants) {
      if (page !== null && (page.rights & 2) === 0) refuse(0x77);
      misses.first = true;
    }
    if (!isLeaf) {
      table = entry & ADDRESS;
      continue;
    }
    const result = (entry & ADDRESS & ~large & ~PAGE) | (iova & (isLarge ? large : PAGE));
    checkFirst({ access, path, isXd, first });
    if (isInterrupt(result)) refuse(0x87);
    let hpaOut = result;
    if (second !== null) {
      const found = walkSecond(second, result);
      checkSecond(access, found.rights);
      if (isInterrupt(found.address)) refuse(0x87);
      misses.second ||= found.misses || (found.isClean && (access & 2) !== 0);
      hpaOut = found.address;
    }
    if (!snoops && misses.first) refuse(0x90);
    if (!snoops && misses.second) refuse(0x7c);
    return hpaOut;
  }
}

function locate(model: Model, second: Second, table: bigint, isTop: boolean): Found {
  const limit = second.width < model.mgaw ? second.width : model.mgaw;
  if (table >> limit !== 0n) refuse(0x74);
  let found: Found;
  try {
    found = walkSecond(second, table);
  } catch (error) {
    if (error instanceof Refused && error.reason === 0x79) refuse(isTop ? 0x75 : 0x76);
    throw error;
  }
  if ((found.rights & 1) === 0) refuse(isTop ? 0x75 : 0x76);
  // With accessed and dirty bits in the second stage tables are read as if they were written.
  return second.tracks && (found.rights & 2) === 0 ? refuse(0x77) : found;
}

function checkFirst({
  access,
  path,
  isXd,
  first,
}: {
  access: number;
  path: bigint;
  isXd: boolean;
  first: bigint;
}): void {
  const isPriv = (access & 8) !== 0;
  const isUser = has(path, 2);
  if (!isPriv && !isUser && (access & 7) !== 0) refuse(0x81);
  const writes = has(path, 1) || (isPriv && !has(first, 4));
  if ((access & 2) !== 0 && !writes) refuse(0x85);
  if ((access & 4) !== 0 && (isXd || (isPriv && isUser && has(first, 6)))) refuse(0x82);
}
