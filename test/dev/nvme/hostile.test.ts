/** Random bytes wherever a driver puts something: no exception, a bounded number of steps, and life after a reset. */
import { expect, test } from 'vitest';
import { dice } from '../../dice.js';
import { at, NvmeWorld, ROOM, START, UNMAPPED } from './world.js';

const STEPS = 4096;

test.each([1, 2, 3])('random stores to registers and doorbells, seed %i', (seed) => {
  const next = dice(seed);
  const w = new NvmeWorld();
  const word = (): number => (next(2) === 0 ? next(64) : next(2 ** 31) * 2 + next(2));
  for (let round = 0; round < 400; round++) {
    if (next(20) === 0) {
      w.disable();
      w.enable();
    }
    for (let i = 0; i < 8; i++) {
      const width = ([1, 2, 4, 8] as const)[next(4)]!;
      const range = next(2) === 0 ? 0x40 : 0x4000;
      const base = next(3) === 0 ? 0x1000 : 0;
      const offset = Math.min(0x4000 - 8, base + next(range / 8) * 8);
      w.bar.store(offset, width, word() | 0, word() | 0);
    }
    expect(w.settle(STEPS)).toBeLessThan(STEPS);
  }
  w.model.reset();
  w.model.config.write(4, 2, 0x0406);
  w.enable();
  w.makePair(1);
  expect(w.run({ opcode: 2, namespace: 1, prp1: at(ROOM), dwords: [0] }, 1).status).toBe(0);
});

test('random stores to configuration space, with commands on their way', () => {
  const next = dice(5);
  const w = new NvmeWorld();
  for (let round = 0; round < 200; round++) {
    if (!w.ready) w.enable();
    w.submit({ opcode: 6, prp1: at(ROOM), dwords: [1] });
    for (let i = 0; i < 20; i++) {
      const length = 1 << next(3);
      w.model.config.write(next(4096 / length) * length, length, next(2 ** 31) * 2 + next(2));
    }
    expect(w.settle(STEPS)).toBeLessThan(STEPS);
  }
  w.model.reset();
  expect([w.ready, w.model.pending, w.model.config.read(0, 4)]).toEqual([false, 0, 0x10a6_1234]);
});

test.each([11, 12, 13, 14])('random commands, seed %i', (seed) => {
  const next = dice(seed);
  const w = new NvmeWorld({ namespaces: [{ size: '1M' }, { size: '3M' }] });
  const start = (): void => {
    w.disable();
    w.enable();
    w.makePair(1, 64);
  };
  start();
  const address = (): bigint => {
    const kind = next(8);
    if (kind === 0) return UNMAPPED;
    if (kind === 1) return (BigInt(next(2 ** 31)) << 33n) | BigInt(next(2 ** 31));
    return START + BigInt(next(512 * 512) * 8);
  };
  // Lists of lists: whatever is read as a list leads somewhere.
  w.list(
    at(ROOM),
    Array.from({ length: 512 * 64 }, () => (next(4) === 0 ? address() : address() & ~0xfffn)),
  );
  const seen = new Set<number>();
  for (let round = 0; round < 1500; round++) {
    if (w.fatal || !w.ready) start();
    const queue = next(4) === 0 ? 0 : 1;
    const opcodes = queue === 0 ? [0, 1, 2, 4, 5, 6, 8, 9, 10, 12] : [0, 1, 2, 5, 8, 9];
    const isAny = next(30) === 0;
    const dword = (): number => (next(3) === 0 ? next(2 ** 31) : next(600));
    w.submit(
      {
        opcode: isAny ? next(256) : opcodes[next(opcodes.length)]!,
        namespace: next(10) === 0 ? next(2 ** 31) : next(4),
        flags: next(4) === 0 ? next(256) : next(2) * 0x40 * queue,
        prp1: address(),
        prp2: next(3) === 0 ? BigInt(next(2 ** 31)) | (BigInt(next(64)) << 56n) : address(),
        dwords: [dword(), next(4) === 0 ? dword() : 0, dword(), dword(), dword(), dword()],
      },
      queue,
    );
    expect(w.settle(STEPS)).toBeLessThan(STEPS);
    // Queues and lists are memory that commands write too, so that completions may be overwritten.
    for (const { status } of w.reap(queue, false)) seen.add(status);
    const pair = w.pairs.get(queue)!;
    w.store32(0x1004 + queue * 8, pair.head);
  }
  expect(seen.size).toBeGreaterThan(6);
  w.model.reset();
  w.model.config.write(4, 2, 0x0406);
  w.enable();
  w.makePair(1);
  expect(w.run({ opcode: 2, namespace: 1, prp1: at(ROOM), dwords: [0] }, 1).status).toBe(0);
});

test('a PRP list that leads to itself is followed as far as the data goes', () => {
  const w = new NvmeWorld();
  w.enable();
  w.makePair(1);
  const list = at(ROOM, 4096 - 8);
  w.list(list, [list]);
  const dwords = [0, 0, 511];
  expect(w.run({ opcode: 2, namespace: 1, prp1: at(ROOM + 2), prp2: list, dwords }, 1).status).toBe(0x13);
  const page = at(ROOM + 1);
  w.list(list, [page]);
  w.list(
    page,
    Array.from({ length: 512 }, () => page),
  );
  const completion = w.run({ opcode: 2, namespace: 1, prp1: at(ROOM + 2), prp2: list, dwords }, 1);
  expect(completion.status).toBe(0);
});
