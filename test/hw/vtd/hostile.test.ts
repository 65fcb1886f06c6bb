/**
 * Hostile tables: every request ends in a translation or in one reason, within a bounded number of loads, and both are
 * what a second implementation says, with what may be done there and the bits that are set. IOASIS_HOSTILE=10000000 makes it longer; the shares are printed.
 */
import { expect, test } from 'vitest';
import { isQualified } from '../../../src/hw/vtd/reasons.js';
import { HostileWorld, NESTED, Random } from './hostile.js';
import { answer, show } from './reference.js';

const CASES = Number(process.env['IOASIS_HOSTILE'] ?? 100_000);
/** Root, context, directory, PASID entry. */
const STRUCTURE_LOADS = 1 + 4 + 1 + 8;
/** 5 levels, each through 5; 5 more. */
const WALK_LOADS = 5 * 6 + 5;
/** So often a walk begins, when bits that it wants to set change meanwhile. */
const TRIES = 4;
/** So many of them change while they are walked. */
const CHANGING = Math.ceil(CASES / 20);
/** Of so many cases one is asked for as a translation request, too. */
const TRANSLATION_REQUESTS = 4;
/** Reasons that scalable mode can give without meddling during the walk. */
const REACHABLE = [
  0x38, 0x39, 0x3a, 0x40, 0x41, 0x42, 0x43, 0x45, 0x46, 0x48, 0x50, 0x51, 0x52, 0x58, 0x59, 0x5a, 0x5b, 0x5c,
  0x5d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x80, 0x81, 0x82, 0x83,
  0x84, 0x85, 0x86, 0x87, 0x90,
];

test(`${CASES} hostile tables`, { timeout: 30 * 60_000 }, () => {
  const random = new Random(Number(process.env['IOASIS_SEED'] ?? 20_260_801));
  const world = new HostileWorld(random);
  const { memory, unit, request } = world;
  const seen = new Map<number, number>();
  const nothingNear = memory.near;
  world.start();
  for (let index = 0; index < CASES; index += 1) {
    const question = world.build();
    for (let spoils = random.pick([0, 0, 0, 0, 0, 1, 1, 2]); spoils > 0; spoils -= 1) world.spoil();
    const isNowhere = random.chance(1);
    const root = isNowhere ? 0x40_0000_0000n : world.root;
    unit.write64(0x20, root | (1n << 10n));
    unit.write32(0x18, 0xc000_0000);
    const expected = answer(world.model(root), question);
    // In turns, so that both ways to the tables are judged: the one that counts, and the short one.
    memory.near = index % 2 === 0 ? memory.tables.near : nothingNear;
    memory.loads = 0;
    const hpa = world.ask(question.iova, question);
    const { loads } = memory;
    const got = show(world.answerTo(hpa));
    if (got !== show(expected) || loads > STRUCTURE_LOADS + WALK_LOADS)
      expect({ index, question, got, loads }).toEqual({ index, question, got: show(expected), loads: 0 });
    const reason = hpa === null ? request.reason : 0;
    seen.set(reason, (seen.get(reason) ?? 0) + 1);
    const faults = world.faults();
    const silenced = reason !== 0 && isQualified(reason) && faults.length === 0;
    if (!silenced && faults.length !== (reason === 0 ? 0 : 1))
      expect([index, faults]).toEqual([index, 'one fault']);
    // And from the caches, where nothing is left to be set.
    if ('hpa' in expected) {
      const again = show(world.answerTo(world.ask(question.iova, question)));
      if (again !== show({ ...expected, sets: new Map() })) expect([index, again]).toEqual([index, got]);
    }
    if (index % TRANSLATION_REQUESTS === 0) {
      unit.write32(0x18, 0xc000_0000);
      const forTranslation = { ...question, at: 1 };
      const wanted = show(answer(world.model(root), forTranslation));
      const told = show(world.answerTo(world.ask(question.iova, forTranslation)));
      if (told !== wanted) expect({ index, question, told }).toEqual({ index, question, told: wanted });
      world.faults();
    }
    world.clear();
  }
  const share = (count: number): string => `${((100 * count) / CASES).toFixed(2)} %`;
  const lines = [...seen]
    .toSorted(([a], [b]) => a - b)
    .map(([reason, count]) => `0x${reason.toString(16)} ${share(count)}`);
  console.log(`translated ${share(seen.get(0) ?? 0)}; ${lines.join(', ')}`);
  expect((seen.get(0) ?? 0) / CASES).toBeGreaterThan(0.4);
  const least = CASES >= 1_000_000 ? 100 : 1;
  expect(
    REACHABLE.filter((reason) => (seen.get(reason) ?? 0) < least).map((reason) => reason.toString(16)),
  ).toEqual([]);
});

test(`${CHANGING} tables that change during the walk`, { timeout: 30 * 60_000 }, () => {
  const random = new Random(4711);
  const world = new HostileWorld(random);
  const { memory, request } = world;
  const load64 = memory.load64.bind(memory);
  let countdown = 0;
  memory.load64 = (hi, lo) => {
    const found = load64(hi, lo);
    countdown -= 1;
    if (countdown === 0) {
      const { loadedHi, loadedLo } = memory;
      world.spoil();
      memory.loadedHi = loadedHi;
      memory.loadedLo = loadedLo;
    }
    return found;
  };
  world.start();
  const model = world.model();
  let asBefore = 0;
  let asAfter = 0;
  for (let index = 0; index < CHANGING; index += 1) {
    countdown = 0;
    const question = world.build();
    world.unit.write32(0x18, 0xc000_0000);
    const before = place(answer(model, question));
    countdown = 1 + random.below(world.kind === NESTED ? 40 : 20);
    memory.loads = 0;
    const hpa = world.ask(question.iova, question);
    const { loads } = memory;
    countdown = 0;
    expect(loads).toBeLessThanOrEqual(STRUCTURE_LOADS + TRIES * WALK_LOADS + 1);
    const got = hpa ?? request.reason;
    const faults = world.faults();
    const isSilenced = hpa === null && faults.length === 0 && isQualified(request.reason);
    if (!isSilenced) expect(faults.map(({ reason }) => reason)).toEqual(hpa === null ? [request.reason] : []);
    // One stage meets an entry once, before the change or after it. A second stage is met again and again.
    if (world.kind !== NESTED && got !== before) {
      expect([index, got]).toEqual([index, place(answer(model, question))]);
      asAfter += 1;
    } else if (world.kind !== NESTED) asBefore += 1;
    world.clear();
  }
  expect(Math.min(asBefore, asAfter)).toBeGreaterThan(CHANGING / 20);
});

/** Where, or the reason. */
function place(answered: ReturnType<typeof answer>): bigint | number {
  return 'hpa' in answered ? answered.hpa : answered.reason;
}
