/** Ids: the lowest free one first, against a plain map of states; and the edges of the range. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IdTable } from '../../src/base/id-table.js';

type State = { kind: 'reserved' } | { kind: 'published'; object: string } | { kind: 'tombstone' };

function naiveLowest(states: Map<number, State>, lastId: number): number | null {
  for (let id = 1; id <= lastId; id++) if (!states.has(id)) return id;
  return null;
}

const operation = fc.record({
  op: fc.constantFrom(
    'reserve',
    'reserve',
    'reserve',
    'publish',
    'publish',
    'abort',
    'erase',
    'erase',
    'entomb',
  ),
  pick: fc.nat({ max: 1 << 20 }),
});

describe('the id table', () => {
  test('agrees with a plain map of states', () => {
    const run = fc.record({
      operations: fc.array(operation, { maxLength: 600, size: 'max' }),
      lastId: fc.constantFrom(1, 31, 32, 33, 64, 100, 0x7fffffff),
    });
    fc.assert(
      fc.property(run, ({ operations, lastId }) => {
        const table = new IdTable<string>(lastId);
        const states = new Map<number, State>();
        for (const [step, { op, pick }] of operations.entries()) {
          if (op === 'reserve') {
            const id = table.reserve();
            expect(id).toBe(naiveLowest(states, lastId));
            if (id !== null) states.set(id, { kind: 'reserved' });
            continue;
          }
          const wanted = op === 'publish' || op === 'abort' ? 'reserved' : 'published';
          const ids = [...states].filter(([, state]) => state.kind === wanted).map(([id]) => id);
          const id = ids[pick % ids.length];
          if (id === undefined) continue;
          if (op === 'publish') {
            table.publish(id, `object ${step}`);
            states.set(id, { kind: 'published', object: `object ${step}` });
          } else if (op === 'entomb') {
            table.entomb(id);
            states.set(id, { kind: 'tombstone' });
          } else {
            if (op === 'abort') table.abort(id);
            else table.erase(id);
            states.delete(id);
          }
        }
        const published = [...states]
          .flatMap(([id, state]): [number, string][] =>
            state.kind === 'published' ? [[id, state.object]] : [],
          )
          .toSorted(([a], [b]) => a - b);
        expect([...table.entries()]).toEqual(published);
        expect([...table.values()]).toEqual(published.map(([, object]) => object));
        expect(table.size).toBe(published.length);
        expect(table.empty).toBe([...states.values()].every((state) => state.kind === 'tombstone'));
        for (const [id, state] of states) {
          expect(table.get(id)).toBe(state.kind === 'published' ? state.object : undefined);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('gives the lowest hole in a hundred thousand ids', () => {
    const table = new IdTable<number>();
    for (let id = 1; id <= 100_000; id++) {
      const given = table.reserve();
      if (given !== id) expect(given).toBe(id);
      table.publish(id, id * 2);
    }
    const holes = [99_999, 1, 32, 33, 1024, 1025, 32_768, 32_769, 50_000];
    for (const id of holes) table.erase(id);
    for (const id of holes.toSorted((a, b) => a - b)) expect(table.reserve()).toBe(id);
    expect(table.reserve()).toBe(100_001);
    expect(table.get(65_536)).toBe(131_072);
    expect(table.size).toBe(100_000 - holes.length);
  });

  test('is full at its last id, and then gives null', () => {
    const table = new IdTable<string>(3);
    expect([table.reserve(), table.reserve(), table.reserve(), table.reserve()]).toEqual([1, 2, 3, null]);
    table.abort(2);
    expect([table.reserve(), table.reserve()]).toEqual([2, null]);
  });

  test('never gives a tombstone again', () => {
    const table = new IdTable<string>(2);
    table.publish(table.reserve()!, 'device');
    table.entomb(1);
    expect([table.reserve(), table.reserve()]).toEqual([2, null]);
    expect(table.get(1)).toBeUndefined();
  });

  test('knows nothing under ids that nobody was given', () => {
    const table = new IdTable<string>();
    table.publish(table.reserve()!, 'ioas');
    for (const id of [0, 2, 33, 0x7fffffff, 0x80000000, 0xffffffff, -1])
      expect(table.get(id)).toBeUndefined();
  });

  test('calls it a bug when an id is not in the state that a step needs', () => {
    const table = new IdTable<string>();
    const wrong = 'not in the state';
    expect(() => table.publish(1, 'x')).toThrow(wrong);
    expect(() => table.abort(1)).toThrow(wrong);
    table.reserve();
    expect(() => table.erase(1)).toThrow(wrong);
    expect(() => table.entomb(1)).toThrow(wrong);
    table.publish(1, 'x');
    expect(() => table.abort(1)).toThrow(wrong);
    expect(() => table.publish(1, 'y')).toThrow(wrong);
    table.entomb(1);
    expect(() => table.erase(1)).toThrow(wrong);
    expect(() => table.abort(0x80000000)).toThrow(wrong);
  });

  test('may lose objects while it is walked', () => {
    const table = new IdTable<number>();
    for (let id = 1; id <= 5; id++) table.publish(table.reserve()!, id);
    const seen = [];
    for (const [id] of table.entries()) {
      seen.push(id);
      table.erase(id);
      if (id === 2) table.erase(4);
    }
    expect(seen).toEqual([1, 2, 3, 5]);
    expect(table.empty).toBe(true);
  });
});
