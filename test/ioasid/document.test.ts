/** R46: the page about /dev/ioasid says what the code does. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isLegal, kinds, operations, type IoasidKind } from '../../src/ioasid/legality.js';
import { declared } from '../../src/wire/uapi/ioasid.js';

const page = readFileSync(new URL('../../docs/ioasid.md', import.meta.url), 'utf8');

const owners: Readonly<Record<IoasidKind, string>> = {
  kernel: "ioasis'",
  sva: "a process's",
  kvm: "a virtual machine's",
  user: "a program's, at addresses of its process",
  nested: "a program's, at addresses of a parent",
};

test('R8: its table of kinds and operations is that of the code', () => {
  const rows = kinds.map((kind) => {
    const cells = operations.map((operation) => (isLegal(operation, kind) ? ' yes ' : ' '));
    return `| ${kind} | ${owners[kind]} |${cells.join('|')}|`;
  });
  const head = `| kind | whose table | ${operations.join(' | ')} |\n|${'---|'.repeat(operations.length + 2)}`;
  expect(page).toContain(`<!-- legality -->\n${[head, ...rows].join('\n')}\n<!-- legality -->`);
});

test('R11: its list of calls is that of the header, each with a struct of its own', () => {
  const calls = Object.keys(declared.constants).filter((name) => /^[A-Z]+_IOASID(_|$)/.test(name));
  for (const name of calls) expect(page).toContain(`\`${name}\``);
  const named = new Set(page.match(/`[A-Z]+_IOASID(?:_[A-Z_]+)?`/g)!.map((name) => name.slice(1, -1)));
  expect([...named].toSorted()).toEqual(calls.toSorted());
});
