/** What a port goes on in without asking, and what ends it; nothing of it is a matter of what translates. */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../src/bus/dma.js';
import type { DmaPort } from '../../src/bus/dma-port.js';
import { SparsePages } from '../../src/machine/local-memory.js';
import { FRAMES, HitWorld, Lent, PAGE } from './hit-world.js';

const EXEC = 4;

test('address 0 does not follow the last one below 4 GiB, though its memory does', () => {
  const world = new HitWorld();
  const port = world.port();
  world.map(0xffff_f000n, 7);
  world.map(0n, 8);
  const page = new Uint8Array(PAGE);
  expect(port.write(0, 0xffff_f000 | 0, page)).toBe(true);
  expect(port.write(0, 0, page)).toBe(true);
  expect(port.write(0, 0xffff_f000 | 0, new Uint8Array(2 * PAGE).fill(5))).toBe(false);
  expect(port).toMatchObject({ done: PAGE, stop: 'refused', stopHi: 1, stopLo: 0 });
  expect(world.lent.bytes[8 * PAGE]).toBe(0);
});

test('an address does not lie in what goes on over the end of its 4 GiB', () => {
  const world = new HitWorld();
  const port = world.port();
  world.map(0xffff_f000n, 1);
  world.map(0x1_0000_0000n, 2);
  const into = new Uint8Array(PAGE + 1);
  for (let turn = 0; turn < 2; turn += 1) expect(port.read(0, 0xffff_f000 | 0, into)).toBe(true);
  expect(port.read(0, 0, new Uint8Array(1))).toBe(false);
});

test.each([
  ['elsewhere', { frame: 5, backing: 0, rights: 7 }],
  ['in another view', { frame: 2, backing: 1, rights: 7 }],
])('a page that lies %s is not taken for what follows', (_, place) => {
  const world = new HitWorld();
  const port = world.port();
  world.backings[place.backing]!.bytes[place.frame * PAGE] = 9;
  world.map(0n, 1);
  world.map(BigInt(PAGE), place);
  const into = new Uint8Array(PAGE);
  for (const page of [0, 1, 1]) expect(port.read(0, page * PAGE, into)).toBe(true);
  expect(into[0]).toBe(9);
});

test.each([
  ['PASID', { pasid: 5, attributes: 0 }],
  ['access', { pasid: NO_PASID, attributes: EXEC }],
])('what goes on for another %s is not held for the one before', (_, other) => {
  const world = new HitWorld();
  const port = world.port();
  const use = (as: { pasid: number; attributes: number }, page: number): boolean => {
    Object.assign(port, as);
    return port.read(0, page * PAGE, new Uint8Array(PAGE));
  };
  const own = { pasid: NO_PASID, attributes: 0 };
  world.map(0n, { frame: 0, backing: 0, rights: 7 }, other.pasid);
  world.map(BigInt(PAGE), { frame: 1, backing: 0, rights: 1 }, own.pasid);
  expect(use(other, 0)).toBe(true);
  expect(use(own, 1)).toBe(true);
  expect(use(other, 1)).toBe(false);
});

test('a run over the end of a view is read to its end, and written', () => {
  const world = new HitWorld();
  const port = world.port();
  const first = (1 << 21) - PAGE;
  const sparse = new SparsePages(1 << 22);
  const [window] = world.memory.window(sparse, 0n, 1n << 22n)!;
  for (const page of [0, 1]) world.mapHpa(BigInt(page * PAGE), window!.hpa + BigInt(first + page * PAGE));
  for (let turn = 1; turn < 4; turn += 1) {
    expect(port.write(0, 0, new Uint8Array(2 * PAGE).fill(turn))).toBe(true);
    const into = new Uint8Array(2 * PAGE);
    expect(port.read(0, 0, into)).toBe(true);
    expect(into.every((byte) => byte === turn)).toBe(true);
    expect(sparse.view(first + PAGE)!.bytes[0]).toBe(turn);
  }
});

/** No page lies behind the one before it. */
const frameOf = (page: number): number => (page * 2 + (page >> 5)) % FRAMES;

/** Pages that lie apart, of frames that hold their number. */
function scatter(pages: number): { world: HitWorld; port: DmaPort } {
  const world = new HitWorld();
  world.lent.bytes.forEach((_, at, bytes) => (bytes[at] = at >> 12));
  for (let page = 0; page < pages; page += 1) world.map(BigInt(page * PAGE), frameOf(page));
  return { world, port: world.port() };
}

function expectPages(port: DmaPort, first: number, pages: number): void {
  const into = new Uint8Array(pages * PAGE);
  expect(port.read(0, first * PAGE, into)).toBe(true);
  for (let page = 0; page < pages; page += 1) expect(into[page * PAGE]).toBe(frameOf(first + page));
}

describe('a list', () => {
  test('is held if it was asked for at once, and else nothing of it', () => {
    const { world, port } = scatter(300);
    expectPages(port, 0, 8);
    const { asked } = world;
    expectPages(port, 0, 8);
    expect(world.asked).toBe(asked);
    for (const pages of [300, 300, 44, 257, 1, 256]) expectPages(port, 0, pages);
    expectPages(port, 256, 44);
  });

  test('is not held any more once a copy has used up some of it', () => {
    const { world, port } = scatter(4);
    world.map(BigInt(8 * PAGE), { frame: 9, backing: 1, rights: 7 });
    for (let turn = 0; turn < 2; turn += 1) expectPages(port, 0, 4);
    expect(port.copy(0, 0, 0, 8 * PAGE, 4 * PAGE)).toBe(false);
    expect(port.done).toBe(PAGE);
    expectPages(port, 0, 4);
  });
});

/** A port that holds page 0 for reads and page 2 for writes, of memory that has ended since. */
function holdEnded(): { world: HitWorld; port: DmaPort } {
  const world = new HitWorld();
  for (let page = 0; page < 4; page += 1) world.map(BigInt(page * PAGE), page);
  const port = world.port();
  for (let turn = 0; turn < 2; turn += 1) expect(port.copy(0, 0, 0, 2 * PAGE, PAGE)).toBe(true);
  expect(world.asked).toBe(2);
  world.lent.isAlive = false;
  world.lent.bytes.fill(0xaa);
  return { world, port };
}

describe('a view that has ended', () => {
  test('is not written any more: other bytes may lie there', () => {
    const { world, port } = holdEnded();
    expect(port.write(0, 2 * PAGE, new Uint8Array(16).fill(1))).toBe(true);
    expect(world.lent.bytes.every((byte) => byte === 0xaa)).toBe(true);
    world.lent.bytes.fill(0xbb, 0, PAGE);
    expect(port.copy(0, 0, 0, 2 * PAGE, PAGE)).toBe(false);
    expect(world.lent.bytes.every((byte, at) => byte === (at < PAGE ? 0xbb : 0xaa))).toBe(true);
  });

  test('is not read any more: nothing of it comes to where a refused copy goes, nor into a buffer', () => {
    const { world, port } = holdEnded();
    const other = new SparsePages(PAGE);
    world.mapHpa(BigInt(9 * PAGE), world.memory.window(other, 0n, BigInt(PAGE))![0]!.hpa);
    expect(port.write(0, 9 * PAGE, new Uint8Array(PAGE).fill(7))).toBe(true);
    expect(port.copy(0, 0, 0, 9 * PAGE, PAGE)).toBe(false);
    expect(port).toMatchObject({ stop: 'gone', done: 0 });
    expect(other.view(0)!.bytes.every((byte) => byte === 7)).toBe(true);
    const into = new Uint8Array(PAGE);
    expect(port.read(0, 0, into)).toBe(false);
    expect(into.every((byte) => byte === 0)).toBe(true);
  });
});

test.each([1, 2])('what ends the epoch while %i pages are moved ends them too', (count) => {
  const world = new HitWorld();
  const called = new Lent();
  called.isAlive = false;
  called.onCall = () => world.memory.epoch.end();
  const [window] = world.memory.window(called, 0n, BigInt(2 * PAGE))!;
  for (const page of [0, 1]) world.mapHpa(BigInt((9 + page) * PAGE), window!.hpa + BigInt(page * PAGE));
  world.map(0n, 3);
  world.map(BigInt(PAGE), 1);
  const port = world.port();
  expect(port.copy(0, 0, 0, 9 * PAGE, count * PAGE)).toBe(true);
  const { asked } = world;
  expect(port.read(0, 0, new Uint8Array(count * PAGE))).toBe(true);
  expect(world.asked).toBe(asked + 1);
});

test('nothing moves nothing, wherever it begins', () => {
  const world = new HitWorld();
  world.map(0xffff_f000n, 0);
  const port = world.port();
  port.write(0, 0xffff_f000 | 0, new Uint8Array(PAGE));
  for (const lo of [0, 1, 0xffff_f000 | 0, -1, 0x7fff_ffff]) {
    expect(port.read(0, lo, new Uint8Array(0))).toBe(true);
    expect(port.write(0, lo, new Uint8Array(0))).toBe(true);
    expect(port.copy(0, lo, 0, 0, 0)).toBe(true);
    expect(port.done).toBe(0);
  }
});
