/**
 * Hits in a row beside a list of pages: exactly those pages that one request after another would hit, as runs that are as
 * long as can be, however often they were asked for, and whatever was found beside them before.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { Translation } from '../../../src/bus/dma.js';
import { ENTRY, Iotlb, frontOf, tagHigh, tagLow } from '../../../src/hw/vtd/iotlb.js';
import { LastSpaces, lastIndexOf } from '../../../src/hw/vtd/last-spaces.js';
import { RunHits } from '../../../src/hw/vtd/run-hits.js';
import { Epoch } from '../../../src/mem/epoch.js';
import { RunList } from '../../../src/mem/runs.js';
import type { TableStore } from '../../../src/mem/table-store.js';
import { dice } from '../../dice.js';

const PAGE = 4096;
const READ = 1;
const WRITE = 2;
const EXEC = 4;
const PRIV = 8;
const FIRST_STAGE = 1;
const SOURCE = 0x100;
const PASID = 0x1003;
const DID = 5;
/** TableStore.moves */
const MOVES = 7;

interface Entry {
  readonly size?: number;
  readonly rights?: number;
  readonly seen?: number;
  readonly pasid?: number;
}

type Asked = Partial<Pick<Translation, 'sourceId' | 'pasid' | 'access'>>;
/** Of a run: where it is, and how many bytes. */
type Run = readonly [hpa: number, length: number];

const high = (at: number): number => Math.floor(at / 2 ** 32) | 0;
const low = (at: number): number => (at % 2 ** 32) | 0;

class Bench {
  readonly epoch = new Epoch();
  readonly iotlb = new Iotlb(this.epoch);
  readonly last = new LastSpaces(this.epoch);
  readonly #used = new RunList();
  readonly hits = new RunHits(this.iotlb, this.last, { moves: MOVES } as TableStore, this.epoch);

  constructor() {
    this.know(SOURCE, PASID);
  }

  /** A list that was in use, as that of a port is. */
  #cleared(): RunList {
    this.#used.clear();
    return this.#used;
  }

  /** The requester has translated before. */
  know(source: number, pasid: number): void {
    this.last.remember(source, pasid, tagHigh(pasid), tagLow(DID, FIRST_STAGE, pasid));
  }

  /** Returns where the entry is. */
  add(iova: number, hpa: number, { size = 12, rights = 7, seen = MOVES, pasid = PASID }: Entry = {}): number {
    const frame = Math.floor(iova / PAGE) | 0;
    const above = Math.floor(iova / 2 ** 44);
    const { words } = this.iotlb;
    const at = this.iotlb.insert(frame, above | tagHigh(pasid), tagLow(DID, FIRST_STAGE, pasid), size);
    words[at + ENTRY.E_HPA_HI] = high(hpa);
    words[at + ENTRY.E_HPA_LO] = low(hpa);
    words[at + ENTRY.E_FLAGS] = rights | (size << ENTRY.SIZE_SHIFT);
    words[at + ENTRY.E_SEEN] = seen;
    return at;
  }

  /** The entry for an address, which is then the one that is found there first. */
  find(iova: number): number {
    const frame = Math.floor(iova / PAGE) | 0;
    return this.iotlb.find(frame, tagHigh(PASID), tagLow(DID, FIRST_STAGE, PASID));
  }

  /** Takes all rights from a page, as nobody does who does not end the epoch. */
  spoil(iova: number): void {
    this.iotlb.words[this.find(iova) + ENTRY.E_FLAGS] = 0;
  }

  /** What is taken, behind what is in `runs` already. */
  take(iova: number, length: number, asked: Asked = {}, runs = this.#cleared()): readonly Run[] {
    const request = Object.assign(new Translation(), { sourceId: SOURCE, pasid: PASID, access: READ }, asked);
    [request.hi, request.lo] = [high(iova), low(iova)];
    const { bytes, count } = runs;
    const taken = this.hits.take(request, length, runs);
    expect(runs.bytes).toBe(bytes + taken);
    expect(runs.areHits).toBe(count === 0 && taken === length);
    expect([request.hi, request.lo]).toEqual([high(iova), low(iova)]);
    return runsOf(runs);
  }
}

function runsOf({ words, count }: RunList): Run[] {
  return Array.from({ length: count }, (_, run) => {
    const [hi, lo, length] = words.subarray(run * 3, run * 3 + 3);
    return [(hi! >>> 0) * 2 ** 32 + (lo! >>> 0), length!];
  });
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

/** The low word of the address wraps behind two pages; memory goes on. */
const START = 0x5_ffff_e000;
const HPA = 0x12_4000_0000;

function addPages(
  count: number,
  entry: (page: number) => Entry & { readonly hpa?: number } = () => ({}),
): void {
  for (let page = 0; page < count; page += 1) {
    const { hpa = HPA + page * PAGE, ...rest } = entry(page);
    bench.add(START + page * PAGE, hpa, rest);
  }
}

describe('hits', () => {
  test('are taken from any byte to any other, of adjacent pages as one run', () => {
    addPages(4);
    for (let turn = 0; turn < 3; turn += 1) {
      for (const [from, length] of [
        [0, 1],
        [PAGE - 1, 1],
        [0, PAGE],
        [1, PAGE - 1],
        [1, PAGE],
        [PAGE - 1, 2],
        [0, 4 * PAGE],
        [0x123, 3 * PAGE],
        [2 * PAGE, 2 * PAGE],
        [4 * PAGE - 1, 1],
      ] as const) {
        expect(bench.take(START + from, length)).toEqual([[HPA + from, length]]);
      }
    }
  });

  test('are taken as far as there are any', () => {
    addPages(4);
    for (let turn = 0; turn < 3; turn += 1) {
      expect(bench.take(START, 4 * PAGE + 1)).toEqual([[HPA, 4 * PAGE]]);
      expect(bench.take(START + PAGE + 7, 9 * PAGE)).toEqual([[HPA + PAGE + 7, 3 * PAGE - 7]]);
      expect(bench.take(START + 4 * PAGE, 1)).toEqual([]);
      expect(bench.take(START - 1, 1)).toEqual([]);
    }
  });

  test('are of those alone who translated last', () => {
    addPages(2);
    const own = lastIndexOf(SOURCE, PASID);
    const bits = Array.from({ length: 1 << 8 }, (_, bit) => bit + 1);
    const others: Asked[] = [
      ...bits
        .map((bit) => ({ sourceId: SOURCE ^ bit }))
        .filter(({ sourceId }) => lastIndexOf(sourceId, PASID) === own),
      ...bits
        .map((bit) => ({ pasid: PASID ^ bit }))
        .filter(({ pasid }) => lastIndexOf(SOURCE, pasid) === own),
      { sourceId: SOURCE + 1 },
      { pasid: PASID + 1 },
    ];
    expect(others.length).toBeGreaterThan(20);
    for (const other of others) expect(bench.take(START, 2 * PAGE, other)).toEqual([]);
    expect(bench.take(START, 2 * PAGE)).toEqual([[HPA, 2 * PAGE]]);
    bench.last.forget();
    expect(bench.take(START, 2 * PAGE)).toEqual([]);
  });

  test.each<[string, Entry, Asked]>([
    ['may not be read', { rights: WRITE | EXEC }, { access: READ }],
    ['may not be written', { rights: READ | EXEC }, { access: WRITE }],
    ['may not be executed', { rights: READ | WRITE }, { access: EXEC }],
    ['may be read and not written', { rights: READ }, { access: READ | WRITE }],
    ['may have become stale', { seen: MOVES - 1 }, {}],
  ])('end at a page that %s', (_, entry, asked) => {
    addPages(4, (page) => (page === 2 ? entry : {}));
    for (let turn = 0; turn < 3; turn += 1) {
      expect(bench.take(START, 4 * PAGE, asked)).toEqual([[HPA, 2 * PAGE]]);
      expect(bench.take(START + 2 * PAGE, PAGE, asked)).toEqual([]);
    }
  });

  test('are never those of privileged requests', () => {
    addPages(4);
    expect(bench.take(START, PAGE, { access: READ | PRIV })).toEqual([]);
  });

  test('end where interrupts begin, whatever is cached there, and go on behind them', () => {
    for (const page of [0xfedf_f000, 0xfee0_0000, 0xfeef_f000, 0xfef0_0000]) bench.add(page, HPA + page);
    expect(bench.take(0xfedf_f000, 2 * PAGE)).toEqual([[HPA + 0xfedf_f000, PAGE]]);
    expect(bench.take(0xfee0_0000, PAGE)).toEqual([]);
    expect(bench.take(0xfeef_f000, 2 * PAGE)).toEqual([]);
    expect(bench.take(0xfef0_0000, PAGE)).toEqual([[HPA + 0xfef0_0000, PAGE]]);
  });

  test('are told from those of another tag with the same place', () => {
    addPages(2);
    const { all } = bench.last;
    const own = all[lastIndexOf(SOURCE, PASID)]!;
    const { tagHigh: ownHigh, tagLow: ownLow } = own;
    for (let bit = 0; bit < 32; bit += 1) {
      own.tagLow = ownLow ^ (1 << bit);
      expect(bench.take(START, PAGE)).toEqual([]);
      own.tagLow = ownLow;
      if (bit < 20) continue;
      own.tagHigh = ownHigh ^ (1 << bit);
      expect(bench.take(START, PAGE)).toEqual([]);
      own.tagHigh = ownHigh;
    }
    expect(bench.take(START, PAGE)).toEqual([[HPA, PAGE]]);
  });

  test('are told from those of another address with the same place', () => {
    addPages(2);
    const { hash } = bench.last.all[lastIndexOf(SOURCE, PASID)]!;
    const frame = (START / PAGE) | 0;
    const others: number[] = [];
    for (let block = 1; others.length < 40; block += 1) {
      for (let bits = 0; bits < 1 << 16; bits += 1) {
        const other = (frame ^ ((block << 16) | bits)) >>> 0;
        if (frontOf(other, hash) === frontOf(frame, hash)) others.push(other * PAGE);
      }
    }
    for (const other of others) expect(bench.take(other, PAGE)).toEqual([]);
    // Nor does an address above bit 43 have another place.
    for (let bit = 44; bit < 52; bit += 1) expect(bench.take(START + 2 ** bit, PAGE)).toEqual([]);
  });

  test('at addresses above bit 43 are found there alone', () => {
    const far = START + 0x9a * 2 ** 44;
    bench.add(far, HPA);
    expect([bench.take(far, PAGE), bench.take(START, PAGE)]).toEqual([[[HPA, PAGE]], []]);
  });
});

describe('runs', () => {
  test.each([
    ['goes on', HPA + PAGE, 1],
    ['lies elsewhere', HPA + 2 * PAGE, 2],
    ['is the same', HPA, 2],
    ['goes on 4 GiB further', HPA + 2 ** 32 + PAGE, 2],
  ])('of a page whose memory %s', (_, hpa, count) => {
    addPages(3, (page) => (page === 1 ? { hpa } : page === 2 ? { hpa: hpa + PAGE } : {}));
    const expected =
      count === 1
        ? [[HPA, 3 * PAGE]]
        : [
            [HPA, PAGE],
            [hpa, 2 * PAGE],
          ];
    for (let turn = 0; turn < 3; turn += 1) expect(bench.take(START, 3 * PAGE)).toEqual(expected);
  });

  test('end where the high word of physical memory changes, and go on over the middle of the low one', () => {
    for (const [border, count] of [
      [0x7_0000_0000, 2],
      [0x7_8000_0000, 1],
    ] as const) {
      bench = new Bench();
      addPages(2, (page) => ({ hpa: border - PAGE + page * PAGE }));
      const expected =
        count === 1
          ? [[border - PAGE, 2 * PAGE]]
          : [
              [border - PAGE, PAGE],
              [border, PAGE],
            ];
      for (let turn = 0; turn < 3; turn += 1) expect(bench.take(START, 2 * PAGE)).toEqual(expected);
    }
  });

  test.each([
    ['join what is in hand', HPA - 16, [[HPA - 16, 16 + 2 * PAGE]]],
    [
      'stand behind what is in hand',
      HPA - 17,
      [
        [HPA - 17, 16],
        [HPA, 2 * PAGE],
      ],
    ],
    [
      'stand behind what is in hand 4 GiB before',
      HPA - 16 - 2 ** 32,
      [
        [HPA - 16 - 2 ** 32, 16],
        [HPA, 2 * PAGE],
      ],
    ],
  ])('%s', (_, before, expected) => {
    addPages(2);
    for (let turn = 0; turn < 3; turn += 1) {
      const runs = new RunList();
      runs.add(high(before), low(before), 16);
      expect(bench.take(START, 2 * PAGE, {}, runs)).toEqual(expected);
      // What is in hand stays if nothing hits.
      expect(bench.take(START - PAGE, PAGE, {}, runs)).toEqual(expected);
    }
  });

  test('behind two in hand leave the first as it is', () => {
    addPages(2);
    const runs = new RunList();
    runs.add(1, 0, 16);
    runs.add(high(HPA - 16), low(HPA - 16), 16);
    expect(bench.take(START, 2 * PAGE, {}, runs)).toEqual([
      [2 ** 32, 16],
      [HPA - 16, 16 + 2 * PAGE],
    ]);
  });

  test('are as many as a list holds', () => {
    addPages(300, (page) => ({ hpa: HPA + page * 2 * PAGE }));
    const expected = Array.from({ length: 256 }, (_, page) => [HPA + page * 2 * PAGE, PAGE]);
    for (let turn = 0; turn < 3; turn += 1) {
      expect(bench.take(START, 300 * PAGE)).toEqual(expected);
      expect(bench.take(START, 256 * PAGE)).toEqual(expected);
      expect(bench.take(START, 255 * PAGE + 1)).toEqual([
        ...expected.slice(0, 255),
        [HPA + 255 * 2 * PAGE, 1],
      ]);
    }
  });

  test('are as many behind those in hand', () => {
    addPages(4, (page) => ({ hpa: HPA + page * 2 * PAGE }));
    const runs = new RunList();
    for (let run = 0; run < 254; run += 1) runs.add(1, run * 32, 16);
    expect(bench.take(START, 4 * PAGE, {}, runs).slice(253)).toEqual([
      [2 ** 32 + 253 * 32, 16],
      [HPA, PAGE],
      [HPA + 2 * PAGE, PAGE],
    ]);
  });
});

describe('a large page', () => {
  test.each([16, 21, 30])('of 2^%i bytes is one hit, from where it is asked for to its end', (size) => {
    const bytes = 2 ** size;
    const start = 0x40_0000_0000;
    const pages = [start, start + bytes];
    for (const [index, at] of pages.entries()) bench.add(at, HPA + (index === 0 ? 0 : 2 * bytes), { size });
    bench.add(start + 2 * bytes, HPA + 3 * bytes);
    for (let turn = 0; turn < 3; turn += 1) {
      for (const from of [0, 1, PAGE - 1, PAGE, bytes / 2 + 7, bytes - 64]) {
        expect([bench.find(start + from) < 0, bench.find(start + bytes + from) < 0]).toEqual([false, false]);
        expect(bench.take(start + from, 64)).toEqual([[HPA + from, 64]]);
        // The second does not go on where the first ends; the small one behind it does.
        expect(bench.take(start + from, bytes - from + 9)).toEqual([
          [HPA + from, bytes - from],
          [HPA + 2 * bytes, 9],
        ]);
        if (size < 30) {
          expect(bench.take(start + bytes + from, bytes + PAGE)).toEqual([
            [HPA + 2 * bytes + from, bytes - from + PAGE],
          ]);
        }
      }
    }
  });
});

describe('a page that ends where a high word of memory does', () => {
  const HIGH = 0x100_0000_0000;

  test.each([12, 16, 21, 30])('of 2^%i bytes has no fellow where that high word begins', (size) => {
    const bytes = 2 ** size;
    const start = 0x40_0000_0000;
    const end = HIGH + 2 ** 32;
    bench.add(start, end - bytes, { size });
    bench.add(start + bytes, HIGH, { size });
    const expected = [
      [end - PAGE, PAGE],
      [HIGH, PAGE],
    ];
    for (let turn = 0; turn < 3; turn += 1) {
      const from = start + bytes - PAGE;
      expect([bench.find(from) < 0, bench.find(from + PAGE) < 0]).toEqual([false, false]);
      expect(bench.take(from, 2 * PAGE)).toEqual(expected);
      const runs = new RunList();
      runs.add(high(end - PAGE), low(end - PAGE), PAGE);
      expect(bench.take(from + PAGE, PAGE, {}, runs)).toEqual(expected);
    }
  });
});

describe('what was found beside a page', () => {
  test('is no right that a page behind it has not', () => {
    // Pages beside the first entry of all, so many that their number has every right for a bit.
    let first = 0;
    while (bench.add(first, HPA + first) !== 0) first += PAGE;
    for (let page = 1; page < 7; page += 1) bench.add(first + page * PAGE, HPA + first + page * PAGE);
    expect(bench.take(first, 7 * PAGE)).toEqual([[HPA + first, 7 * PAGE]]);
    const rights = [7, 7, READ | WRITE, READ];
    addPages(4, (page) => ({ rights: rights[page]! }));
    for (let turn = 0; turn < 3; turn += 1) {
      for (const count of [4, 5, 5]) {
        expect(bench.take(START, count * PAGE, { access: READ })).toEqual([[HPA, 4 * PAGE]]);
      }
      expect(bench.take(START, 4 * PAGE, { access: WRITE })).toEqual([[HPA, 3 * PAGE]]);
      expect(bench.take(START, 4 * PAGE, { access: EXEC })).toEqual([[HPA, 2 * PAGE]]);
      expect(bench.take(START, 4 * PAGE, { access: READ | EXEC })).toEqual([[HPA, 2 * PAGE]]);
    }
  });

  test('ends with the epoch', () => {
    addPages(4);
    for (let turn = 0; turn < 3; turn += 1) bench.take(START, 4 * PAGE);
    bench.iotlb.flushAll();
    addPages(4, (page) => (page === 2 ? { hpa: HPA + 9 * PAGE } : {}));
    const expected = [
      [HPA, 2 * PAGE],
      [HPA + 9 * PAGE, PAGE],
      [HPA + 3 * PAGE, PAGE],
    ];
    for (let turn = 0; turn < 3; turn += 1) expect(bench.take(START, 4 * PAGE)).toEqual(expected);
  });

  test.each<[string, number, (page: number) => number]>([
    ['one run', 4, (page) => page],
    ['two runs', 8, (page) => page + (page >> 2)],
  ])('is not looked for again in the epoch: %s', (_, count, frameOf) => {
    addPages(count, (page) => ({ hpa: HPA + frameOf(page) * PAGE }));
    const found = bench.take(START, count * PAGE);
    for (let page = 1; page < count; page += 1) if (page !== 4) bench.spoil(START + page * PAGE);
    expect(bench.take(START, count * PAGE)).toEqual(found);
    bench.epoch.end();
    expect(bench.take(START, count * PAGE)).toEqual([[HPA, PAGE]]);
  });
});

/** Pages about {@link START}, each somewhere, with rights, or nowhere; memory wraps its low word, too. */
class Model {
  readonly next: (below: number) => number;
  readonly pages: ({ hpa: number; rights: number; seen: number } | null)[] = [];
  readonly base = 0x7_0000_0000 - 16 * PAGE;

  constructor(seed: number) {
    this.next = dice(seed);
    for (let page = 0; page < 40; page += 1) this.change(page);
  }

  change(page: number): void {
    const { next } = this;
    const frame = next(5) === 0 ? next(40) : page;
    const rights = next(4) === 0 ? next(8) : 7;
    const seen = next(30) === 0 ? 0 : MOVES;
    // Some have the low word of another, and not the high one.
    const hpa = this.base + frame * PAGE - (next(6) === 0 ? 2 ** 32 : 0);
    this.pages[page] = next(20) === 0 ? null : { hpa, rights, seen };
  }

  expected(at: number, length: number, access: number, before: Run | null): Run[] {
    const runs: [number, number][] = before === null ? [] : [[...before]];
    for (let offset = at; offset < at + length;) {
      const page = this.pages[Math.floor(offset / PAGE)] ?? null;
      if (page === null || (access & ~page.rights) !== 0 || page.seen !== MOVES) break;
      const block = Math.min(PAGE - (offset % PAGE), at + length - offset);
      const hpa = page.hpa + (offset % PAGE);
      const run = runs.at(-1);
      if (run !== undefined && run[0] + run[1] === hpa && hpa % 2 ** 32 !== 0) run[1] += block;
      else runs.push([hpa, block]);
      offset += block;
    }
    return runs;
  }
}

test('any pages, asked for again and again, are what one after another would be', () => {
  const model = new Model(9);
  const { next, pages, base } = model;
  const buffers: { at: number; length: number }[] = [];
  for (let step = 0; step < 4000; step += 1) {
    if (step % 40 === 0) {
      for (let count = next(4); count >= 0; count -= 1) model.change(next(40));
      bench.iotlb.flushAll();
      for (const [page, to] of pages.entries()) if (to !== null) bench.add(START + page * PAGE, to.hpa, to);
      bench.epoch.end();
      buffers.length = 0;
      for (let count = 0; count < 6; count += 1) {
        const at = next(40 * PAGE);
        buffers.push({ at, length: 1 + next(40 * PAGE - at) });
      }
    }
    const { at, length } = buffers[next(buffers.length)]!;
    const access = 1 + next(7);
    const runs = new RunList();
    let before: Run | null = null;
    if (next(5) === 0) {
      before = [base + next(40) * PAGE + (at % PAGE) - 1, 1];
      if (before[0] >= 0) runs.add(high(before[0]), low(before[0]), 1);
    }
    const found = bench.take(START + at, length, { access }, runs);
    expect([step, found]).toEqual([step, model.expected(at, length, access, before)]);
  }
});
