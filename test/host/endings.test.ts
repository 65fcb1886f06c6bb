/** The set of what ends says so at once: a call that is sent after a close finds the close done. */
import { expect, test } from 'vitest';
import { Endings } from '../../src/host/endings.js';
import { EPOLLIN } from '../../src/host/epoll.js';
import * as sys from '../../src/host/sys.js';

const ends = sys.allocate(8);

function pipe(): [reads: number, writes: number] {
  if (sys.pipe2(ends.address, sys.O_CLOEXEC) !== 0) throw new Error('no pipe');
  return [ends.view.getInt32(0, true), ends.view.getInt32(4, true)];
}

test('every end is told before the close that made it returns, and nothing is told twice', () => {
  const endings = new Endings();
  const kept = pipe();
  endings.add(kept[0], 7, EPOLLIN, false);
  // The first answer is that nobody knows yet.
  expect([endings.mayHaveEnded(), endings.wait(0)]).toEqual([true, 0]);
  for (let i = 0; i < 5000; i++) {
    const [reads, writes] = pipe();
    endings.add(reads, i + 8, EPOLLIN, false);
    if (i > 0) expect(endings.mayHaveEnded()).toBe(false);
    sys.close(writes);
    expect([endings.mayHaveEnded(), endings.wait(0), endings.key(0)]).toEqual([true, 1, i + 8]);
    sys.close(reads);
    // What had not been taken when the poll was renewed is told once more.
    if (endings.mayHaveEnded()) expect(endings.wait(0)).toBe(0);
  }
  expect(endings.mayHaveEnded()).toBe(false);
  endings.close();
  expect(endings.mayHaveEnded()).toBe(true);
  kept.forEach((fd) => sys.close(fd));
});
