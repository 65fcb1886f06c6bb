/** `ioasis walk` beside the specification: whatever the tables are, it says what a read by that device would meet. */
import { expect, test } from 'vitest';
import { VtdWalk } from '../../src/machine/inspect/vtd-walk.js';
import { NO_PASID } from '../../src/bus/dma.js';
import { HostileWorld, Random } from '../hw/vtd/hostile.js';
import { answer, type Model } from '../hw/vtd/reference.js';
import { HAW, READ, SOURCE, WRITE } from '../hw/vtd/world.js';

const CASES = 20_000;

test(`${CASES} hostile tables are walked as the reference walks them`, { timeout: 120_000 }, () => {
  const random = new Random(20_261_126);
  const world = new HostileWorld(random);
  const { memory, unit } = world;
  const read = (hpa: bigint): bigint | null =>
    memory.load64(Number(hpa >> 32n), Number(hpa & 0xffff_ffffn) | 0)
      ? (BigInt(memory.loadedHi >>> 0) << 32n) | BigInt(memory.loadedLo >>> 0)
      : null;
  world.start();
  const seen = new Set<number>();
  for (let index = 0; index < CASES; index += 1) {
    const question = { ...world.build(), access: READ };
    for (let spoils = random.pick([0, 0, 0, 0, 0, 1, 1, 2]); spoils > 0; spoils -= 1) world.spoil();
    const root = random.chance(1) ? 0x40_0000_0000n : world.root;
    unit.write64(0x20, root | (1n << 10n));
    unit.write32(0x18, 0xc000_0000);
    const model: Model = { read, root, haw: BigInt(HAW), mgaw: 57n, has1GibFirst: true };
    const expected = answer(model, question);
    const { pasid = NO_PASID, iova } = question;
    const result = new VtdWalk(memory, unit, {
      sourceId: SOURCE,
      pasid: pasid === NO_PASID ? null : pasid,
      iova,
      hostAddressWidth: HAW,
    }).run();
    seen.add('reason' in expected ? expected.reason : 0);
    const got = result.kind === 'page' ? `at ${result.hpa}` : `reason ${result.reason}`;
    const wanted = print(expected);
    // What may not be read, and is no fault for that alone, is walked as for a write.
    const isWriteOnly = [0x79, 0x86, 0x87].some((reason) => wanted === `reason ${reason}`);
    const asWrite = isWriteOnly ? print(answer(model, { ...question, access: WRITE })) : wanted;
    const isPage = result.kind === 'page' && result.permits === 'write';
    const agrees = got === wanted || got === asWrite || (isWriteOnly && isPage);
    if (!agrees) expect({ index, question, got }).toEqual({ index, question, got: wanted });
    world.clear();
  }
  expect(seen.size).toBeGreaterThan(35);
});

function print(answered: ReturnType<typeof answer>): string {
  return 'hpa' in answered ? `at 0x${answered.hpa.toString(16)}` : `reason ${answered.reason}`;
}
