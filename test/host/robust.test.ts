/** Clients and daemons that break: nothing of it reaches anybody else, and nothing is left behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import {
  compile,
  descriptors,
  end,
  fakeEngine,
  run,
  start,
  startFake,
  success,
  until,
  ways,
} from './world.js';

const ours = /a bug of the engine/;

describe.each(ways)('memory reached by way of $memory, rings: $rings', (way) => {
  test.each([
    ['hostile', 'every prefix, noise, silence and theft end one connection and nothing else'],
    ['killed', 'a client killed or stopped in a call leaves no file and no mapping'],
  ])('%s: %s', { timeout: 120_000 }, async (name) => {
    const program = compile(name);
    const engine = await startFake(way);
    await run(engine, compile('threads'));
    const before = descriptors();
    expect(await run(engine, program)).toEqual(success);
    await until(() => descriptors() <= before);
    expect((await engine.stop()).bugs.filter((bug) => !ours.test(bug))).toEqual([]);
  });
});

test(
  'whatever is written into a ring ends one connection and nothing else',
  { timeout: 60_000 },
  async () => {
    const program = compile('rings');
    const engine = await startFake();
    await run(engine, compile('threads'));
    const before = descriptors();
    expect(await run(engine, program)).toEqual(success);
    await until(() => descriptors() <= before);
    expect((await engine.stop()).bugs).toEqual([]);
  },
);

test('privileges that are lent are seen, given up and inherited', { timeout: 60_000 }, async () => {
  const engine = await startFake({ lend: true });
  expect(await run(engine, compile('privileges'))).toEqual(success);
  await engine.stop();
});

/** Starts an engine in a process of its own, by `command` in front of it. */
async function serve(command: readonly string[]) {
  const dir = join(mkdtempSync(join(tmpdir(), 'ioasis-test-')), 'run');
  const script = fileURLToPath(new URL('serve.js', fakeEngine()));
  const [program = '', ...args] = [...command, process.execPath, script, dir, fakeEngine()];
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const env = JSON.parse(line.toString()) as Record<string, string>;
  return {
    env,
    child,
    async stop(signal: 'SIGKILL' | null) {
      const exit = once(child, 'exit');
      if (signal === null) child.stdin.end();
      else child.kill(signal);
      await exit;
    },
    clean: () => rmSync(join(dir, '..'), { recursive: true, force: true }),
  };
}

test(
  'after the daemon was killed every call is ENODEV and close still works',
  { timeout: 60_000 },
  async () => {
    const program = compile('orphan');
    const daemon = await serve([]);
    const client = start(daemon, program);
    const ended = end(client);
    await once(client.stdout!, 'data');
    await daemon.stop('SIGKILL');
    client.stdin!.end('\n');
    expect(await ended).toEqual({ ...success, output: 'ready\n' });
    daemon.clean();
  },
);

test.each([
  ['that may be interrupted', []],
  ['that blocks signals', ['handler']],
])(
  'a daemon that is killed amid calls ends every one %s with ENODEV',
  { timeout: 60_000 },
  async (_, args) => {
    const program = compile('waiting');
    const daemon = await serve([]);
    const client = start(daemon, program, args);
    const ended = end(client);
    await once(client.stdout!, 'data');
    await new Promise((resolve) => setTimeout(resolve, 300));
    await daemon.stop('SIGKILL');
    expect(await ended).toEqual({ ...success, output: 'ready\n' });
    daemon.clean();
  },
);

test('a daemon without descriptors refuses with EMFILE and recovers', { timeout: 60_000 }, async () => {
  const program = compile('full');
  const daemon = await serve(['prlimit', '--nofile=70:70']);
  expect(await run(daemon, program)).toEqual(success);
  await daemon.stop(null);
  daemon.clean();
});
