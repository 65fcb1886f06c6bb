/** docs/sysfs.md lists what there is below /sys, no more and no less, and says truly what can be done with it. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { SysNode } from '../../../src/machine/sysfs/tree.js';
import { Sys } from './world.js';

const page = readFileSync(new URL('../../../docs/sysfs.md', import.meta.url), 'utf8');

/** What words in the list stand for. */
const words: Readonly<Record<string, string>> = {
  FUNCTION: String.raw`[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]`,
  PARENT: String.raw`(?:pci[0-9a-f:]+|platform)`,
};

/** A word in capitals stands for any name; a last N for a number. */
const patternOf = (path: string): RegExp => {
  const text = path.replace(/[A-Z]{2,}|N(?=\/|$)/g, (word) => words[word] ?? '[^/]+');
  return new RegExp(`^${text}$`);
};

const lines = [...page.matchAll(/^(\/sys\/\S+) +([rwsl-]+)(?: .*)?$/gm)].map(([, path = '', what = '']) => ({
  path,
  what,
  pattern: patternOf(path),
}));

function kindOf(node: SysNode): readonly string[] {
  if (node.kind === 'link') return ['l'];
  if (node.kind === 'text') return ['-', 's'];
  if (node.kind !== 'file') return [];
  const way = `${node.read === undefined ? '' : 'r'}${node.write === undefined ? '' : 'w'}`;
  return way === 'rw' ? ['rw', 's'] : [way];
}

const sys = new Sys({
  version: 1,
  devices: { '0000:00:01.0': {}, '0000:00:04.0': { model: 'ioat', virtualFunctions: 2 }, uart0: {} },
});
sys.write('/sys/devices/pci0000:00/0000:00:04.0/sriov_numvfs', '1');
const entries = [...sys.nodes].filter(([, node]) => node.kind !== 'directory');

test('everything that is there is listed, as what it is', () => {
  const wrong = entries.filter(([path, node]) => {
    const found = lines.filter(({ pattern }) => pattern.test(path));
    return !found.some(({ what }) => kindOf(node).includes(what) || (what === 'r' && node.kind === 'text'));
  });
  expect(wrong.map(([path, node]) => `${path} ${kindOf(node).join()}`)).toEqual([]);
});

test('everything that is listed is there', () => {
  expect(lines.length).toBeGreaterThan(80);
  const missing = lines.filter(({ pattern }) => !entries.some(([path]) => pattern.test(path)));
  expect(missing.map(({ path }) => path)).toEqual([]);
});
