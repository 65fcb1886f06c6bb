/**
 * The size rules that all ioctls share, for every one of them: sizes from the first version on are taken, a larger
 * struct is taken as long as what is not known of it is zero, and no byte behind the caller's size is written.
 */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import { ioctlTable } from '../../src/wire/ioctls.js';
import { exampleList, examples, populate, type Example } from './examples.js';
import { PAGE, World } from './world.js';

/** Fills what the ioctl must not touch. */
const CANARY = 0xa5;
const SPARE = 32;

interface Outcome {
  /** The result, or the rule that was broken. */
  readonly result: number | string;
  /** The struct afterwards, as far as the kernel knows it. */
  readonly bytes: readonly number[];
}

/** Makes call `index` of the examples in a world of its own, with `size` bytes of struct and `tail` behind. */
function attempt(index: number, size: number, tail = 0): Outcome {
  const w = new World();
  const example = examples(populate(w))[index] as Example;
  const { struct, values, request } = example;
  const bytes = new Uint8Array(Math.max(size, struct.size) + SPARE);
  struct.encode(struct.create({ ...values, size }), bytes);
  if (size > struct.size) bytes[size - 1] = tail;
  bytes.fill(CANARY, size);
  const at = w.client.memory.store(bytes);
  let result: number | string;
  try {
    result = w.client.ioctl(w.fd, request, at);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    result = error.rule;
  }
  const after = w.client.memory.load(at, bytes.length);
  expect(after.subarray(size).every((byte) => byte === CANARY)).toBe(true);
  w.end();
  return { result, bytes: [...after.subarray(4, Math.min(size, struct.size))] };
}

function refusal(step: (w: World, example: Example) => unknown, index: number): unknown {
  const w = new World();
  const example = examples(populate(w))[index] as Example;
  try {
    step(w, example);
    return null;
  } catch (error) {
    return error;
  } finally {
    w.end();
  }
}

/** The call with the last `beyond` bytes of its struct not there. */
const atEdge = (beyond: number) => (w: World, example: Example) =>
  w.client.ioctl(w.fd, example.request, w.putAtEdge(example.struct, example.values, beyond));

/** Only the call's own refusal is of interest: CHANGE_PROCESS finds user memory, the others work. */
const refusedAnyway = new Map([
  ['IOMMU_IOAS_CHANGE_PROCESS', 'change_process_kind'],
  ['IOMMU_VDEVICE_ALLOC', 'vdevice_device_has_one'],
  ['IOMMU_VEVENTQ_ALLOC', 'veventq_exists'],
  ['IOMMU_TEST_OP_TRIGGER_VEVENT', 'test_vevent_viommu'],
]);

describe.each(exampleList().map((example, index) => [example.name, index, example] as const))(
  '%s',
  (name, index, { struct, request }) => {
    const known = struct.size;
    const info = ioctlTable.get(request);
    const least = info?.struct?.endOf(info.lastMandatory) as number;

    test('is taken at its exact size', () => {
      const { result } = attempt(index, known);
      expect(result).toEqual(refusedAnyway.get(name) ?? expect.any(Number));
    });

    test('is EINVAL one byte below its first version, and without a size', () => {
      expect(attempt(index, least - 1).result).toBe('size_too_small');
      expect(attempt(index, 4).result).toBe('size_too_small');
    });

    test('is taken at the size of its first version, whose missing fields are zero', () => {
      const { result, bytes } = attempt(index, least);
      const { bytes: whole } = attempt(index, known);
      if (typeof result === 'string' && refusedAnyway.get(name) !== result) {
        expect(least).toBeLessThan(known);
        return;
      }
      expect(bytes).toHaveLength(least - 4);
      if (least === known) expect(bytes).toEqual(whole);
    });

    test('is the same with eight bytes of zeros behind, and with a page of them', () => {
      const exact = attempt(index, known);
      expect(attempt(index, known + 8)).toEqual(exact);
      expect(attempt(index, known + Number(PAGE))).toEqual(exact);
    });

    test('is E2BIG when a byte behind is not zero', () => {
      expect(attempt(index, known + 8, 1).result).toBe('struct_tail_not_zero');
      expect(attempt(index, known + Number(PAGE), 0x80).result).toBe('struct_tail_not_zero');
    });

    test('is EFAULT where its size, its bytes or its tail cannot be read', () => {
      expect(refusal((w) => w.client.ioctl(w.fd, request, PAGE), index)).toMatchObject({
        rule: 'size_unreadable',
        code: 'EFAULT',
      });
      expect(refusal(atEdge(known - 3), index)).toMatchObject({ rule: 'size_unreadable', code: 'EFAULT' });
      expect(refusal(atEdge(1), index)).toMatchObject({ rule: 'struct_unreadable', code: 'EFAULT' });
      const tail = (w: World, example: Example): unknown =>
        w.client.ioctl(w.fd, request, w.putAtEdge(struct, { ...example.values, size: known + 1 }));
      expect(refusal(tail, index)).toMatchObject({ rule: 'struct_tail_unreadable', code: 'EFAULT' });
    });
  },
);

test('every ioctl of iommufd, and every operation of the selftest, has an example', () => {
  const names = [...ioctlTable].flatMap(([number, info]) => {
    if ((number & 0xff) < 0x80) return [];
    if (info.variants === null) return [info.name];
    return [...info.variants.by.keys()].map((op) => `op ${op}`);
  });
  const shown = exampleList().map(({ name, values }) =>
    values['op'] !== undefined && name.startsWith('IOMMU_TEST') ? `op ${String(values['op'])}` : name,
  );
  expect(shown.toSorted()).toEqual(names.toSorted());
});
