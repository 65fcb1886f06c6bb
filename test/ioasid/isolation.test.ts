/**
 * Random calls through five doors of one machine, by the process that opened them and by another that was given them,
 * beside a model (isolation-world.ts). Whatever a device does, it reaches what its own address space says, and not a byte
 * of anything else, whoever owns the table.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Kind } from './doors.js';
import { DEVICES, PAGES, World, type Side } from './isolation-world.js';

const side = fc.integer({ min: 0, max: 4 });
const device = fc.integer({ min: 0, max: DEVICES - 1 });
const pasid = fc.integer({ min: 0, max: 6 });
const place = fc.integer({ min: 0, max: PAGES - 1 });
/** Ids are small, and the same ones are in every file. */
const id = fc.integer({ min: 1, max: 12 });
const kind = fc.constantFrom<Kind>('kernel', 'kernel', 'sva', 'kvm', 'user', 'nested', 'nested');
/** An id of the file, more often than any. */
const pick = fc.record({ id, nth: fc.integer({ min: 0, max: 7 }), isAny: fc.integer({ min: 0, max: 4 }) });
type Pick = { readonly id: number; readonly nth: number; readonly isAny: number };
const idIn = ({ spaces }: Side, { id: any, nth, isAny }: Pick): number =>
  isAny === 0 ? any : (spaces[nth % Math.max(1, spaces.length)]?.id ?? any);

/** The other process makes the call. */
const other = fc.integer({ min: 0, max: 3 }).map((nth) => nth === 0);

type Step = (w: World) => void;
const sideIn = (w: World, index: number): Side => w.sides[index]!;
const byDevice = (w: World, index: number, picked: Pick): number => {
  const found = w.sideOf(index);
  return found === null ? picked.id : idIn(found, picked);
};

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.tuple(side, device).map(
      ([s, d]): Step =>
        (w) =>
          w.bind(sideIn(w, s), d),
    ),
  },
  {
    weight: 1,
    arbitrary: device.map(
      (d): Step =>
        (w) =>
          w.unbind(d),
    ),
  },
  {
    weight: 1,
    arbitrary: side.map(
      (s): Step =>
        (w) =>
          w.reopen(sideIn(w, s)),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.tuple(side, kind, device, pick, other).map(
      ([s, k, d, p, o]): Step =>
        (w) =>
          w.make(sideIn(w, s), k, d, idIn(sideIn(w, s), p), o),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(side, device, other).map(
      ([s, d, o]): Step =>
        (w) =>
          w.makeOfOther(sideIn(w, s), d, o),
    ),
  },
  {
    weight: 5,
    arbitrary: fc.tuple(side, pick, place, place, other).map(
      ([s, p, to, page, o]): Step =>
        (w) =>
          w.map(sideIn(w, s), idIn(sideIn(w, s), p), to, page, o),
    ),
  },
  {
    weight: 10,
    arbitrary: fc.tuple(side, pick, place, place, other).map(
      ([s, p, to, page, o]): Step =>
        (w) =>
          w.change(sideIn(w, s), idIn(sideIn(w, s), p), to, page, o),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(side, pick, place, other).map(
      ([s, p, to, o]): Step =>
        (w) =>
          w.unmap(sideIn(w, s), idIn(sideIn(w, s), p), to, o),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(side, pick, place, other).map(
      ([s, p, to, o]): Step =>
        (w) =>
          w.invalidate(sideIn(w, s), idIn(sideIn(w, s), p), to, o),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(side, pick, other).map(
      ([s, p, o]): Step =>
        (w) =>
          w.destroy(sideIn(w, s), idIn(sideIn(w, s), p), o),
    ),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(device, pasid, pick, other).map(
      ([d, number, p, o]): Step =>
        (w) =>
          w.attach(d, number, byDevice(w, d, p), o),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(device, pasid, pick, other).map(
      ([d, number, p, o]): Step =>
        (w) =>
          w.detach(d, number, byDevice(w, d, p), o),
    ),
  },
  {
    weight: 14,
    arbitrary: fc.tuple(device, pasid, place, fc.integer({ min: 0, max: 2 })).map(
      ([d, number, to, own]): Step =>
        (w) =>
          w.dma(d, number, to, own === 0),
    ),
  },
);

test('R41, R43: a device reaches what it was given, through whichever door, and nothing else', () => {
  const done = new Map<Kind, number>();
  fc.assert(
    fc.property(side, fc.array(steps, { minLength: 60, maxLength: 140 }), (shift, all) => {
      const w = new World();
      w.begin(shift);
      for (const step of all) step(w);
      for (const [whose, count] of w.stores) done.set(whose, (done.get(whose) ?? 0) + count);
      w.end();
    }),
    // What is drawn has to meet every kind of table; IOASIS_SEED draws anew.
    { numRuns: 40, seed: Number(process.env['IOASIS_SEED'] ?? 20_261_126) },
  );
  // Devices did reach something, by tables of every kind.
  expect([...done.keys()].toSorted()).toEqual(['kernel', 'kvm', 'nested', 'sva', 'user']);
});
