/** R16, R19, R21: faults through memory. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as f from '../../src/wire/uapi/iommu.js';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import { errnoOf } from '../refusal.js';
import { IoasidScene, PAGE, type ProgramRing } from './scene.js';

const IOVA = 0x40_0000_0000n;
const PRI = d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI;
const { IOASIS_DMA_PENDING: PENDING } = d;

let s: IoasidScene;
let device: number;
let ring: ProgramRing;
let root: bigint;
let data: bigint;
let table: number;
beforeEach(() => {
  s = new IoasidScene();
  device = s.device(0);
  ring = s.ring();
  data = s.memory.alloc(4096);
  root = s.writeTable(IOVA, data, (at) => at);
  table = s.user(root, { flags: i.IOASID_FAULT, fault_id: ring.id });
});
afterEach(() => {
  ring.pages.closed();
  const left = s.end();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

/** The entry of `page` pages behind IOVA now leads to the data. */
function setEntry(page: bigint, entry: bigint): void {
  const at = root + 3n * PAGE + (((IOVA >> 12n) & 511n) + page) * 8n;
  s.memory.write(at, new Uint8Array(new BigUint64Array([entry]).buffer));
}

describe.each([
  ['of a PASID', 5],
  ['of the requester id alone', undefined],
] as const)('a page request %s', (_, pasid) => {
  beforeEach(() => s.authorize(device, table, pasid));

  test('R15, R17: is in the ring, the eventfd says so, and the device goes on after the response', () => {
    const job = s.fill(device, IOVA + PAGE, 3n, pasid, PRI);
    expect(job.out_state).toBe(PENDING);
    expect([ring.head, ring.faults.value]).toEqual([1, 1n]);
    const request = ring.request(0);
    expect(request).toMatchObject({
      type: f.IOMMU_FAULT_PAGE_REQ,
      pasid: pasid ?? 0,
      addr: IOVA + PAGE,
      perm: f.IOMMU_FAULT_PERM_WRITE,
      flags: f.IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE | (pasid === undefined ? 0 : 1),
    });
    expect(request.dev_id).not.toBe(0);
    setEntry(1n, data | 7n);
    ring.respond(request, f.IOMMU_PAGE_RESP_SUCCESS);
    expect(s.memory.load(data, 1)).toEqual(Uint8Array.of(3));
    expect(s.completion(device)?.state).toBe(d.IOASIS_DMA_DONE);
  });

  test('that is refused, or whose table is taken away, ends the operation', () => {
    s.fill(device, IOVA + PAGE, 3n, pasid, PRI);
    ring.respond(ring.request(0), f.IOMMU_PAGE_RESP_INVALID);
    expect(s.completion(device)?.fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
    s.fill(device, IOVA + PAGE, 3n, pasid, PRI);
    s.deauthorize(device, table, pasid);
    expect(s.completion(device)?.fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });

  test('R19: a fault that ends a request is in the ring too', () => {
    expect(s.fill(device, IOVA + PAGE, 3n, pasid).out_state).toBe(d.IOASIS_DMA_FAULTED);
    expect(ring.unrecoverable(0)).toMatchObject({
      type: f.IOMMU_FAULT_DMA_UNRECOV,
      reason: f.IOMMU_FAULT_REASON_PTE_FETCH,
      flags: f.IOMMU_FAULT_UNRECOV_ADDR_VALID | (pasid === undefined ? 0 : 1),
      pasid: pasid ?? 0,
      perm: f.IOMMU_FAULT_PERM_WRITE,
      addr: IOVA + PAGE,
    });
  });
});

describe('a full ring', () => {
  test('R21: holds nobody up, and what is lost is counted', () => {
    s.authorize(device, table, 5);
    for (let fault = 0; fault < 511; fault++) s.fill(device, IOVA + PAGE, 3n, 5);
    expect([ring.head, ring.lost]).toEqual([511, 0]);
    s.fill(device, IOVA + PAGE, 3n, 5);
    const job = s.fill(device, IOVA + PAGE, 3n, 5, PRI);
    expect(job.out_fault_reason).toBe(d.IOASIS_DMA_PAGE_FAILURE);
    expect([ring.head, ring.lost]).toEqual([511, 2]);
    ring.tail = 100;
    s.fill(device, IOVA + PAGE, 3n, 5);
    expect([ring.head, ring.lost]).toEqual([0, 2]);
  });

  test('an index that is none loses faults and nothing else', () => {
    s.authorize(device, table, 5);
    ring.tail = 0xffffffff;
    s.fill(device, IOVA + PAGE, 3n, 5);
    expect([ring.head, ring.lost]).toEqual([0, 1]);
  });
});

test('responses that nobody waits for are counted', () => {
  s.authorize(device, table, 5);
  s.fill(device, IOVA + PAGE, 3n, 5, PRI);
  const request = ring.request(0);
  ring.respond(request, 3);
  ring.respond(request, 0, { argsz: 8 });
  ring.respond(request, 0, { version: 2 });
  ring.respond(request, 0, { pasid: 6 });
  ring.respond(request, 0, { dev_id: 999 });
  ring.respond(request, 0, { flags: 0 });
  expect(ring.refused).toBe(6);
  ring.respond(request, f.IOMMU_PAGE_RESP_INVALID);
  ring.respond(request, f.IOMMU_PAGE_RESP_INVALID);
  expect(ring.refused).toBe(7);
});

test('the file is mapped whole or not at all, and takes no read', () => {
  const { out_fault_fd: fd } = s.call(s.fd, i.FAULT_IOASID, i.fault_ioasid, {
    flags: i.IOASID_FAULT_RING,
    fault_eventfd: s.machine.client.eventfd().fd,
    response_eventfd: s.machine.client.eventfd().fd,
  });
  const map = (offset: bigint, length: bigint, shared = true): string =>
    errnoOf(() => s.machine.client.mmap(fd, { offset, length, shared, exec: false }));
  expect([map(0n, PAGE), map(PAGE, PAGE), map(0n, 57344n, false)]).toEqual(['EINVAL', 'EINVAL', 'EINVAL']);
  expect(errnoOf(() => s.machine.client.read(fd, 64))).toBe('EINVAL');
  expect(errnoOf(() => s.machine.client.write(fd, new Uint8Array(32)))).toBe('EINVAL');
  const none = { flags: i.IOASID_FAULT_RING, fault_eventfd: 99, response_eventfd: 99 };
  expect(errnoOf(() => s.call(s.fd, i.FAULT_IOASID, i.fault_ioasid, none))).toBe('EBADF');
});
