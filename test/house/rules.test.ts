/** One rule, one check: an errno's reason names the check that gave it, so no two checks may share a rule. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findRules } from '../../src/index.js';
import { filesBelow } from '../../tools/lib/imports.js';
import { repoRoot } from '../../tools/lib/repo.js';
import { ruleUses } from './rule-uses.js';

const uses = ruleUses(join(repoRoot, 'src'));

describe('every rule of this tree', () => {
  test('is used at exactly one place', () => {
    const wrong = uses.filter((use) => use.places.length !== 1);
    expect(wrong.map((use) => `${use.id} (${use.catalogue}): ${use.places.join(', ') || 'nowhere'}`)).toEqual(
      [],
    );
  });

  test('has an id that no other rule has', () => {
    const ids = uses.map((use) => use.id);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
  });

  test('is found by whoever looks it up', () => {
    const missing = uses.filter(({ id }) => findRules(id)[0]?.id !== id);
    expect(missing.map(({ id, catalogue }) => `${id} (${catalogue})`)).toEqual([]);
  });

  test('is named by a test', () => {
    const folder = join(repoRoot, 'test');
    const files = ['.ts', '.json', '.jsonl', '.txt'].flatMap((suffix) => filesBelow(folder, suffix));
    const words = new Set(
      files.flatMap((file) => readFileSync(join(folder, file), 'utf8').match(/\w+/g) ?? []),
    );
    expect(uses.filter((use) => !words.has(use.id)).map((use) => use.id)).toEqual([]);
  });

  test('is found at all', () => {
    expect(uses.length).toBeGreaterThan(5);
  });
});

describe('the search', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'rules-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function plant(file: string, source: string): void {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), source);
  }

  test('counts uses under any name, in any file, and none in a comment', () => {
    plant(
      'a/rules.ts',
      "export const rules = catalogue({\n  one: ['EPERM', 'x'],\n  two: ['EIO', 'y'],\n  three: ['EIO', 'z'],\n});\n",
    );
    plant(
      'a/use.ts',
      "import { rules } from './rules.js';\nrefuse(rules.one); // not rules.two\n/* nor\n rules.two */\nrefuse(rules.three);\n",
    );
    plant(
      'b/use.ts',
      "import { rules as others, x } from '../a/rules.js';\nrefuse(others.three);\npoint(others.one.id);\n",
    );
    expect(ruleUses(folder)).toEqual([
      { id: 'one', catalogue: 'a/rules.ts', places: ['a/use.ts:2'] },
      { id: 'two', catalogue: 'a/rules.ts', places: [] },
      { id: 'three', catalogue: 'a/rules.ts', places: ['a/use.ts:5', 'b/use.ts:2'] },
    ]);
  });

  test('knows a catalogue that lies beside its uses', () => {
    plant('a/use.ts', "const own = catalogue({\n  one: ['EPERM', 'x'],\n});\nrefuse(own.one);\n");
    expect(ruleUses(folder)).toEqual([{ id: 'one', catalogue: 'a/use.ts', places: ['a/use.ts:4'] }]);
  });

  test('keeps catalogues apart that have a rule of the same name', () => {
    plant('a/rules.ts', "export const rules = catalogue({\n  one: ['EPERM', 'x'],\n});\n");
    plant('b/rules.ts', "export const rules = catalogue({\n  one: ['EPERM', 'x'],\n});\n");
    plant('b/use.ts', "import { rules } from './rules.js';\nrefuse(rules.one);\n");
    expect(ruleUses(folder).map((use) => use.places.length)).toEqual([0, 1]);
  });
});
