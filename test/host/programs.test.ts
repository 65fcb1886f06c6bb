/** C programs as clients, in every way of reaching memory and of sending calls. What is checked stands in the programs. */
import { describe, expect, test } from 'vitest';
import { compile, run, startFake, success, ways } from './world.js';

const programs: Readonly<Record<string, string>> = {
  addresses: 'every bad pointer is EFAULT and every good one works',
  files: 'names and descriptors behave as a character device and anonymous files do',
  threads: 'sixteen threads on small stacks get their own answers',
  processes: 'fork, vfork, exec, dup2 onto anything, closefrom and SCM_RIGHTS keep a descriptor what it is',
  polls: 'poll, select and epoll follow the engine, and a bug ends one file with ENODEV',
  memory: 'one file is one backing, nothing grows, and shared pages are counted',
  proc: 'status shows pinned memory and fail-nth counts for its task',
  order: 'what was closed before a call has been let go when the call is served',
  wakes: 'no wake-up is lost between calls that are some microseconds apart',
  storm: 'a device that always has more to do deafens no client',
  registers: 'a store to mapped registers acts before the next instruction, and no other fault is lost',
  reused: 'a number that was a token’s is not taken for it any more',
  confined:
    'a seccomp filter leaves the calls of threads that have a channel, and refuses others with ENODEV',
};

test('stores are emulated as the CPU makes them', { timeout: 60_000 }, async () => {
  expect(await run({ env: {} }, compile('decode'))).toEqual(success);
});

describe.each(ways)('memory reached by way of $memory, rings: $rings', (way) => {
  test.each(Object.entries(programs))('%s: %s', { timeout: 60_000 }, async (name) => {
    const program = compile(name);
    const engine = await startFake(way);
    const ended = await run(engine, program);
    const report = await engine.stop();
    expect(ended).toEqual(success);
    expect(report.bugs.filter((bug) => !bug.includes('a bug of the engine'))).toEqual([]);
  });
});
