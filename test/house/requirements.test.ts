/** What docs/requirements.md says that `/dev/iommu` shows, shown: each test carries the numbers of its rows. */
import { describe, expect, test } from 'vitest';
import { createMachine, selftest, uapi, type IommufdClient, type Struct } from '../../src/index.js';

const page = 4096n;
const readWrite = uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_READABLE;
const machine = createMachine({ selftest: true });

function command<T>(iommufd: IommufdClient, struct: Struct<T>, values: Partial<T>): T {
  return iommufd.callWith(selftest.IOMMU_TEST_CMD, struct, values);
}

/** One of each kind: an IOAS, a parent of nested tables, and a nested table with a fault queue, attached. */
function kinds() {
  const iommufd = machine.open('/dev/iommu');
  const { memory, client } = { memory: machine.memory, client: iommufd.client };
  const ioas = iommufd.call(uapi.IOMMU_IOAS_ALLOC).out_ioas_id;
  const op = selftest.IOMMU_TEST_OP_MOCK_DOMAIN;
  const device = command(iommufd, selftest.iommu_test_cmd_mock_domain, { op, id: ioas });
  const dev_id = device.out_idev_id;
  const nestParent = { flags: uapi.IOMMU_HWPT_ALLOC_NEST_PARENT, dev_id, pt_id: ioas };
  const parent = iommufd.call(uapi.IOMMU_HWPT_ALLOC, nestParent).out_hwpt_id;
  const queue = iommufd.call(uapi.IOMMU_FAULT_QUEUE_ALLOC);
  const data = new Uint8Array(selftest.iommu_hwpt_selftest.size);
  const user = {
    data_type: selftest.IOMMU_HWPT_DATA_SELFTEST,
    data_len: data.length,
    data_uptr: memory.store(data),
  };
  const withQueue = {
    flags: uapi.IOMMU_HWPT_FAULT_ID_VALID,
    dev_id,
    pt_id: parent,
    fault_id: queue.out_fault_id,
  };
  const nested = iommufd.call(uapi.IOMMU_HWPT_ALLOC, { ...withQueue, ...user }).out_hwpt_id;
  const replace = { op: selftest.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, id: device.out_stdev_id, pt_id: nested };
  command(iommufd, selftest.iommu_test_cmd_mock_domain_replace, replace);
  return { iommufd, memory, client, ioas, parent, nested, dev_id, stdev: device.out_stdev_id, queue };
}

const refused = (code: string): unknown => expect.objectContaining({ code });

describe('address spaces by kind', () => {
  test('R1: what a nested table is, it stays: it neither becomes a parent nor takes mappings', () => {
    const { iommufd, nested, parent, dev_id, memory } = kinds();
    const data = new Uint8Array(selftest.iommu_hwpt_selftest.size);
    const request = {
      dev_id,
      data_type: selftest.IOMMU_HWPT_DATA_SELFTEST,
      data_len: data.length,
      data_uptr: memory.store(data),
    };
    expect(() => iommufd.call(uapi.IOMMU_HWPT_ALLOC, { ...request, pt_id: nested })).toThrow(
      refused('EINVAL'),
    );
    expect(iommufd.call(uapi.IOMMU_HWPT_ALLOC, { ...request, pt_id: parent }).out_hwpt_id).toBeGreaterThan(0);
  });

  test('R6: map and unmap on anything but an IOAS are ENOENT', () => {
    const { iommufd, memory, parent, nested } = kinds();
    const user_va = memory.alloc(Number(page));
    for (const ioas_id of [parent, nested]) {
      const map = { flags: readWrite, ioas_id, user_va, length: page };
      expect(() => iommufd.call(uapi.IOMMU_IOAS_MAP, map)).toThrow(refused('ENOENT'));
      expect(() => iommufd.call(uapi.IOMMU_IOAS_UNMAP, { ioas_id, length: page })).toThrow(refused('ENOENT'));
    }
  });

  test('R7: only a nested table takes an invalidation', () => {
    const { iommufd, ioas, parent } = kinds();
    for (const hwpt_id of [ioas, parent]) {
      const request = { hwpt_id, data_type: selftest.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST };
      expect(() => iommufd.call(uapi.IOMMU_HWPT_INVALIDATE, request)).toThrow();
    }
  });

  test('R10: one verb destroys every kind', () => {
    const { iommufd, ioas, parent, nested, stdev, queue, client } = kinds();
    client.close(queue.out_fault_fd);
    for (const id of [stdev, nested, queue.out_fault_id, parent, ioas])
      iommufd.call(uapi.IOMMU_DESTROY, { id });
    expect(() => iommufd.call(uapi.IOMMU_DESTROY, { id: ioas })).toThrow(refused('ENOENT'));
  });

  test('R39: one descriptor has many address spaces', () => {
    const { iommufd } = kinds();
    const ids = Array.from({ length: 100 }, () => iommufd.call(uapi.IOMMU_IOAS_ALLOC).out_ioas_id);
    expect(new Set(ids).size).toBe(100);
  });
});

/** Makes IOMMU_IOAS_ALLOC with eight bytes more than its struct has, the last of which is `tail`. */
function allocLonger(tail: number): () => number {
  const { iommufd, memory, client } = kinds();
  const bytes = new Uint8Array(uapi.iommu_ioas_alloc.size + 8);
  new DataView(bytes.buffer).setUint32(0, bytes.length, true);
  bytes[bytes.length - 1] = tail;
  return () => client.ioctl(iommufd.fd, uapi.IOMMU_IOAS_ALLOC, memory.store(bytes));
}

describe('layouts that can grow', () => {
  test('R9: a longer struct is taken when its tail is zero, and E2BIG when not', () => {
    expect(allocLonger(0)()).toBe(0);
    expect(allocLonger(1)).toThrow(refused('E2BIG'));
  });

  test('R9, R32: a tag or a flag that nobody knows is refused', () => {
    const { iommufd, dev_id, parent, ioas } = kinds();
    const tagged = { dev_id, pt_id: parent, data_type: 0x7fff, data_len: 8 };
    expect(() => iommufd.call(uapi.IOMMU_HWPT_ALLOC, tagged)).toThrow();
    const flagged = { dev_id, pt_id: ioas, flags: 1 << 30 };
    expect(() => iommufd.call(uapi.IOMMU_HWPT_ALLOC, flagged)).toThrow(refused('EOPNOTSUPP'));
  });
});

test('R24: an invalidation with an unknown tag is refused, with no entry handled', () => {
  const { iommufd, memory, client, nested } = kinds();
  const struct = uapi.iommu_hwpt_invalidate;
  const bytes = new Uint8Array(struct.size);
  const data_uptr = memory.alloc(64);
  const values = {
    size: struct.size,
    hwpt_id: nested,
    data_uptr,
    data_type: 0x7fff,
    entry_len: 8,
    entry_num: 3,
  };
  struct.encode(struct.create(values), bytes);
  const at = memory.store(bytes);
  expect(() => client.ioctl(iommufd.fd, uapi.IOMMU_HWPT_INVALIDATE, at)).toThrow(refused('EINVAL'));
  expect(struct.decode(memory.load(at, struct.size)).entry_num).toBe(0);
});

test('R14, R15, R17: a page request reaches the owner of the table that faulted, with all it needs', () => {
  const { iommufd, client, dev_id, queue } = kinds();
  const op = selftest.IOMMU_TEST_OP_TRIGGER_IOPF;
  const perm = uapi.IOMMU_PGFAULT_PERM_READ | uapi.IOMMU_PGFAULT_PERM_WRITE;
  const request = { op, dev_id, pasid: 0, grpid: 7, perm, addr: 0xdeadb000n };
  command(iommufd, selftest.iommu_test_cmd_trigger_iopf, request);
  const record = uapi.iommu_hwpt_pgfault;
  expect(record.decode(client.read(queue.out_fault_fd, record.size))).toMatchObject({
    dev_id,
    grpid: 7,
    perm,
    addr: 0xdeadb000n,
  });
});

test('R44: a guest with a PASID table of its own has one binding for all PASIDs of a device', () => {
  const { iommufd, client, dev_id, queue } = kinds();
  const record = uapi.iommu_hwpt_pgfault;
  for (const pasid of [1, 77, 0xffff]) {
    // None of them was ever attached: the nested table at the requester id is what the guest has bound.
    const request = { op: selftest.IOMMU_TEST_OP_TRIGGER_IOPF, dev_id, pasid, grpid: 3, perm: 1, addr: page };
    command(iommufd, selftest.iommu_test_cmd_trigger_iopf, request);
    const fault = record.decode(client.read(queue.out_fault_fd, record.size));
    expect(fault).toMatchObject({
      flags: uapi.IOMMU_PGFAULT_FLAGS_PASID_VALID | 2,
      dev_id,
      pasid,
      addr: page,
    });
    const answer = new Uint8Array(uapi.iommu_hwpt_page_response.size);
    uapi.iommu_hwpt_page_response.encode({ cookie: fault.cookie, code: 0 }, answer);
    expect(client.write(queue.out_fault_fd, answer)).toBe(answer.length);
  }
});
