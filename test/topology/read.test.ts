/** Every message about a topology file, with its place; and that no file, whatever is in it, takes long or gets a trace. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseTopology, readTopology, TopologyFileError } from '../../src/topology/read.js';
import { profiles } from '../../src/topology/profiles.js';
import { jsonSchema } from '../../src/topology/schema.js';
import { profileNames } from '../../src/cli/commands.js';
import { planMachine } from '../../src/machine/plan.js';

/** The lines of the refusal of `text`. */
function complaints(text: string): string[] {
  try {
    parseTopology(text, 'f.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(TopologyFileError);
    return (error as Error).message.split('\n');
  }
  return [];
}

const almostPci = '1:12: expected an address from 0000:00:00.0 to ffff:ff:1f.7, or bus: with its name';

describe('a file is refused at the line and column, with what was expected', () => {
  test.each([
    ['units:\n  vtd0: { nestng: true }', '2:11: unknown key nestng; did you mean nesting?'],
    ['unit: {}', '1:1: unknown key unit; did you mean units?'],
    ['cheese: {}', '1:1: unknown key cheese; expected version, vfioNesting, units, buses, devices'],
    ['version: 2', '1:10: expected 1, found 2'],
    ['units: [1]', '1:8: expected units by name, or {} for none, found [1]'],
    ['units: { a: 3 }', '1:13: expected a unit of type vtd or selftest, found 3'],
    ['units: { a: { type: amd } }', '1:21: expected vtd or selftest, found amd'],
    ['units: { a: { type: selftest, ats: true } }', '1:31: unknown key ats; expected type'],
    ['units: { "": {} }', '1:10: expected a name of letters, digits and _.:- (64 at most), found ""'],
    ['units: { a: { pasidBits: 21 } }', '1:26: expected a whole number from 0 to 20, found 21'],
    ['units: { a: { pasidBits: 1.5 } }', '1:26: expected a whole number from 0 to 20, found 1.5'],
    ['units: { a: { pasidBits: .inf } }', '1:26: expected a whole number from 0 to 20, found .inf'],
    ['units: { a: { addressWidth: 40 } }', '1:29: expected 39, 48 or 57, found 40'],
    ['units: { a: { largePages: 2M } }', '1:27: expected a list of 2M and 1G, found 2M'],
    ['units: { a: { largePages: [4M] } }', '1:28: expected 2M, 1G, found 4M'],
    ['units: { a: { nesting: yes } }', '1:24: expected true or false, found yes'],
    ['units: { a: { registers: { CAP: { MGAV: 3 } } } }', '1:35: unknown key MGAV; did you mean MGAW?'],
    ['units: { a: { registers: { CAP: { ND: 8 } } } }', '1:39: expected a whole number from 0 to 7, found 8'],
    ['units: { a: { nesting: true, firstStage: false } }', '1:24: nesting needs firstStage and secondStage'],
    ['units: { a: { pri: true, ats: false } }', '1:20: page requests need ats: true'],
    ['units: { a: { dirtyTracking: true, secondStage: false } }', '1:30: dirtyTracking needs secondStage'],
    ['units: { a: { domainIdBits: 15 } }', '1:29: expected an even number, as CAP_REG.ND can say'],
    [
      'units: { a: { registers: { ECAP: { SMTS: 0 } } } }',
      '1:42: expected 1: the driver knows scalable mode with queued invalidation',
    ],
    [
      'units: { a: { registers: { ECAP: { QI: 0 } } } }',
      '1:40: expected 1: the driver knows scalable mode with queued invalidation',
    ],
    [
      'units: { a: { registers: { CAP: { SAGAW: 2 } } } }',
      '1:42: expected a width of tables that all stages of the unit have',
    ],
    [
      'units: { a: { addressWidth: 39, registers: { ECAP: { FSTS: 1 } } } }',
      '1:33: expected a width of tables that all stages of the unit have',
    ],
    [
      'units: { a: { registers: { CAP: { FRO: 14 } } } }',
      '1:40: expected fault records within 0xf0 to 0xfff of the registers, and these are at 0xe0 to 0x15f',
    ],
    [
      'units: { a: { registers: { CAP: { FRO: 249 } } } }',
      '1:40: expected fault records within 0xf0 to 0xfff of the registers, and these are at 0xf90 to 0x100f',
    ],
    [
      'units: { a: { registers: { CAP: { NFR: 255 } } } }',
      '1:40: expected fault records within 0xf0 to 0xfff of the registers, and these are at 0x220 to 0x121f',
    ],
    ['devices: { "00:01.0": {} }', almostPci],
    ['devices: { "0000:00:20.0": {} }', almostPci],
    ['devices: { "0000:00:1f.8": {} }', almostPci],
    ['devices: { "0:0:1.0": {} }', almostPci],
    [
      'units: { a: { firstStage: false, secondStage: false } }',
      '1:47: expected at least one of firstStage and secondStage',
    ],
    [
      'units: { a: { type: selftest }, b: { type: selftest } }',
      '1:33: expected one selftest at most, and this is another',
    ],
    ['buses: { a: { type: usb } }', '1:21: expected pci, platform, found usb'],
    ['buses: { a: {} }', '1:10: type is missing: expected pci, platform'],
    ['buses: { a: { type: pci, unit: x } }', '1:32: expected the name of a unit: vtd0'],
    ['units: { a: {}, b: {} }\nbuses: { c: { type: pci } }', '2:10: expected unit: one of a, b'],
    [
      'buses: { a: { type: pci }, b: { type: pci, segment: 0 } }',
      '1:53: expected another segment: a has segment 0',
    ],
    ['devices:\n  0000:00:01.0:', '2:16: expected members of a device, or {} for none, found nothing'],
    ['devices: { 0000:00:01.0: { model: gpu } }', '1:35: expected dma-test, ioat, nvme, found gpu'],
    ['devices: { p: { model: nvme } }', '1:24: expected a PCI address for nvme'],
    [
      'devices: { 0000:00:01.0: { model: nvme, namespaces: [{ size: 3X }] } }',
      '1:62: expected bytes, or a number with K, M, G or T behind it, found 3X',
    ],
    [
      'devices: { 0000:00:01.0: { model: nvme, namespaces: [{ file: /nowhere/x }] } }',
      '1:62: expected a file to keep blocks in: /nowhere/x not found',
    ],
    [
      'devices: { 0000:00:01.0: { model: nvme, namespaces: [{ file: /, size: 1M }] } }',
      '1:62: expected a file to keep blocks in: / is none',
    ],
    ['devices: { 0000:00:01.0: { bus: x } }', '1:33: expected the name of a bus: there are none'],
    [
      'buses: { p: { type: pci, segment: 1 } }\ndevices: { 0000:00:01.0: { bus: p } }',
      '2:12: expected an address on p, such as 0001:00:01.0',
    ],
    [
      'buses: { p: { type: platform }, q: { type: platform } }\ndevices: { a: {} }',
      '2:12: expected bus: one of p, q',
    ],
    ['devices: { 0000:00:01.0: { sourceId: 3 } }', '1:38: a PCI address says the requester id already'],
    ['devices: { a: {}, b: { sourceId: 1 } }', '1:34: requester id 0x1 belongs to a, behind the same unit'],
    [
      'devices: { 0000:00:01.0: {}, 0001:00:01.0: {} }',
      '1:30: requester id 0x8 belongs to 0000:00:01.0, behind the same unit',
    ],
    ['devices: { a: { ats: false, pri: true } }', '1:34: a device that asks for pages needs ats: true'],
    [
      'devices: { a: { reserved: [{ type: msi, start: 2, last: 1 }] } }',
      '1:57: expected an address that is not below start, of 64 bits',
    ],
    [
      'devices: { a: { reserved: [{ type: msi, start: -1, last: 1 }] } }',
      '1:48: expected an address, such as 0xfee00000, found -1',
    ],
    [
      'units: { a: {}, b: {} }\nbuses: { x: { type: pci, unit: a }, y: { type: platform, unit: b } }\n' +
        'devices: { 0000:00:01.0: { group: g }, d: { group: g } }',
      '3:52: expected a group behind b: 0000:00:01.0 in it is behind a',
    ],
  ])('%s', (text, expected) => {
    expect(complaints(text)).toEqual([`f.yaml:${expected}`]);
  });

  test('all that is wrong at once, in the order of the text', () => {
    expect(complaints('units:\n  a: { ats: 1, pri: 2 }\ndevices: 3')).toEqual([
      'f.yaml:2:13: expected true or false, found 1',
      'f.yaml:2:21: expected true or false, found 2',
      'f.yaml:3:10: expected a device by name, or {} for none, found 3'.replace('a device', 'devices'),
    ]);
    const many = complaints(Array.from({ length: 50 }, (_, i) => `k${i}: 1`).join('\n'));
    expect(many).toHaveLength(21);
    expect(many.at(-1)).toBe('f.yaml: and 30 more');
  });

  test('a file that cannot be read', () => {
    expect(() => readTopology('/nowhere/x.yaml')).toThrow(/^\/nowhere\/x\.yaml: not found$/);
    const dir = mkdtempSync(join(tmpdir(), 'ioasis-topology-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    expect(() => readTopology(dir)).toThrow(`${dir}: is a directory`);
    writeFileSync(join(dir, 'x.yaml'), '{}');
    expect(readTopology(join(dir, 'x.yaml'))).toEqual({});
  });
});

describe('a hostile file is refused, and soon', () => {
  const laughs = [
    'a: &a [x, x]',
    ...'bcdefgh'.split('').map((l, i) => `${l}: &${l} [*${'abcdefgh'[i]}, *a]`),
  ].join('\n');
  test.each([
    ['aliases', laughs, /aliases are not followed/],
    ['an alias to itself', 'units: &a [*a]', /aliases are not followed/],
    ['unknown tags', 'units: !js/function "x"', /tags mean nothing here/],
    ['tags of other schemas', 'units: !!binary {}', /no YAML: tag:/],
    ['a key twice', 'units:\n  a: {}\n  a: {}', /^f\.yaml:3:3: a was given before/],
    ['two documents', 'version: 1\n---\nversion: 1', /^f\.yaml:3:1: expected one document/],
    ['another YAML', '%YAML 1.1\n---\nversion: 1', /expected YAML 1.2/],
    ['a mapping as a key', '? { a: 1 }\n: 2', /expected a name as the key/],
    ['the prototype', 'devices: { __proto__: { ats: false } }', /expected a name as the key/],
    ['open brackets', '['.repeat(100_000), /32 levels/],
    ['open braces', '{'.repeat(100_000), /32 levels/],
    ['nested lists', '- '.repeat(20_000), /32 levels/],
    ['nested keys', Array.from({ length: 400 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), /32 levels/],
    ['nested complex keys', '? '.repeat(20_000), /32 levels/],
    ['quotes', '"'.repeat(100_000), /no YAML/],
    ['anchors', '&a '.repeat(40_000), /no YAML/],
    ['a huge number', `version: ${'9'.repeat(120_000)}`, /expected 1, found 9{40}\.\.\./],
    ['a long key', `${'k'.repeat(900)}: 1`, /unknown key k{40}\.\.\.;/],
    ['many keys', Array.from({ length: 14_000 }, (_, i) => `k${i}:`).join('\n'), /unknown key k0/],
    ['a huge file', ' '.repeat(200_000), /at most 131072 characters/],
    ['no YAML', 'units: }', /^f\.yaml:1:8: no YAML: /],
    ['tabs', 'units:\n\ta: {}', /no YAML: Tabs/],
    ['bytes', '\u0000\u0001\ufffe', /f\.yaml:1:1: /],
  ])('%s', { timeout: 20_000 }, (_, text, expected) => {
    const begun = performance.now();
    const lines = complaints(text);
    expect(lines[0]).toMatch(expected);
    expect(lines.join('\n').length).toBeLessThan(20_000);
    expect(performance.now() - begun).toBeLessThan(15_000);
  });
});

describe('what is left out has a default', () => {
  test.each(['', '# nothing\n', '{}', 'version: 1'])(
    'an empty topology (%j) has a unit and a device',
    (text) => {
      const plan = planMachine(parseTopology(text, 'f.yaml'));
      expect(plan.units.map(({ name }) => name)).toEqual(['vtd0']);
      expect(plan.devices).toMatchObject([
        { name: '0000:00:01.0', sourceId: 8, pasidBits: 20, ats: true, pri: true },
      ]);
      expect(plan.selftest).toBe(false);
    },
  );

  test('the selftest alone needs nothing else', () => {
    const plan = planMachine(parseTopology('units: { mock: { type: selftest } }', 'f.yaml'));
    expect(plan).toEqual({ selftest: true, vfioNesting: false, units: [], buses: [], devices: [] });
  });

  test('devices get the bus of their address, and platform devices free requester ids', () => {
    const plan = planMachine(parseTopology('devices: { a: {}, b: {}, "0002:01:1f.7": {} }', 'f.yaml'));
    expect(plan.buses.map(({ name }) => name)).toEqual(['platform', 'pci0002']);
    expect(plan.devices.map(({ sourceId }) => sourceId)).toEqual([1, 2, 0x1ff]);
  });

  test('what a unit cannot, its devices do not do', () => {
    const plan = planMachine(parseTopology('units: { u: { ats: false, pasidBits: 0 } }', 'f.yaml'));
    expect(plan.units[0]?.features).toMatchObject({ ats: false, pri: false });
    expect(plan.devices[0]).toMatchObject({ ats: false, pri: false, pasidBits: 0 });
  });

  test('an address of 64 bits is exact', () => {
    const text =
      'devices: { a: { reserved: [{ type: reserved, start: 0xfffffffffffff001, last: "0xffffffffffffffff" }] } }';
    expect(planMachine(parseTopology(text, 'f.yaml')).devices[0]?.reserved).toEqual([
      { type: 'reserved', start: 0xfffffffffffff001n, last: 0xffffffffffffffffn },
    ]);
  });
});

describe('profiles', () => {
  test('are the files that the commands know', () => {
    expect(
      profiles()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual([...profileNames].toSorted());
  });

  test.each(profiles())('$name is a topology, with a summary and the schema', ({ name, text, summary }) => {
    const plan = planMachine(parseTopology(text, `${name}.yaml`));
    expect(plan.units).toHaveLength(1);
    expect(summary.length).toBeGreaterThan(10);
    expect(text).toMatch(/^# yaml-language-server: \$schema=/);
  });
});

test('the published JSON Schema is that of the code: npm run schema', () => {
  expect(readFileSync(new URL('../../docs/topology.schema.json', import.meta.url), 'utf8')).toBe(
    jsonSchema(),
  );
});
