/** Migration and DMA logging of devices that can: states, the bytes between two devices, and each rule broken once. */
import { describe, expect, test } from 'vitest';
import { Errno, type ErrnoName } from '../../src/base/errno.js';
import { DmaPort } from '../../src/bus/dma-port.js';
import type { Translation } from '../../src/bus/dma.js';
import { Epoch } from '../../src/mem/epoch.js';
import { rules } from '../../src/vfio/migration-rules.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { PAGE } from '../iommufd/world.js';
import { PciWorld, type PciDevice } from './pci-world.js';

const [GET, SET, PROBE] = [v.VFIO_DEVICE_FEATURE_GET, v.VFIO_DEVICE_FEATURE_SET, v.VFIO_DEVICE_FEATURE_PROBE];
const { VFIO_DEVICE_STATE_STOP: STOP, VFIO_DEVICE_STATE_RUNNING: RUNNING } = v;
const { VFIO_DEVICE_STATE_STOP_COPY: STOP_COPY, VFIO_DEVICE_STATE_RESUMING: RESUMING } = v;
const MIGRATION = v.VFIO_DEVICE_FEATURE_MIGRATION;
const STATE = v.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
const SIZE = v.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
const START = v.VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
const LOG_STOP = v.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
const REPORT = v.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;

/** What is at an iova is at the same physical address. */
const identity = {
  translate(request: Translation): boolean {
    request.hpaHi = request.hi;
    request.hpaLo = request.lo;
    request.sizeLg2 = 12;
    return true;
  },
};

type Opened = PciDevice & { fd: number; port: DmaPort };

function open(w: PciWorld): Opened {
  const memory = { epoch: new Epoch(), readAt: () => true, writeAt: () => true, copy: () => true };
  const port = new DmaPort(1, identity, memory as unknown as ConstructorParameters<typeof DmaPort>[2]);
  const made = w.openPci({}, undefined, (model) => {
    model.makeMovable();
    model.watchedPorts = [port];
  });
  return { ...made, port };
}

/** The bytes of a feature, behind its header. */
const request = (flags: number, data: Uint8Array, argsz = 8 + data.length): Uint8Array =>
  Uint8Array.from([...new Uint8Array(new Uint32Array([argsz, flags]).buffer), ...data]);

function feature(w: PciWorld, fd: number, flags: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const at = w.client.memory.store(request(flags, data));
  w.client.ioctl(fd, v.VFIO_DEVICE_FEATURE, at);
  return w.client.memory.load(at + 8n, data.length);
}

const words = (...values: number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);
const longs = (...values: bigint[]): Uint8Array => new Uint8Array(new BigUint64Array(values).buffer);

/** The state that is reached, and the descriptor that comes with it. */
function state(w: PciWorld, fd: number, wanted: number): number {
  return new Int32Array(feature(w, fd, SET | STATE, words(wanted, 0)).buffer)[1]!;
}

const currentState = (w: PciWorld, fd: number): number => feature(w, fd, GET | STATE, words(0, 0))[0]!;

describe('migration', () => {
  test('moves what a device holds to another, by STOP in between', () => {
    const w = new PciWorld();
    const [from, to] = [open(w), open(w)];
    expect(feature(w, from.fd, GET | MIGRATION, longs(0n))).toEqual(longs(1n));
    expect(feature(w, from.fd, GET | SIZE, longs(0n))).toEqual(longs(8n));
    w.writeBar(from.fd, 0, 24, 0x5eed);
    const saved = state(w, from.fd, STOP_COPY);
    expect([from.model.isStopped, currentState(w, from.fd)]).toEqual([true, STOP_COPY]);
    const loaded = state(w, to.fd, RESUMING);
    const bytes = w.client.read(saved, 100);
    expect(w.client.read(saved, 100).length).toBe(0);
    for (const byte of bytes) expect(w.client.write(loaded, Uint8Array.of(byte))).toBe(1);
    expect(state(w, to.fd, RUNNING)).toBe(-1);
    expect([w.readBar(to.fd, 0, 24), to.model.isStopped]).toEqual([0x5eed, false]);
    expect(state(w, from.fd, RUNNING)).toBe(-1);
    expect(from.model.isStopped).toBe(false);
    w.end();
  });

  test('a reset lets the device run, and the file of its state is of no more use', () => {
    const w = new PciWorld();
    const { fd, model } = open(w);
    const saved = state(w, fd, STOP_COPY);
    w.client.ioctl(fd, v.VFIO_DEVICE_RESET, 0n);
    expect([model.isStopped, currentState(w, fd)]).toEqual([false, RUNNING]);
    expect(() => w.client.read(saved, 1)).toThrow('state_file_over_read');
    w.end();
  });

  test('is unknown to a device that cannot, and can be probed', () => {
    const w = new PciWorld();
    const { fd } = w.openPci();
    for (const each of [MIGRATION, STATE, SIZE, START, LOG_STOP, REPORT])
      expect(() => feature(w, fd, PROBE | each)).toThrow('feature_unknown');
    const able = open(w);
    for (const each of [MIGRATION, STATE, SIZE, START, LOG_STOP, REPORT])
      expect(feature(w, able.fd, PROBE | each)).toEqual(new Uint8Array(0));
    w.end();
  });
});

describe('a DMA log', () => {
  test('has the pages that were written, of the ranges that were asked for, once', () => {
    const w = new PciWorld();
    const { fd, port } = open(w);
    const ranges = w.client.memory.store(longs(0x10000n, 0x10000n));
    expect(
      feature(w, fd, SET | START, Uint8Array.from([...longs(0x1000n), ...words(1, 0), ...longs(ranges)]))[1],
    ).toBe(0x10);
    port.write(0, 0x11ff0, new Uint8Array(0x20));
    port.copy(0, 0x15000, 0, 0x1f000, 0x3000);
    port.read(0, 0x13000, new Uint8Array(8));
    const report = (): number[] => {
      const bitmap = w.client.memory.store(new Uint8Array(8));
      feature(w, fd, GET | REPORT, longs(0x10000n, 0x10000n, 0x1000n, bitmap));
      return [...w.client.memory.load(bitmap, 2)];
    };
    expect(report()).toEqual([0b110, 0b1000_0000]);
    expect(report()).toEqual([0, 0]);
    feature(w, fd, SET | LOG_STOP);
    expect(port.observer).toBeNull();
    w.end();
  });
});

type Act = (w: PciWorld, device: Opened) => unknown;

/** A request of which `there` bytes of data are there. */
const cut =
  (flags: number, size: number, there: number, data = new Uint8Array(there)): Act =>
  (w, { fd }) => {
    const at = w.client.memory.alloc(4096) + 4096n - BigInt(8 + there);
    w.client.memory.write(at, request(flags, data.subarray(0, there), 8 + size));
    return w.client.ioctl(fd, v.VFIO_DEVICE_FEATURE, at);
  };

/** The same in memory that can only be read. */
const readOnly =
  (flags: number, data: (w: PciWorld) => Uint8Array): Act =>
  (w, { fd }) => {
    const { pages } = w.client.memfd(Number(PAGE));
    pages.write(0n, request(flags, data(w)));
    const at = w.client.memory.alloc(Number(PAGE), { pages, writable: false });
    return w.client.ioctl(fd, v.VFIO_DEVICE_FEATURE, at);
  };

const control = (w: PciWorld, page: bigint, ...ranges: bigint[]): Uint8Array =>
  Uint8Array.from([
    ...longs(page),
    ...words(ranges.length / 2, 0),
    ...longs(ranges.length === 0 ? 0n : w.client.memory.store(longs(...ranges))),
  ]);
const log =
  (page: bigint, ...ranges: bigint[]): Act =>
  (w, { fd }) =>
    feature(w, fd, SET | START, control(w, page, ...ranges));
const report =
  (...values: bigint[]): Act =>
  (w, { fd }) =>
    feature(w, fd, GET | REPORT, longs(...values, 0n));
const many = Array.from({ length: 257 }, (_, index) => [BigInt(index) * 0x1000n, 0x1000n]).flat();
const file = (w: PciWorld, fd: number): any => w.client.fileOf(fd);

const cases: Readonly<Record<keyof typeof rules, readonly [ErrnoName, Act]>> = {
  migration_unwritable: ['EFAULT', readOnly(GET | MIGRATION, () => longs(0n))],
  migration_size_unwritable: ['EFAULT', readOnly(GET | SIZE, () => longs(0n))],
  state_unreadable: ['EFAULT', cut(SET | STATE, 8, 7)],
  state_unwritable: ['EFAULT', readOnly(GET | STATE, () => words(0, 0))],
  state_unknown: ['EINVAL', (w, { fd }) => state(w, fd, v.VFIO_DEVICE_STATE_PRE_COPY)],
  state_bytes: [
    'EINVAL',
    (w, { fd }) => {
      w.client.write(state(w, fd, RESUMING), Uint8Array.of(1, 2));
      return state(w, fd, STOP);
    },
  ],
  state_descriptors: [
    'EMFILE',
    (w, { fd }) => {
      Object.assign(w.client, { installFd: () => null });
      return state(w, fd, STOP_COPY);
    },
  ],
  state_file_over_read: [
    'ENODEV',
    (w, { fd }) => {
      const saved = state(w, fd, STOP_COPY);
      state(w, fd, STOP);
      return w.client.read(saved, 1);
    },
  ],
  state_file_over_write: [
    'ENODEV',
    (w, { fd }) => {
      const loaded = state(w, fd, RESUMING);
      w.client.ioctl(fd, v.VFIO_DEVICE_RESET, 0n);
      return w.client.write(loaded, new Uint8Array(1));
    },
  ],
  state_file_read_only: ['EINVAL', (w, { fd }) => w.client.write(state(w, fd, STOP_COPY), new Uint8Array(1))],
  state_file_write_only: ['EINVAL', (w, { fd }) => w.client.read(state(w, fd, RESUMING), 1)],
  state_file_unwritable: ['EFAULT', (w, { fd }) => file(w, state(w, fd, STOP_COPY)).read(8n, 4, w.client)],
  state_file_unreadable: ['EFAULT', (w, { fd }) => file(w, state(w, fd, RESUMING)).write(8n, 4, w.client)],
  state_file_most: ['ENOMEM', (w, { fd }) => w.client.write(state(w, fd, RESUMING), new Uint8Array(9))],
  state_file_ioctl: [
    'ENOTTY',
    (w, { fd }) => w.client.ioctl(state(w, fd, STOP_COPY), v.VFIO_MIG_GET_PRECOPY_INFO, 0n),
  ],
  state_file_mmap: [
    'ENODEV',
    (w, { fd }) =>
      w.client.mmap(state(w, fd, STOP_COPY), { offset: 0n, length: PAGE, shared: true, exec: false }),
  ],
  log_unreadable: ['EFAULT', cut(SET | START, 24, 23)],
  log_no_range: ['EINVAL', log(0x1000n)],
  log_ranges: ['E2BIG', log(0x1000n, ...many)],
  log_range_unreadable: [
    'EFAULT',
    (w, { fd }) =>
      feature(w, fd, SET | START, Uint8Array.from([...longs(0x1000n), ...words(1, 0), ...longs(8n)])),
  ],
  log_alignment: ['EINVAL', log(0x2000n, 0x1000n, 0x2000n)],
  log_wraps: ['EOVERFLOW', log(0x1000n, (1n << 64n) - 0x1000n, 0x1000n)],
  log_overlap: ['EINVAL', log(0x1000n, 0n, 0x2000n, 0x1000n, 0x1000n)],
  log_twice: [
    'EINVAL',
    (w, device) => {
      log(0x1000n, 0n, 0x1000n)(w, device);
      return log(0x1000n, 0n, 0x1000n)(w, device);
    },
  ],
  log_unwritable: ['EFAULT', readOnly(SET | START, (w) => control(w, 0x1000n, 0n, 0x1000n))],
  report_unreadable: ['EFAULT', cut(GET | REPORT, 32, 31)],
  report_page_size: ['EINVAL', report(0n, 0x1000n, 0x800n)],
  report_wraps: ['EOVERFLOW', report((1n << 64n) - 0x1000n, 0x1000n, 0x1000n)],
  report_off: ['EINVAL', report(0n, 0x1000n, 0x1000n)],
};

describe.each(Object.entries(cases))('%s', (rule, [code, act]) => {
  test('refuses and says why', () => {
    const w = new PciWorld();
    const device = open(w);
    let error: unknown = null;
    try {
      act(w, device);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ rule, code });
    expect((error as Errno).reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
    w.end();
  });
});

test('every rule has a case', () => {
  expect(Object.keys(cases).toSorted()).toEqual(Object.keys(rules).toSorted());
});
