/** Tools that are called in a way they do not know say so in one line and end with 2, before they do anything. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { readArguments, readCount } from '../../tools/lib/arguments.js';
import { filesBelow } from '../../tools/lib/imports.js';
import { repoRoot } from '../../tools/lib/repo.js';

const argv = process.argv;

afterEach(() => {
  process.argv = argv;
  vi.restoreAllMocks();
});

/** What `body` prints to standard error, and the status that it ends with (null: it does not end). */
function ending(args: readonly string[], body: () => unknown): { said: string; status: unknown } {
  process.argv = ['node', 'tool', ...args];
  let said = '';
  let status: unknown = null;
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => (said += text) !== '');
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    status = code;
    throw new Error('ended');
  });
  try {
    body();
  } catch (error) {
    if (status === null) throw error;
  }
  return { said, status };
}

const options = { ops: { type: 'string', default: '7' }, short: { type: 'boolean' } } as const;

test.each([
  [['--help'], "Unknown option '--help'; options: --ops, --short\n"],
  [['--short=1'], "Option '--short' does not take an argument; options: --ops, --short\n"],
  [['--ops'], "Option '--ops <value>' argument missing; options: --ops, --short\n"],
  [['five'], "Unexpected argument 'five'; options: --ops, --short\n"],
])('%j is answered in one line, with the options that there are', (args, said) => {
  expect(ending(args, () => readArguments(options))).toEqual({ said, status: 2 });
});

test('options that are known are read, and others where a tool takes them', () => {
  process.argv = ['node', 'tool', '--ops=5', 'x', 'y'];
  const { values, positionals } = readArguments(options, true);
  expect({ ...values, positionals }).toEqual({ ops: '5', positionals: ['x', 'y'] });
});

test.each(['', 'x', '-1', '1.5', '1e3', 'Infinity', '1234567890123456'])('"%s" is no number', (text) => {
  expect(ending([], () => readCount('--ops', text))).toEqual({
    said: `--ops: "${text}" is no number\n`,
    status: 2,
  });
});

test('a number is read', () => {
  expect(readCount('--ops', '00120')).toBe(120);
});

test.each(filesBelow(join(repoRoot, 'tools'), 'main.ts'))(
  '%s reads its arguments so, and only so',
  (file) => {
    const source = readFileSync(join(repoRoot, 'tools', file), 'utf8');
    expect(source).toContain('readArguments(');
    expect(source).not.toContain('process.argv');
  },
);
