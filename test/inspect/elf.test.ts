/** The ELF reader on files made here byte by byte, and on any bytes at all. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isElf, machineName, nodeArch, readElf, type ReadAt } from '../../src/inspect/elf.js';

interface Segment {
  readonly type: number;
  readonly bytes: Uint8Array;
}

const EM_X86_64 = 62;
const EM_ARM = 40;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const interpreter = (path: string): Segment => ({ type: 3, bytes: text(`${path}\0`) });
const dynamic: Segment = { type: 2, bytes: new Uint8Array(16) };

function note(name: string, descriptor: Uint8Array): Segment {
  const padded = Math.ceil((name.length + 1) / 4) * 4;
  const bytes = new Uint8Array(12 + padded + descriptor.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, descriptor.length, true);
  view.setUint32(8, 4, true);
  bytes.set(text(name), 12);
  bytes.set(descriptor, 12 + padded);
  return { type: 4, bytes };
}

/** A file of 64-bit little-endian ELF: header, program headers, then what the segments hold. */
function elf64(machine: number, type: number, segments: readonly Segment[]): Uint8Array {
  const dataStart = 64 + 56 * segments.length;
  const file = new Uint8Array(dataStart + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length, true);
  let at = dataStart;
  for (const [i, segment] of segments.entries()) {
    view.setUint32(64 + 56 * i, segment.type, true);
    view.setBigUint64(64 + 56 * i + 8, BigInt(at), true);
    view.setBigUint64(64 + 56 * i + 32, BigInt(segment.bytes.length), true);
    file.set(segment.bytes, at);
    at += segment.bytes.length;
  }
  return file;
}

/** The same for 32 bits, big endian: the other half of every field's place and order. */
function elf32be(machine: number, loader: string): Uint8Array {
  const file = new Uint8Array(52 + 32 + loader.length + 1);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 2, 1]);
  view.setUint16(16, 2);
  view.setUint16(18, machine);
  view.setUint32(28, 52);
  view.setUint16(42, 32);
  view.setUint16(44, 1);
  view.setUint32(52, 3);
  view.setUint32(56, 84);
  view.setUint32(68, loader.length + 1);
  file.set(text(loader), 84);
  return file;
}

const over =
  (file: Uint8Array): ReadAt =>
  (offset, length) =>
    file.slice(offset, offset + length);

test('a dynamic executable names its loader', () => {
  const file = elf64(EM_X86_64, 3, [interpreter('/lib64/ld-linux-x86-64.so.2'), dynamic]);
  expect(readElf(over(file))).toEqual({
    bits: 64,
    littleEndian: true,
    machine: EM_X86_64,
    type: 'shared',
    interpreter: '/lib64/ld-linux-x86-64.so.2',
    dynamic: true,
    go: false,
  });
});

test('a static executable has no loader, whether it is position independent or not', () => {
  expect(readElf(over(elf64(EM_X86_64, 2, [])))?.interpreter).toBeNull();
  const pie = readElf(over(elf64(EM_X86_64, 3, [dynamic])));
  expect(pie).toMatchObject({ interpreter: null, dynamic: true });
});

test('a 32-bit big-endian file is read by its own order', () => {
  const found = readElf(over(elf32be(EM_ARM, '/lib/ld.so')));
  expect(found).toMatchObject({ bits: 32, littleEndian: false, machine: EM_ARM, interpreter: '/lib/ld.so' });
});

test('the note of a Go linker is found behind another note', () => {
  const both = {
    type: 4,
    bytes: new Uint8Array([...note('GNU', new Uint8Array(20)).bytes, ...note('Go\0', text('id..')).bytes]),
  };
  expect(readElf(over(elf64(EM_X86_64, 2, [both])))?.go).toBe(true);
  expect(readElf(over(elf64(EM_X86_64, 2, [note('GNU', new Uint8Array(20))])))?.go).toBe(false);
});

test('an object file is nothing to run', () => {
  expect(readElf(over(elf64(EM_X86_64, 1, [])))?.type).toBe('other');
});

test('a file that is cut short anywhere in its headers is null', () => {
  const file = elf64(EM_X86_64, 2, [dynamic]);
  for (let length = 0; length < 64 + 56; length++) expect(readElf(over(file.slice(0, length)))).toBeNull();
  expect(readElf(over(file.slice(0, 64 + 56)))).not.toBeNull();
});

test('a program header of the wrong size, or more of them than Linux takes, is null', () => {
  const wrong = elf64(EM_X86_64, 2, [dynamic]);
  new DataView(wrong.buffer).setUint16(54, 57, true);
  expect(readElf(over(wrong))).toBeNull();
  const many = elf64(EM_X86_64, 2, [dynamic]);
  new DataView(many.buffer).setUint16(56, 2000, true);
  expect(readElf(over(many))).toBeNull();
});

test('no bytes make the reader throw', () => {
  const header = fc.uint8Array({ minLength: 0, maxLength: 400 });
  fc.assert(
    fc.property(header, fc.boolean(), (bytes, withMagic) => {
      if (withMagic) bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1].slice(0, bytes.length));
      const found = readElf(over(bytes));
      expect(found === null || isElf(bytes)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test('machines have names, also those that nobody has heard of', () => {
  expect(machineName(EM_X86_64)).toBe('x86-64');
  expect(machineName(4711)).toBe('machine 4711');
  const elf = readElf(over(elf64(183, 2, [])));
  expect(elf === null ? null : nodeArch(elf)).toBe('arm64');
  const odd = readElf(over(elf64(4711, 2, [])));
  expect(odd === null ? '' : nodeArch(odd)).toBeNull();
});
