/** A group changes as a whole: when one of its devices refuses, those before it go back. */
import { describe, expect, test } from 'vitest';
import { catalogue, refuse } from '../../src/base/errno.js';
import { IommuGroup } from '../../src/hw/group.js';
import type { DmaDevice, Domain, Unit } from '../../src/hw/unit.js';

const rules = catalogue({ device_refuses: ['ENOMEM', 'the device {name} refuses'] });

/** A group of devices a, b, c of a unit that remembers where each one points; `refuses` will not move. */
function setUp(refuses: string): {
  group: IommuGroup;
  devices: DmaDevice[];
  points: Map<string, string>;
  domain: (name: string) => Domain;
} {
  const group = new IommuGroup();
  const points = new Map<string, string>();
  const names = new Map<Domain, string>();
  const move = (domain: Domain, device: DmaDevice): void => {
    if (device.name === refuses && names.get(domain) === 'new')
      refuse(rules.device_refuses, { name: refuses });
    points.set(device.name, names.get(domain) ?? 'blocked');
  };
  const unit = { name: 'fake', attach: move, setDevPasid: move } as unknown as Unit;
  const domain = (name: string): Domain => {
    const made = { kind: 'blocked', unit, iopfHandler: null, free: () => {} } as const;
    names.set(made, name);
    return made;
  };
  Object.assign(unit, { blockedDomain: domain('blocked') });
  const devices = ['a', 'b', 'c'].map(
    (name) => ({ name, unit, group, maxPasids: 8 }) as unknown as DmaDevice,
  );
  group.devices.push(...devices);
  return { group, devices, points, domain };
}

describe('the requester id', () => {
  test('of every device is moved, and blocked again after detach', () => {
    const { group, points, domain } = setUp('');
    const first = domain('first');
    group.attach(first, { domain: first });
    expect([...points.values()]).toEqual(['first', 'first', 'first']);
    expect(group.handle(0)?.domain).toBe(first);
    group.detach();
    expect([...points.values()]).toEqual(['blocked', 'blocked', 'blocked']);
    expect(group.handle(0)).toBeNull();
  });

  test('stays at the old domain for all when the second device refuses the new one', () => {
    const { group, points, domain } = setUp('b');
    const [old, fresh] = [domain('old'), domain('new')];
    group.attach(old, { domain: old });
    expect(() => group.replace(fresh, { domain: fresh })).toThrow('device_refuses');
    expect(Object.fromEntries(points)).toEqual({ a: 'old', b: 'old', c: 'old' });
    expect([group.domain, group.handle(0)?.domain]).toEqual([old, old]);
  });

  test('is blocked again for those before the one that refuses the first attachment', () => {
    const { group, points, domain } = setUp('c');
    const fresh = domain('new');
    expect(() => group.attach(fresh, { domain: fresh })).toThrow('device_refuses');
    expect(Object.fromEntries(points)).toEqual({ a: 'blocked', b: 'blocked' });
    expect(group.handle(0)).toBeNull();
  });
});

describe('a PASID', () => {
  test('goes back to the old domain when the last device refuses the new one', () => {
    const { group, devices, points, domain } = setUp('c');
    const [old, fresh] = [domain('old'), domain('new')];
    group.attachPasid(old, devices[0]!, 3, { domain: old });
    expect(() => group.replacePasid(fresh, devices[0]!, 3, { domain: fresh })).toThrow('device_refuses');
    expect(Object.fromEntries(points)).toEqual({ a: 'old', b: 'old', c: 'old' });
    expect(group.handle(3)?.domain).toBe(old);
  });

  test('is nothing to devices that have none', () => {
    const { group, devices, points, domain } = setUp('');
    Object.assign(devices[1]!, { maxPasids: 0 });
    const first = domain('first');
    group.attachPasid(first, devices[0]!, 3, { domain: first });
    expect(Object.fromEntries(points)).toEqual({ a: 'first', c: 'first' });
    group.detachPasid(3);
    expect(Object.fromEntries(points)).toEqual({ a: 'blocked', c: 'blocked' });
  });

  test('must be below the limit of every device that has any', () => {
    const { group, devices, domain } = setUp('');
    const first = domain('first');
    expect(() => group.attachPasid(first, devices[0]!, 8, { domain: first })).toThrow('pasid_too_large');
    group.attachPasid(first, devices[0]!, 7, { domain: first });
  });
});

test('DMA belongs to one owner until it has let go as often as it claimed', () => {
  const { group } = setUp('');
  const [one, two] = [{}, {}];
  group.claimDmaOwner(one);
  group.claimDmaOwner(one);
  group.releaseDmaOwner();
  expect(() => group.claimDmaOwner(two)).toThrow('group_other_owner');
  group.releaseDmaOwner();
  group.claimDmaOwner(two);
});
