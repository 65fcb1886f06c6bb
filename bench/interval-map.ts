/**
 * The interval map and the id table, in ns an operation and bytes an area, at 1k, 100k and 1M; each row beside
 * itself at 1k. Areas are 4 KiB, 8 KiB apart, around the middle of the 64-bit space.
 */
import { IdTable } from '#ioasis/base/id-table.js';
import { IntervalMap } from '#ioasis/base/interval-map.js';
import { findHole } from '#ioasis/base/span.js';

const BASE_HI = 0x12345;
const ROUNDS = 7;

/** A small generator with a fixed seed: the same work in every run. */
function shuffled(count: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  let state = 0x2545f491;
  for (let i = count - 1; i > 0; i--) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
}

function hi(slot: number): number {
  return BASE_HI + (slot >>> 19);
}

function lo(slot: number): number {
  return slot << 13;
}

function addressOf(slot: number): bigint {
  return (BigInt(BASE_HI) << 32n) + (BigInt(slot) << 13n);
}

function insertAll(map: IntervalMap, order: Int32Array): void {
  for (const slot of order) map.insertWords(hi(slot), lo(slot), hi(slot), lo(slot) + 4095, slot);
}

function filled(order: Int32Array): IntervalMap {
  const map = new IntervalMap();
  insertAll(map, order);
  return map;
}

/** Median ns an operation of `work` over rounds; `prepare` is not counted. Small work is repeated. */
function median<S>(operations: number, prepare: () => S, work: (subject: S) => void): number {
  const repeats = Math.max(1, Math.floor(200_000 / operations));
  const times = [];
  for (let round = 0; round < (operations >= 1_000_000 ? 3 : ROUNDS); round++) {
    const subjects = Array.from({ length: repeats }, prepare);
    const from = process.hrtime.bigint();
    for (const subject of subjects) work(subject);
    times.push(Number(process.hrtime.bigint() - from) / (operations * repeats));
  }
  return times.toSorted((a, b) => a - b)[times.length >> 1]!;
}

type Row = [name: string, measure: (count: number) => number];

let sink = 0;

function windowed(count: number): number {
  const map = filled(shuffled(count));
  const windowOrder = shuffled(1000);
  const windows = shuffled(Math.max(1, Math.floor(count / 1000)));
  return (
    median(
      200_000,
      () => map,
      () => {
        for (let i = 0; i < 200; i++) {
          const first = windows[(i * 7) % windows.length]! * 1000;
          for (const offset of windowOrder) {
            const slot = first + offset;
            map.removeWords(hi(slot), lo(slot));
            map.insertWords(hi(slot), lo(slot), hi(slot), lo(slot) + 4095, slot);
          }
        }
      },
    ) / 2
  );
}

/** Automatic placement of one page behind `count` areas that touch, then its removal. */
function placement(count: number): number {
  const map = new IntervalMap();
  for (let i = 0; i < count; i++) map.insert(BigInt(i) << 12n, (BigInt(i) << 12n) + 4095n, i);
  const request = {
    allowed: null,
    blockers: [new IntervalMap(), map],
    start: 4096n,
    last: (1n << 64n) - 4097n,
    length: 4096n,
    alignment: 4096n,
    pageOffset: 0n,
  };
  return median(
    20_000,
    () => map,
    () => {
      for (let i = 0; i < 20_000; i++) {
        // A hole somewhere in the middle, filled again by what is placed.
        map.remove(BigInt(1 + ((i * 7919) % (count - 1))) << 12n);
        const at = findHole(request)!;
        map.insert(at, at + 4095n, 1);
      }
    },
  );
}

const mapRows: Row[] = [
  [
    'insert, random',
    (n) =>
      withOrder(n, (order) =>
        median(
          n,
          () => new IntervalMap(),
          (map) => insertAll(map, order),
        ),
      ),
  ],
  [
    'remove, random',
    (n) =>
      withOrder(n, (order) =>
        median(
          n,
          () => filled(order),
          (map) => removeAll(map, order.toReversed()),
        ),
      ),
  ],
  ['find, random', (n) => withOrder(n, (order) => findAll(n, order))],
  ['insert, random, bigint', (n) => withOrder(n, (order) => insertBigints(n, order))],
  ['find, random, bigint', (n) => withOrder(n, (order) => findBigints(n, order))],
  [
    'insert, ascending',
    (n) =>
      median(
        n,
        () => new IntervalMap(),
        (map) => insertAll(map, ascending(n)),
      ),
  ],
  ['remove or insert in a window of 1k', windowed],
  ['walk by the cursor', walk],
  ['remove, place, insert', placement],
];

function withOrder(count: number, measure: (order: Int32Array) => number): number {
  return measure(shuffled(count));
}

function ascending(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i);
}

function removeAll(map: IntervalMap, order: Int32Array): void {
  for (const slot of order) map.removeWords(hi(slot), lo(slot));
}

function findAll(count: number, order: Int32Array): number {
  const map = filled(order);
  const looked = order.toReversed();
  return median(
    count,
    () => map,
    () => {
      for (const slot of looked) sink += map.findWords(hi(slot), lo(slot) + 17);
    },
  );
}

function insertBigints(count: number, order: Int32Array): number {
  const starts = Array.from(order, addressOf);
  const lasts = starts.map((start) => start + 4095n);
  return median(
    count,
    () => new IntervalMap(),
    (map) => {
      for (let i = 0; i < count; i++) map.insert(starts[i]!, lasts[i]!, i);
    },
  );
}

function findBigints(count: number, order: Int32Array): number {
  const map = filled(order);
  const looked = Array.from(order.toReversed(), (slot) => addressOf(slot) + 17n);
  return median(
    count,
    () => map,
    () => {
      for (const at of looked) sink += map.find(at);
    },
  );
}

function walk(count: number): number {
  const map = filled(shuffled(count));
  return median(
    count,
    () => map,
    () => {
      for (let more = map.seek(0n); more; more = map.advance()) sink += map.curValue;
    },
  );
}

/** Erase and reserve in random order, at a steady number of ids. */
function ids(count: number): number {
  const table = new IdTable<number>();
  for (let i = 0; i < count; i++) table.publish(table.reserve()!, i);
  const order = shuffled(count);
  return median(
    100_000,
    () => table,
    () => {
      for (let done = 0; done < 100_000; done += 500) {
        const from = done % count;
        for (let i = from; i < from + 500; i++) table.erase(order[i]! + 1);
        for (let i = 0; i < 500; i++) table.publish(table.reserve()!, i);
      }
    },
  );
}

function print(title: string, rows: readonly Row[], counts: readonly number[], unit = 'ns'): void {
  console.log(`${title}, ${unit}`.padEnd(44), counts.map((count) => String(count).padStart(9)).join(''));
  for (const [name, measure] of rows) {
    const cells = counts.map((count) =>
      measure(count)
        .toFixed(unit === 'ns' ? 0 : 1)
        .padStart(9),
    );
    console.log(`  ${name}`.padEnd(44), cells.join(''));
  }
}

export async function run(): Promise<void> {
  const counts = [1_000, 100_000, 1_000_000];
  print('interval map', mapRows, counts);
  const memory: Row[] = [
    ['random', (n) => filled(shuffled(n)).bytes() / n],
    ['ascending', (n) => filled(ascending(n)).bytes() / n],
  ];
  print('memory', memory, counts, 'bytes an area');
  print('id table', [['erase and reserve, random', ids]], [1_000, 100_000]);
  if (sink === 0) throw new Error('nothing was found');
}
