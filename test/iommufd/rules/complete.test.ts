/** Every rule of the object model and of the units below it has a case that breaks it, or a reason why none can. */
import { expect, test } from 'vitest';
import { rules as coreRules } from '../../../src/hw/rules.js';
import { rules as mockRules } from '../../../src/hw/mock/rules.js';
import { rules as iommufdRules } from '../../../src/iommufd/rules.js';
import { rules as selftestRules } from '../../../src/selftest/rules.js';
import { createEngine } from '../../../src/machine/engine.js';
import { LocalClient } from '../../../src/machine/local-client.js';
import { unitCases } from '../../hw/cases.js';
import { groups } from './all.js';

/** Checks that nothing here can fail. What only a bug could break is an invariant, not a rule. */
const unreachable: Readonly<Record<string, string>> = {
  object_ids: 'takes 2^31 objects in one context, which no memory holds',
};

const declared = [iommufdRules, coreRules, mockRules, selftestRules].flatMap((rules) => Object.keys(rules));
const covered = [...Object.values(groups), unitCases].flatMap((cases) => Object.keys(cases));

test('every rule has a case, and every case a rule', () => {
  expect([...covered, ...Object.keys(unreachable)].toSorted()).toEqual(declared.toSorted());
});

test('one rule alone cannot be broken', () => {
  expect(Object.keys(unreachable)).toEqual(['object_ids']);
});

test('no_positions: a stream cannot be read at a position', () => {
  const client = new LocalClient(createEngine({ selftest: false }));
  const fd = client.open('/dev/iommu');
  expect(() => client.pread(fd, 1, 0n)).toThrow(
    expect.objectContaining({ code: 'ESPIPE', rule: 'no_positions' }),
  );
});

test('foreign_descriptor: a file of somebody else takes none of the calls of the engine', () => {
  const client = new LocalClient(createEngine({ selftest: false }));
  const { fd } = client.memfd(4096);
  expect(() => client.ioctl(fd, 0, 0n)).toThrow(
    expect.objectContaining({ code: 'EBADF', rule: 'foreign_descriptor' }),
  );
});

test('open_path: a device file that the machine has not is ENOENT', () => {
  const client = new LocalClient(createEngine({ selftest: false }));
  expect(() => client.open('/dev/vfio/vfio')).toThrow(
    expect.objectContaining({ code: 'ENOENT', rule: 'open_path' }),
  );
});
