/** Odd programs, each on an engine of its own that has to be as before when they are gone. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compile, leavesNothing, run, startSelftest, success } from './world.js';

describe('a descriptor works in every state that a process can be in', () => {
  test.each([
    ['vforked', 'a child of vfork calls first, in memory that is its parent’s'],
    ['full-table', 'F8: no descriptor is left for a connection'],
    ['no-privileges', 'the program has become nobody'],
    ['rooted', 'the program has changed its root directory'],
    ['daemonized', 'the parent is gone and everything else is closed'],
    ['high-descriptor', 'a program is started with a queue on a high number'],
    ['over-everything', 'every number has been used for something else'],
    ['handed', 'a program without a pipe takes a queue out of another process'],
    ['redirected', 'a child of vfork redirects output to the device, and then the program does'],
    ['thousands', 'there are more threads than connections'],
  ])('%s: %s', async (state) => {
    expect(await leavesNothing(compile('states'), [state])).toEqual(success);
  });
});

describe.each([true, false])('threads may end and jump as they like, rings: %s', (rings) => {
  test.each([
    ['blocked', 'a read of the program’s own pipe is cancelled'],
    ['cancelled', 'threads are cancelled in calls'],
    ['jumping', 'a handler jumps out of calls'],
    ['storm', 'a handler makes calls itself, on a stack of its own'],
    ['crowds', 'crowds of threads with the smallest stacks make one call each'],
  ])('%s: %s', async (way) => {
    expect(await leavesNothing(compile('cancel'), [way], { rings })).toEqual(success);
  });
});

test('F5: memory that is cut, punched, taken away or was never there is EFAULT for a device', async () => {
  expect(await leavesNothing(compile('vanishing'))).toEqual(success);
});

test('a descriptor and a name of the device answer as those of Linux do', async () => {
  expect(await leavesNothing(compile('character'))).toEqual(success);
});

test('a fault queue is readable when Linux’ is, held open by its last copy, and no terminal', async () => {
  expect(await leavesNothing(compile('queues'))).toEqual(success);
});

test('pins that are held reach the old pages after munmap, reuse, fork, madvise and exit, and are counted once', async () => {
  const warnings: string[] = [];
  const options = { holdPins: true, warn: (text: string) => warnings.push(text) };
  expect(await leavesNothing(compile('held'), [], options)).toEqual(success);
  expect(warnings).toEqual([]);
});

test('a device that lost private memory is told of once, with what would have kept it', async () => {
  const warnings: string[] = [];
  const engine = await startSelftest({ warn: (text) => warnings.push(text) });
  const first = await run(engine, compile('held'));
  const second = await run(engine, compile('held'));
  await engine.stop();
  expect([first.status, second.status]).toEqual([1, 1]);
  expect(warnings).toEqual([
    expect.stringMatching(/unmapped, and met an error; Linux keeps them. --hold-pins/),
  ]);
});

test('a shell, its tools, node and python use the device as they use any other', async () => {
  process.env['NODE'] = process.execPath;
  const script = fileURLToPath(new URL('programs/languages.sh', import.meta.url));
  expect(await leavesNothing('bash', [script])).toEqual(success);
});

test('F6, F7: lengths and addresses at every edge are refused or exact to the last bit', async () => {
  expect(await leavesNothing(compile('numbers'))).toEqual(success);
});
