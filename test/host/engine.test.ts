/** Starting and stopping: where the socket goes, who may reach it, what is left, and what a trace says. */
import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TraceRecord } from '#ioasis/host/trace.js';
import { compile, descriptors, run, startFake, success, until } from './world.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-test-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const mode = (path: string): number => lstatSync(path).mode & 0o777;

test('the socket is 0600 in a directory of 0700, and both are gone after stop', async () => {
  const before = descriptors();
  const engine = await startFake();
  expect(mode(engine.socket)).toBe(0o600);
  expect(mode(dirname(engine.socket))).toBe(0o700);
  await engine.stop();
  expect(existsSync(dirname(engine.socket))).toBe(false);
  await until(() => descriptors() <= before);
});

test('a directory that exists is refused', async () => {
  await expect(startFake({ dir })).rejects.toThrow(/EEXIST/);
});

test('a socket in a directory that others may enter is refused', async () => {
  const open = join(dir, 'open');
  mkdirSync(open, { mode: 0o755 });
  await expect(startFake({ socket: join(open, 's') })).rejects.toThrow(/ours alone/);
});

test('a socket in a directory that is a link is refused', async () => {
  mkdirSync(join(dir, 'real'), { mode: 0o700 });
  symlinkSync(join(dir, 'real'), join(dir, 'link'));
  await expect(startFake({ socket: join(dir, 'link', 's') })).rejects.toThrow(/ours alone/);
});

test('a socket whose name is taken is refused, and what was there stays', async () => {
  writeFileSync(join(dir, 's'), 'mine');
  await expect(startFake({ socket: join(dir, 's') })).rejects.toThrow(/EEXIST/);
  expect(existsSync(join(dir, 's'))).toBe(true);
});

test('a socket at a chosen place is served and removed', { timeout: 60_000 }, async () => {
  const engine = await startFake({ socket: join(dir, 'here') });
  expect(await run(engine, compile('threads'))).toEqual(success);
  await engine.stop();
  expect(existsSync(join(dir, 'here'))).toBe(false);
});

test('an engine that cannot be made rejects', async () => {
  await expect(
    startFake({ engineModule: 'data:text/javascript,throw new Error("no engine")' }),
  ).rejects.toThrow('no engine');
});

test(
  'a trace has each call with its struct, its answer and the rule that was broken',
  { timeout: 60_000 },
  async () => {
    const records: TraceRecord[] = [];
    const engine = await startFake({ trace: (record) => records.push(record) });
    expect(await run(engine, compile('addresses'))).toEqual(success);
    await engine.stop();
    const [opened, added] = records;
    expect(opened).toMatchObject({ call: 'open', file: '/dev/iommu', errno: 0 });
    expect(added).toMatchObject({ call: 'ioctl', file: '/dev/iommu', cmd: 0x3b80, result: 0, errno: 0 });
    expect(added?.before?.[8]).toBe(41);
    expect(added?.after?.[8]).toBe(42);
    const refused = records.find((record) => record.errno === 14);
    expect(refused).toMatchObject({ result: -1, rule: 'fake.fault' });
    expect(records.map((record) => record.time)).toEqual(
      records.map((record) => record.time).toSorted((a, b) => a - b),
    );
  },
);

test(
  'with nothing to do the engine costs no time, also after devices had much to do',
  { timeout: 60_000 },
  async () => {
    const engine = await startFake();
    expect(await run(engine, compile('storm'))).toEqual(success);
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(200_000);
    await engine.stop();
  },
);

test('an engine stops while a device always has more to do', { timeout: 60_000 }, async () => {
  const engine = await startFake();
  expect(await run(engine, compile('storm'), ['on'])).toEqual(success);
  await engine.stop();
});
