import { describe, expect, test } from 'vitest';
import { at, NvmeWorld, ROOM, UNMAPPED } from './world.js';

const DATA = at(ROOM);

function started(options = {}): NvmeWorld {
  const w = new NvmeWorld(options);
  w.enable();
  return w;
}

function identify(w: NvmeWorld, cns: number, namespace = 0): DataView {
  w.write(DATA, new Uint8Array(4096).fill(0xee));
  w.expect({ opcode: 6, prp1: DATA, namespace, dwords: [cns] });
  return new DataView(w.read(DATA, 4096).buffer);
}

const ascii = (view: DataView, from: number, length: number): string =>
  String.fromCharCode(...new Uint8Array(view.buffer, from, length));

test('registers say what there is', () => {
  const w = new NvmeWorld();
  expect([w.load32(0), w.load32(4), w.load32(8)]).toEqual([0x1401_03ff, 0x20, 0x0001_0400]);
  expect(w.model.config.read(8, 4) >>> 8).toBe(0x01_08_02);
  expect(w.model.interrupts.capability).toEqual({ intx: true, msi: 32, msix: 65 });
});

describe('CC and CSTS', () => {
  test('it is ready when it is enabled, and not when it is not; queues are gone', () => {
    const w = new NvmeWorld();
    expect(w.ready).toBe(false);
    w.enable();
    expect([w.ready, w.fatal]).toEqual([true, false]);
    w.makePair(1);
    w.disable();
    expect(w.ready).toBe(false);
    expect(w.load32(0x24)).toBe(0x001f_000f);
    w.enable();
    w.makePair(1);
    expect(w.ready).toBe(true);
  });

  test.each([
    ['a page size', 0x0046_0081, 0x001f_000f],
    ['a command set', 0x0046_0011, 0x001f_000f],
    ['queues of one entry', 0x0046_0001, 0],
  ])('%s that there is not makes it fail', (_, cc, aqa) => {
    const w = new NvmeWorld();
    w.store32(0x24, aqa);
    w.store64(0x28, at(0));
    w.store64(0x30, at(1));
    w.store32(0x14, cc);
    expect([w.ready, w.fatal]).toEqual([false, true]);
    w.disable();
    w.enable();
    expect(w.ready).toBe(true);
  });

  test.each([1, 2])('shutdown %i is complete, and nothing more is fetched until a reset', (kind) => {
    const w = started();
    w.store32(0x14, 0x0046_0001 | (kind << 14));
    expect((w.load32(0x1c) >>> 2) & 3).toBe(2);
    w.submit({ opcode: 6, prp1: DATA, dwords: [1] });
    w.settle();
    expect(w.reap()).toEqual([]);
    w.disable();
    w.enable();
    expect((w.load32(0x1c) >>> 2) & 3).toBe(0);
    expect(identify(w, 1).getUint16(0, true)).toBe(0x1234);
  });

  test('admin queues that cannot be reached are fatal, and a reset cures it', () => {
    for (const [asq, acq] of [
      [UNMAPPED, at(1)],
      [at(0), UNMAPPED],
    ] as const) {
      const w = new NvmeWorld();
      w.enable(asq, acq);
      w.submit({ opcode: 6, prp1: DATA, dwords: [1] });
      w.settle();
      expect([w.ready, w.fatal]).toEqual([true, true]);
      expect(w.settle()).toBe(0);
      w.disable();
      expect(w.fatal).toBe(false);
      w.enable();
      identify(w, 1);
    }
  });
});

describe('identify', () => {
  test('the controller', () => {
    const view = identify(started({ namespaces: [{ size: '1M' }, { size: '4M' }] }), 1);
    expect(ascii(view, 4, 20)).toBe('ioasis-00040        ');
    expect(ascii(view, 24, 40).trimEnd()).toBe('ioasis NVMe controller');
    expect(view.getUint8(77)).toBe(6);
    expect(view.getUint32(80, true)).toBe(0x0001_0400);
    expect([view.getUint8(512), view.getUint8(513)]).toEqual([0x66, 0x44]);
    expect(view.getUint32(516, true)).toBe(2);
    expect(view.getUint16(520, true)).toBe(0x4d);
    expect(view.getUint8(525)).toBe(7);
    expect(ascii(view, 768, 69)).toMatch(
      /^nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\0/,
    );
  });

  test('namespaces, their list and their names', () => {
    const w = started({ namespaces: [{ size: '1M' }, { size: 4096 }] });
    const first = identify(w, 0, 1);
    expect(first.getBigUint64(0, true)).toBe(2048n);
    expect(first.getUint32(128, true)).toBe(9 << 16);
    expect(identify(w, 0, 2).getBigUint64(0, true)).toBe(8n);
    expect(identify(w, 0, 0xffff_ffff).getBigUint64(0, true)).toBe(0n);
    expect([...new Uint32Array(identify(w, 2).buffer, 0, 3)]).toEqual([1, 2, 0]);
    expect([...new Uint32Array(identify(w, 2, 1).buffer, 0, 2)]).toEqual([2, 0]);
    const names = identify(w, 3, 2);
    expect([names.getUint8(0), names.getUint8(1)]).toEqual([2, 16]);
    expect(new Uint8Array(names.buffer, 4, 16)).toEqual(
      new Uint8Array(identify(w, 0, 2).buffer, 104, 16).slice(),
    );
  });

  test.each([
    [0, 0, 0x0b],
    [0, 3, 0x0b],
    [2, 0xffff_ffff, 0x0b],
    [3, 9, 0x0b],
    [0x20, 0, 0x02],
  ])('of kind %i, namespace %i, ends with status %i', (cns, namespace, code) => {
    const w = started({ namespaces: [{ size: '1M' }, { size: 4096 }] });
    expect(w.run({ opcode: 6, prp1: DATA, namespace, dwords: [cns] }).status).toBe(code);
  });
});

describe('queues', () => {
  const sizes = 7 << 16;
  test.each([
    ['no entry', 5, [2, 3], 0x102],
    ['too many entries', 5, [2 | (1024 << 16), 3], 0x102],
    ['number 0', 5, [sizes, 3], 0x101],
    ['number 65', 5, [65 | sizes, 3], 0x101],
    ['number 1 again', 5, [1 | sizes, 3], 0x101],
    ['a vector beyond the last', 5, [2 | sizes, 3 | (65 << 16)], 0x108],
    ['memory that is not contiguous', 5, [2 | sizes, 2], 0x02],
    ['no completion queue', 1, [2 | sizes, 1 | (9 << 16)], 0x100],
    ['the admin completion queue', 1, [2 | sizes, 1], 0x100],
    ['number 1 again (submission)', 1, [1 | sizes, 1 | (1 << 16)], 0x101],
  ])('with %s are not made', (_, opcode, dwords, code) => {
    const w = started();
    w.makePair(1);
    expect(w.run({ opcode, prp1: at(ROOM), dwords })).toMatchObject({ status: code, doNotRetry: true });
  });

  test('begin at a page', () => {
    const w = started();
    expect(w.run({ opcode: 5, prp1: at(ROOM, 16), dwords: [1 | sizes, 3] }).status).toBe(0x13);
  });

  test('are deleted submission queue first', () => {
    const w = started();
    w.makePair(3);
    expect(w.run({ opcode: 4, dwords: [3] }).status).toBe(0x10c);
    expect(w.run({ opcode: 0, dwords: [4] }).status).toBe(0x101);
    w.expect({ opcode: 0, dwords: [3] });
    w.expect({ opcode: 4, dwords: [3] });
    expect(w.run({ opcode: 4, dwords: [3] }).status).toBe(0x101);
    w.makePair(3);
  });
});

const getFeature = (w: NvmeWorld, id: number, select = 0): number =>
  w.expect({ opcode: 0x0a, prp1: DATA, dwords: [id | (select << 8)] }).result;

describe('features', () => {
  test('the number of queues is said before any is made', () => {
    const w = started();
    expect(w.expect({ opcode: 9, dwords: [7, 0x0003_0003] }).result).toBe(0x003f_003f);
    expect(getFeature(w, 7)).toBe(0x003f_003f);
    expect(w.run({ opcode: 9, dwords: [7, 0xffff] }).status).toBe(2);
    w.makePair(1);
    expect(w.run({ opcode: 9, dwords: [7, 1] }).status).toBe(0x0c);
  });

  test('the write cache, with its default and what can be done with it', () => {
    const w = started();
    expect(getFeature(w, 6)).toBe(1);
    w.expect({ opcode: 9, dwords: [6, 0] });
    expect([getFeature(w, 6), getFeature(w, 6, 1), getFeature(w, 6, 2), getFeature(w, 6, 3)]).toEqual([
      0, 1, 1, 4,
    ]);
    w.disable();
    w.enable();
    expect(getFeature(w, 6)).toBe(1);
  });

  test('a timestamp comes back', () => {
    const w = started();
    w.write(DATA, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
    w.expect({ opcode: 9, prp1: DATA, dwords: [0x0e] });
    getFeature(w, 0x0e);
    expect([...w.read(DATA, 8)]).toEqual([1, 2, 3, 4, 5, 6, 3, 0]);
    expect(w.run({ opcode: 9, prp1: UNMAPPED, dwords: [0x0e] }).status).toBe(4);
  });

  test('what is not there, or cannot be saved, is refused', () => {
    const w = started();
    expect(w.run({ opcode: 9, dwords: [0x7f] }).status).toBe(2);
    expect(w.run({ opcode: 0x0a, dwords: [0x0c] }).status).toBe(2);
    expect(w.run({ opcode: 9, dwords: [6 | (2 ** 31), 0] }).status).toBe(0x10d);
    expect(w.run({ opcode: 9, dwords: [9, 99] }).status).toBe(2);
    w.expect({ opcode: 9, dwords: [9, 3 | (1 << 16)] });
    expect(w.expect({ opcode: 0x0a, dwords: [9, 3] }).result).toBe(0x1_0003);
  });
});

const readLog = (w: NvmeWorld, id: number, length: number, offset = 0): DataView => {
  const dwords = [id | ((length / 4 - 1) << 16), 0, offset, 0];
  w.expect({ opcode: 2, prp1: DATA, namespace: 0xffff_ffff, dwords });
  return new DataView(w.read(DATA, length).buffer);
};

describe('log pages', () => {
  test('errors are told, the last one first', () => {
    const w = started();
    w.run({ opcode: 0x55 });
    const id = w.run({ opcode: 9, dwords: [0x7f] }).id;
    const view = readLog(w, 1, 128);
    expect([view.getBigUint64(0, true), view.getBigUint64(64, true)]).toEqual([2n, 1n]);
    expect([view.getUint16(10, true), (view.getUint16(12, true) >>> 1) & 0x7ff]).toEqual([id, 2]);
    expect(readLog(w, 2, 512).getBigUint64(176, true)).toBe(2n);
  });

  test('health, firmware, changed namespaces; parts of them; and no others', () => {
    const w = started();
    expect(readLog(w, 2, 512).getUint16(1, true)).toBe(313);
    expect(readLog(w, 3, 512).getUint8(0)).toBe(1);
    expect(readLog(w, 3, 4, 8).getUint8(0)).toBe(0x31);
    expect(readLog(w, 4, 4096).getUint32(0, true)).toBe(0);
    expect(w.run({ opcode: 2, prp1: DATA, dwords: [0x77] }).status).toBe(0x109);
    expect(w.run({ opcode: 2, prp1: DATA, dwords: [2, 0, 3, 0] }).status).toBe(2);
    expect(w.run({ opcode: 2, prp1: DATA, dwords: [2 | (0xffff << 16), 0xffff, 0, 0] }).status).toBe(2);
  });
});

describe('asynchronous events', () => {
  test('of a doorbell that is wrong, one at a time until the log was read', () => {
    const w = started();
    w.makePair(1);
    const first = w.submit({ opcode: 0x0c });
    const second = w.submit({ opcode: 0x0c });
    w.settle();
    expect(w.reap()).toEqual([]);
    w.store32(0x1000 + 8, 99);
    w.settle();
    expect(w.reap()).toMatchObject([{ id: first, result: 0x0001_0100, status: 0 }]);
    w.store32(0x1000 + 8 * 7, 1);
    w.settle();
    expect(w.reap()).toEqual([]);
    w.expect({ opcode: 2, prp1: DATA, dwords: [1 | (15 << 16)] });
    w.store32(0x1004 + 8 * 7, 1);
    w.settle();
    expect(w.reap()).toMatchObject([{ id: second, result: 0x0001_0000 }]);
    expect(w.fatal).toBe(false);
  });

  test('are four at most, and can be aborted', () => {
    const w = started();
    const ids = [1, 2, 3, 4].map(() => w.submit({ opcode: 0x0c }));
    expect(w.run({ opcode: 0x0c }).status).toBe(0x105);
    w.submit({ opcode: 8, dwords: [ids[1]! << 16] });
    w.settle();
    expect(w.reap()).toMatchObject([
      { id: ids[1], status: 7 },
      { status: 0, result: 0 },
    ]);
    expect(w.expect({ opcode: 8, dwords: [ids[1]! << 16] }).result).toBe(1);
  });
});

test('commands that there are not, or with SGLs or fused, are refused', () => {
  const w = started();
  expect(w.run({ opcode: 0x80 })).toMatchObject({ status: 1, doNotRetry: true });
  expect(w.run({ opcode: 6, prp1: DATA, flags: 0x40, dwords: [1] }).status).toBe(2);
  expect(w.run({ opcode: 6, prp1: DATA, flags: 1, dwords: [1] }).status).toBe(2);
  expect(w.run({ opcode: 6, prp1: UNMAPPED, dwords: [1] })).toMatchObject({ status: 4, doNotRetry: false });
});
