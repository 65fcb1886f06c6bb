/** Clients of /dev/ioasid that mean harm, want too much, or die: nothing of them is left, and nobody else notices. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { cli, compile, leavesNothing, success } from './world.js';

const config = {
  selftest: true,
  topology: { devices: { '0000:00:01.0': {}, '0000:00:02.0': {} } },
};

test.each([
  ['numbers', 'every call takes anything for its size, flags, numbers and pointers'],
  ['rings', 'a program writes what it likes into rings, and answers what nobody asked'],
  ['dying', 'killed amid DMA and calls, with threads that close and replace what others use'],
  ['thousands', 'thousands of ioasids and PASIDs, and the file of the device goes last'],
  ['passed', 'another process has both files, maps its own memory, and is killed'],
])('%s: %s', async (way) => {
  expect(await leavesNothing(compile('owners'), [way], { config })).toEqual(success);
});

test('owned_process_forbidden: who may not trace a process gets none of its memory by a descriptor of it', async (context) => {
  context.skip(process.getuid?.() !== 0, 'only root can become somebody else');
  expect(await leavesNothing(compile('owners'), ['stranger'], { config })).toEqual(success);
});

test('ioasid_fault_memory: rings without end leave descriptors for everybody else', () => {
  const args = ['run', '--profile', 'vtd', '--', compile('owners'), 'rings-without-end'];
  const command = 'ulimit -n 512 && exec "$0" "$@"';
  const { status, stdout } = spawnSync('bash', ['-c', command, process.execPath, cli, ...args], {
    encoding: 'utf8',
  });
  expect([status, stdout]).toEqual([0, '']);
});

test('the fault region of a device is out of reach of other devices once its file is closed', async () => {
  const nesting = { ...config, topology: { ...config.topology, vfioNesting: true } };
  expect(await leavesNothing(compile('ring-memory'), [], { config: nesting })).toEqual(success);
});
