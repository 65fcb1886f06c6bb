/** What the machine says between the calls of a trace: a line of text, and an object of the published shape. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { MachineEvent } from '../../src/base/events.js';
import { eventJson, eventText } from '../../src/inspect/event-text.js';
import { accepts } from './json-schema.js';

const schemaFile = new URL('../../docs/trace.schema.json', import.meta.url);
const schema = JSON.parse(readFileSync(schemaFile, 'utf8')) as Record<string, unknown>;

const stale: MachineEvent = {
  kind: 'stale-hit',
  unit: 'vtd0',
  device: '0000:00:01.0',
  pasid: 5,
  iova: 0x1000n,
  cached: 0x100000n,
  current: 0x200000n,
  missing: 'PASID-based IOTLB invalidate of PASID 5',
};
const log: MachineEvent = { kind: 'log', level: 'err', text: 'DMAR: one\n\u001b[31mtwo' };

describe('a stale translation', () => {
  test('is told with device, PASID, address, both answers and what is missing', () => {
    expect(eventText({ event: stale, time: 7 })).toBe(
      '[stale] 0000:00:01.0 PASID 5 at 0x1000: vtd0 still uses 0x100000, the table says 0x200000; ' +
        'missing: PASID-based IOTLB invalidate of PASID 5',
    );
  });

  test('by requester id alone has no PASID, and may lead nowhere', () => {
    const event: MachineEvent = { ...stale, pasid: -1, cached: null, current: null };
    expect(eventText({ event, time: 7 })).toMatch(
      /^\[stale\] 0000:00:01\.0 at 0x1000: vtd0 still uses nothing, the table says nothing is there;/,
    );
    expect(JSON.parse(eventJson({ event, time: 7 }))).toEqual({
      v: 1,
      time: 7,
      event: 'stale-hit',
      unit: 'vtd0',
      device: '0000:00:01.0',
      iova: '0x1000',
      cached: null,
      current: null,
      missing: 'PASID-based IOTLB invalidate of PASID 5',
    });
  });
});

test.each([
  ['stale-hit', stale],
  ['log', log],
] as const)('a %s is one line, and of the published shape', (_, event) => {
  for (const bad of ['\n', '\u001b']) expect(eventText({ event, time: 7 })).not.toContain(bad);
  const json = eventJson({ event, time: 7 });
  expect(json).not.toContain('\n');
  expect(accepts(schema, JSON.parse(json))).toBe(true);
  expect(accepts(schema, { ...JSON.parse(json), extra: 1 })).toBe(false);
});
