import { describe, expect, test } from 'vitest';
import {
  type Translation,
  DMA_EXEC,
  DMA_PRIV,
  DMA_READ,
  DMA_WRITE,
  ALL_PASIDS,
  NO_PASID,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../../src/bus/dma.js';
import type { Operation } from '../../src/dev/operation.js';
import { bytesOf, makeDevice, PAGE, type DeviceWorld } from './world.js';

const PRI = { ats: true, pri: true } as const;

/** Maps page `i` of `pasid`, from 0 on, to frame `frames[i]`. */
function mapPages({ translator, frame }: DeviceWorld, pasid: number, frames: readonly number[]): void {
  frames.forEach((each, i) => translator.map(pasid, BigInt(i * PAGE), frame(each)));
}

/** Twelve pages that lie apart. */
function world(): DeviceWorld {
  const made = makeDevice();
  mapPages(made, NO_PASID, [5, 2, 9, 0, 1, 3, 4, 6, 20, 21, 22, 23]);
  return made;
}

describe.each([
  ['untranslated', {}],
  ['through its cache', { ats: true }],
  ['with page requests on', PRI],
])('operations %s', (_, how) => {
  const run = ({ device }: DeviceWorld, operation: Operation) => device.submit({ ...operation, ...how });

  test('read and write move bytes across pages', () => {
    const w = world();
    const data = bytesOf(3 * PAGE, 1);
    expect(run(w, { kind: 'write', iova: 100n, length: data.length, data })).toMatchObject({
      state: 'done',
      bytes: data.length,
    });
    expect(run(w, { kind: 'read', iova: 100n, length: data.length }).data).toEqual(data);
    expect(w.bytes(2)).toEqual(data.subarray(PAGE - 100, 2 * PAGE - 100));
  });

  test('copy, fill and compare', () => {
    const w = world();
    run(w, { kind: 'fill', iova: 10n, length: 2 * PAGE, value: 0x1a5n });
    expect(w.bytes(2)[0]).toBe(0xa5);
    expect(w.bytes(5)[9]).toBe(0);
    run(w, { kind: 'copy', iova: 10n, target: 0x4000n, length: 2 * PAGE });
    const data = new Uint8Array(2 * PAGE).fill(0xa5);
    expect(run(w, { kind: 'compare', iova: 0x4000n, length: data.length, data }).state).toBe('done');
    w.bytes(3)[7] = 1;
    expect(run(w, { kind: 'compare', iova: 0x4000n, length: data.length, data })).toMatchObject({
      state: 'failed',
      reason: 'mismatch',
      bytes: PAGE + 7,
      faultIova: 0x5007n,
    });
  });

  test('gather and scatter follow their lists', () => {
    const w = world();
    const data = bytesOf(300, 4);
    run(w, { kind: 'write', iova: 0n, length: 300, data });
    const segments = [
      { iova: 0xfffn, length: 2 },
      { iova: 0x8800n, length: 297 },
      { iova: 0x3000n, length: 1 },
    ];
    expect(run(w, { kind: 'scatter', iova: 0n, length: 300, segments }).state).toBe('done');
    expect(w.bytes(5)[PAGE - 1]).toBe(data[0]);
    expect(w.bytes(0)[0]).toBe(data[299]);
    expect(run(w, { kind: 'gather', iova: 0x9f00n, length: 300, segments }).state).toBe('done');
    expect(run(w, { kind: 'read', iova: 0x9f00n, length: 300 }).data).toEqual(data);
  });

  test('atomic operations', () => {
    const w = world();
    expect(run(w, { kind: 'fetch-add', iova: 8n, length: 8, value: 5n })).toMatchObject({
      state: 'done',
      old: 0n,
    });
    expect(run(w, { kind: 'fetch-add', iova: 8n, length: 4, value: -1n }).old).toBe(5n);
    const swap = { kind: 'compare-and-swap', iova: 8n, length: 8 } as const;
    expect(run(w, { ...swap, expected: 5n, value: 7n }).old).toBe(4n);
    expect(run(w, { ...swap, expected: 4n, value: 7n }).old).toBe(4n);
    expect(w.bytes(5)[8]).toBe(7);
  });

  test('what is mapped and no memory fails, with the address', () => {
    const w = world();
    w.translator.map(NO_PASID, 0xc000n, w.frame(64));
    const job = run(w, { kind: 'copy', iova: 0xbff0n, target: 0n, length: 32 });
    expect(job).toMatchObject({ state: 'failed', reason: 'memory-gone', bytes: 16, faultIova: 0xc000n });
    expect(job.faultAccess).toBe(DMA_READ);
  });

  test('attributes are part of every request', () => {
    const w = world();
    const seen: number[] = [];
    const { translate } = w.translator;
    w.translator.translate = (request) => {
      seen.push(request.access);
      return translate.call(w.translator, request);
    };
    run(w, { kind: 'read', iova: 0n, length: 4, attributes: DMA_EXEC | DMA_PRIV });
    expect(new Set(seen)).toEqual(new Set([DMA_READ | DMA_EXEC | DMA_PRIV]));
  });
});

describe('what is not mapped', () => {
  test.each([{}, { ats: true }])('ends the operation where page requests are off: %o', (how) => {
    const w = makeDevice();
    mapPages(w, 3, [1]);
    const job = w.device.submit({ kind: 'fill', iova: 0xff0n, length: 64, pasid: 3, value: 1n, ...how });
    expect(job).toMatchObject({ state: 'faulted', reason: 'translation', bytes: 16, faultIova: 0x1000n });
    expect(job).toMatchObject({ faultAccess: DMA_WRITE, unitReason: 0x71 });
    expect(w.device.pending).toBe(0);
    expect(w.translator.requests).toEqual([]);
  });

  test('what may only be read is asked for when it is to be written', () => {
    const w = makeDevice();
    w.translator.map(NO_PASID, 0n, w.frame(1), DMA_READ);
    expect(w.device.submit({ kind: 'read', iova: 0n, length: 8, ...PRI }).state).toBe('done');
    const job = w.device.submit({ kind: 'fill', iova: 0n, length: 8, ...PRI });
    expect(job.state).toBe('pending');
    expect(w.translator.requests.at(-1)).toMatchObject({ address: 0n, access: DMA_WRITE, last: true });
    w.translator.map(NO_PASID, 0n, w.frame(1), DMA_READ | DMA_WRITE);
    w.device.pageGroupResponse(NO_PASID, 0, PRG_SUCCESS);
    expect(job.state).toBe('done');
  });
});

describe('page requests', () => {
  test('go out as one group for consecutive missing pages, and the job goes on after the response', () => {
    const w = makeDevice();
    mapPages(w, 9, [1]);
    w.translator.map(9, 0x4000n, w.frame(4));
    const data = bytesOf(5 * PAGE, 2);
    let ended = 0;
    const job = w.device.submit({ kind: 'write', iova: 0n, length: data.length, data, pasid: 9, ...PRI });
    job.onEnd = () => (ended += 1);
    expect(job).toMatchObject({ state: 'pending', bytes: PAGE, faultIova: 0x1000n });
    const sent = w.translator.requests;
    expect(sent.map((message) => message.address)).toEqual([0x1000n, 0x2000n, 0x3000n]);
    expect(sent.map((message) => message.last)).toEqual([false, false, true]);
    expect(new Set(sent.map((message) => `${message.pasid} ${message.group} ${message.sourceId}`)).size).toBe(
      1,
    );
    expect(w.device.requests!.outstanding).toBe(3);
    [2, 3, 5].forEach((frame, i) => w.translator.map(9, BigInt((i + 1) * PAGE), w.frame(frame)));
    w.device.pageGroupResponse(9, sent[0]!.group, PRG_SUCCESS);
    expect(job).toMatchObject({ state: 'done', bytes: data.length });
    expect(ended).toBe(1);
    expect(w.device.requests!.outstanding).toBe(0);
    expect(w.bytes(5)).toEqual(data.subarray(3 * PAGE, 4 * PAGE));
  });

  test.each([
    [PRG_INVALID, 'page-invalid'],
    [PRG_FAILURE, 'page-failure'],
  ])('answered %i, end the job', (code, reason) => {
    const w = makeDevice();
    const job = w.device.submit({ kind: 'read', iova: 0n, length: 8, ...PRI });
    w.device.pageGroupResponse(NO_PASID, 0, code);
    expect(job).toMatchObject({ state: 'failed', reason, bytes: 0, faultIova: 0n });
  });

  test('a response at once, again and again without the page, ends the job and not the program', () => {
    const w = makeDevice();
    w.translator.onPageRequest = ({ group }) => w.device.pageGroupResponse(NO_PASID, group, PRG_SUCCESS);
    const job = w.device.submit({ kind: 'read', iova: 0n, length: 8, ...PRI });
    expect(job).toMatchObject({ state: 'failed', reason: 'not-cured' });
    expect(w.device.requests!.sent).toBe(8);
  });

  test('a response at once with the page lets the job go on, page by page', () => {
    const w = makeDevice({ pagesInGroup: 1 });
    w.translator.onPageRequest = ({ group, address }) => {
      w.translator.map(NO_PASID, address, w.frame(Number(address / 4096n)));
      w.device.pageGroupResponse(NO_PASID, group, PRG_SUCCESS);
    };
    expect(w.device.submit({ kind: 'fill', iova: 0n, length: 40 * PAGE, ...PRI }).state).toBe('done');
    expect(w.device.requests!.sent).toBe(40);
  });

  test('two PASIDs of one device wait at the same time and are answered in any order', () => {
    const w = makeDevice();
    const jobs = [1, 2].map((pasid) =>
      w.device.submit({ kind: 'fill', iova: 0n, length: 8, pasid, value: 7n, ...PRI }),
    );
    expect(w.translator.requests.map((message) => [message.pasid, message.group])).toEqual([
      [1, 0],
      [2, 1],
    ]);
    w.translator.map(2, 0n, w.frame(2));
    w.device.pageGroupResponse(2, 1, PRG_SUCCESS);
    expect(jobs.map((job) => job.state)).toEqual(['pending', 'done']);
    w.translator.map(1, 0n, w.frame(1));
    w.device.pageGroupResponse(1, 0, PRG_SUCCESS);
    expect(jobs.map((job) => job.state)).toEqual(['done', 'done']);
    expect([w.bytes(1)[0], w.bytes(2)[0]]).toEqual([7, 7]);
  });

  test('no more are out than the device may have, and those that wait go out afterwards', () => {
    const w = makeDevice({ outstandingRequests: 3, pagesInGroup: 8 });
    const jobs = [1, 2].map((pasid) =>
      w.device.submit({ kind: 'fill', iova: 0n, length: 8 * PAGE, pasid, ...PRI }),
    );
    expect(w.translator.requests).toHaveLength(3);
    w.device.pageGroupResponse(1, 0, PRG_FAILURE);
    expect(jobs[0]!.state).toBe('failed');
    expect(w.translator.requests.slice(3).map((message) => message.pasid)).toEqual([2, 2, 2]);
  });

  test('a response that nobody asked for, or with another PASID, changes nothing', () => {
    const w = makeDevice();
    const job = w.device.submit({ kind: 'read', iova: 0n, length: 8, pasid: 5, ...PRI });
    w.device.pageGroupResponse(5, 3, PRG_INVALID);
    w.device.pageGroupResponse(6, 0, PRG_INVALID);
    expect(job.state).toBe('pending');
    expect(w.device.requests!.unexpected).toBe(2);
  });

  test('a job that is cancelled is over, and its group stays taken until it is answered', () => {
    const w = makeDevice();
    const job = w.device.submit({ kind: 'read', iova: 0n, length: 8, ...PRI });
    w.device.cancel(job);
    expect(job).toMatchObject({ state: 'failed', reason: 'cancelled' });
    w.device.submit({ kind: 'read', iova: 0n, length: 8, ...PRI });
    expect(w.translator.requests.map((message) => message.group)).toEqual([0, 1]);
    w.device.reset();
    expect(w.device.pending).toBe(0);
    w.device.pageGroupResponse(NO_PASID, 0, PRG_SUCCESS);
    w.device.pageGroupResponse(NO_PASID, 1, PRG_SUCCESS);
    expect(w.device.requests).toMatchObject({ outstanding: 0, unexpected: 0 });
  });
});

/** Reads a byte through the cache. */
const read = (w: DeviceWorld, iova = 0n): number =>
  w.device.submit({ kind: 'read', iova, length: 1, ats: true }).data![0]!;

describe('its translation cache', () => {
  test('goes on with what it holds until it is told otherwise', () => {
    const w = makeDevice();
    mapPages(w, NO_PASID, [1]);
    w.bytes(1)[0] = 11;
    w.bytes(2)[0] = 22;
    expect(read(w)).toBe(11);
    w.translator.map(NO_PASID, 0n, w.frame(2));
    expect(read(w)).toBe(11);
    expect(w.events.count).toBe(0);
    expect(w.device.invalidateDeviceTlb(NO_PASID, 0, 0, 12)).toBe(true);
    expect(read(w)).toBe(22);
  });

  test('tells of a stale hit once, when it is checked, and of none when nothing has changed', () => {
    const w = makeDevice({ checking: true });
    mapPages(w, NO_PASID, [1]);
    read(w);
    read(w);
    expect(w.events.count).toBe(0);
    w.translator.unmap(NO_PASID, 0n);
    read(w, 5n);
    read(w, 6n);
    expect(w.events.recent).toEqual([
      {
        kind: 'stale-hit',
        unit: 'pages',
        device: 'engine',
        pasid: NO_PASID,
        iova: 5n,
        cached: w.frame(1) + 5n,
        current: null,
        missing: 'device-TLB invalidation',
      },
    ]);
  });

  test('asks again only when tables have changed, without checking', () => {
    let generation = 1;
    const w = makeDevice();
    const staleness = {
      events: w.events,
      peek: (request: Translation): boolean => v.translator.translate(request),
      generation: () => generation,
      isLive: () => false,
      checking: false,
    };
    const v = makeDevice({ staleness });
    mapPages(v, NO_PASID, [1]);
    read(v);
    v.translator.map(NO_PASID, 0n, v.frame(3));
    read(v);
    expect(w.events.count).toBe(0);
    generation = 2;
    read(v);
    expect(w.events.recent).toMatchObject([{ cached: v.frame(1), current: v.frame(3) }]);
  });

  test.each([12, 21, 30, 32, 40, 64])(
    'an invalidation of 2^%i bytes drops what lies in it, of one PASID',
    (lg2) => {
      const size = 1n << BigInt(lg2);
      const isDropped = (iova: bigint, pasid: number): boolean => {
        const w = makeDevice();
        w.translator.map(1, iova, w.frame(1));
        w.device.submit({ kind: 'read', iova, length: 1, ats: true, pasid: 1 });
        expect(w.device.cache!.size).toBe(1);
        w.device.invalidateDeviceTlb(pasid, 0, 0x800, lg2);
        return w.device.cache!.size === 0;
      };
      expect(isDropped(0n, 1)).toBe(true);
      expect(isDropped(size - 0x1000n, 1)).toBe(true);
      expect(isDropped(0n, 2)).toBe(false);
      expect(isDropped(0n, NO_PASID)).toBe(false);
      expect(isDropped(0n, ALL_PASIDS)).toBe(true);
      if (lg2 < 64) expect(isDropped(size, ALL_PASIDS)).toBe(false);
      if (lg2 < 64) expect(isDropped(size, 1)).toBe(false);
    },
  );

  test('an invalidation of every PASID leaves what the requester id alone has', () => {
    const w = makeDevice();
    mapPages(w, NO_PASID, [1]);
    read(w);
    w.device.invalidateDeviceTlb(ALL_PASIDS, 0, 0, 64);
    expect(w.device.cache!.size).toBe(1);
  });

  test('a larger block is one entry, and an invalidation of a part of it drops it', () => {
    const w = makeDevice();
    w.translator.largestBlock = 15;
    mapPages(w, NO_PASID, [8, 9, 10, 11, 12, 13, 14, 15]);
    expect(w.device.submit({ kind: 'read', iova: 0n, length: 8 * PAGE, ats: true }).state).toBe('done');
    expect(w.device.cache).toMatchObject({ misses: 1, size: 1 });
    w.device.invalidateDeviceTlb(NO_PASID, 0, 0x3000, 12);
    expect(w.device.cache!.size).toBe(0);
  });

  test('a device without one, or one that is gone, does not answer an invalidation', () => {
    expect(makeDevice({ ats: false, pri: false }).device.invalidateDeviceTlb(NO_PASID, 0, 0, 64)).toBe(false);
    const w = makeDevice();
    w.device.isGone = true;
    expect(w.device.invalidateDeviceTlb(NO_PASID, 0, 0, 64)).toBe(false);
  });
});

test.each<[Operation, string]>([
  [{ kind: 'read', iova: 0n, length: 0 }, 'a length of 0'],
  [{ kind: 'read', iova: (1n << 64n) - 4n, length: 5 }, '5 bytes at'],
  [{ kind: 'copy', iova: 0n, target: (1n << 64n) - 4n, length: 5 }, '5 bytes at'],
  [{ kind: 'write', iova: 0n, length: 5, data: new Uint8Array(4) }, '4 bytes of data'],
  [{ kind: 'fetch-add', iova: 4n, length: 8 }, 'an atomic operation at 0x4'],
  [{ kind: 'fetch-add', iova: 0n, length: 2 }, 'an atomic operation on 2'],
  [{ kind: 'gather', iova: 0n, length: 8, segments: [{ iova: 0n, length: 4 }] }, 'segments of 4 bytes'],
  [{ kind: 'gather', iova: 0n, length: 4, segments: [{ iova: -1n, length: 4 }] }, '4 bytes at'],
  [{ kind: 'read', iova: 0n, length: 8, pasid: 1 << 20 }, 'PASID'],
  [{ kind: 'read', iova: 0n, length: 8, attributes: DMA_WRITE }, 'attributes'],
  [{ kind: 'read', iova: 0n, length: 8, pri: true }, 'PRI'],
])('refuses %o', (operation, why) => {
  expect(() => makeDevice().device.submit(operation)).toThrow(why);
});

test('refuses what it was not made with', () => {
  const { device } = makeDevice({ ats: false, pri: false, maxPasids: 0 });
  expect(() => device.submit({ kind: 'read', iova: 0n, length: 8, ats: true })).toThrow('ATS');
  expect(() => device.submit({ kind: 'read', iova: 0n, length: 8, pasid: 1 })).toThrow('PASID 1');
  expect(() => makeDevice({ ats: false, pri: true })).toThrow('PRI without ATS');
});
