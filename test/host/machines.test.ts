/**
 * Machines of a KVM that is not ours: what the shim tells of them, how the daemon knows their descriptors again without
 * holding them, and what devices find. A library plays the kernel's KVM, and its machines are eventfds, which are
 * anonymous files as well; `npm run kvm` has the real one.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import * as sys from '#ioasis/host/sys.js';
import { startEngine, type RunningEngine } from '#ioasis/host/engine.js';
import { WeakNames } from '#ioasis/host/weak-names.js';
import type { TraceRecord } from '#ioasis/host/trace.js';
import { printHeader } from '../../src/wire/header.js';
import { KVM_SET_USER_MEMORY_REGION } from '../../src/wire/uapi/kvm.js';
import { engineModule, run } from './world.js';

const F_DUPFD = 0;
const root = fileURLToPath(new URL('../..', import.meta.url));
const ours = join(root, 'test/host/programs');

describe('names of files that are not held', () => {
  test('go with the last descriptor, and not before', () => {
    const names = new WeakNames();
    const [one, other] = [sys.eventfd(0, sys.O_CLOEXEC), sys.eventfd(0, sys.O_CLOEXEC)];
    const [name, otherName] = [names.give(one)!, names.give(other)!];
    const copy = sys.fcntl(one, F_DUPFD, 0);
    sys.close(one);
    expect(names.isNamed(copy, name)).toBe(true);
    expect(names.isNamed(copy, otherName)).toBe(false);
    expect(names.isNamed(other, name)).toBe(false);
    sys.close(copy);
    expect(names.isOpen(name)).toBe(false);
    expect(names.isNamed(other, name)).toBe(false);
    expect(names.isOpen(otherName)).toBe(true);
    sys.close(other);
    names.close();
  });

  test('are not for files that have an inode of their own', () => {
    const names = new WeakNames();
    const fd = sys.memfdCreate('own', 0);
    expect(names.give(fd)).toBeNull();
    sys.close(fd);
    names.close();
  });
});

describe("the system's own machines", () => {
  const topology = { devices: { '0000:00:01.0': {}, '0000:00:02.0': {} } };
  let folder: string;
  let records: TraceRecord[];
  let engine: RunningEngine;

  function compile(source: string, ...args: readonly string[]): string {
    const made = join(folder, source.replace(/^.*\/|\.c$/g, ''));
    const flags = [
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-pthread',
      '-I',
      folder,
      '-I',
      join(root, 'examples'),
    ];
    execFileSync('gcc', [...flags, ...args, '-o', made, source], { stdio: 'inherit' });
    return made;
  }

  /** What a program says whose /dev/kvm is that of the library. */
  async function play(source: string): Promise<string> {
    const device = compile(join(ours, 'kvm-device.c'), '-shared', '-fPIC');
    const kernel = compile(join(ours, 'kvm-kernel.c'), '-shared', '-fPIC');
    const env = { ...engine.env, LD_PRELOAD: `${device}:${engine.env['LD_PRELOAD']}:${kernel}` };
    const { status, output } = await run({ env }, compile(source));
    expect(output).not.toContain('unexpected');
    expect(status).toBe(0);
    return output;
  }

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ioasis-machines-'));
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeEach(async () => {
    records = [];
    const trace = (record: TraceRecord): void => void records.push(record);
    engine = await startEngine({ config: { topology }, engineModule: engineModule('kvm-engine'), trace });
  });

  /** What was open until now is let go: nothing of a machine is left. */
  async function stop(): Promise<void> {
    const { bugs, left } = await engine.stop();
    expect(bugs).toEqual([]);
    expect(Object.values(left).every((count) => count === 0)).toBe(true);
  }

  test('are followed through every descriptor, and end with the last', { timeout: 60_000 }, async () => {
    expect(await play(join(ours, 'machine-files.c'))).toBe('');
    await stop();
    // What the stand-in would have been asked went past us.
    expect(records.some(({ file }) => file === '/dev/kvm')).toBe(false);
    const told = records.filter(({ cmd }) => cmd === KVM_SET_USER_MEMORY_REGION);
    expect(told.length).toBeGreaterThan(5);
    expect(told.every(({ file, errno }) => file === 'anon_inode:kvm-vm' && errno === 0)).toBe(true);
  });

  test('R4: are what devices see, while slots change under DMA', { timeout: 60_000 }, async () => {
    expect(await play(join(root, 'examples/machine.c'))).toMatch(/Reads meanwhile: .*; no wrong word/);
    await stop();
  });

  test('R38: share nothing, two of them in two processes', { timeout: 60_000 }, async () => {
    expect(await play(join(root, 'examples/two-machines.c'))).toContain(
      'The second was killed; the first goes on',
    );
    await stop();
  });
});
