import { expect, test } from 'vitest';
import { WorkQueue, type Worker } from '../../src/base/work.js';

/** Does `pieces` pieces, and notes each. */
const worker = (name: string, pieces: number, done: string[]): Worker => ({
  step() {
    done.push(name);
    pieces -= 1;
    return pieces > 0;
  },
});

const run = (queue: WorkQueue): void => {
  while (queue.step());
};

test('workers take turns, and end one by one', () => {
  const queue = new WorkQueue();
  const done: string[] = [];
  queue.schedule(worker('a', 3, done));
  queue.schedule(worker('b', 1, done));
  queue.schedule(worker('c', 2, done));
  run(queue);
  expect(done.join('')).toBe('abcaca');
  expect(queue.isEmpty).toBe(true);
});

test('to be scheduled twice is to be scheduled once', () => {
  const queue = new WorkQueue();
  const done: string[] = [];
  const one = worker('a', 1, done);
  queue.schedule(one);
  queue.schedule(one);
  run(queue);
  expect(done).toEqual(['a']);
  queue.schedule(one);
  run(queue);
  expect(done).toEqual(['a', 'a']);
});

test('a worker that schedules itself within its piece goes on, also if it says that it is done', () => {
  const queue = new WorkQueue();
  let pieces = 0;
  const again: Worker = {
    step() {
      pieces += 1;
      if (pieces < 3) queue.schedule(again);
      return false;
    },
  };
  queue.schedule(again);
  run(queue);
  expect(pieces).toBe(3);
});

test('who is cancelled is not asked again, and others are', () => {
  const queue = new WorkQueue();
  const done: string[] = [];
  const [a, b] = [worker('a', 2, done), worker('b', 2, done)];
  queue.schedule(a);
  queue.schedule(b);
  queue.step();
  queue.cancel(a);
  queue.cancel(a);
  run(queue);
  expect(done.join('')).toBe('abb');
});
