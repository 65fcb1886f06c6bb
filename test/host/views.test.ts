/**
 * Shared memory of which the daemon has no descriptor, as an ordinary user's has none of memory without a name: it is
 * reached through whoever has it mapped.
 */
import koffi from 'koffi';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ProcessSpace } from '../../src/host/address-space.js';
import { FileBackings } from '../../src/host/backing.js';
import { makeMemfd } from '../../src/host/mappings.js';
import * as sys from '../../src/host/sys.js';

const PAGE = 4096;
const LENGTH = 4 * PAGE;
/** No process has it, so nobody has a descriptor either. */
const NOBODY = 2 ** 22 + 1;

const mprotect = koffi.load(null).func('mprotect', 'int', ['int64_t', 'size_t', 'int']) as (
  address: number,
  length: number,
  protection: number,
) => number;

let files: FileBackings;
let space: ProcessSpace;
let fd: number;
let block: sys.Block;
/** As a device has it, by the client's area at {@link block}. */
let backing: ReturnType<FileBackings['ofVma']>;

/** This process is the client, too. */
beforeEach(() => {
  files = new FileBackings();
  space = new ProcessSpace(process.pid, 'direct', files, { buffers: null, lost: () => undefined });
  fd = makeMemfd(LENGTH);
  block = sys.tryMap(LENGTH, fd)!;
  const vma = space.areaAt(BigInt(block.address))!;
  backing = files.ofVma(vma, NOBODY);
  backing.addView({ space, vma });
});

afterEach(() => {
  files.clear();
  space.retire();
  sys.unmapAt(block);
  sys.close(fd);
});

const read = (at: number, length: number): Uint8Array | null => {
  const bytes = new Uint8Array(length);
  return backing.read(BigInt(at), bytes) ? bytes : null;
};

test('what either side writes the other reads, over pages and to the last byte', () => {
  expect(backing.hasFile).toBe(false);
  const bytes = Uint8Array.from({ length: PAGE + 5 }, (_, index) => index * 7);
  expect(backing.write(BigInt(LENGTH - bytes.length), bytes)).toBe(true);
  expect(block.bytes.slice(-bytes.length)).toEqual(bytes);
  block.bytes[PAGE] = 9;
  expect(read(PAGE - 1, 3)).toEqual(Uint8Array.of(0, 9, 0));
  expect(read(LENGTH - 1, 2)).toBe(null);
});

test('an address that leads to another file, or to nothing, leads nowhere', () => {
  const other = makeMemfd(LENGTH);
  sys.remap(block, other);
  expect([read(0, 1), backing.write(0n, Uint8Array.of(1))]).toEqual([null, false]);
  expect(block.bytes[0]).toBe(0);
  // The same file, and another part of it.
  sys.mapAt(block, PAGE, fd, PAGE);
  expect(read(0, 1)).toBe(null);
  expect(read(PAGE, 1)).toEqual(Uint8Array.of(0));
  sys.unmapAt(block);
  expect(read(PAGE, 1)).toBe(null);
  sys.close(other);
});

test('one range may lie in several areas, whoever has them', () => {
  const second = sys.tryMap(LENGTH, fd)!;
  second.bytes.fill(5);
  // Of the first area only the first page is left.
  sys.unmapAt({ ...block, address: block.address + PAGE, bytes: block.bytes.subarray(PAGE) });
  expect(read(0, LENGTH)).toEqual(new Uint8Array(LENGTH).fill(5));
  expect(backing.write(BigInt(PAGE - 1), Uint8Array.of(1, 2))).toBe(true);
  expect([block.bytes[PAGE - 1], second.bytes[PAGE]]).toEqual([1, 2]);
  sys.unmapAt(second);
  expect(read(0, PAGE)).not.toBe(null);
  expect(read(PAGE, 1)).toBe(null);
});

test('memory that its owner may only read is not written, and what it may not read is not read', () => {
  const other = sys.tryMap(LENGTH, fd)!;
  expect(mprotect(other.address, LENGTH, sys.PROT_READ)).toBe(0);
  sys.unmapAt(block);
  expect(read(0, 1)).toEqual(Uint8Array.of(0));
  expect(backing.write(0n, Uint8Array.of(1))).toBe(false);
  mprotect(other.address, LENGTH, 0);
  expect(read(0, 1)).toBe(null);
  sys.unmapAt(other);
});
