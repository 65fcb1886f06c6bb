/** As many PASIDs as a device has: all can be attached, and nothing is left of them. */
import { expect, test } from 'vitest';
import { Bench } from './bench.js';

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
