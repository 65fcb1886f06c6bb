/** The layer check itself: it passes on this tree, and sees what is planted. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkLayers, readLayerTable } from '../../tools/layers.js';
import { repoRoot } from '../../tools/lib/repo.js';

const table = readLayerTable();
let copy: string;

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'layers-'));
  cpSync(join(repoRoot, 'src'), copy, { recursive: true });
});
afterEach(() => rmSync(copy, { recursive: true, force: true }));

function plant(file: string, source: string): void {
  mkdirSync(dirname(join(copy, file)), { recursive: true });
  writeFileSync(join(copy, file), source);
}

/** What the check says of the copy and did not say of the tree. */
function newProblems(): string[] {
  const before = checkLayers(join(repoRoot, 'src'), table);
  return checkLayers(copy, table).filter((problem) => !before.includes(problem));
}

test('this tree keeps to its layers and has no cycle', () => {
  expect(checkLayers(join(repoRoot, 'src'), table)).toEqual([]);
});

describe('a planted import is found', () => {
  const planted: ReadonlyArray<readonly [name: string, file: string, source: string, message: string]> = [
    [
      'upwards',
      'hw/mock/planted.ts',
      "/** A comment. */\n\nimport { Ioas } from '../../iommufd/ioas.js';\n",
      'src/hw/mock/planted.ts:3: hw/ may not import iommufd/; allowed: base, mem, pt, bus, wire/uapi, wire/struct.ts',
    ],
    [
      'of types only',
      'base/planted.ts',
      "import type { Run } from '../mem/client.js';\n",
      'src/base/planted.ts:1: base/ may not import mem/; allowed: none',
    ],
    [
      'over several lines',
      'mem/planted.ts',
      "import {\n  a,\n  b,\n} from '../machine/machine.js';\n",
      'src/mem/planted.ts:1: mem/ may not import machine/; allowed: base',
    ],
    [
      'as a re-export',
      'pt/planted.ts',
      "export * from '../hw/unit.js';\n",
      'src/pt/planted.ts:1: pt/ may not import hw/; allowed: base, mem',
    ],
    [
      'on demand',
      'mem/planted.ts',
      "const late = () => import('../host/sys.js');\n",
      'src/mem/planted.ts:1: mem/ may not import host/; allowed: base',
    ],
    [
      'of a concrete unit in the object model',
      'iommufd/planted.ts',
      "import { x } from '../hw/mock/planted.js';\n",
      'src/iommufd/planted.ts:1: iommufd/ may not import hw/mock/; allowed: base, wire, mem, bus, hw/*.ts',
    ],
    [
      'of another vendor',
      'hw/vtd/planted.ts',
      "import { x } from '../mock/planted.js';\n",
      'src/hw/vtd/planted.ts:1: hw/ may not import hw/mock/; allowed: base, mem, pt, bus, wire/uapi, wire/struct.ts',
    ],
    [
      'of Node in the core',
      'iommufd/planted.ts',
      "import { readFileSync } from 'node:fs';\n",
      'src/iommufd/planted.ts:1: iommufd/ may not import node:fs; packages allowed: none',
    ],
    [
      'of the system-call library beside its one module',
      'host/planted.ts',
      "import koffi from 'koffi';\n",
      'src/host/planted.ts:1: host/ may not import koffi; packages allowed: node:',
    ],
    [
      'in a folder that the table does not know',
      'misc/planted.ts',
      "import { x } from '../base/errno.js';\n",
      'src/misc/planted.ts:1: misc is not in docs/layers.json',
    ],
  ];
  test.each(planted)('%s', (_name, file, source, message) => {
    plant(file, source);
    expect(newProblems()).toEqual([message]);
  });

  test('that closes a cycle', () => {
    plant('base/ring-a.ts', "import './ring-b.js';\n");
    plant('base/ring-b.ts', "import { a } from './ring-a.js';\n");
    expect(newProblems()).toContain('cycle: src/base/ring-a.ts -> src/base/ring-b.ts -> src/base/ring-a.ts');
  });
});

test('a row for what is not there is found', () => {
  const layers = { ...table.layers, web: { imports: [] } };
  const files = { ...table.files, 'host/gone.ts': { packages: [] } };
  expect(checkLayers(copy, { layers, files })).toEqual([
    'docs/layers.json: web is not in src/',
    'docs/layers.json: host/gone.ts is not in src/',
  ]);
});

describe('what the table allows passes', () => {
  const allowed: ReadonlyArray<readonly [file: string, source: string]> = [
    ['iommufd/planted.ts', "import type { Unit } from '../hw/planted.js';\n"],
    ['hw/mock/planted.ts', "import type { Unit } from '../planted.js';\n"],
    ['hw/mock/planted.ts', "import { x } from '../../wire/uapi/iommufd.js';\n"],
    ['host/planted.ts', "import { readFileSync } from 'node:fs';\n"],
    ['cli/planted.ts', "import { x } from '../index.js';\n"],
    ['base/planted.ts', "import type { Planted } from './planted.js';\n"],
    ['base/planted.ts', "const later = () => import('./planted.js');\n"],
  ];
  test.each(allowed)('%s: %s', (file, source) => {
    plant(file, source);
    expect(newProblems()).toEqual([]);
  });
});
