/** What a call looks like to people and to machines. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatJson, traceObject } from '../../src/inspect/trace-json.js';
import { formatText, plainInk } from '../../src/inspect/trace.js';
import * as uapi from '../../src/wire/uapi/iommufd.gen.js';
import { accepts } from './json-schema.js';
import * as records from './records.js';

const text = (record: Parameters<typeof formatText>[0]): string =>
  formatText(record).replace(/^\[pid 18\] /, '');

const wrap = (part: string): string => `<${part}>`;

describe('a line of text', () => {
  test('begins with the thread and names the descriptor, the call and its fields', () => {
    expect(formatText(records.fixedMap)).toBe(
      '[pid 18] ioctl(4</dev/iommu>, IOMMU_IOAS_MAP, {size=40, flags=FIXED_IOVA|WRITEABLE|READABLE, ioas_id=1, ' +
        'user_va=0x7f0000001000, length=0x2000, iova=0x1000}) = 0',
    );
  });

  test('shows what the call wrote after an arrow', () => {
    expect(text(records.alloc)).toBe(
      'ioctl(4</dev/iommu>, IOMMU_IOAS_ALLOC, {size=12, flags=0} => {out_ioas_id=3}) = 0',
    );
    expect(text(records.placedMap)).toMatch(/, iova=0x0} => {iova=0x1000000}\) = 0$/);
  });

  test('of an error ends with the rule and the values', () => {
    expect(text(records.refusedMap)).toMatch(
      / = -1 EEXIST \(File exists\) \/\* map_overlaps: iova 0x1000\.\.0x2fff meets the area 0x2000\.\.0x2fff \*\/$/,
    );
  });

  test('knows the arms of the selftest ioctl', () => {
    expect(text(records.mockDomain)).toMatch(
      /op=MOCK_DOMAIN, id=1} => {out_stdev_id=2, out_hwpt_id=4, out_idev_id=3}/,
    );
  });

  test('of an unknown ioctl has its number', () => {
    expect(text(records.unknownIoctl)).toBe(
      'ioctl(4</dev/iommu>, 0x3bff, 0x0) = -1 ENOTTY (Inappropriate ioctl for device)',
    );
  });

  test('of a known ioctl whose argument cannot be read has the address', () => {
    const unread = records.record({ cmd: uapi.IOMMU_DESTROY, errno: 14, result: -1 });
    expect(text(unread)).toBe(
      'ioctl(4</dev/iommu>, IOMMU_DESTROY, 0x7ffe00001000) = -1 EFAULT (Bad address)',
    );
  });

  test('of a struct that is cut short shows what is there', () => {
    const short = records.record({
      cmd: uapi.IOMMU_IOAS_MAP,
      before: records.fixedMap.before?.slice(0, 10) ?? null,
    });
    expect(text(short)).toContain('IOMMU_IOAS_MAP, {size=40, flags=FIXED_IOVA|WRITEABLE|READABLE})');
  });

  test('tells opens, closes, queues and mappings', () => {
    expect(text(records.opened)).toBe('open("/dev/iommu", O_RDWR|O_CLOEXEC) = </dev/iommu>');
    expect(text(records.closed)).toBe('close(4</dev/iommu>) = 0');
    expect(text(records.faultRead)).toBe(
      'read(4<[iommufd-pgfault]>, [{flags=LAST_PAGE, dev_id=2, pasid=0, grpid=7, perm=READ|WRITE, addr=0xdead000, ' +
        'length=0, cookie=1}], 4096) = 40',
    );
    expect(text(records.faultAnswer)).toBe('write(4<[iommufd-pgfault]>, [{cookie=1, code=INVALID}], 8) = 8');
    expect(text(records.eventRead)).toBe(String.raw`read(4<[iommufd-viommu-event]>, "\x01\x02\xff", 64) = 3`);
    expect(text(records.mapped)).toBe('mmap(length=0x10000, 4</dev/iommu>, offset=0x1000) = 0x7f0000000000');
  });

  test('stays one line whatever a path or a reason says', () => {
    const nasty = { file: '/dev/\n"x', reason: 'a */\nb', rule: 'r', errno: 2, result: -1 };
    for (const call of ['open', 'ioctl', 'read'] as const) {
      const line = formatText(records.record({ ...nasty, call }));
      expect(line).not.toContain('\n');
      expect(line.match(/\*\//g)).toHaveLength(1);
    }
  });

  test('is painted in parts, and the parts are the plain line', () => {
    const ink = { call: wrap, file: wrap, error: wrap, reason: wrap, quiet: wrap };
    const painted = formatText(records.refusedMap, ink);
    expect(painted).toMatch(
      /^<\[pid 18\]> <ioctl>\(4<<\/dev\/iommu>>, .* = <-1 EEXIST \(File exists\)>< \/\* /,
    );
    expect(formatText(records.refusedMap, plainInk)).toBe(formatText(records.refusedMap));
  });
});

describe('a line of JSON', () => {
  const schemaFile = new URL('../../docs/trace.schema.json', import.meta.url);
  const schema = JSON.parse(readFileSync(schemaFile, 'utf8')) as Record<string, unknown>;

  test('has 64-bit values as hexadecimal strings and all others as numbers', () => {
    expect(JSON.parse(formatJson(records.placedMap))).toEqual({
      v: 1,
      pid: 17,
      tid: 18,
      time: 13,
      call: 'ioctl',
      fd: 4,
      file: '/dev/iommu',
      request: '0x3b85',
      arg: '0x7ffe00001000',
      name: 'IOMMU_IOAS_MAP',
      in: {
        size: 40,
        flags: 4,
        ioas_id: 1,
        __reserved: 0,
        user_va: '0x7f0000001000',
        length: '0x2000',
        iova: '0x0',
      },
      out: { iova: '0x1000000' },
      result: 0,
    });
  });

  test('carries errno, rule and reason', () => {
    expect(traceObject(records.refusedMap)).toMatchObject({
      result: -1,
      error: { errno: 17, name: 'EEXIST', rule: 'map_overlaps', reason: expect.stringContaining('0x2fff') },
    });
  });

  test.each(Object.entries(records.all))('of %s is what the published schema describes', (_, record) => {
    expect(formatJson(record)).not.toContain('\n');
    expect(accepts(schema, JSON.parse(formatJson(record)))).toBe(true);
  });

  test('of any bytes in any ioctl is what the published schema describes', () => {
    const commands = fc.integer({ min: 0x3b60, max: 0x3ba8 });
    const bytes = fc.option(fc.uint8Array({ maxLength: 80 }));
    fc.assert(
      fc.property(
        commands,
        bytes,
        fc.boolean(),
        fc.constantFrom(0, 22, 4000),
        (cmd, before, answered, errno) => {
          const after = answered ? before : null;
          const record = records.record({ cmd, before, after, errno });
          expect(accepts(schema, JSON.parse(formatJson(record)))).toBe(true);
          expect(formatText(record)).not.toContain('\n');
        },
      ),
    );
  });

  test('that is not of that shape is refused by the schema', () => {
    const good = traceObject(records.refusedMap);
    expect(accepts(schema, good)).toBe(true);
    const bad = [
      { v: 2 },
      { extra: 1 },
      { arg: '12' },
      { call: 'dup' },
      { in: { iova: 'x' } },
      { pid: undefined },
    ];
    for (const change of bad) {
      expect(accepts(schema, JSON.parse(JSON.stringify({ ...good, ...change })))).toBe(false);
    }
  });
});
