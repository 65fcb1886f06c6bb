/** One row per fault reason: exactly that structure is built wrong, and the record says exactly that (chapter 7). */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import type { AddressSpaceProvider } from '../../../src/mem/providers.js';
import {
  ALL_FLAGS,
  FIRST_FLAGS,
  FS_LEAF,
  FS_TABLE,
  PS,
  SECOND,
  SSADE,
  SS_RW,
  context,
  mapPage,
  pasidEntry,
} from './structures.js';
import { CAP, ECAP, EXEC, PRIV, READ, SOURCE, WRITE, World, type Ask, type WorldOptions } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
/** No memory is there: behind the tables, before the windows. */
const NOWHERE = 0x40_0000_0000n;
/** One bit above the host address width. */
const BEYOND = 1n << 48n;

interface Row {
  readonly reason: number;
  readonly what: string;
  readonly options?: WorldOptions;
  /** Builds the structures; the world starts in TTM 1 unless it returns another number. */
  readonly build: (world: World) => number | void;
  readonly ask?: Ask;
  readonly iova?: bigint;
}

/** Table 30, column "Qualified": what FPD does not silence. */
const UNQUALIFIED = new Set([0x01, 0x08, 0x09, 0x0a, 0x30, 0x31, 0x32, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58]);
/** Column "Translation Req": answered by a success without rights, or with what rights there are. */
const RECOVERABLE = new Set([
  0x04, 0x05, 0x06, 0x51, 0x59, 0x5c, 0x5d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x79, 0x80, 0x81,
  0x82, 0x83, 0x84, 0x85, 0x86, 0x90,
]);

/** A first stage that works. */
function first(world: World, leaf = HPA | FS_LEAF, options: Parameters<typeof mapPage>[4] = {}): bigint[] {
  const root = world.table();
  const entries = mapPage(world, root, IOVA, leaf, options);
  pasidEntry(world, context(world).entry, 1n, { first: root });
  return entries;
}

/** A second stage that works. */
function second(
  world: World,
  leaf = HPA | SS_RW,
  options: { levels?: number; size?: number } = {},
): bigint[] {
  const root = world.table();
  const entries = mapPage(world, root, IOVA, leaf, { ...SECOND, ...options });
  pasidEntry(world, context(world).entry, 2n, { second: root });
  return entries;
}

/** Guest-physical addresses of the guest's tables are those of the memory that they lie in. */
function nested(
  world: World,
  { leaf = 0x80_0000n | FS_LEAF, result = HPA | SS_RW, flags = 0n } = {},
): {
  first: bigint[];
  second: bigint[];
  tables: bigint[][];
  root: bigint;
} {
  const root = world.table();
  const guest = world.table();
  const entries = mapPage(world, guest, IOVA, leaf);
  const tables = entries.map((entry) => {
    const page = entry & ~0xfffn;
    return mapPage(world, root, page, page | SS_RW, SECOND);
  });
  const last = mapPage(world, root, 0x80_0000n, result, SECOND);
  pasidEntry(world, context(world).entry, 3n, { first: guest, second: root, flags });
  return { first: entries, second: last, tables, root };
}

function legacy(
  world: World,
  { q0 = 1n, q1 = 2n | (5n << 8n), leaf = HPA | SS_RW } = {},
): {
  contexts: bigint;
  entries: bigint[];
} {
  const contexts = world.table();
  world.put(world.root + 16n, contexts | 1n);
  const root = world.table();
  const entries = mapPage(world, root, IOVA, leaf, SECOND);
  world.put(contexts, root | q0);
  world.put(contexts + 8n, q1);
  return { contexts, entries };
}

const NONE: Ask = { pasid: NO_PASID };
const without = (bits: readonly number[]): bigint =>
  bits.reduce((ecap, n) => ecap & ~(1n << BigInt(n)), ECAP);

const legacyRows: Row[] = [
  { reason: 0x01, what: 'root entry not present', build: () => 0 },
  { reason: 0x02, what: 'context not present', build: (w) => (legacy(w, { q0: 0n }), 0) },
  { reason: 0x03, what: 'translation type 3', build: (w) => (legacy(w, { q0: 13n }), 0) },
  { reason: 0x03, what: 'a width of no table', build: (w) => (legacy(w, { q1: 5n << 8n }), 0) },
  {
    reason: 0x03,
    what: 'pass-through on a unit without',
    options: { ecap: without([6]) },
    build: (w) => (legacy(w, { q0: 9n }), 0),
  },
  { reason: 0x04, what: 'an address above the width', iova: 1n << 48n, build: (w) => (legacy(w), 0) },
  {
    reason: 0x05,
    what: 'no write permission',
    ask: { access: WRITE },
    build: (w) => (legacy(w, { leaf: HPA | 1n }), 0),
  },
  {
    reason: 0x06,
    what: 'no read permission',
    build: (w) => (legacy(w, { leaf: HPA | 2n }), 0),
  },
  { reason: 0x06, what: 'an empty entry', build: (w) => (legacy(w, { leaf: 0n }), 0) },
  {
    reason: 0x07,
    what: 'the next table nowhere',
    build: (w) => (w.put(legacy(w).entries[1]!, NOWHERE | 3n), 0),
  },
  { reason: 0x08, what: 'the root table nowhere', build: (w) => (w.start(0, NOWHERE), -1) },
  {
    reason: 0x09,
    what: 'the context table nowhere',
    build: (w) => (w.put(w.root + 16n, NOWHERE | 1n), 0),
  },
  {
    reason: 0x0a,
    what: 'a reserved bit in the root entry',
    build: (w) => (legacy(w), w.put(w.root + 24n, 1n), 0),
  },
  {
    reason: 0x0b,
    what: 'a reserved bit in the context',
    build: (w) => (legacy(w, { q0: 17n }), 0),
  },
  {
    reason: 0x0c,
    what: 'an address beyond HAW',
    build: (w) => (w.put(legacy(w).entries[1]!, BEYOND | 3n), 0),
  },
  { reason: 0x0d, what: 'a translation request, TT 0', ask: { at: 1 }, build: (w) => (legacy(w), 0) },
  {
    reason: 0x0d,
    what: 'a translated request, TT 2',
    ask: { at: 2 },
    build: (w) => (legacy(w, { q0: 9n }), 0),
  },
  {
    reason: 0x0e,
    what: 'output in the interrupt window',
    build: (w) => (legacy(w, { leaf: 0xfee0_0000n | SS_RW }), 0),
  },
  {
    reason: 0x0e,
    what: 'a read of the interrupt window',
    iova: 0xfee0_0000n,
    build: (w) => (legacy(w), 0),
  },
  {
    reason: 0x0e,
    what: 'a translated request into it',
    ask: { at: 2, access: WRITE },
    iova: 0xfee0_0000n,
    build: (w) => (legacy(w, { q0: 5n }), 0),
  },
  { reason: 0x31, what: 'a PASID', ask: { pasid: 3 }, build: (w) => (legacy(w), 0) },
];

const structureRows: Row[] = [
  { reason: 0x30, what: 'TTM 2', build: (w) => (second(w), 2) },
  { reason: 0x38, what: 'the root table nowhere', build: (w) => (w.start(1, NOWHERE), -1) },
  { reason: 0x39, what: 'root entry not present', build: () => {} },
  {
    reason: 0x3a,
    what: 'a reserved bit in the root entry',
    build: (w) => (second(w), spoil(w, context(w).rootEntry, 2n)),
  },
  {
    reason: 0x40,
    what: 'the context table nowhere',
    build: (w) => w.put(w.root + 16n, NOWHERE | 1n),
  },
  { reason: 0x41, what: 'context not present', build: (w) => (second(w), spoil(w, context(w).context, 1n)) },
  {
    reason: 0x42,
    what: 'a reserved bit in the context',
    build: (w) => (second(w), spoil(w, context(w).context, 32n)),
  },
  {
    reason: 0x42,
    what: 'bits in its last quarter',
    build: (w) => (second(w), spoil(w, context(w).context + 24n, 1n << 63n)),
  },
  {
    reason: 0x42,
    what: 'PRE on a unit without page requests',
    options: { ecap: without([29]) },
    build: (w) => void second(w),
  },
  { reason: 0x43, what: 'PRE without DTE', build: (w) => (second(w), spoil(w, context(w).context, 4n)) },
  {
    reason: 0x44,
    what: 'a translation request, DTE clear',
    ask: { at: 1 },
    build: (w) => (second(w), spoil(w, context(w).context, 20n)),
  },
  {
    reason: 0x44,
    what: 'a translated request, DTE clear',
    ask: { ...NONE, at: 2 },
    build: (w) => (second(w), spoil(w, context(w).context, 20n)),
  },
  {
    reason: 0x45,
    what: 'a PASID, PASIDE clear',
    build: (w) => (second(w), spoil(w, context(w).context, 8n)),
  },
  {
    reason: 0x46,
    what: 'the first PASID that the directory has not',
    ask: { pasid: 1 << 13 },
    build: (w) => (context(w, { flags: 4n | 8n | 16n }), undefined),
  },
  {
    reason: 0x43,
    what: 'RID_PASID that the directory has not',
    ask: NONE,
    build: (w) => w.put(context(w, { flags: 4n | 8n | 16n }).context + 8n, 1n << 13n),
  },
  {
    reason: 0x43,
    what: 'the same, whatever the PASID of the request',
    build: (w) => w.put(context(w, { flags: 4n | 8n | 16n }).context + 8n, 1n << 13n),
  },
  {
    reason: 0x48,
    what: 'the PASID that stands for none',
    build: (w) => (second(w), w.put(context(w).context + 8n, 3n)),
  },
  {
    reason: 0x89,
    what: 'the first PASID that the unit has not',
    ask: { pasid: 1 << 10 },
    options: { ecap: without([35, 36, 37, 38, 39]) | (9n << 35n) },
    build: (w) => void second(w),
  },
  {
    reason: 0x50,
    what: 'the directory nowhere',
    build: (w) => w.put(context(w).context, NOWHERE | ALL_FLAGS | 1n),
  },
  {
    reason: 0x51,
    what: 'directory entry not present',
    build: (w) => w.put(context(w).directory, 0n),
  },
  { reason: 0x52, what: 'a reserved bit in the directory', build: (w) => spoil(w, context(w).directory, 4n) },
  { reason: 0x52, what: 'a PASID table beyond HAW', build: (w) => spoil(w, context(w).directory, BEYOND) },
  {
    reason: 0x58,
    what: 'the PASID table nowhere',
    build: (w) => w.put(context(w).directory, NOWHERE | 1n),
  },
  { reason: 0x59, what: 'PASID entry not present', build: (w) => void context(w) },
  {
    reason: 0x5a,
    what: 'a reserved bit in the PASID entry',
    build: (w) => (second(w), spoil(w, context(w).entry, 32n)),
  },
  {
    reason: 0x5a,
    what: 'bits in its last word',
    build: (w) => (second(w), spoil(w, context(w).entry + 56n, 1n)),
  },
  {
    reason: 0x5a,
    what: 'SRE on a unit without',
    options: { ecap: without([31]) },
    build: (w) => void first(w),
  },
  ...(
    [
      ['bit 16 of its tags', {}, 2, 1n << 16n],
      ['bit 31 of its tags', {}, 2, 1n << 31n],
      ['PGSNP on a unit without snoop control', { ecap: without([7]) }, 2, 1n << 24n],
      ['PWSNP on a unit whose walks are not coherent', { ecap: without([48]) }, 2, 0n],
      ['CD on a unit without memory types', {}, 2, 1n << 25n],
      ['EMTE on a unit without memory types', {}, 2, 1n << 26n],
      ['PAT on a unit without memory types', {}, 2, 1n << 63n],
      ['SSADE on a unit without', { ecap: without([45]) }, 0, SSADE],
      ['a root on a unit without second stages', { ecap: without([46]) }, 0, 0n],
      ['a first stage on a unit without', { ecap: without([47]) }, 4, HPA],
      ['a root beyond HAW that nobody asks for', {}, 4, BEYOND],
    ] as const
  ).map(([what, options, word, bits]): Row => ({
    reason: 0x5a,
    what,
    options,
    build: (w) => (second(w), spoil(w, context(w).entry + BigInt(word * 4), bits)),
  })),
  {
    reason: 0x5a,
    what: 'a domain id that the unit has not',
    options: { cap: (CAP & ~7n) | 1n },
    build: (w) => (second(w), spoil(w, context(w).entry + 8n, 1n << 6n)),
  },
  {
    reason: 0x5b,
    what: "a guest's root above the second stage",
    build: (w) => (nested(w), spoil(w, context(w).entry + 16n, 1n << 48n)),
    options: { haw: 52 },
  },
  { reason: 0x5b, what: 'PGTT 0', build: (w) => pasidEntry(w, context(w).entry, 0n) },
  { reason: 0x5b, what: 'PGTT 5', build: (w) => pasidEntry(w, context(w).entry, 5n) },
  {
    reason: 0x5b,
    what: 'a width of no second stage',
    build: (w) => pasidEntry(w, context(w).entry, 2n, { aw: 0n }),
  },
  {
    reason: 0x5b,
    what: 'five levels on a unit with four',
    options: { cap: CAP & ~(1n << 60n) },
    build: (w) => pasidEntry(w, context(w).entry, 1n, { firstFlags: FIRST_FLAGS | 4n }),
  },
  {
    reason: 0x5b,
    what: 'nesting on a unit without',
    options: { ecap: without([26]) },
    build: (w) => void nested(w),
  },
  {
    reason: 0x5c,
    what: 'execution, ERE clear',
    ask: { access: READ | EXEC },
    build: (w) => (first(w), spoil(w, context(w).entry + 16n, 2n)),
  },
  {
    reason: 0x5d,
    what: 'privilege, SRE clear',
    ask: { access: READ | PRIV },
    build: (w) => (first(w), spoil(w, context(w).entry + 16n, 1n)),
  },
];

const stageRows: Row[] = [
  {
    reason: 0x70,
    what: 'a first-stage table nowhere',
    build: (w) => w.put(first(w)[1]!, NOWHERE | FS_TABLE),
  },
  {
    reason: 0x71,
    what: 'a first-stage entry not present',
    build: (w) => void first(w, 0n),
  },
  { reason: 0x72, what: 'a table beyond HAW', build: (w) => spoil(w, first(w)[1]!, BEYOND) },
  { reason: 0x72, what: "a guest's table beyond HAW", build: (w) => spoil(w, nested(w).first[1]!, BEYOND) },
  {
    reason: 0x72,
    what: 'XD without NXE',
    build: (w) => (spoil(w, first(w)[3]!, 1n << 63n), spoil(w, context(w).entry + 16n, 32n)),
  },
  { reason: 0x72, what: 'PS in the highest level', build: (w) => spoil(w, first(w)[0]!, PS) },
  {
    reason: 0x72,
    what: 'a large page that is not aligned',
    build: (w) => void first(w, (HPA & ~0x1fffffn) | 0x2000n | FS_LEAF, { size: 21 }),
  },
  {
    reason: 0x72,
    what: 'a 1 GiB page on a unit without',
    options: { cap: CAP & ~(1n << 56n) },
    build: (w) => void first(w, (1n << 30n) | FS_LEAF, { size: 30 }),
  },
  {
    reason: 0x73,
    what: 'the first-stage root nowhere',
    build: (w) => pasidEntry(w, context(w).entry, 1n, { first: NOWHERE }),
  },
  {
    reason: 0x73,
    what: 'a space whose owner is gone',
    build: (w) => pasidEntry(w, context(w).entry, 1n, { first: 1n << 39n }),
  },
  {
    reason: 0x71,
    what: 'a space whose owner has nothing there',
    build: (w) =>
      pasidEntry(w, context(w).entry, 1n, { first: BigInt(w.memory.providers.add(nobody)) << 12n }),
  },
  {
    reason: 0x74,
    what: 'a guest table above the second stage',
    options: { haw: 52 },
    build: (w) => w.put(nested(w).first[1]!, (1n << 48n) | FS_TABLE),
  },
  {
    reason: 0x75,
    what: 'the guest root not readable',
    build: (w) => w.put(nested(w).tables[0]![3]!, 0n),
  },
  {
    reason: 0x76,
    what: 'a guest table not readable',
    build: (w) => spoil(w, nested(w).tables[2]![3]!, 1n),
  },
  {
    reason: 0x77,
    what: 'a guest table not writable, A to be set',
    build: (w) => {
      const { first: entries, tables } = nested(w);
      spoil(w, entries[2]!, 32n);
      spoil(w, tables[2]![3]!, 2n);
    },
  },
  {
    reason: 0x77,
    what: 'a guest table that is read only, and a second stage with accessed bits',
    build: (w) => {
      spoil(w, nested(w).tables[2]![3]!, 2n);
      spoil(w, context(w).entry, SSADE);
    },
  },
  { reason: 0x78, what: 'a second-stage table nowhere', build: (w) => w.put(second(w)[1]!, NOWHERE | SS_RW) },
  { reason: 0x79, what: 'an empty second-stage entry', build: (w) => void second(w, 0n) },
  {
    reason: 0x79,
    what: 'nothing that every level permits',
    build: (w) => {
      const entries = second(w);
      spoil(w, entries[1]!, 1n);
      spoil(w, entries[3]!, 2n);
    },
  },
  {
    reason: 0x79,
    what: 'the result of a nested walk not mapped',
    build: (w) => void nested(w, { result: 0n }),
  },
  { reason: 0x7a, what: 'a second-stage table beyond HAW', build: (w) => spoil(w, second(w)[1]!, BEYOND) },
  { reason: 0x7a, what: 'PS in the highest level', build: (w) => spoil(w, second(w)[0]!, PS) },
  {
    reason: 0x7a,
    what: 'a 1 GiB page on a unit without',
    options: { cap: CAP & ~(2n << 34n) },
    build: (w) => void second(w, (1n << 30n) | SS_RW, { size: 30 }),
  },
  {
    reason: 0x7a,
    what: 'SNP of an entry that leads to a table',
    build: (w) => spoil(w, second(w)[1]!, 1n << 11n),
  },
  {
    reason: 0x7a,
    what: 'SNP on a unit without snoop control',
    options: { ecap: without([7]) },
    build: (w) => spoil(w, second(w)[3]!, 1n << 11n),
  },
  {
    reason: 0x7b,
    what: 'the second-stage root nowhere',
    build: (w) => pasidEntry(w, context(w).entry, 2n, { second: NOWHERE }),
  },
  {
    reason: 0x7c,
    what: 'A to be set in a second stage that is not snooped',
    build: (w) => {
      const root = w.table();
      mapPage(w, root, IOVA, HPA | SS_RW, SECOND);
      pasidEntry(w, context(w).entry, 2n, { second: root, flags: SSADE, cache: 0n });
    },
  },
  {
    reason: 0x80,
    what: 'the first address that is not canonical',
    iova: 1n << 47n,
    build: (w) => void first(w),
  },
  { reason: 0x81, what: 'a privileged page', build: (w) => spoil(w, first(w)[3]!, 4n) },
  {
    reason: 0x82,
    what: 'XD',
    ask: { access: EXEC },
    build: (w) => spoil(w, first(w)[2]!, 1n << 63n),
  },
  {
    reason: 0x83,
    what: 'pass-through beyond HAW',
    iova: BEYOND,
    build: (w) => pasidEntry(w, context(w).entry, 4n),
  },
  { reason: 0x84, what: 'an address above the second stage', iova: 1n << 48n, build: (w) => void second(w) },
  {
    reason: 0x84,
    what: 'a nested result above it',
    options: { haw: 52 },
    build: (w) => void nested(w, { leaf: (1n << 48n) | FS_LEAF }),
  },
  {
    reason: 0x85,
    what: 'no write permission in the second stage',
    ask: { access: WRITE },
    build: (w) => spoil(w, second(w)[1]!, 2n),
  },
  {
    reason: 0x85,
    what: 'no write permission in the second stage of a nested result',
    ask: { access: WRITE },
    build: (w) => void nested(w, { result: HPA | 1n }),
  },
  {
    reason: 0x86,
    what: 'no read permission in the second stage',
    build: (w) => spoil(w, second(w)[1]!, 1n),
  },
  {
    reason: 0x86,
    what: 'no read permission in the second stage of a nested result',
    build: (w) => void nested(w, { result: HPA | 2n }),
  },
  {
    reason: 0x85,
    what: 'no write permission in the first stage',
    ask: { access: WRITE },
    build: (w) => spoil(w, first(w)[1]!, 2n),
  },
  {
    reason: 0x85,
    what: 'privileged, WPE',
    ask: { access: WRITE | PRIV },
    build: (w) => spoil(w, first(w)[3]!, 2n),
  },
  {
    reason: 0x86,
    what: 'an owner that permits no reading',
    build: (w) =>
      pasidEntry(w, context(w).entry, 1n, { first: BigInt(w.memory.providers.add(writeOnly)) << 12n }),
  },
  {
    reason: 0x87,
    what: 'a first-stage result in the interrupt window',
    build: (w) => void first(w, 0xfee0_0000n | FS_LEAF),
  },
  { reason: 0x87, what: 'a second-stage result in it', build: (w) => void second(w, 0xfeef_f000n | SS_RW) },
  {
    reason: 0x87,
    what: 'a translated request into it',
    ask: { ...NONE, at: 2, access: WRITE },
    iova: 0xfee0_0000n,
    build: (w: World) => void second(w),
  },
  {
    reason: 0x87,
    what: 'a PASID that passes through into it',
    ask: { access: WRITE },
    iova: 0xfee0_0000n,
    build: (w) => pasidEntry(w, context(w).entry, 4n),
  },
  {
    reason: 0x87,
    what: 'a large page that has it inside',
    iova: 0xfee1_2000n,
    build: (w) => {
      const root = w.table();
      mapPage(w, root, 0xfee0_0000n, 0xfee0_0000n | SS_RW, { ...SECOND, size: 21 });
      pasidEntry(w, context(w).entry, 2n, { second: root });
    },
  },
  {
    reason: 0x90,
    what: 'A to be set in a first stage that is not snooped',
    build: (w) => {
      const root = w.table();
      mapPage(w, root, IOVA, HPA | 7n);
      pasidEntry(w, context(w).entry, 1n, { first: root, cache: 0n });
    },
  },
];

const nobody: AddressSpaceProvider = { name: 'nobody', translate: () => false, onInvalidate: null };
const writeOnly: AddressSpaceProvider = {
  name: 'write-only',
  translate: (_hi, _lo, _access, page) => {
    page.permitted = 2;
    return true;
  },
  onInvalidate: null,
};

/** Flips bits of an entry. */
function spoil(world: World, at: bigint, bits: bigint): void {
  world.put(at, world.get(at) ^ bits);
}

function build(row: Row): World {
  const world = new World(row.options);
  const ttm = row.build(world) ?? 1;
  if (ttm >= 0) world.start(ttm);
  return world;
}

function asked(row: Row, legacyMode: boolean): Ask {
  return { ...(legacyMode ? NONE : {}), ...row.ask };
}

describe.each([
  ['legacy mode', legacyRows, true],
  ['structures', structureRows, false],
  ['stages', stageRows, false],
] as const)('%s', (_, rows, isLegacy) => {
  test.each(rows.map((row) => [row.reason.toString(16), row.what, row] as const))(
    '0x%s: %s',
    (_number, _what, row) => {
      const world = build(row);
      const ask = asked(row, isLegacy);
      const iova = row.iova ?? IOVA;
      world.memory.loads = 0;
      expect(world.ask(iova, ask)).toBe(null);
      expect(world.memory.loads).toBeLessThanOrEqual(14 + 5 * 6 + 5);
      expect(world.request.reason).toBe(row.reason);
      const access = ask.access ?? READ;
      expect(world.faults()).toEqual([
        {
          reason: row.reason,
          source: SOURCE,
          pasid: ask.pasid ?? 3,
          address: iova & ~0xfffn,
          type: (access & (READ | EXEC)) === 0 ? 0 : 2,
          at: ask.at ?? 0,
        },
      ]);
      // What was refused is not cached: the same answer again.
      expect(world.ask(iova, ask)).toBe(null);
      expect(world.request.reason).toBe(row.reason);
    },
  );

  const recoverable = rows.filter((row) => (row.ask?.at ?? 0) === 0 && row.reason !== 0x31);
  test.each(recoverable.map((row) => [row.reason.toString(16), row.what, row] as const))(
    'a translation request, 0x%s: %s',
    (_number, _what, row) => {
      const world = build(row);
      if (isLegacy && row.reason !== 0x0d) {
        const at = world.get(world.root + 16n) & ~0xfffn;
        if (row.reason > 0x03 && row.reason < 0x0d && at !== 0n && at !== NOWHERE) spoil(world, at, 4n);
      }
      const ask = { ...asked(row, isLegacy), at: 1 };
      const answer = world.ask(row.iova ?? IOVA, ask);
      // Special condition S.1: a device may ask for everything that it writes to, interrupts among it.
      const isWindow = ask.pasid === NO_PASID && (row.iova ?? IOVA) >> 20n === 0xfeen;
      if (RECOVERABLE.has(row.reason) || isWindow) {
        // Some rights may be left; then the completion has them, and only them.
        const missing = (ask.access ?? READ) & ~(answer === null ? 0 : world.request.permitted);
        expect(missing).not.toBe(0);
        expect(world.faults()).toEqual([]);
        if (answer === null) expect(world.request.recoverable).toBe(true);
      } else {
        expect(answer).toBe(null);
        expect([world.request.recoverable, world.faults().length]).toEqual([false, 1]);
      }
    },
  );
});

describe('FPD', () => {
  const rows = [...structureRows, ...stageRows];
  test.each(rows.map((row) => [row.reason.toString(16), row.what, row] as const))(
    '0x%s: %s',
    (_n, _w, row) => {
      const world = build(row);
      const root = world.get(world.root + 16n);
      const contexts = root & ~0xfffn;
      if ((root & 1n) === 0n || contexts === NOWHERE) return;
      // In the context entry, where every later fault passes.
      spoil(world, contexts, 2n);
      expect(world.ask(row.iova ?? IOVA, asked(row, false))).toBe(null);
      expect(world.request.reason).toBe(row.reason);
      expect(world.faults().length).toBe(UNQUALIFIED.has(row.reason) ? 1 : 0);
    },
  );
});
