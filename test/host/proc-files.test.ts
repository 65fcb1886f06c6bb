/** The texts of /proc that the host reads and writes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { editStatus, parseProcessPath } from '#ioasis/host/virtual-files.js';
import { isDeviceMemory, parseVma } from '#ioasis/host/vma.js';

describe('/proc/PID/maps', () => {
  test('a private area without a file', () => {
    expect(parseVma('7f00-7f01 rw-p 00000000 00:00 0 ')).toEqual({
      start: 0x7f00n,
      last: 0x7f00n,
      readable: true,
      writable: true,
      executable: false,
      shared: false,
      offset: 0n,
      inode: 0n,
      device: '0:0',
      name: '',
    });
  });

  test('a shared file with a hexadecimal device and a name with spaces', () => {
    const vma = parseVma(
      '7ffff7a00000-7ffff7c00000 r-xs 00002000 fd:1a 42                         /tmp/a b (deleted)',
    );
    expect(vma).toMatchObject({
      device: '253:26',
      inode: 42n,
      offset: 0x2000n,
      shared: true,
      writable: false,
      executable: true,
    });
    expect(vma?.name).toBe('/tmp/a b (deleted)');
  });

  test('any other line is no area', () => {
    fc.assert(fc.property(fc.string({ maxLength: 12 }), (text) => parseVma(text) === null));
  });

  test.each([
    ['/dev/mem', true],
    ['/dev/zero (deleted)', false],
    ['/dev/shm/x', false],
    ['[vvar]', true],
    ['[vdso]', false],
    ['[heap]', false],
    ['/memfd:x (deleted)', false],
  ])('%s is I/O memory: %s', (name, expected) => {
    const vma = parseVma(`1000-2000 rw-s 00000000 00:01 7 ${name}`);
    expect(vma !== null && isDeviceMemory(vma)).toBe(expected);
  });
});

describe('/proc/PID/status', () => {
  const text = 'VmPeak:\t  100 kB\nVmLck:\t       4 kB\nVmPin:\t       0 kB\nVmHWM:\t  90 kB\n';

  test('pages of the account are added to what the system shows, in its columns', () => {
    expect(editStatus(text, { lockedVm: 3, pinnedVm: 512 })).toBe(
      'VmPeak:\t  100 kB\nVmLck:\t      16 kB\nVmPin:\t    2048 kB\nVmHWM:\t  90 kB\n',
    );
  });

  test('an empty account changes nothing', () => {
    expect(editStatus(text, { lockedVm: 0, pinnedVm: 0 })).toBe(text);
  });
});

test.each([
  ['/proc/self/status', { pid: 7, tid: 7, file: 'status' }],
  ['/proc/thread-self/status', { pid: 7, tid: 9, file: 'status' }],
  ['/proc/12/status', { pid: 12, tid: 12, file: 'status' }],
  ['/proc/self/task/9/fail-nth', { pid: 7, tid: 9, file: 'fail-nth' }],
  ['/proc/12/task/13/fail-nth', { pid: 12, tid: 13, file: 'fail-nth' }],
  ['/proc/self/maps', null],
  ['/proc/selfish/status', null],
  ['/proc/status', null],
])('%s of task 9 in process 7', (path, expected) => {
  expect(parseProcessPath(path, 7, 9)).toEqual(expected);
});
