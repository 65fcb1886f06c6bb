/** A million PASIDs: what one costs does not grow with how many there are, and nothing is left of them. */
import { expect, test } from 'vitest';
import { Bench } from './bench.js';

/** Nanoseconds an attachment takes, by the shortest of a few runs. */
function costOf(count: number, runs: number): number {
  let best = Infinity;
  for (let run = 0; run < runs; run += 1) {
    const bench = new Bench();
    const device = bench.device(0x100);
    const domain = bench.unit.allocPaging(device, 0, null);
    const handle = { domain };
    const start = performance.now();
    for (let pasid = 1; pasid <= count; pasid += 1) device.group.attachPasid(domain, device, pasid, handle);
    best = Math.min(best, ((performance.now() - start) * 1e6) / count);
    // The last, as the hardware would find it.
    expect(bench.entry(0x100, count)[0]! & 1n).toBe(1n);
    expect(bench.entry(0x100, count + 1)[0]! & 1n).toBe(0n);
  }
  return best;
}

test('1,000,000 attachments cost no more than four times what 1,000 do, each', () => {
  costOf(1000, 20);
  let ratio = Infinity;
  // The machine may be busy with something else for a while.
  for (let attempt = 0; attempt < 5 && ratio >= 4; attempt += 1) {
    ratio = costOf(1_000_000, 2) / costOf(1000, 20);
  }
  expect(ratio).toBeLessThan(4);
}, 120_000);

test('all PASIDs of a device can be attached, and detached again', () => {
  const bench = new Bench();
  const device = bench.device(0x100, { pasidBits: 14 });
  const domain = bench.unit.allocPaging(device, 0, null);
  const before = bench.memory.tables.liveBlocks;
  for (let pasid = 1; pasid < 1 << 14; pasid += 1)
    device.group.attachPasid(domain, device, pasid, { domain });
  expect(() => device.group.attachPasid(domain, device, 1 << 14, { domain })).toThrow(/pasid_too_large/);
  // 256 tables of 64.
  expect(bench.memory.tables.liveBlocks - before).toBe(256);
  for (let pasid = 1; pasid < 1 << 14; pasid += 1) device.group.detachPasid(pasid);
  expect(bench.unit.domainIds.used).toBe(0);
  domain.free();
  bench.unit.remove(device);
  bench.unit.destroy();
  expect(bench.memory.tables.liveBlocks).toBe(0);
});
