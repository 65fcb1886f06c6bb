/** The unit's own walker and the generic walk of src/pt, over the same random and flipped tables. */
import { expect, test } from 'vitest';
import { Vtdss } from '../../../src/pt/formats/vtdss.js';
import { X86 } from '../../../src/pt/formats/x86.js';
import { USER, type PageTableFormat } from '../../../src/pt/format.js';
import { Walk, walk } from '../../../src/pt/walk.js';
import { HostileWorld, Random } from './hostile.js';
import { context, pasidEntry } from './structures.js';
import { hi32, lo32 } from './world.js';

const CASES = 4000;
const HAW = 48;

interface Stage {
  readonly format: PageTableFormat;
  readonly pgtt: bigint;
  readonly levels: number;
  /** AW of a second stage; FSPM of a first. */
  readonly width: bigint;
  readonly bits: bigint;
}

const stages: Stage[] = [
  { format: new X86({ maxOaLg2: HAW }), pgtt: 1n, levels: 4, width: 0n, bits: 0x67n },
  { format: new X86({ maxOaLg2: HAW }), pgtt: 1n, levels: 5, width: 4n, bits: 0x67n },
  { format: new Vtdss({ maxOaLg2: HAW }), pgtt: 2n, levels: 3, width: 1n, bits: 3n },
  { format: new Vtdss({ maxOaLg2: HAW }), pgtt: 2n, levels: 4, width: 2n, bits: 3n },
  { format: new Vtdss({ maxOaLg2: HAW }), pgtt: 2n, levels: 5, width: 3n, bits: 3n },
];

/** Writes a path of random tables down to a random leaf, and flips a bit in about every second case. */
function fill(world: HostileWorld, { levels, bits }: Stage, root: bigint, iova: bigint): void {
  const { random } = world;
  const leaf = random.pick([12n, 12n, 21n, 30n]);
  world.tables.push(root);
  let at = root;
  for (let shift = 12n + 9n * BigInt(levels - 1); ; shift -= 9n) {
    const entry = at + ((iova >> shift) & 511n) * 8n;
    world.path.push(entry);
    if (shift === leaf) {
      const target = BigInt(random.below(1 << 20)) << 30n;
      world.write(entry, (target & 0xffff_ffff_f000n) | bits | (shift > 12n ? 128n : 0n));
      break;
    }
    at = world.frame();
    world.write(entry, at | bits);
  }
  if (random.chance(60)) world.spoil();
}

test.each(stages.map((stage) => [stage.format.name, stage.levels, stage] as const))(
  '%s, %i levels',
  (_, __, stage) => {
    const random = new Random(77 + stage.levels);
    const world = new HostileWorld(random);
    const root = world.table();
    const isFirst = stage.pgtt === 1n;
    pasidEntry(world, context(world).entry, stage.pgtt, {
      ...(isFirst ? { first: root, firstFlags: stage.width | 32n } : { second: root, aw: stage.width }),
    });
    world.start();
    const generic = new Walk();
    let found = 0;
    for (let index = 0; index < CASES; index += 1) {
      const bits = 12 + 9 * stage.levels - (isFirst ? 1 : 0);
      const iova = BigInt.asUintN(
        bits,
        (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32)),
      );
      fill(world, stage, root, iova);
      const at = { rootHi: hi32(root), rootLo: lo32(root), topLevel: stage.levels - 1 };
      const reaches = walk(world.memory, stage.format, at, hi32(iova), lo32(iova), generic);
      const isReadable = reaches && (generic.prot & 1) !== 0 && (!isFirst || (generic.prot & USER) !== 0);
      const hpa = (BigInt(generic.oaHi >>> 0) << 32n) | BigInt(generic.oaLo >>> 0);
      const expected = isReadable && hpa >> 20n !== 0xfeen ? hpa : null;
      world.unit.write32(0x18, 0xc000_0000);
      expect([index, world.ask(iova)]).toEqual([index, expected]);
      world.faults();
      if (expected !== null) found += 1;
      world.clear();
    }
    expect(found).toBeGreaterThan(CASES * 0.4);
  },
);
