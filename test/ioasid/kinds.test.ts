/** The five kinds of page table through /dev/ioasid, each with a device that uses it. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as k from '../../src/wire/uapi/kvm.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import { errnoOf } from '../refusal.js';
import { IoasidScene, PAGE } from './scene.js';

const IOVA = 0x40_0000_0000n;
const { IOASIS_DMA_DONE: DONE, IOASIS_DMA_FAULTED: FAULTED } = d;
const PRI = d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI;

let s: IoasidScene;
beforeEach(() => {
  s = new IoasidScene();
});
afterEach(() => {
  const left = s.end();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

describe('a table that ioasis fills', () => {
  test('R2, R38, R39: needs a bound device, and takes every device that is bound later', () => {
    expect(errnoOf(() => s.kernel())).toBe('ENODEV');
    const first = s.device(0);
    const ioasid = s.kernel();
    const second = s.device(1);
    const va = s.memory.alloc(4096);
    s.map(ioasid, IOVA, va, PAGE);
    for (const device of [first, second]) {
      s.authorize(device, ioasid);
      expect(s.fill(device, IOVA, 7n).out_state).toBe(DONE);
    }
    expect(s.memory.load(va, 1)).toEqual(Uint8Array.of(7));
    expect(s.info(ioasid)).toMatchObject({ kind: i.IOASID_KIND_KERNEL, authorized: 2 });
  });

  test('R41: a PASID is blocked, translated while it is authorised, and blocked again', () => {
    const device = s.device(0);
    const ioasid = s.kernel();
    s.map(ioasid, IOVA, s.memory.alloc(4096), PAGE);
    expect(s.fill(device, IOVA, 1n, 9).out_state).toBe(FAULTED);
    s.authorize(device, ioasid, 9);
    expect(s.fill(device, IOVA, 1n, 9).out_state).toBe(DONE);
    expect(s.fill(device, IOVA, 1n, 8).out_state).toBe(FAULTED);
    expect(s.fill(device, IOVA, 1n).out_state).toBe(FAULTED);
    s.deauthorize(device, ioasid, 9);
    expect(s.fill(device, IOVA, 1n, 9).out_state).toBe(FAULTED);
  });

  test('unmapping takes effect at once, and mapping where something is refuses', () => {
    const device = s.device(0);
    const ioasid = s.kernel();
    s.authorize(device, ioasid);
    s.map(ioasid, IOVA, s.memory.alloc(8192), 2n * PAGE);
    expect(errnoOf(() => s.map(ioasid, IOVA, s.memory.alloc(4096), PAGE))).toBe('EEXIST');
    expect(s.fill(device, IOVA, 1n).out_state).toBe(DONE);
    expect(s.unmap(ioasid, IOVA, 2n * PAGE)).toBe(2n * PAGE);
    expect(s.fill(device, IOVA, 1n).out_state).toBe(FAULTED);
    expect(errnoOf(() => s.unmap(ioasid, IOVA, PAGE))).toBe('ENOENT');
  });
});

describe("a table of the program's own", () => {
  const TARGET = 0x10_0000n;

  test('R5: stands on a parent, whose addresses are in it', () => {
    const device = s.device(0);
    const parent = s.kernel();
    const data = s.memory.alloc(4096);
    const root = s.writeTable(IOVA, TARGET, (at) => (at === TARGET ? at : 0x20_0000n + (at & 0xffffn)));
    s.map(parent, TARGET, data, PAGE);
    s.map(parent, 0x20_0000n + (root & 0xffffn), root, 4n * PAGE);
    const nested = s.nested(parent, 0x20_0000n + (root & 0xffffn));
    s.authorize(device, nested, 5);
    expect(s.fill(device, IOVA, 3n, 5).out_state).toBe(DONE);
    expect(s.memory.load(data, 1)).toEqual(Uint8Array.of(3));
    expect(s.info(nested)).toMatchObject({ kind: i.IOASID_KIND_NESTED_PAGE_TABLE, parent });
    expect(errnoOf(() => s.destroy(parent))).toBe('EBUSY');
  });

  test('R5, R40: stands on nothing: root and entries are addresses of the process', () => {
    const device = s.device(0);
    const data = s.memory.alloc(4096, { lazy: true });
    const user = s.user(s.writeTable(IOVA, data, (at) => at, true));
    s.authorize(device, user, 5);
    expect(s.fill(device, IOVA, 3n, 5).out_state).toBe(DONE);
    expect(s.memory.load(data, 1)).toEqual(Uint8Array.of(3));
    const { steps, result } = s.machine.walk('0000:00:01.0', IOVA, 5);
    expect(result).toMatchObject({ kind: 'page', permits: 'read, write' });
    expect(steps.slice(4).map(({ table, depth }) => [table.replace(/(memory) \d+$/, '$1'), depth])).toEqual(
      [4, 3, 2, 1, 0].flatMap((level) => [
        ['address space of client memory', 1],
        ...(level > 0 ? [[`first stage level ${level}`, 0]] : []),
      ]),
    );
    // What has changed counts once it is invalidated.
    const other = s.memory.alloc(4096);
    s.memory.write(
      s.writeTable(IOVA, other, (at) => at),
      new Uint8Array(0),
    );
    expect(s.invalidate(user, IOVA)).toBe(1);
    expect(s.fill(device, IOVA, 4n, 5).out_state).toBe(DONE);
  });

  test('is never led to what the process has not', () => {
    const device = s.device(0);
    const data = s.memory.alloc(4096, { writable: false });
    const user = s.user(s.writeTable(IOVA, data, (at) => at));
    s.authorize(device, user, 5);
    expect(s.fill(device, IOVA, 3n, 5).out_state).toBe(FAULTED);
    s.memory.free(data);
    expect(s.fill(device, IOVA, 3n, 5).out_state).toBe(FAULTED);
  });
});

describe('R3: a table of a process', () => {
  test('shows what the process has, at its own addresses', () => {
    const device = s.device(0);
    const sva = s.sva();
    s.authorize(device, sva, 7);
    const va = s.memory.alloc(8192);
    expect(s.fill(device, va, 5n, 7).out_state).toBe(DONE);
    expect(s.memory.load(va, 2)).toEqual(Uint8Array.of(5, 5));
    s.memory.free(va);
    expect(s.fill(device, va, 5n, 7).out_state).toBe(FAULTED);
    const readOnly = s.memory.alloc(4096, { writable: false });
    expect(s.fill(device, readOnly, 5n, 7).out_state).toBe(FAULTED);
  });

  test('R12: a page that nobody has touched is asked for, and the device tries again', () => {
    const device = s.device(0);
    const sva = s.sva();
    s.authorize(device, sva, 7);
    const va = s.memory.alloc(4096, { lazy: true });
    expect(s.fill(device, va, 5n, 7).out_state).toBe(FAULTED);
    expect(s.fill(device, va, 5n, 7, PRI).out_state).toBe(DONE);
    expect(s.memory.load(va, 1)).toEqual(Uint8Array.of(5));
    const gone = s.memory.alloc(4096);
    s.memory.free(gone);
    expect(s.fill(device, gone, 5n, 7, PRI)).toMatchObject({
      out_state: d.IOASIS_DMA_FAILED,
      out_fault_reason: d.IOASIS_DMA_PAGE_INVALID,
    });
  });

  test('R45: is without PASID too, on many devices, and ends with the process', () => {
    const [first, second] = [s.device(0), s.device(1)];
    const sva = s.sva();
    s.authorize(first, sva);
    s.authorize(second, sva, 3);
    const va = s.memory.alloc(4096);
    expect(s.fill(first, va, 1n).out_state).toBe(DONE);
    expect(s.fill(second, va, 2n, 3).out_state).toBe(DONE);
    s.memory.exit();
    expect(s.fill(first, va, 1n).out_state).toBe(FAULTED);
    expect(s.fill(second, va, 2n, 3, PRI).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });
});

describe('R4, R13: a table of a virtual machine', () => {
  const GPA = 0x1_0000_0000n;

  test('shows what the slots say at that moment', () => {
    const device = s.device(0);
    const vm = s.vm();
    const kvm = s.kvm(vm);
    s.authorize(device, kvm, 4);
    expect(s.fill(device, GPA, 1n, 4).out_state).toBe(FAULTED);
    const va = s.memory.alloc(8192);
    s.slot(vm, 3, GPA, 2n * PAGE, va);
    expect(s.fill(device, GPA + PAGE, 9n, 4).out_state).toBe(DONE);
    expect(s.memory.load(va + PAGE, 1)).toEqual(Uint8Array.of(9));
    s.slot(vm, 3, GPA + 0x100000n, 2n * PAGE, va);
    expect(s.fill(device, GPA + PAGE, 1n, 4).out_state).toBe(FAULTED);
    expect(s.fill(device, GPA + 0x100000n, 8n, 4).out_state).toBe(DONE);
    expect(s.memory.load(va, 1)).toEqual(Uint8Array.of(8));
    s.slot(vm, 3, GPA, 0n, 0n);
    expect(s.fill(device, GPA + 0x100000n, 1n, 4).out_state).toBe(FAULTED);
    s.slot(vm, 3, GPA, PAGE, va, k.KVM_MEM_READONLY);
    expect(s.fill(device, GPA, 1n, 4).out_state).toBe(FAULTED);
    expect(s.info(kvm).kind).toBe(i.IOASID_KIND_KVM);
  });

  test('a page that its process has not touched is asked of the machine', () => {
    const device = s.device(0);
    const vm = s.vm();
    const kvm = s.kvm(vm);
    s.authorize(device, kvm, 4);
    s.slot(vm, 0, GPA, PAGE, s.memory.alloc(4096, { lazy: true }));
    expect(s.fill(device, GPA, 1n, 4).out_state).toBe(FAULTED);
    expect(s.fill(device, GPA, 1n, 4, PRI).out_state).toBe(DONE);
    expect(s.fill(device, GPA + PAGE, 1n, 4, PRI).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  });

  test("is also made by a call of the machine's own file, and ends with the machine", () => {
    const device = s.device(0);
    const vm = s.vm();
    const { out_ioasid: kvm } = s.call(vm, i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { fd: s.fd });
    s.authorize(device, kvm, 4);
    s.slot(vm, 0, GPA, PAGE, s.memory.alloc(4096));
    expect(s.fill(device, GPA, 1n, 4).out_state).toBe(DONE);
    s.machine.client.close(vm);
    expect(s.fill(device, GPA, 1n, 4).out_state).toBe(FAULTED);
    expect(errnoOf(() => s.kvm(s.fd))).toBe('EINVAL');
    expect(errnoOf(() => s.kvm(999))).toBe('EBADF');
  });

  test.each([
    ['a size that is no page', [0, GPA, 5n, 0n], 'EINVAL'],
    ['a guest address that is no page', [0, GPA + 1n, PAGE, 0n], 'EINVAL'],
    ['a user address that is no page', [0, GPA, PAGE, 1n], 'EINVAL'],
    ['a user address of the kernel', [0, GPA, PAGE, 1n << 63n], 'EINVAL'],
    ['a slot too many', [32764, GPA, PAGE, PAGE], 'EINVAL'],
    ['another address space', [1 << 16, GPA, PAGE, PAGE], 'EINVAL'],
    ['deleting nothing', [1, GPA, 0n, 0n], 'EINVAL'],
    ['a slot over another', [1, GPA + PAGE, PAGE, PAGE], 'EEXIST'],
    ['another size of the same slot', [7, GPA, PAGE, PAGE], 'EINVAL'],
    ['the same again', [7, GPA, 2n * PAGE, PAGE], 'none'],
  ] as const)('a slot: %s is %s', (_, [slot, gpa, size, address], expected) => {
    const vm = s.vm();
    s.slot(vm, 7, GPA, 2n * PAGE, PAGE);
    expect(errnoOf(() => s.slot(vm, slot, gpa, size, address))).toBe(expected);
  });
});

const faultFile = (): number => s.call(s.fd, i.FAULT_IOASID, i.fault_ioasid).out_fault_id;

describe('R1, R6, R7, R8: which operation is for which kind', () => {
  const make = {
    kernel: () => s.kernel(),
    sva: () => s.sva(),
    kvm: () => s.kvm(s.vm()),
    user: () => s.user(s.memory.alloc(4096)),
    nested: () => s.nested(s.kernel(), 0n),
  };
  const operate: Record<string, (ioasid: number) => void> = {
    map: (ioasid) => s.map(ioasid, IOVA, s.memory.alloc(4096), PAGE),
    unmap: (ioasid) => void s.unmap(ioasid, IOVA, PAGE),
    invalidate: (ioasid) => void s.invalidate(ioasid, IOVA),
    nest: (ioasid) => void s.nested(ioasid, 0n),
  };
  const yes = ['kernel map', 'kernel unmap', 'kernel nest', 'user invalidate', 'nested invalidate'];
  /** Page requests to a fault file: what is made says so. */
  const withFaults: Record<string, () => unknown> = {
    kernel: () => s.call(s.fd, i.ALLOC_IOASID, i.alloc_ioasid, { flags: i.IOASID_FAULT }),
    sva: () => s.call(s.fd, i.ALLOC_IOASID_SVA, i.alloc_ioasid_sva, { flags: i.IOASID_FAULT, pidfd: -1 }),
    kvm: () => s.call(s.fd, i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { flags: i.IOASID_FAULT, fd: s.vm() }),
    user: () => s.user(s.memory.alloc(4096), { flags: i.IOASID_FAULT, fault_id: faultFile() }),
    nested: () => s.nested(s.kernel(), 0n, { flags: i.IOASID_FAULT, fault_id: faultFile() }),
  };

  for (const [kind, alloc] of Object.entries(make)) {
    const hasFaults = kind === 'user' || kind === 'nested';
    test(`fault of ${kind}: ${hasFaults ? 'yes' : 'EOPNOTSUPP'}`, () => {
      s.device(0);
      expect(errnoOf(withFaults[kind]!)).toBe(hasFaults ? 'none' : 'EOPNOTSUPP');
      expect(s.info(alloc()).operations & i.IOASID_CAN_FAULT).toBe(hasFaults ? i.IOASID_CAN_FAULT : 0);
    });
    for (const [operation, act] of Object.entries(operate)) {
      const isLegal = yes.includes(`${kind} ${operation}`);
      test(`${operation} of ${kind}: ${isLegal ? 'yes' : 'EOPNOTSUPP'}`, () => {
        s.device(0);
        const ioasid = alloc();
        if (operation === 'unmap' && isLegal) operate['map']!(ioasid);
        expect(errnoOf(() => act(ioasid))).toBe(isLegal ? 'none' : 'EOPNOTSUPP');
        const bit = ['map', 'unmap', 'invalidate', 'nest'].indexOf(operation);
        expect((s.info(ioasid).operations >> bit) & 1).toBe(isLegal ? 1 : 0);
      });
    }
  }

  test('R10: one destroy is for all, and not while a device uses it', () => {
    const device = s.device(0);
    for (const alloc of Object.values(make)) {
      const ioasid = alloc();
      s.authorize(device, ioasid, 5);
      expect(errnoOf(() => s.destroy(ioasid))).toBe('EBUSY');
      s.deauthorize(device, ioasid, 5);
      s.destroy(ioasid);
      expect(errnoOf(() => s.destroy(ioasid))).toBe('ENOENT');
      expect(errnoOf(() => s.authorize(device, ioasid, 5))).toBe('ENOENT');
    }
  });
});
