/** The doctor's eye for programs: real files of every kind that cannot be preloaded. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { printFindings } from '../../src/cli/doctor/main.js';
import { checkProgram, type Machine } from '../../src/cli/doctor/program.js';
import { checkNode } from '../../src/cli/doctor/system.js';
import { plain } from '../../src/cli/paint.js';
import { runCli } from './run-cli.js';

let dir = '';
const machine: Machine = {
  uid: process.geteuid?.() ?? 0,
  arch: process.arch,
  path: process.env['PATH'] ?? '',
  hasFileCapabilities: () => false,
};

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-doctor-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Writes an executable file. */
function file(name: string, content: string | Uint8Array, mode = 0o755): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

/** Compiles an empty program; null without a compiler that can. */
function compile(name: string, ...flags: string[]): string | null {
  const path = join(dir, name);
  const done = spawnSync('cc', ['-x', 'c', '-', '-o', path, ...flags], {
    input: 'int main(void) { return 0; }',
  });
  return done.status === 0 ? path : null;
}

/** What is said first. */
const said = (name: string): string => checkProgram(name, machine)[0]?.text ?? '';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;

/** `fail static`: level and subject of every finding. */
const verdicts = (name: string, on: Machine = machine): string[] =>
  checkProgram(name, on).map(({ level, subject }) => `${level} ${subject}`);

describe.runIf(hasCompiler)('a compiled program', () => {
  test('is fine when it is dynamic', () => {
    expect(verdicts(compile('dynamic') ?? '')).toEqual(['ok program']);
  });

  test('cannot be preloaded when it is static', () => {
    expect(verdicts(compile('static', '-static') ?? '')).toEqual(['fail static']);
    expect(verdicts(compile('static-pie', '-static-pie') ?? '')).toEqual(['fail static']);
    const { status, stdout } = runCli(['doctor', join(dir, 'static')]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^fail {2}static .*statically linked/m);
  });

  test('of another machine is named as such', () => {
    const path = compile('foreign') ?? '';
    expect(verdicts(path, { ...machine, arch: 'riscv64' })).toEqual(['fail architecture']);
  });

  test('that uses musl is named as such', () => {
    const musl = compile('musl', '-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1') ?? '';
    expect(verdicts(musl)).toEqual(['fail libc']);
    const lost = compile('lost', '-Wl,--dynamic-linker=/nowhere/ld.so') ?? '';
    expect(verdicts(lost)).toEqual(['fail libc']);
  });

  test('with more rights than its user ignores LD_PRELOAD', () => {
    const path = compile('privileged') ?? '';
    chmodSync(path, 0o4755);
    expect(verdicts(path)).toEqual(['ok program']);
    const other = { ...machine, uid: machine.uid + 1 };
    expect(verdicts(path, other)).toEqual(['ok program', 'fail setuid']);
    chmodSync(path, 0o755);
    expect(verdicts(path, { ...other, hasFileCapabilities: () => true })).toEqual([
      'ok program',
      'fail capabilities',
    ]);
    expect(verdicts(path, { ...other, hasFileCapabilities: () => null })).toEqual([
      'ok program',
      'note capabilities',
    ]);
  });
});

describe('a script', () => {
  test('is as good as its interpreter', () => {
    expect(verdicts(file('sh-script', '#!/bin/sh\n'))).toEqual(['note program', 'ok program']);
    expect(verdicts(file('lost-script', '#!/nowhere/sh\n'))).toEqual(['note program', 'fail program']);
  });

  test('of env is as good as what env finds', () => {
    const path = file('env-script', '#!/usr/bin/env -S A=1 nowhere-at-all -x\n');
    expect(verdicts(path)).toEqual(['note program', 'ok program', 'fail program']);
  });

  test('of a script of a script is followed as far as Linux does', () => {
    const path = join(dir, 'loop');
    file('loop', `#!${path}\n`);
    expect(verdicts(path)).toEqual([...Array<string>(5).fill('note program'), 'fail program']);
  });

  test('without an interpreter is refused', () => {
    expect(verdicts(file('empty-script', '#!\n'))).toEqual(['fail program']);
  });
});

describe('what is no program', () => {
  test('is said in so many words', () => {
    expect(said(join(dir, 'nothing'))).toContain('not found');
    expect(said('no-such-command-anywhere')).toContain('not found');
    expect(said(dir)).toContain('not a regular file');
    expect(said(file('data', 'data', 0o644))).toContain('not executable');
    expect(said(file('text', 'text'))).toContain('neither an ELF file nor a script');
    expect(said(file('empty', ''))).toContain('neither an ELF file nor a script');
    expect(said(file('damaged', new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 9])))).toContain('damaged');
  });
});

test('a command is found in PATH, executable files first', () => {
  file('tool', 'not executable', 0o644);
  expect(verdicts('tool', { ...machine, path: dir })).toEqual(['fail program']);
  expect(verdicts('sh', { ...machine, path: `${dir}:/bin` })).toEqual(['ok program']);
});

test('a Node that is too old is refused', () => {
  expect(checkNode('20.18.9').level).toBe('fail');
  expect(checkNode('18.20.0').level).toBe('fail');
  expect(checkNode('20.19.0').level).toBe('ok');
  expect(checkNode('26.1.0').level).toBe('ok');
});

test('findings stand in columns and are summed up', () => {
  const text = printFindings(
    [
      { level: 'ok', subject: 'node', text: 'v20' },
      { level: 'warn', subject: 'memory', text: 'slower' },
      { level: 'fail', subject: 'shim', text: 'not built' },
    ],
    plain,
  );
  expect(text).toBe(
    'ok    node    v20\nwarn  memory  slower\nfail  shim    not built\n\n1 thing in the way, 1 warning\n',
  );
});

test('on this machine it looks at everything that run needs', () => {
  const { stdout } = runCli(['doctor']);
  for (const subject of [
    'node',
    'kernel',
    'shim',
    'sockets',
    'native calls',
    'memory',
    'yama',
    'maps',
    'terminals',
    'pinned memory',
  ]) {
    expect(stdout).toMatch(new RegExp(`^(ok|note|warn|fail) +${subject} `, 'm'));
  }
});
