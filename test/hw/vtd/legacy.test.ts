/** Legacy mode: what a second stage permits, and by which reasons it says so (sections 3.7.1, 7.1.2). */
import { expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { PS, SECOND, SS_RW, mapPage } from './structures.js';
import { CAP, EXEC, READ, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const NOWHERE = 0x40_0000_0000n;
const RIGHTS = [0n, 1n, 2n, 3n];

/** A device of translation type 1: it may ask for translations. */
function legacy({ ND = 6n } = {}): { world: World; entries: bigint[]; context: bigint; root: bigint } {
  // ESRTPS: setting the root table empties every cache.
  const world = new World({ cap: (CAP & ~7n) | ND | (1n << 63n) });
  const context = world.table();
  const root = world.table();
  world.put(world.root + 16n, context | 1n);
  world.put(context + 8n, 2n | (5n << 8n));
  world.put(context, root | 4n | 1n);
  return { world, entries: mapPage(world, root, IOVA, HPA | SS_RW, SECOND), context, root };
}

const look = (world: World, ask = {}): bigint | number =>
  world.ask(IOVA + 5n, { pasid: NO_PASID, ...ask }) ?? world.request.reason;

test('0x05 and 0x06: what is missing is said, of both the right to write', () => {
  const { world, entries } = legacy();
  const plain = entries.map((entry) => world.get(entry) & ~3n);
  for (const level of [0, 1, 2])
    for (const above of RIGHTS)
      for (const leaf of RIGHTS) {
        for (const [at, entry] of entries.entries())
          world.put(entry, plain[at]! | (at === level ? above : at === 3 ? leaf : SS_RW));
        // An entry without rights is not there.
        const rights = above === 0n || leaf === 0n ? 0 : Number(above & leaf);
        for (const access of [READ, WRITE, READ | WRITE]) {
          world.start(0);
          const missing = access & ~rights;
          const expected = missing === 0 ? HPA + 5n : (missing & WRITE) === 0 ? 0x06 : 0x05;
          for (let turn = 0; turn < 2; turn += 1)
            expect([level, above, leaf, access, look(world, { access })]).toEqual([
              level,
              above,
              leaf,
              access,
              expected,
            ]);
          const granted = rights === 0 ? 0 : (rights & READ) === 0 ? rights : rights | EXEC;
          look(world, { access, at: 1 });
          expect([level, above, leaf, access, world.request.permitted]).toEqual([
            level,
            above,
            leaf,
            access,
            granted,
          ]);
          world.faults();
        }
      }
});

test.each([
  ['0x03', 'a root that lies nowhere', 0x03, NOWHERE | 5n, 0n],
  ['0x07', 'a table that lies nowhere', 0x07, 0n, NOWHERE | SS_RW],
  ['0x0c', 'a table beyond the width of the host', 0x0c, 0n, (1n << 48n) | SS_RW],
  ['0x0c', 'a bit that is reserved', 0x0c, 0n, (1n << 62n) | SS_RW],
  ['0x0c', 'a large page that is not aligned', 0x0c, 0n, 0x1000n | PS | SS_RW],
  ['0x0e', 'a large page with interrupts', 0x0e, 0n, 0xfee0_0000n | PS | SS_RW],
])('%s: %s', (_number, _what, reason, context, entry) => {
  const made = legacy();
  const { world } = made;
  if (context !== 0n) world.put(made.context, context);
  if (entry !== 0n) world.put(made.entries[2]!, entry);
  world.start(0);
  const iova = (IOVA & ~0x1fffffn) + 0x5000n;
  for (const access of [READ, WRITE]) {
    expect(world.ask(iova, { pasid: NO_PASID, access })).toBe(null);
    expect(world.request.reason).toBe(reason);
  }
});

test('0x0b: a domain that the unit has no number for, bit by bit', () => {
  // ND 2: domain ids of 8 bits.
  const { world, context } = legacy({ ND: 2n });
  for (let bit = 0n; bit < 16n; bit += 1n) {
    world.put(context + 8n, 2n | (1n << (8n + bit)));
    world.start(0);
    expect([bit, look(world)]).toEqual([bit, bit < 8n ? HPA + 5n : 0x0b]);
  }
});

test('an address that passes through has to be one of the host', () => {
  const { world, context, root } = legacy();
  world.put(context, root | 8n | 1n);
  world.start(0);
  for (let n = 48n; n < 64n; n += 1n) {
    expect([n, world.ask(1n << n, { pasid: NO_PASID }), world.request.reason]).toEqual([n, null, 0x04]);
    world.faults();
  }
  const last = (1n << 48n) - 1n;
  expect(world.ask(last, { pasid: NO_PASID, access: WRITE })).toBe(last);
});
