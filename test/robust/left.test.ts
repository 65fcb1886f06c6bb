/** Whoever dies at any moment, client or daemon: nothing of it is left, nobody else notices, and nobody waits for ever. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startEngine } from '#ioasis/host/engine.js';
import { dice } from '../dice.js';
import {
  alive,
  cli,
  compile,
  end,
  leavesNothing,
  nvmeDriver,
  run,
  start,
  startSelftest,
  success,
  until,
} from './world.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'robust-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('F1: a client killed at any point, with threads and children, leaves nothing', async () => {
  expect(await leavesNothing(compile('dying'))).toEqual(success);
});

test('F1: sixty-four threads call while others fork, vfork and start programs', async () => {
  expect(await leavesNothing(compile('mixture'))).toEqual(success);
});

test('F3, F4, F8: a thousand connections that say little, listen never or send descriptors hold up nobody', async () => {
  expect(await leavesNothing(compile('crowd'))).toEqual(success);
});

test('F1: a driver killed with interrupts, eventfds and registers in hand leaves its device as new', async () => {
  const config = { selftest: true, topology: { devices: { '0000:00:01.0': { model: 'ioat' } } } };
  expect(await leavesNothing(compile('driver'), [], { config })).toEqual(success);
});

test('a disk whose driver is killed while data moves, again and again, serves the next as if new', async () => {
  const devices = { '0000:00:05.0': { model: 'nvme', namespaces: [{ size: '16M' }] } };
  const engine = await startEngine({ config: { selftest: false, topology: { devices } } });
  const pick = dice(5);
  const path = '/dev/vfio/devices/vfio0';
  const program = nvmeDriver();
  // How long a driver lives: what the last one took that was done before its end came.
  let life = 1000;
  for (let killed = 0; killed < 8;) {
    const begun = performance.now();
    const driver = start(engine, program, [path]);
    const timer = setTimeout(() => driver.kill('SIGKILL'), pick(Math.ceil(life)));
    const { status, signal } = await end(driver);
    clearTimeout(timer);
    expect(signal === 'SIGKILL' || status === 0).toBe(true);
    if (signal !== null) killed += 1;
    else life = performance.now() - begun;
  }
  const { status, output } = await run(engine, program, [path]);
  expect([status, output]).toEqual([0, expect.stringContaining('5050 blocks written, read back')]);
  const { bugs, left } = await engine.stop();
  expect([bugs, alive(left)]).toEqual([[], []]);
});

test('groups and containers are closed in every order, and killed in the middle, and nothing is left', async () => {
  const config = { selftest: true, topology: { devices: { '0000:00:01.0': {} } } };
  expect(await leavesNothing(compile('container'), [], { config })).toEqual(success);
});

/** A daemon in a process of its own. */
async function startDaemon(): Promise<{ daemon: ChildProcess; env: Record<string, string> }> {
  const socket = join(dir, 'run', 's');
  const daemon = spawn(process.execPath, [cli, 'daemon', '--selftest', '--socket', socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  daemon.stdout!.on('data', (text: Buffer) => (said += text.toString()));
  await until(() => said.includes('LD_PRELOAD='));
  return { daemon, env: { IOASIS_SOCKET: socket, LD_PRELOAD: /LD_PRELOAD=(\S+)/.exec(said)?.[1] ?? '' } };
}

test('a daemon that stops wakes whoever waits for a fault, and answers ENODEV', async () => {
  const { daemon, env } = await startDaemon();
  const client = start({ env }, compile('queue'));
  const ended = end(client);
  await once(client.stdout!, 'data');
  const exit = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  expect(await ended).toEqual({ ...success, output: 'ready\n' });
  expect(await exit).toEqual([0, null]);
});

test.each([
  ['fault', 'poll'],
  ['fault', 'select'],
  ['fault', 'epoll'],
  ['fault', 'epoll-edge'],
  ['fault', 'many'],
  ['event', 'poll'],
  ['event', 'select'],
  ['event', 'epoll'],
  ['event', 'epoll-edge'],
])('a daemon that is killed wakes whoever waits for a %s, in %s', async (queue, way) => {
  const { daemon, env } = await startDaemon();
  const client = start({ env }, compile('sleeper'), [queue, way]);
  const ended = end(client);
  await once(client.stdout!, 'data');
  daemon.kill('SIGKILL');
  expect(await ended).toEqual({ ...success, output: 'ready\n' });
});

test('a daemon that stands still lets signals through, and goes on where it was', async () => {
  const { daemon, env } = await startDaemon();
  const client = start({ env }, compile('cancel'), ['deaf']);
  let said = '';
  client.stdout!.on('data', (text: Buffer) => (said += text.toString()));
  const ended = end(client);
  await until(() => said === 'ready\n');
  daemon.kill('SIGSTOP');
  client.stdin!.write('\n');
  await until(() => said.endsWith('jumped\n'));
  daemon.kill('SIGCONT');
  client.stdin!.end('\n');
  expect(await ended).toEqual({ ...success, output: 'ready\njumped\n' });
  daemon.kill('SIGKILL');
  await once(daemon, 'exit');
});

test('what a killed engine left is removed by the next, and what is alive is not', async () => {
  process.env['XDG_RUNTIME_DIR'] = dir;
  const old = new Date(Date.now() - 3_600_000);
  const dead = join(dir, 'ioasis-AAAAAA');
  const named = join(dir, 'ioasis-test-kept');
  mkdirSync(join(dead, 'socket.tree'), { recursive: true });
  mkdirSync(named);
  // Named as ours are, and holding what is not ours.
  const foreign = join(dir, 'ioasis-kernel');
  mkdirSync(join(foreign, 'work'), { recursive: true });
  // A process that ends without closing leaves the name of its socket.
  const script = `require('net').createServer().listen(${JSON.stringify(join(dead, 'socket'))}, () => process.kill(process.pid, 9))`;
  expect(() => execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' })).toThrow();
  expect(existsSync(join(dead, 'socket'))).toBe(true);
  const engine = await startSelftest();
  for (const path of [dead, named, foreign, dirname(engine.socket)]) utimesSync(path, old, old);
  const other = await startSelftest();
  await until(() => !existsSync(dead));
  expect(existsSync(named)).toBe(true);
  expect(await run(engine, compile('honest'))).toEqual(success);
  await other.stop();
  await engine.stop();
  expect(existsSync(foreign)).toBe(true);
  delete process.env['XDG_RUNTIME_DIR'];
});

test('F10: whichever point fails in a program, nothing of it is left', async () => {
  const program = compile('honest');
  let n = 0;
  for (let failed = true; failed;) {
    const engine = await startSelftest({ failNth: ++n });
    const { status, signal } = await run(engine, program);
    const { bugs, fired, left } = await engine.stop();
    expect([bugs, signal, alive(left)]).toEqual([[], null, []]);
    failed = Object.keys(fired).length > 0;
    expect(status).toBe(failed ? 1 : 0);
  }
  expect(n).toBeGreaterThan(15);
});
