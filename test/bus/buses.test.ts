import { expect, test } from 'vitest';
import type { Endpoint } from '../../src/bus/dma.js';
import { Endpoints } from '../../src/bus/endpoints.js';
import { parsePciName, pciName } from '../../src/bus/pci.js';

const endpoint = (sourceId: number): Endpoint => ({
  name: `e${sourceId}`,
  sourceId,
  invalidateDeviceTlb: () => false,
  pageGroupResponse: () => {},
});

test('requester ids are formed from bus, device and function, and names from them', () => {
  expect(parsePciName('0001:3a:1f.7')).toEqual({ segment: 1, rid: 0x3aff });
  expect(parsePciName('3a:1f.7')).toEqual({ segment: 0, rid: 0x3aff });
  expect(pciName(1, 0x3aff)).toBe('0001:3a:1f.7');
  for (const wrong of ['3a:20.0', '3a:1f.8', '3a1f.7', '1:2:3:4.5', ''])
    expect(parsePciName(wrong)).toBeNull();
});

test('a unit finds the device with a requester id, and none after it is gone', () => {
  const served = new Endpoints();
  const device = endpoint(0x10);
  served.add(device);
  expect(served.endpoint(0x10)).toBe(device);
  expect(() => served.add(endpoint(0x10))).toThrow('requester id');
  served.remove(device);
  expect(served.endpoint(0x10)).toBeNull();
});
