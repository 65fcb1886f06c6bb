import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../src/bus/dma.js';
import { parsePciName, PciSegment } from '../../src/bus/pci.js';
import { PlatformBus } from '../../src/bus/platform.js';
import { PageTranslator } from './page-translator.js';

const translator = new PageTranslator();
const rid = (text: string): number => parsePciName(text)!.rid;

const endpoint = (sourceId: number): Endpoint => ({
  name: `e${sourceId}`,
  sourceId,
  invalidateDeviceTlb: () => false,
  pageGroupResponse: () => {},
});

describe('a PCI segment', () => {
  test('forms requester ids from bus, device and function, and names from them', () => {
    const segment = new PciSegment(1, translator);
    const made = segment.place(rid('3a:1f.7'));
    expect(made).toMatchObject({ rid: 0x3aff, sourceId: 0x3aff, name: '0001:3a:1f.7' });
    expect(segment.at(0x3aff)).toBe(made);
    expect(parsePciName('0001:3a:1f.7')).toEqual({ segment: 1, rid: 0x3aff });
    for (const wrong of ['3a:20.0', '3a:1f.8', '3a1f.7', '1:2:3:4.5', ''])
      expect(parsePciName(wrong)).toBeNull();
  });

  test('routes to the device with a requester id, and to none after it is gone', () => {
    const segment = new PciSegment(0, translator);
    const device = endpoint(0x10);
    segment.add(device);
    expect(segment.endpoint(0x10)).toBe(device);
    expect(() => segment.add(endpoint(0x10))).toThrow('requester id');
    segment.remove(device);
    expect(segment.endpoint(0x10)).toBeNull();
  });

  test('functions stand alone where every bridge above has ACS, and one slot shares without it', () => {
    const segment = new PciSegment(0, translator);
    const port = segment.place(rid('00:01.0'), { bridge: { secondary: 1, isExpress: true } });
    const [a, b] = [segment.place(rid('01:00.0')), segment.place(rid('01:00.1'))];
    expect(new Set([port.groupKey, a.groupKey, b.groupKey]).size).toBe(3);
    const [c, d, e] = [0, 1, 2].map((f) => segment.place(rid(`01:02.${f}`), { acs: f === 2 }));
    expect(c!.groupKey).toBe(d!.groupKey);
    expect(e!.groupKey).not.toBe(c!.groupKey);
    expect(segment.place(rid('01:03.0'), { acs: false }).groupKey).not.toBe(c!.groupKey);
  });

  test('below a port without ACS everything is one group with the port, however deep', () => {
    const segment = new PciSegment(0, translator);
    const port = segment.place(rid('00:01.0'), { acs: false, bridge: { secondary: 1, isExpress: true } });
    const up = segment.place(rid('01:00.0'), { bridge: { secondary: 2, isExpress: true } });
    const leaves = ['02:00.0', '02:01.0'].map((at) => segment.place(rid(at)));
    expect(new Set([port, up, ...leaves].map((each) => each.groupKey)).size).toBe(1);
    expect(segment.place(rid('00:02.0')).groupKey).not.toBe(port.groupKey);
  });

  test('behind a bridge to conventional PCI there is one requester id and one group', () => {
    const segment = new PciSegment(0, translator);
    segment.place(rid('00:1c.0'), { bridge: { secondary: 3, isExpress: true } });
    const bridge = segment.place(rid('03:00.0'), { bridge: { secondary: 4, isExpress: false } });
    const leaves = ['04:00.0', '04:05.0'].map((at) => segment.place(rid(at)));
    expect(leaves.map((leaf) => leaf.sourceId)).toEqual([0x400, 0x400]);
    expect(leaves.map((leaf) => leaf.groupKey)).toEqual([bridge.groupKey, bridge.groupKey]);
    expect(bridge.sourceId).toBe(0x300);
  });

  test('a bridge that leads nowhere new is a bug of the topology', () => {
    const segment = new PciSegment(0, translator);
    segment.place(rid('00:01.0'), { bridge: { secondary: 1, isExpress: true } });
    const again = { bridge: { secondary: 1, isExpress: true } };
    expect(() => segment.place(rid('00:02.0'), again)).toThrow('two bridges');
    expect(() => segment.place(rid('05:02.0'), again)).toThrow('leads to bus 1');
    expect(() => segment.place(rid('00:01.0'))).toThrow('two functions');
  });
});

test('platform devices have a number and a group of their own, unless they share a wire', () => {
  const bus = new PlatformBus('soc', translator);
  const [a, b, c] = [bus.place('dma0', 1), bus.place('dma1', 2, 'w'), bus.place('dma2', 3, 'w')];
  expect(b.groupKey).toBe(c.groupKey);
  expect(a.groupKey).not.toBe(b.groupKey);
  expect([...bus.slots()].map((slot) => slot.sourceId)).toEqual([1, 2, 3]);
});
