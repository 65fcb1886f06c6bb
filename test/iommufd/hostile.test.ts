/**
 * Whatever a program passes, it gets a result or an errno with its reason, never another exception, and nothing
 * that it leaves behind survives the close of the file.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Errno, errnoNumbers } from '../../src/base/errno.js';
import { ioctlTable } from '../../src/wire/ioctls.js';
import { exampleList, examples, populate, type Example } from './examples.js';
import { PAGE, World } from './world.js';

/** What no call may throw: anything but an Errno that explains itself. */
function survive(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    expect(errnoNumbers[error.code]).toBe(error.errno);
    expect(error.rule).not.toBe('');
    if (/[{}]|undefined|NaN|\[object/.test(error.reason)) expect(error.reason).toBe('a whole sentence');
  }
}

const edges32 = [0, 1, 4095, 4096, 4097, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1];
const edges64 = [
  ...edges32.map(BigInt),
  ...[32n, 53n, 63n].flatMap((bits) => [-1n, 0n, 1n].map((change) => (1n << bits) + change)),
  (1n << 64n) - 4096n,
  (1n << 64n) - 2n,
  (1n << 64n) - 1n,
];

function edgesOf(field: { readonly scalar: string | null; readonly count: number }): readonly unknown[] {
  if (field.count > 0) return [Array.from({ length: field.count }, () => 255)];
  return field.scalar === 'u64' ? edges64 : edges32;
}

describe('every field of every struct, at its edges, with everything else right', () => {
  test.each(exampleList().map((example, index) => [example.name, index, example] as const))(
    '%s',
    (_name, index, { struct }) => {
      for (const [field, place] of Object.entries(struct.fields)) {
        if (field === 'size' || field === 'op') continue;
        const w = new World();
        const { values, request } = examples(populate(w))[index] as Example;
        for (const edge of edgesOf(place)) {
          const at = w.put(struct, { ...values, [field]: edge });
          survive(() => w.client.ioctl(w.fd, request, at));
        }
        w.end();
      }
    },
  );
});

const numbers = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...ioctlTable.keys()) },
  { weight: 1, arbitrary: fc.integer({ min: 0x3b00, max: 0x3bff }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffffffff }) },
);

/** What a 32-bit or 64-bit word of a struct may hold: ids and descriptors that exist, flags, addresses, anything. */
const word = fc.oneof(
  { weight: 6, arbitrary: fc.bigInt({ min: 0n, max: 24n }) },
  { weight: 2, arbitrary: fc.constantFrom(0xdeadbeefn, 0xdeadn, 0xbeefbeefn, 0xfeedbeefn, 0x99n) },
  { weight: 2, arbitrary: fc.constantFrom(0x1000000n, 0x1001000n, 4096n, 8192n, 40n, 72n) },
  { weight: 1, arbitrary: fc.constantFrom(...edges64) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) },
);

/** Which memory a pointer names. */
const place = fc.constantFrom('data', 'straddling', 'unmapped', 'read-only', 'null', 'top');

interface Shot {
  readonly number: number;
  readonly size: bigint;
  readonly words: readonly { readonly wide: boolean; readonly value: bigint; readonly pointer: boolean }[];
  readonly at: string;
  readonly pointer: string;
}

const shot: fc.Arbitrary<Shot> = fc.record({
  number: numbers,
  size: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(12n, 16n, 24n, 32n, 40n, 48n, 72n) },
    { weight: 1, arbitrary: word },
  ),
  words: fc.array(fc.record({ wide: fc.boolean(), value: word, pointer: fc.boolean().map((yes) => yes) }), {
    minLength: 4,
    maxLength: 20,
  }),
  at: fc.oneof({ weight: 8, arbitrary: fc.constant('data') }, { weight: 2, arbitrary: place }),
  pointer: place,
});

/** Addresses of a world, by the names of {@link place}. */
function places(w: World): Readonly<Record<string, bigint>> {
  return {
    data: w.buffer(),
    straddling: w.buffer(1) + PAGE - 20n,
    unmapped: PAGE,
    'read-only': w.client.memory.alloc(4096, { writable: false }),
    null: 0n,
    top: (1n << 64n) - 8n,
  };
}

function bytesOf({ size, words, pointer }: Shot, at: Readonly<Record<string, bigint>>): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Number(BigInt.asUintN(32, size)), true);
  let offset = 4;
  for (const each of words) {
    if (each.wide) {
      offset = (offset + 7) & ~7;
      view.setBigUint64(offset, each.pointer ? (at[pointer] as bigint) : each.value, true);
      offset += 8;
    } else {
      view.setUint32(offset, Number(BigInt.asUintN(32, each.value)), true);
      offset += 4;
    }
  }
  return bytes;
}

test('any ioctl with any bytes, size and pointer', () => {
  fc.assert(
    fc.property(fc.array(shot, { minLength: 10, maxLength: 60 }), (shots) => {
      const w = new World();
      populate(w);
      const at = places(w);
      for (const each of shots) {
        const address = at[each.at] as bigint;
        const bytes = bytesOf(each, at);
        for (let length = bytes.length; length > 0 && !w.client.mm.write(address, bytes.subarray(0, length));)
          length -= 4;
        survive(() => w.client.ioctl(w.fd, each.number, address));
      }
      w.end();
    }),
    { numRuns: 150 },
  );
}, 60_000);

/** A struct of some example, some of whose fields are something else: gets much deeper than random bytes. */
const mutation = fc.record({
  example: fc.nat(1000),
  changes: fc.array(fc.tuple(fc.nat(20), word), { maxLength: 3 }),
});

test('valid calls in any order, with some fields wrong', () => {
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 10, maxLength: 80 }), (calls) => {
      const w = new World({ capabilities: [], memlockLimit: 64n * PAGE });
      const list = examples(populate(w));
      for (const { example, changes } of calls) {
        const { struct, values, request } = list[example % list.length] as Example;
        const names = Object.keys(struct.fields).filter((name) => name !== 'size' && name !== 'op');
        const wrong = changes.flatMap(([which, value]) => {
          const name = names[which % Math.max(1, names.length)];
          const field = name === undefined ? undefined : struct.fields[name];
          if (field === undefined || field.count > 0) return [];
          return [[name, field.scalar === 'u64' ? value : Number(BigInt.asUintN(32, value))]];
        });
        const at = w.put(struct, { ...values, ...Object.fromEntries(wrong) });
        survive(() => w.client.ioctl(w.fd, request, at));
        w.client.memory.free(at);
      }
      w.end();
    }),
    { numRuns: 150 },
  );
}, 60_000);

test('read, write, mmap and poll of any file, with any count at any address', () => {
  const request = fc.record({
    fd: fc.nat(12),
    count: fc.oneof(fc.nat(200), fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 47)),
    at: place,
    offset: word,
    length: word,
    shared: fc.boolean(),
    exec: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 40 }), (requests) => {
      const w = new World();
      populate(w);
      const { dev } = w.faultingDevice();
      w.iopf(dev, { grpid: 1 });
      const at = places(w);
      for (const { fd, count, at: name, ...mapping } of requests) {
        const file = w.client.fileOf(fd);
        if (file === null || !file.isEngineFile) continue;
        const address = at[name] as bigint;
        survive(() => file.read(address, count, w.client));
        survive(() => file.write(address, count, w.client));
        survive(() => w.client.mmap(fd, mapping).closed());
        expect(typeof file.readable).toBe('boolean');
      }
      w.end();
    }),
    { numRuns: 60 },
  );
}, 60_000);
