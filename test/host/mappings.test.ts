/** Memory that is mapped where other memory was. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { makeMemfd, mapAgain, unmap } from '../../src/host/mappings.js';

const LENGTH = 3 * 4096;

function memfdWith(text: string): number {
  const fd = makeMemfd(LENGTH);
  writeSync(fd, text, 0);
  return fd;
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(0, 3)).toString();

test('what cannot be mapped is refused, and does not show what lay at the address before', () => {
  const first = memfdWith('one');
  const block = mapAgain(LENGTH, first)!;
  expect(textOf(block.bytes)).toBe('one');
  unmap(block);
  expect(textOf(block.bytes)).toBe('\0\0\0');
  const directory = openSync('/', 'r');
  expect(mapAgain(LENGTH, directory)).toBe(null);
  expect(textOf(block.bytes)).toBe('\0\0\0');
  const second = memfdWith('two');
  const again = mapAgain(LENGTH, second)!;
  expect(again.address).toBe(block.address);
  expect(textOf(block.bytes)).toBe('two');
  for (const fd of [first, second, directory]) closeSync(fd);
});
