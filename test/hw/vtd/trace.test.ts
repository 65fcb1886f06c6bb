/** What `trace` tells: every entry with its name, and the same verdict as the unit itself. */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
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

describe('trace', () => {
  test('a nested walk: structures, then each first-stage entry behind the second stage of its table', () => {
    const { world, first, second } = nested();
    const found = world.unit.trace(SOURCE, PASID, IOVA + 9n);
    expect([found.hpa, found.sizeLg2, found.permitted, found.reason]).toEqual([HPA + 9n, 12, 7, 0]);
    const names = found.steps.map((step) => step.table);
    expect(names.slice(0, 4)).toEqual(['root', 'context', 'PASID directory', 'PASID table']);
    expect(names.slice(4, 10)).toEqual([
      "second stage, level 4 (to the first stage's level 4)",
      "second stage, level 3 (to the first stage's level 4)",
      "second stage, level 2 (to the first stage's level 4)",
      "second stage, level 1 (to the first stage's level 4)",
      'first stage, level 4',
      "second stage, level 4 (to the first stage's level 3)",
    ]);
    const entries = (name: string): bigint[] =>
      found.steps
        .filter((step) => step.table.startsWith(name) && !step.table.includes('('))
        .map((step) => step.address);
    expect(entries('first stage')).toEqual(first);
    expect(entries('second stage')).toEqual(second);
    expect(found.steps.every((step) => step.reason === null)).toBe(true);
    const pasid = found.steps[3]!;
    expect(pasid.index).toBe(PASID);
    expect(pasid.words).toHaveLength(8);
    expect(pasid.bits.slice(0, 3)).toEqual(['P', 'AW=2', 'PGTT=3 (nested)']);
    expect(pasid.bits).toContain('DID=5');
    // It only looks.
    expect([world.faults(), world.unit.statistics.iotlbEntries]).toEqual([[], 0]);
  });

  test('it ends at the entry that is wrong, with the text of the kernel', () => {
    const { world, first } = nested();
    world.put(first[2]!, 0n);
    const found = world.unit.trace(SOURCE, PASID, IOVA);
    expect([found.hpa, found.reason, found.reasonName]).toEqual([null, 0x71, 'FS_NOT_PRESENT']);
    expect(found.reasonText).toBe('SM: Present bit in first-level paging entry is clear');
    const last = found.steps.at(-1)!;
    expect([last.table, last.address, last.reason]).toEqual([
      'first stage, level 2',
      first[2],
      found.reasonText,
    ]);
  });

  test('a structure that is not there', () => {
    const world = new World();
    world.start();
    const found = world.unit.trace(SOURCE, PASID, 0n);
    expect(found.steps.map((step) => [step.table, step.index])).toEqual([['root', 1]]);
    expect(found.steps[0]!.reason).toBe('SM: Present bit in Root Entry is clear');
  });

  test('legacy mode', () => {
    const world = new World();
    const contexts = world.table();
    world.put(world.root + 16n, contexts | 1n);
    const root = world.table();
    mapPage(world, root, IOVA, HPA | SS_RW, SECOND);
    world.put(contexts, root | 1n);
    world.put(contexts + 8n, 2n | (5n << 8n));
    world.start(0);
    const found = world.unit.trace(SOURCE, NO_PASID, IOVA);
    expect(found.hpa).toBe(HPA);
    expect(found.steps.map((step) => step.table)).toEqual([
      'root',
      'context',
      'second stage, level 4',
      'second stage, level 3',
      'second stage, level 2',
      'second stage, level 1',
    ]);
    expect(found.steps[1]!.bits).toContain('DID=5');
  });
});

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
