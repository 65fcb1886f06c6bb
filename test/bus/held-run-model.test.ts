/**
 * A port that holds what it was led to, and for each access a new one that holds nothing: the same bytes, everywhere. They
 * go through pages whose memory goes on where addresses do not, of two PASIDs, with and without rights, by runs and lists.
 */
import { expect, test } from 'vitest';
import { NO_PASID } from '../../src/bus/dma.js';
import type { DmaPort } from '../../src/bus/dma-port.js';
import { dice } from '../dice.js';
import { FRAMES, HitWorld, PAGE, type Place } from './hit-world.js';

/**
 * Where addresses wrap, or low words change sign: first bytes below and above, and the frame of the first page. One is
 * where they would wrap if a carry were lost, one differs from another by its high word alone, and goes on in its memory.
 */
const CORNERS = [
  { below: 0n, above: 0n, frame: 0 },
  { below: 0x8000_0000n, above: 0x8000_0000n, frame: 12 },
  { below: 0x1_0000_0000n, above: 0x1_0000_0000n, frame: 24 },
  { below: 0x1_8000_0000n, above: 0x1_8000_0000n, frame: 12 },
  { below: 0x1_0000_0000n, above: 0n, frame: 36 },
] as const;
const NEAR = 6;
const PASIDS = [NO_PASID, 5];
const EXEC = 4;

/** Half of the pages lie below a corner, and half above. */
function corner(index: number, page: number): bigint {
  const { below, above } = CORNERS[index]!;
  return BigInt.asUintN(64, (page < NEAR ? below : above) + BigInt((page - NEAR) * PAGE));
}

const words = (at: bigint): [number, number] => [
  Number(BigInt.asIntN(32, at >> 32n)),
  Number(BigInt.asIntN(32, at)),
];

/** Where it stopped. */
const says = ({ done, stopHi, stopLo, stop }: DmaPort): unknown[] => [done, stopHi, stopLo, stop];

class Pair {
  readonly next: (below: number) => number;
  readonly held = new HitWorld();
  readonly fresh = new HitWorld();
  readonly port = this.held.port();
  readonly #bytes = new Uint8Array(4 * PAGE);
  readonly #into = [new Uint8Array(4 * PAGE), new Uint8Array(4 * PAGE)] as const;
  /** For a while a device goes on from page to page about a corner, and copies between there and a place beside it. */
  #index = 0;
  #page = 0;
  #beside = 0n;
  #kind = 0;
  #pasid = 0;
  unasked = 0;

  constructor(seed: number) {
    this.next = dice(seed);
    for (let index = 0; index < CORNERS.length; index += 1) {
      for (let page = 0; page < 2 * NEAR; page += 1)
        for (const pasid of PASIDS) this.#change(index, page, pasid);
    }
  }

  #change(index: number, page: number, pasid: number): void {
    const { next } = this;
    // Mostly as its neighbours lie, so that memory goes on where addresses do.
    const place: Place = {
      frame: next(6) === 0 ? next(FRAMES) : CORNERS[index]!.frame + page,
      backing: next(8) === 0 ? 1 : 0,
      rights: next(12) === 0 ? 1 : next(4) === 0 ? 3 : 7,
    };
    const isMapped = next(20) > 0;
    for (const world of [this.held, this.fresh])
      world.map(corner(index, page), isMapped ? place : null, pasid);
  }

  step(): void {
    const { next } = this;
    if (next(100) === 0) this.#change(this.#index, next(2 * NEAR), PASIDS[next(2)]!);
    if (next(60) === 0) {
      [this.#index, this.#page, this.#kind] = [next(CORNERS.length), next(2 * NEAR - 3), next(3)];
    }
    if (next(20) === 0) this.#beside = BigInt(next(6) * PAGE + (next(2) === 0 ? 0 : next(PAGE)) - 3 * PAGE);
    if (next(10) === 0) this.#pasid = next(2);
    const index = next(10) === 0 ? 4 - this.#index : this.#index;
    const isWhole = next(5) > 0;
    const at = corner(index, this.#page + next(3)) + (isWhole ? 0n : BigInt(next(PAGE)));
    const length = isWhole ? PAGE << (next(4) === 0 ? 1 : 0) : next(PAGE);
    for (let i = 0; i < 64; i += 1) this.#bytes[next(this.#bytes.length)] = next(256);
    this.#compare(at, length, next(10) === 0 ? EXEC : 0);
  }

  #compare(at: bigint, length: number, attributes: number): void {
    const { asked } = this.held;
    const other = this.fresh.port();
    const [isDone, isOtherDone] = [this.port, other].map((port, side) => {
      port.pasid = PASIDS[this.#pasid]!;
      port.attributes = attributes;
      const [hi, lo] = words(at);
      if (this.#kind === 0) return port.read(hi, lo, this.#into[side]!.subarray(0, length));
      if (this.#kind === 1) return port.write(hi, lo, this.#bytes.subarray(0, length));
      return port.copy(hi, lo, ...words(BigInt.asUintN(64, at + this.#beside)), length);
    });
    if (this.held.asked === asked) this.unasked += 1;
    expect(isDone).toBe(isOtherDone);
    if (isDone) expect(this.port.done).toBe(length);
    else expect(says(this.port)).toEqual(says(other));
    expect(Buffer.compare(...this.#into)).toBe(0);
  }

  expectSame(): void {
    this.held.backings.forEach(({ bytes }, i) =>
      expect(Buffer.compare(bytes, this.fresh.backings[i]!.bytes)).toBe(0),
    );
  }
}

test('what is held moves the same bytes as what is asked for each time', () => {
  const pair = new Pair(20_261_126);
  const accesses = 20_000;
  for (let step = 0; step < accesses; step += 1) {
    pair.step();
    if (step % 50 === 0) pair.expectSame();
  }
  pair.expectSame();
  console.log(`${accesses} accesses, ${pair.unasked} of them without a question`);
  expect(pair.unasked).toBeGreaterThan(accesses / 10);
});
