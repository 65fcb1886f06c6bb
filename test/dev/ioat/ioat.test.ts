import { describe, expect, test } from 'vitest';
import { bytesOf } from '../world.js';
import { dice } from '../../dice.js';
import { IoatWorld, NAME, START } from './world.js';

const ACTIVE = 0;
const DONE = 1;
const SUSPENDED = 2;
const HALTED = 3;
const RESET = 0x20;
const SUSPEND = 0x04;
const RESUME = 0x10;

const RING = START;
const SRC = START + 0x10_0000n;
const DST = START + 0x20_0000n;
const UNMAPPED = 0x7000_0000n;
const MIB = 1 << 20;

test('says what its driver looks for', () => {
  const w = new IoatWorld();
  const { config } = w.model;
  expect([config.read(0, 2), config.read(2, 2), config.read(8, 4) >>> 8]).toEqual([0x8086, 0x2021, 0x088000]);
  expect([w.bar.image[0], w.bar.image[1], w.bar.image[8]]).toEqual([1, 20, 0x33]);
  expect(w.status).toBe(HALTED);
  expect(w.model.interrupts.capability).toMatchObject({ intx: true, msi: 1, msix: 1 });
});

describe('a chain', () => {
  test('is active when it is started, and is walked as far as the count says', () => {
    const w = new IoatWorld();
    const data = bytesOf(3 * 5000, 3);
    w.write(SRC, data);
    for (let i = 0; i < 4; i++) {
      const at = BigInt(i * 5000);
      w.put(RING + BigInt(64 * i), {
        size: 5000,
        src: SRC + at,
        dst: DST + at,
        next: RING + BigInt(64 * (i + 1)),
      });
    }
    w.start(RING, 2);
    expect([w.status, w.model.pending]).toEqual([ACTIVE, 1]);
    w.settle();
    expect([w.status, w.model.pending, w.errors]).toEqual([DONE, 0, 0]);
    expect(w.completed).toBe(RING + 64n);
    expect(w.read(DST, 10_000)).toEqual(data.subarray(0, 10_000));
    expect(w.read(DST + 10_000n, 5000)).toEqual(new Uint8Array(5000));
    // The count goes on from where it was.
    w.store(0x86, 2, 3);
    expect(w.status).toBe(ACTIVE);
    w.settle();
    expect(w.completed).toBe(RING + 128n);
    expect(w.read(DST, 15_000)).toEqual(data);
    expect(w.messages).toEqual([]);
  });

  test('may lead to itself, and its count wraps at 2^16', () => {
    const w = new IoatWorld();
    w.put(RING, { size: 16, src: SRC, dst: DST, next: RING });
    w.start(RING, 0xffff);
    w.settle();
    expect(w.status).toBe(DONE);
    w.store(0x86, 2, 2);
    const steps = w.settle();
    expect(w.status).toBe(DONE);
    expect(steps).toBe(1);
  });

  test('copies 1 MiB in pieces, between which it can be suspended and go on', () => {
    const w = new IoatWorld();
    const data = bytesOf(MIB, 9);
    w.write(SRC, data);
    w.put(RING, { size: MIB, src: SRC, dst: DST, next: 0n });
    w.start(RING, 1);
    w.settle(2);
    w.command(SUSPEND);
    expect(w.status).toBe(SUSPENDED);
    expect(w.settle()).toBe(0);
    const half = w.read(DST, MIB).findIndex((byte, i) => byte !== data[i]);
    expect(half).toBeGreaterThan(4096);
    w.command(RESUME);
    w.settle();
    expect(w.status).toBe(DONE);
    expect(w.read(DST, MIB)).toEqual(data);
  });

  test('has null descriptors, which only complete', () => {
    const w = new IoatWorld();
    const CMP = START + 0x8000n;
    w.store64(0x98, CMP);
    w.put(RING, { size: 0, ctl: 0x29, src: UNMAPPED, dst: UNMAPPED, next: RING + 64n });
    w.start(RING, 1);
    w.settle();
    expect(w.status).toBe(DONE);
    expect(w.messages).toEqual([0]);
    // The completed address, and that it is done.
    expect(new DataView(w.read(CMP, 8).buffer).getBigUint64(0, true)).toBe(RING | BigInt(DONE));
  });

  test('suspended and started anew, runs again with the same count', () => {
    const w = new IoatWorld();
    w.put(RING, { size: 8, ctl: 1, src: SRC, dst: DST, next: RING });
    for (let i = 1; i <= 3; i++) {
      w.write(SRC, bytesOf(8, i));
      w.start(RING, 1);
      w.settle();
      expect(w.status).toBe(DONE);
      w.command(SUSPEND);
      expect(w.status).toBe(SUSPENDED);
      expect(w.read(DST, 8)).toEqual(bytesOf(8, i));
      expect(w.messages).toHaveLength(i);
    }
  });
});

describe('interrupts', () => {
  test('wait until they are armed again', () => {
    const w = new IoatWorld();
    w.put(RING, { size: 8, ctl: 1, src: SRC, dst: DST, next: RING });
    w.start(RING, 4);
    w.settle();
    expect(w.messages).toEqual([0]);
    w.store(0x80, 2, 1);
    expect(w.messages).toEqual([0, 0]);
    w.store(0x80, 2, 1);
    expect(w.messages).toHaveLength(2);
  });

  test('by the line, which its driver puts down, and the command register hides', () => {
    const w = new IoatWorld();
    w.model.interrupts.mode = 'intx';
    w.model.config.write(4, 2, 0x0006);
    w.put(RING, { size: 8, ctl: 1, src: SRC, dst: DST, next: RING });
    w.store(0x03, 1, 0x01);
    w.start(RING, 1);
    w.settle();
    expect(w.lines).toEqual([true]);
    expect(w.load32(0x04)).toBe(1);
    expect(w.bar.image[0x03]! & 0x06).toBe(0x06);
    expect(w.model.config.read(6, 2) & 8).toBe(8);
    w.model.config.write(4, 2, 0x0406);
    expect(w.lines).toEqual([true, false]);
    expect(w.model.config.read(6, 2) & 8).toBe(8);
    w.store(0x03, 1, 0x01);
    expect(w.model.config.read(6, 2) & 8).toBe(0);
    expect(w.load32(0x04)).toBe(0);
  });
});

describe('a mistake halts the channel, says which, and is over after a reset', () => {
  const cases: readonly [string, (w: IoatWorld) => void, number, readonly string[]][] = [
    [
      'a source that is not mapped',
      (w) => w.put(RING, { size: 64, src: UNMAPPED, dst: DST }),
      0x100,
      ['Read'],
    ],
    [
      'a target that is not mapped',
      (w) => w.put(RING, { size: 64, src: SRC, dst: UNMAPPED }),
      0x200,
      ['Write'],
    ],
    ['an operation that it does not know', (w) => w.put(RING, { size: 64, ctl: 0x8700_0000 }), 0x400, []],
    ['no length', (w) => w.put(RING, { size: 0, src: SRC, dst: DST }), 0x800, []],
    ['too long', (w) => w.put(RING, { size: MIB + 1, src: SRC, dst: DST }), 0x800, []],
    [
      'a completion that is not mapped',
      (w) => {
        w.store64(0x98, UNMAPPED);
        w.put(RING, { size: 64, ctl: 8, src: SRC, dst: DST });
      },
      0x1000,
      ['Write'],
    ],
  ];
  test.each(cases)('%s', (_, prepare, error, faults) => {
    const w = new IoatWorld();
    const seen: string[] = [];
    w.scene.machine.events.listen((event) => {
      const access = event.kind === 'log' ? /DMAR: \[DMA (Read|Write) /.exec(event.text)?.[1] : undefined;
      if (access !== undefined) seen.push(access);
    });
    const CMP = START + 0x9000n;
    w.store64(0x98, CMP);
    prepare(w);
    w.start(RING, 1, 0x1d);
    w.settle();
    expect([w.status, w.errors]).toEqual([HALTED, error]);
    expect(w.model.config.read(0x180, 4)).toBe(error);
    expect(seen).toEqual(faults);
    expect(w.messages).toEqual([0]);
    if (error !== 0x1000) expect(w.read(CMP, 1)[0]! & 7).toBe(HALTED);
    // It stays so until somebody has cleared it.
    w.store(0x86, 2, 2);
    expect(w.settle()).toBe(0);
    w.store(0xa8, 4, error);
    w.command(RESET);
    expect([w.status, w.errors]).toEqual([HALTED, 0]);
    w.model.config.write(0x180, 4, error);
    expect(w.model.config.read(0x180, 4)).toBe(0);
    w.put(RING, { size: 4, src: SRC, dst: DST });
    w.start(RING, 1);
    w.settle();
    expect(w.status).toBe(DONE);
  });

  test.each([
    ['chain address', 1n, 0x10],
    ['chain address that is not mapped', UNMAPPED, 0x10],
  ])('a crooked %s', (_, at, error) => {
    const w = new IoatWorld();
    w.start(at, 1);
    w.settle();
    expect([w.status, w.errors]).toEqual([HALTED, error]);
  });

  test.each([
    [RING + 8n, 0x08],
    [UNMAPPED, 0x04],
  ])('a next descriptor at 0x%s', (next, error) => {
    const w = new IoatWorld();
    w.put(RING, { size: 4, src: SRC, dst: DST, next });
    w.start(RING, 2);
    w.settle();
    expect([w.status, w.errors]).toEqual([HALTED, error]);
    expect(w.completed).toBe(RING);
  });
});

const chain = (): IoatWorld => {
  const w = new IoatWorld();
  w.write(SRC, bytesOf(64, 1));
  w.put(RING, { size: 64, src: SRC, dst: DST, next: RING });
  return w;
};
const untouched = (w: IoatWorld): boolean => w.read(DST, 64).every((byte) => byte === 0);

describe('nothing reaches memory', () => {
  test('while bus mastering is off, or the function sleeps; then it goes on', () => {
    for (const [off, on] of [
      [(w: IoatWorld) => w.model.config.write(4, 2, 2), (w: IoatWorld) => w.model.config.write(4, 2, 6)],
      [
        (w: IoatWorld) => w.model.config.write(w.model.config.capability(1) + 4, 2, 3),
        (w: IoatWorld) => w.model.config.write(w.model.config.capability(1) + 4, 2, 0),
      ],
    ] as const) {
      const w = chain();
      off(w);
      w.start(RING, 1);
      w.settle();
      expect([w.status, untouched(w)]).toEqual([ACTIVE, true]);
      on(w);
      w.settle();
      expect([w.status, untouched(w)]).toEqual([DONE, false]);
    }
  });

  test.each<[string, (w: IoatWorld) => void]>([
    ['a reset of the device', (w) => w.model.reset()],
    ['a function level reset', (w) => w.model.config.write(w.model.config.capability(0x10) + 8, 2, 0xa810)],
    ['a reset of the channel', (w) => w.command(RESET)],
  ])('after %s', (_, reset) => {
    const w = chain();
    w.start(RING, 5);
    reset(w);
    expect(w.model.pending).toBe(0);
    expect(w.settle()).toBe(0);
    expect([w.status, untouched(w)]).toEqual([HALTED, true]);
  });

  test('after it was detached: the fault is of the unit, and the descriptor', () => {
    const w = chain();
    w.bound.detach();
    w.start(RING, 1);
    w.settle();
    expect([w.status, w.errors]).toEqual([HALTED, 0x10]);
  });
});

test('a virtual function is a channel of its own, with a requester id of its own', () => {
  const vf = '0000:00:05.1';
  const w = new IoatWorld({}, vf);
  const data = bytesOf(100, 5);
  w.write(SRC, data);
  w.put(RING, { size: 100, src: SRC, dst: DST, ctl: 1 });
  w.start(RING, 1);
  w.settle();
  expect(w.read(DST, 100)).toEqual(data);
  expect(w.messages).toEqual([0]);
  expect(w.model.config.read(0x10, 4)).toBe(0);
  expect(w.model.interrupts.capability.intx).toBe(false);
  expect(() => w.scene.machine.setNumVfs(NAME, 0)).toThrow('in use');
});

test('stores and descriptors at random: the channel takes a bounded number of steps and throws nothing', () => {
  const next = dice(4711);
  const w = new IoatWorld();
  let faults = 0;
  w.scene.machine.events.listen((event) => {
    if (event.kind === 'log' && event.text.includes('fault addr')) faults += 1;
  });
  for (let round = 0; round < 3000; round++) {
    const at = RING + BigInt(64 * next(8));
    w.put(at, {
      size: next(3) === 0 ? next(2 ** 31) : next(300),
      ctl: next(4) === 0 ? next(2 ** 31) : next(64),
      src: next(8) === 0 ? BigInt(next(2 ** 31)) << 20n : SRC + BigInt(next(5000)),
      dst: next(8) === 0 ? BigInt(next(2 ** 31)) << 20n : DST + BigInt(next(5000)),
      next: next(8) === 0 ? BigInt(next(2 ** 31)) : RING + BigInt(64 * next(8)),
    });
    const width = ([1, 2, 4, 8] as const)[next(4)]!;
    const offset = next(3) === 0 ? next(0x4000 / width) * width : 0x80 + next(0x40 / width) * width;
    w.bar.store(offset, width, next(2 ** 31) | (next(2) << 31), next(2 ** 31));
    if (next(3) === 0) w.command(RESET);
    w.start(at, next(70), next(0x20));
    const steps = w.settle();
    expect(steps).toBeLessThan(2 ** 16);
    if (w.model.pending > 0) w.model.config.write(4, 2, 0x406);
  }
  expect(faults).toBeGreaterThan(100);
  w.model.reset();
  w.model.config.write(4, 2, 0x406);
  w.put(RING, { size: 8, src: SRC, dst: DST });
  w.start(RING, 1);
  w.settle();
  expect(w.status).toBe(DONE);
});
