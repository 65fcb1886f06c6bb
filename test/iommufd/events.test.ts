/** What programs read from event queues and write to them: whole groups, cookies, sequence numbers, lost events. */
import { describe, expect, test } from 'vitest';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import { World } from './world.js';

const RECORD = u.iommu_hwpt_pgfault.size;
const EVENT = u.iommufd_vevent_header.size + 4;

function faultsIn(bytes: Uint8Array): u.IommuHwptPgfault[] {
  return Array.from({ length: bytes.length / RECORD }, (_, n) =>
    u.iommu_hwpt_pgfault.decode(bytes, n * RECORD),
  );
}

function response(...answers: readonly (readonly [cookie: number, code: number])[]): Uint8Array {
  const bytes = new Uint8Array(answers.length * u.iommu_hwpt_page_response.size);
  answers.forEach(([cookie, code], n) => u.iommu_hwpt_page_response.encode({ cookie, code }, bytes, n * 8));
  return bytes;
}

describe('a fault queue', () => {
  test('is readable while there are groups to read, gives them in order, and each a cookie', () => {
    const w = new World();
    const { fd, dev } = w.faultingDevice();
    expect(w.client.isReadable(fd)).toBe(false);
    w.iopf(dev, { grpid: 7, perm: 3, addr: 0x5000n });
    w.iopf(dev, { grpid: 8 });
    expect(w.client.isReadable(fd)).toBe(true);
    const first = faultsIn(w.client.read(fd, RECORD));
    expect(first).toMatchObject([{ dev_id: dev, grpid: 7, perm: 3, addr: 0x5000n, flags: 2, pasid: 0 }]);
    const second = faultsIn(w.client.read(fd, 3 * RECORD));
    expect(second).toMatchObject([{ grpid: 8 }]);
    expect(second[0]!.cookie).not.toBe(first[0]!.cookie);
    expect(w.client.isReadable(fd)).toBe(false);
    expect(w.client.read(fd, RECORD)).toHaveLength(0);
    w.end();
  });

  test('takes each response once, and says how many came through before a bad one', () => {
    const w = new World();
    const { fd, dev } = w.faultingDevice();
    w.iopf(dev, { grpid: 1 });
    w.iopf(dev, { grpid: 2 });
    const [one, two] = faultsIn(w.client.read(fd, 2 * RECORD)).map(({ cookie }) => cookie) as [
      number,
      number,
    ];
    expect(w.client.write(fd, response([one, 0], [one, 0]))).toBe(8);
    expect(w.client.write(fd, response([two, 1], [99, 0]))).toBe(8);
    expect(() => w.client.write(fd, response([two, 1]))).toThrow('fault_write_cookie');
    w.end();
  });

  test('gives back what could not be written to the reader', () => {
    const w = new World();
    const { fd, dev } = w.faultingDevice();
    w.iopf(dev, { grpid: 1 });
    expect(() => w.file(fd).read(4096n, RECORD, w.client)).toThrow('fault_read_unwritable');
    expect(faultsIn(w.client.read(fd, RECORD))).toMatchObject([{ grpid: 1 }]);
    w.end();
  });

  test('forgets the faults of an attachment that ends, read or not', () => {
    const w = new World();
    const { fd, dev, stdev, ioas } = w.faultingDevice();
    w.iopf(dev, { grpid: 1 });
    const { cookie } = faultsIn(w.client.read(fd, RECORD))[0]!;
    w.iopf(dev, { grpid: 2 });
    w.replace(stdev, ioas);
    expect(w.client.isReadable(fd)).toBe(false);
    expect(() => w.client.write(fd, response([cookie, 0]))).toThrow('fault_write_cookie');
    w.end();
  });

  test('fails a group at once when it is full', () => {
    const w = new World({ limits: { faults: 1 } });
    const answers: unknown[] = [];
    w.unit.pageResponse = (_device, answer) => answers.push(answer);
    const { fd, dev } = w.faultingDevice();
    w.iopf(dev, { grpid: 1 });
    w.iopf(dev, { grpid: 2 });
    expect(answers).toEqual([{ hasPasid: false, pasid: 0, grpid: 2, code: 2 }]);
    expect(faultsIn(w.client.read(fd, 2 * RECORD))).toHaveLength(1);
    w.end();
    expect(answers).toContainEqual({ hasPasid: false, pasid: 0, grpid: 1, code: 1 });
  });

  test('keeps its page table, and is kept by its descriptor', () => {
    const w = new World();
    const { fd, fault, stdev, hwpt, ioas } = w.faultingDevice();
    const destroy = (id: number): unknown => w.call(u.IOMMU_DESTROY, { id });
    expect(() => destroy(fault)).toThrow('destroy_in_use');
    w.replace(stdev, ioas);
    destroy(hwpt);
    expect(() => destroy(fault)).toThrow('destroy_in_use');
    w.client.close(fd);
    destroy(fault);
    w.end();
  });

  test('says when its readability changes, and only then', () => {
    const w = new World();
    const { fd, dev } = w.faultingDevice();
    const seen: boolean[] = [];
    const file = w.file(fd);
    file.onReadableChange = () => seen.push(file.readable);
    w.iopf(dev, { grpid: 1 });
    w.iopf(dev, { grpid: 2 });
    w.client.read(fd, RECORD);
    w.client.read(fd, RECORD);
    expect(seen).toEqual([true, false]);
    w.end();
  });
});

/** A guest whose device has the virtual id 0x99 and whose events go to a queue of `depth`. */
function eventful(depth: number): { w: World; dev: number; fd: number } {
  const w = new World();
  const { stdev, dev, viommu } = w.guest();
  w.vdevice(viommu, dev, 0x99n);
  const { fd } = w.veventq(viommu, depth);
  w.replace(stdev, w.nested(dev, viommu));
  return { w, dev, fd };
}

/** `[flags, sequence]` of each event, and the virtual id where there is one. */
function eventsIn(bytes: Uint8Array): number[][] {
  const found: number[][] = [];
  for (let at = 0; at < bytes.length;) {
    const { flags, sequence } = u.iommufd_vevent_header.decode(bytes, at);
    const lost = flags === u.IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
    found.push(lost ? [flags, sequence] : [flags, sequence, bytes[at + 8]!]);
    at += lost ? EVENT - 4 : EVENT;
  }
  return found;
}

describe('a vEVENTQ', () => {
  test('numbers its events, and a read takes as many as fit', () => {
    const { w, dev, fd } = eventful(8);
    for (let n = 0; n < 3; n += 1) w.vevent(dev);
    expect(eventsIn(w.client.read(fd, 2 * EVENT + 5))).toEqual([
      [0, 0, 0x99],
      [0, 1, 0x99],
    ]);
    expect(eventsIn(w.client.read(fd, 100))).toEqual([[0, 2, 0x99]]);
    expect(w.client.read(fd, 100)).toHaveLength(0);
    w.end();
  });

  test('ends in one "lost" header while it overflows', () => {
    const { w, dev, fd } = eventful(2);
    for (let n = 0; n < 5; n += 1) w.vevent(dev);
    expect(eventsIn(w.client.read(fd, 100))).toEqual([
      [0, 0, 0x99],
      [0, 1, 0x99],
      [1, 4],
    ]);
    w.vevent(dev);
    expect(eventsIn(w.client.read(fd, 100))).toEqual([[0, 5, 0x99]]);
    w.end();
  });

  test('drops that header for the next event that fits', () => {
    const { w, dev, fd } = eventful(2);
    for (let n = 0; n < 3; n += 1) w.vevent(dev);
    expect(eventsIn(w.client.read(fd, EVENT))).toEqual([[0, 0, 0x99]]);
    w.vevent(dev);
    expect(eventsIn(w.client.read(fd, 100))).toEqual([
      [0, 1, 0x99],
      [0, 3, 0x99],
    ]);
    w.end();
  });

  test('has no place for a header alone behind an event that needs more room', () => {
    const { w, dev, fd } = eventful(2);
    w.vevent(dev);
    w.vevent(dev);
    expect(w.client.read(fd, EVENT + 8)).toHaveLength(EVENT);
    expect(w.client.read(fd, EVENT)).toHaveLength(EVENT);
    w.end();
  });
});
