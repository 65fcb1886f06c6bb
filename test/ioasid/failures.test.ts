/** A call that fails leaves everything as it was, wherever it fails; and who holds what is told apart. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import { errnoOf } from '../refusal.js';
import { IoasidScene, PAGE } from './scene.js';

const IOVA = 0x40_0000_0000n;

let s: IoasidScene;
let device: number;
beforeEach(() => {
  s = new IoasidScene();
  device = s.device(0);
});
afterEach(() => {
  const left = s.end();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

/**
 * Does `act` with its first, second, … point failing until it passes them all; how many there were.
 * ENODEV: for want of a PASID table, as VT-d's driver has it.
 */
function sweep(act: () => unknown): number {
  const { injector } = s.machine.engine;
  for (let nth = 1; ; nth++) {
    injector.arm(nth);
    const errno = errnoOf(act);
    const site = injector.fired;
    injector.arm(0);
    if (site === '') {
      expect(errno).toBe('none');
      return nth - 1;
    }
    expect([site, errno]).toEqual([site, expect.stringMatching(/^E(NOMEM|FAULT|NOENT|NODEV)$/)]);
  }
}

describe('every point that can fail', () => {
  const make = {
    kernel: () => s.kernel(),
    sva: () => s.sva(),
    kvm: () => s.kvm(s.vm()),
    user: () => s.user(s.memory.alloc(4096)),
  };

  test.each(Object.keys(make) as (keyof typeof make)[])('of making and authorising %s', (kind) => {
    let ioasid = 0;
    expect(sweep(() => (ioasid = make[kind]()))).toBeGreaterThan(2);
    expect(sweep(() => s.authorize(device, ioasid, 5))).toBeGreaterThan(2);
    s.deauthorize(device, ioasid, 5);
    s.destroy(ioasid);
  });

  test('of making a nested one leaves its parent free', () => {
    const parent = s.kernel();
    let nested = 0;
    expect(sweep(() => (nested = s.nested(parent, 0n)))).toBeGreaterThan(5);
    expect(errnoOf(() => s.destroy(parent))).toBe('EBUSY');
    s.destroy(nested);
    s.destroy(parent);
  });
});

test('what stands on an ioasid is not one of those that are authorised for it', () => {
  const parent = s.kernel();
  const nested = s.nested(parent, 0n);
  const { authorized } = s.info(parent);
  s.authorize(device, parent, 5);
  s.authorize(device, nested, 6);
  expect([authorized, s.info(parent).authorized, s.info(nested).authorized]).toEqual([0, 1, 1]);
});

describe('two devices of a group', () => {
  let other: number;
  beforeEach(() => {
    s.end();
    const group = 'pair';
    s = new IoasidScene({ devices: { '0000:00:01.0': { group }, '0000:00:02.0': { group } } });
    device = s.device(0);
    other = s.device(1);
  });

  test('one gives back what it has, and not what the other has', () => {
    const ioasid = s.kernel();
    s.map(ioasid, IOVA, s.memory.alloc(4096), PAGE);
    s.authorize(device, ioasid);
    expect(errnoOf(() => s.deauthorize(other, ioasid))).toBe('EINVAL');
    expect(s.fill(device, IOVA, 1n).out_state).toBe(d.IOASIS_DMA_DONE);
    s.authorize(other, ioasid);
    s.deauthorize(other, ioasid);
    expect(errnoOf(() => s.deauthorize(other, ioasid))).toBe('EINVAL');
    s.deauthorize(device, ioasid);
    expect(s.fill(device, IOVA, 1n).out_state).toBe(d.IOASIS_DMA_FAULTED);
  });
});
