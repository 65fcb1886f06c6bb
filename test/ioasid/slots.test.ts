/** Slots that the system's own KVM has decided upon: they are followed, whatever we would have said. */
import { expect, test } from 'vitest';
import { MemorySlots } from '../../src/ioasid/slots.js';

const PAGE = 4096n;
const slot = (number: number, guest_phys_addr: bigint, flags = 0): Parameters<MemorySlots['follow']>[0] => ({
  slot: number,
  flags,
  guest_phys_addr,
  memory_size: PAGE,
  userspace_addr: 0x10000n,
});

test('a flag that is not known here is no reason to lose the slot', () => {
  const slots = new MemorySlots();
  const flagged = slot(1, PAGE, 1 << 7);
  expect(() => slots.set(flagged)).toThrow('EINVAL');
  slots.follow(flagged);
  expect(slots.at(PAGE)?.slot).toBe(1);
});

test('what a processor sees in system management mode only, devices do not see', () => {
  const slots = new MemorySlots();
  slots.follow(slot(0x10001, PAGE));
  expect(slots.at(PAGE)).toBeNull();
  slots.follow(slot(1, PAGE));
  slots.follow({ ...slot(0x10001, PAGE), memory_size: 0n });
  expect(slots.at(PAGE)?.slot).toBe(1);
});

test('who looks at a slot is told before it moves or goes', () => {
  const slots = new MemorySlots();
  const told: bigint[] = [];
  slots.watch({ changed: (start, last) => told.push(start, last), ended: () => {} });
  slots.follow(slot(1, PAGE));
  slots.follow(slot(1, 4n * PAGE));
  slots.follow({ ...slot(1, 0n), memory_size: 0n });
  expect(told).toEqual([PAGE, 2n * PAGE - 1n, 4n * PAGE, 5n * PAGE - 1n]);
  expect(slots.at(4n * PAGE)).toBeNull();
});

test('nothing is there once the machine is gone', () => {
  let isOpen = true;
  const slots = new MemorySlots(() => isOpen);
  slots.follow(slot(1, PAGE));
  expect(slots.at(PAGE)?.slot).toBe(1);
  isOpen = false;
  expect(slots.at(PAGE)).toBeNull();
});
