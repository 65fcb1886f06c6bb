/** What a unit says of its caches. */
import { expect, test } from 'vitest';
import { FS_LEAF, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import { PASID, SOURCE, World } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;

function nested(): { world: World; first: bigint[]; second: bigint[] } {
  const world = new World();
  const root = world.table();
  const guest = world.table();
  const first = mapPage(world, guest, IOVA, 0x80_0000n | FS_LEAF);
  for (const entry of first) mapPage(world, root, entry & ~0xfffn, (entry & ~0xfffn) | SS_RW, SECOND);
  const second = mapPage(world, root, 0x80_0000n, HPA | SS_RW, SECOND);
  pasidEntry(world, context(world).entry, 3n, { first: guest, second: root });
  world.start();
  return { world, first, second };
}

test('what is cached can be listed', () => {
  const { world } = nested();
  world.ask(IOVA + 5n, { access: 2 });
  expect([...world.unit.cachedTranslations()]).toEqual([
    {
      kind: 'nested',
      did: 5,
      pasid: PASID,
      iova: IOVA,
      hpa: HPA,
      sizeLg2: 12,
      permitted: 7,
      isWritten: true,
    },
  ]);
  const [space, ...rest] = [...world.unit.cachedSpaces()];
  expect(rest).toEqual([]);
  expect(space).toMatchObject({ source: SOURCE, pasid: PASID, did: 5, pgtt: 3 });
  const steps = [...world.unit.cachedSteps()];
  expect(steps.length).toBe(world.unit.statistics.pagingEntries);
  const block = (lg2: number): bigint => (IOVA >> BigInt(lg2)) << BigInt(lg2);
  for (const sizeLg2 of [21, 30]) {
    expect(steps.filter((step) => step.kind === 'first' && step.sizeLg2 === sizeLg2)).toMatchObject([
      { did: 5, pasid: PASID, iova: block(sizeLg2) },
    ]);
  }
  // A page for each of the guest's four tables; steps of the second stage have no PASID.
  expect(steps.filter(({ kind }) => kind === 'page')).toHaveLength(4);
  for (const { kind, pasid } of steps) expect(pasid === -1).toBe(kind !== 'first');
});
