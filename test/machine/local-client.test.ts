/** A client in this process, with an engine that only remembers what it was asked. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import { WorkQueue } from '../../src/base/work.js';
import { IommufdClient } from '../../src/machine/iommufd-client.js';
import { LocalClient } from '../../src/machine/local-client.js';
import { LocalMemory } from '../../src/machine/local-memory.js';
import type { OpenFile, Task } from '../../src/mem/task.js';
import * as uapi from '../../src/wire/uapi/iommufd.gen.js';

const page = 4096;

class FakeFile implements OpenFile {
  readonly isEngineFile = true;
  readonly name = '/dev/iommu';
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange = null;
  released = 0;
  readonly pages = { bytes: new Uint8Array(page), opened: () => {}, closed: () => {}, onGone: null };

  /** Answers IOAS_ALLOC; the id is how many bytes the caller's struct has. */
  ioctl(_: number, arg: bigint, task: Task): number {
    const struct = uapi.iommu_ioas_alloc;
    const bytes = new Uint8Array(struct.size);
    task.mm.read(arg, bytes);
    const value = struct.decode(bytes);
    struct.encode({ ...value, out_ioas_id: value.size + value.flags }, bytes);
    task.reply(arg, bytes);
    return 0;
  }
  read(at: bigint, count: number, task: Task): number {
    task.mm.write(at, new Uint8Array([1, 2, 3]).subarray(0, count));
    return Math.min(3, count);
  }
  write(at: bigint, count: number, task: Task): number {
    const bytes = new Uint8Array(count);
    task.mm.read(at, bytes);
    return bytes.reduce((sum, byte) => sum + byte, 0);
  }
  mmap(): FakeFile['pages'] {
    return this.pages;
  }
  release(): void {
    this.released += 1;
  }
}

function setUp(): { client: LocalClient; file: FakeFile } {
  const file = new FakeFile();
  return { client: new LocalClient({ open: () => file }), file };
}

test('what a call makes a device do is done when it returns', () => {
  const file = new FakeFile();
  const work = new WorkQueue();
  const client = new LocalClient({ work, open: () => file });
  const fd = client.open('/dev/iommu');
  let pieces = 0;
  file.write = () => {
    pieces = 3;
    work.schedule({ step: () => (pieces -= 1) > 0 });
    return 1;
  };
  expect(client.write(fd, new Uint8Array(1))).toBe(1);
  expect(pieces).toBe(0);
});

describe('memory', () => {
  test('is zero until written, and read back across pages', () => {
    const memory = new LocalMemory();
    const at = memory.alloc(3 * page);
    expect(at % BigInt(page)).toBe(0n);
    expect(memory.load(at, 3 * page).every((byte) => byte === 0)).toBe(true);
    const bytes = Uint8Array.from({ length: page + 2 }, (_, i) => i % 251);
    expect(memory.write(at + BigInt(page) - 1n, bytes)).toBe(true);
    expect(memory.load(at + BigInt(page) - 1n, page + 2)).toEqual(bytes);
    expect(memory.load(at, 1)).toEqual(new Uint8Array(1));
  });

  test('ends where it ends: one byte more is a fault on either side', () => {
    const memory = new LocalMemory();
    const first = memory.alloc(page);
    const second = memory.alloc(page);
    const byte = new Uint8Array(1);
    for (const at of [first, second]) {
      expect(memory.read(at, byte)).toBe(true);
      expect(memory.read(at + BigInt(page) - 1n, byte)).toBe(true);
      expect(memory.read(at - 1n, byte)).toBe(false);
      expect(memory.read(at + BigInt(page), byte)).toBe(false);
      expect(memory.write(at + BigInt(page) - 1n, new Uint8Array(2))).toBe(false);
      expect(memory.resolve(at, BigInt(2 * page), false)).toBeNull();
    }
    expect(memory.read(0n, byte)).toBe(false);
    expect(memory.read((1n << 64n) - 1n, byte)).toBe(false);
  });

  test('that is not writable is read only, also for devices', () => {
    const memory = new LocalMemory();
    const at = memory.alloc(page, { writable: false });
    expect(memory.write(at, new Uint8Array(1))).toBe(false);
    expect(memory.resolve(at, BigInt(page), true)).toBeNull();
    expect(memory.resolve(at, BigInt(page), false)).toHaveLength(1);
  });

  test('stays what it was for those who hold it after it was freed', () => {
    const memory = new LocalMemory();
    const at = memory.store(new Uint8Array([7]));
    const run = memory.resolve(at, BigInt(page), true)?.[0];
    memory.free(at);
    expect(memory.read(at, new Uint8Array(1))).toBe(false);
    const byte = new Uint8Array(1);
    expect(run?.backing.read(run.offset, byte)).toBe(true);
    expect(byte[0]).toBe(7);
    expect(() => memory.free(at)).toThrow(RangeError);
  });

  test('mapped twice is the same bytes under one identity', () => {
    const { client } = setUp();
    const { pages } = client.memfd(2 * page);
    const [one, two] = [client.memory.alloc(2 * page, { pages }), client.memory.alloc(2 * page, { pages })];
    client.memory.write(one + 5n, new Uint8Array([9]));
    expect(client.memory.load(two + 5n, 1)).toEqual(new Uint8Array([9]));
    const identity = (at: bigint): number | undefined =>
      client.memory.resolve(at, BigInt(page), true)?.[0]?.backing.id;
    expect(identity(one)).toBe(identity(two));
  });

  test('of no size, or too large for an address space, is refused', () => {
    const memory = new LocalMemory();
    expect(() => memory.alloc(0)).toThrow(RangeError);
    expect(() => memory.alloc(2 ** 47)).toThrow(RangeError);
    expect(() => memory.load(0n, 1)).toThrow(RangeError);
  });
});

describe('a client', () => {
  test('takes the lowest free descriptor', () => {
    const { client } = setUp();
    expect([client.open('/a'), client.open('/b'), client.memfd(page).fd]).toEqual([3, 4, 5]);
    client.close(4);
    expect(client.open('/c')).toBe(4);
  });

  test('reads, writes and maps the files of the engine', () => {
    const { client, file } = setUp();
    const fd = client.open('/dev/iommu');
    expect(client.read(fd, 2)).toEqual(new Uint8Array([1, 2]));
    expect(client.read(fd, 100)).toEqual(new Uint8Array([1, 2, 3]));
    expect(client.write(fd, new Uint8Array([4, 5]))).toBe(9);
    expect(client.isReadable(fd)).toBe(true);
    const request = { offset: 0n, length: BigInt(page), shared: true, exec: false };
    expect(client.mmap(fd, request)).toBe(file.pages);
  });

  test('releases a file when it is closed, and every file when it exits', () => {
    const { client, file } = setUp();
    const fd = client.open('/dev/iommu');
    client.open('/dev/iommu');
    client.memfd(page);
    client.close(fd);
    expect(file.released).toBe(1);
    client.exit();
    expect(file.released).toBe(2);
    expect(client.fileOf(fd)).toBeNull();
  });

  test('gets EBADF for a descriptor that is closed or no file of the engine', () => {
    const { client } = setUp();
    for (const fd of [3, client.memfd(page).fd]) {
      expect(() => client.ioctl(fd, 0, 0n)).toThrow(Errno);
    }
    expect(() => client.close(77)).toThrow(
      expect.objectContaining({ code: 'EBADF', errno: 9, rule: 'bad_descriptor' }),
    );
  });

  test('has the capabilities and limits it was given, and all of them otherwise', () => {
    const engine = { open: () => new FakeFile() };
    const plain = new LocalClient(engine, { capabilities: ['CAP_IPC_LOCK'], memlockLimit: 65536n });
    expect(plain.capable('CAP_IPC_LOCK')).toBe(true);
    expect(plain.capable('CAP_SYS_RESOURCE')).toBe(false);
    expect(plain.memlockLimit).toBe(65536n);
    const root = new LocalClient(engine);
    expect(root.capable('CAP_SYS_RAWIO')).toBe(true);
    expect(root.memlockLimit).toBe((1n << 64n) - 1n);
  });
});

describe('iommufd', () => {
  test('takes a plain object and gives one back, with the size filled in', () => {
    const { client } = setUp();
    const iommufd = new IommufdClient(client);
    expect(iommufd.call(uapi.IOMMU_IOAS_ALLOC)).toEqual({ size: 12, flags: 0, out_ioas_id: 12 });
    expect(iommufd.call(uapi.IOMMU_IOAS_ALLOC, { size: 5, flags: 1 }).out_ioas_id).toBe(6);
  });

  test('keeps no memory and no file behind', () => {
    const { client, file } = setUp();
    const before = client.memory.alloc(page);
    const iommufd = new IommufdClient(client);
    for (let i = 0; i < 3; i++) iommufd.call(uapi.IOMMU_IOAS_ALLOC);
    iommufd.close();
    expect(file.released).toBe(1);
    expect(client.memory.read(before + BigInt(2 * page), new Uint8Array(1))).toBe(false);
  });
});
