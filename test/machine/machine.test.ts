/** The public API: the same engine in this process, from its package's own exports. */
import { describe, expect, test } from 'vitest';
import { createMachine, Errno, IommufdClient, selftest, uapi, type Machine } from '../../src/index.js';

const page = 4096n;
const readWrite = uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_READABLE;

interface Scene {
  readonly machine: Machine;
  readonly iommufd: IommufdClient;
  readonly ioas_id: number;
}

function scene(): Scene {
  const machine = createMachine({ selftest: true });
  const iommufd = machine.open('/dev/iommu');
  return { machine, iommufd, ioas_id: iommufd.call(uapi.IOMMU_IOAS_ALLOC).out_ioas_id };
}

/** A device that copies through the address space. */
function access({
  iommufd,
  ioas_id,
}: Scene): (iova: bigint, uptr: bigint, length: bigint, flags: number) => void {
  const struct = selftest.iommu_test_cmd_create_access;
  const op = selftest.IOMMU_TEST_OP_CREATE_ACCESS;
  const made = iommufd.callWith(selftest.IOMMU_TEST_CMD, struct, {
    op,
    id: ioas_id,
  });
  return (iova, uptr, length, flags) => {
    iommufd.callWith(selftest.IOMMU_TEST_CMD, selftest.iommu_test_cmd_access_rw, {
      op: selftest.IOMMU_TEST_OP_ACCESS_RW,
      id: made.out_access_fd,
      iova,
      length,
      uptr,
      flags,
    });
  };
}

describe('a machine in this process', () => {
  test('maps memory, and a device copies through it both ways', () => {
    const made = scene();
    const { machine, iommufd, ioas_id } = made;
    const user_va = machine.memory.alloc(Number(2n * page));
    const { iova } = iommufd.call(uapi.IOMMU_IOAS_MAP, {
      flags: readWrite,
      ioas_id,
      user_va,
      length: 2n * page,
    });
    machine.memory.write(user_va, new TextEncoder().encode('hello'));
    const copy = access(made);
    const inside = machine.memory.alloc(64);
    copy(iova, inside, 5n, 0);
    expect(new TextDecoder().decode(machine.memory.load(inside, 5))).toBe('hello');
    copy(iova + page, machine.memory.store(new Uint8Array([1, 2, 3])), 3n, selftest.MOCK_ACCESS_RW_WRITE);
    expect(machine.memory.load(user_va + page, 3)).toEqual(new Uint8Array([1, 2, 3]));
  });

  test('maps a file, and what a device writes is in the file', () => {
    const made = scene();
    const { machine, iommufd, ioas_id } = made;
    const { fd, pages } = machine.client.memfd(Number(page));
    const { iova } = iommufd.call(uapi.IOMMU_IOAS_MAP_FILE, { flags: readWrite, ioas_id, fd, length: page });
    access(made)(iova + 1n, machine.memory.store(new Uint8Array([9])), 1n, selftest.MOCK_ACCESS_RW_WRITE);
    const byte = new Uint8Array(1);
    expect(pages.read(1n, byte)).toBe(true);
    expect(byte[0]).toBe(9);
  });

  test('says why it refuses: errno, rule, sentence and values', () => {
    const { machine, iommufd, ioas_id } = scene();
    const user_va = machine.memory.alloc(Number(2n * page));
    const fixed = { flags: readWrite | uapi.IOMMU_IOAS_MAP_FIXED_IOVA, ioas_id, user_va };
    iommufd.call(uapi.IOMMU_IOAS_MAP, { ...fixed, length: 2n * page, iova: 0x10000n });
    let caught: unknown = null;
    try {
      iommufd.call(uapi.IOMMU_IOAS_UNMAP, { ioas_id, iova: 0x10000n, length: page });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(Errno);
    expect(caught).toMatchObject({ code: 'ENOENT', errno: 2, rule: 'unmap_partial' });
    expect((caught as Errno).reason).toContain('0x10000');
    expect((caught as Errno).message).toContain('[unmap_partial]');
  });

  test('has no selftest ioctl unless it is asked for', () => {
    const iommufd = createMachine().open('/dev/iommu');
    const attempt = (): unknown =>
      iommufd.callWith(selftest.IOMMU_TEST_CMD, selftest.iommu_test_cmd, {
        op: selftest.IOMMU_TEST_OP_MOCK_DOMAIN,
      });
    expect(attempt).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
  });

  test('keeps clients apart: ids of one mean nothing to the other', () => {
    const { machine, ioas_id } = scene();
    const other = new IommufdClient(machine.newClient());
    expect(() => other.call(uapi.IOMMU_DESTROY, { id: ioas_id })).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  test('checks the limits of a client that is not privileged', () => {
    const machine = createMachine({ selftest: true });
    const client = machine.newClient({ capabilities: [], memlockLimit: page });
    const iommufd = new IommufdClient(client);
    const ioas_id = iommufd.call(uapi.IOMMU_IOAS_ALLOC).out_ioas_id;
    const mock = selftest.iommu_test_cmd_mock_domain;
    const op = selftest.IOMMU_TEST_OP_MOCK_DOMAIN;
    iommufd.callWith(selftest.IOMMU_TEST_CMD, mock, { op, id: ioas_id });
    const user_va = client.memory.alloc(Number(2n * page));
    const map = (length: bigint): unknown =>
      iommufd.call(uapi.IOMMU_IOAS_MAP, { flags: readWrite, ioas_id, user_va, length });
    expect(() => map(2n * page)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    expect(() => map(page)).not.toThrow();
  });

  test('leaves nothing behind when its files are closed', () => {
    const made = scene();
    const { machine, iommufd, ioas_id } = made;
    const user_va = machine.memory.alloc(Number(page));
    const op = selftest.IOMMU_TEST_OP_MOCK_DOMAIN;
    iommufd.callWith(selftest.IOMMU_TEST_CMD, selftest.iommu_test_cmd_mock_domain, { op, id: ioas_id });
    iommufd.call(uapi.IOMMU_IOAS_MAP, { flags: readWrite, ioas_id, user_va, length: page });
    access(made);
    expect(Object.values(machine.leaks()).some((count) => count > 0)).toBe(true);
    machine.client.exit();
    expect(Object.values(machine.leaks()).every((count) => count === 0)).toBe(true);
  });
});
