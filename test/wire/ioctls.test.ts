import { describe, expect, test } from 'vitest';
import { deviceIoctlTable } from '../../src/wire/device-ioctls.js';
import { ioasidIoctlTable, nestingIoctlTable } from '../../src/wire/ioasid-ioctls.js';
import { findIoctl, ioctlTable } from '../../src/wire/ioctls.js';
import { printIoctl, printStruct, printValue } from '../../src/wire/print.js';
import type { Struct } from '../../src/wire/struct.js';
import * as iommufd from '../../src/wire/uapi/iommufd.gen.js';
import * as ioasid from '../../src/wire/uapi/ioasid.js';
import * as nesting from '../../src/wire/uapi/vfio-nesting.js';
import * as kvm from '../../src/wire/uapi/kvm.js';
import * as iommufdTest from '../../src/wire/uapi/iommufd_test.gen.js';
import * as vfio from '../../src/wire/uapi/vfio.gen.js';
import { declared as ownIoctls } from '../../src/wire/uapi/ioasis-dma.js';
import { allConstants } from './all.js';

function encoded<T>(of: Struct<T>, values: Partial<T>): Uint8Array {
  const bytes = new Uint8Array(of.size);
  of.encode(of.create(values), bytes);
  return bytes;
}

const all = [...ioctlTable, ...deviceIoctlTable, ...ioasidIoctlTable, ...nestingIoctlTable];

describe('the tables of ioctls', () => {
  test('have all 21 of iommufd, the test ioctl, 10 of a container, 13 of a device, and those of ioasis and KVM, under their own names', () => {
    const names = all.map(([number, { name }]) => [name, number]);
    expect(names.filter(([name]) => String(name).startsWith('IOMMU_')).length).toBe(22);
    expect(names.filter(([name]) => String(name).startsWith('VFIO_')).length).toBe(23);
    const constants: Record<string, number> = {
      ...allConstants,
      ...ownIoctls.constants,
      ...ioasid.declared.constants,
      ...kvm.constants,
      ...nesting.declared.constants,
    };
    for (const [name, number] of names) expect(constants[String(name)]).toBe(number);
    const commands = Object.keys(allConstants).filter((name) => name.startsWith('IOMMUFD_CMD_'));
    expect(commands.length - 1).toBe(21);
  });

  // The fourth argument of IOCTL_OP in drivers/iommu/iommufd/main.c, and minsz in vfio_compat.c and drivers/vfio: in bytes.
  test('know the least size that Linux takes of each', () => {
    const least = all.map(([, { name, struct, lastMandatory }]) => [
      name,
      struct === null ? 0 : struct.endOf(lastMandatory),
    ]);
    expect(Object.fromEntries(least)).toEqual({
      IOMMU_DESTROY: 8,
      IOMMU_IOAS_ALLOC: 12,
      IOMMU_IOAS_ALLOW_IOVAS: 24,
      IOMMU_IOAS_COPY: 40,
      IOMMU_IOAS_IOVA_RANGES: 32,
      IOMMU_IOAS_MAP: 40,
      IOMMU_IOAS_UNMAP: 24,
      IOMMU_OPTION: 24,
      IOMMU_VFIO_IOAS: 12,
      IOMMU_IOAS_MAP_FILE: 40,
      IOMMU_IOAS_CHANGE_PROCESS: 8,
      IOMMU_HWPT_ALLOC: 24,
      IOMMU_GET_HW_INFO: 32,
      IOMMU_HWPT_SET_DIRTY_TRACKING: 16,
      IOMMU_HWPT_GET_DIRTY_BITMAP: 48,
      IOMMU_HWPT_INVALIDATE: 32,
      IOMMU_FAULT_QUEUE_ALLOC: 16,
      IOMMU_VIOMMU_ALLOC: 24,
      IOMMU_VDEVICE_ALLOC: 24,
      IOMMU_VEVENTQ_ALLOC: 28,
      IOMMU_HW_QUEUE_ALLOC: 40,
      IOMMU_TEST_CMD: 68,
      VFIO_GET_API_VERSION: 0,
      VFIO_CHECK_EXTENSION: 0,
      VFIO_SET_IOMMU: 0,
      VFIO_IOMMU_GET_INFO: 16,
      VFIO_IOMMU_MAP_DMA: 32,
      VFIO_IOMMU_UNMAP_DMA: 24,
      VFIO_IOMMU_DIRTY_PAGES: 8,
      VFIO_DEVICE_GET_INFO: 16,
      VFIO_DEVICE_GET_REGION_INFO: 32,
      VFIO_DEVICE_GET_IRQ_INFO: 16,
      VFIO_DEVICE_SET_IRQS: 20,
      VFIO_DEVICE_RESET: 0,
      VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: 12,
      VFIO_DEVICE_PCI_HOT_RESET: 12,
      VFIO_DEVICE_IOEVENTFD: 28,
      VFIO_DEVICE_FEATURE: 8,
      VFIO_MIG_GET_PRECOPY_INFO: 24,
      VFIO_DEVICE_BIND_IOMMUFD: 16,
      VFIO_DEVICE_ATTACH_IOMMUFD_PT: 12,
      VFIO_DEVICE_DETACH_IOMMUFD_PT: 8,
      IOASIS_DMA: 112,
      VFIO_IOMMU_PASID_REQUEST: 16,
      VFIO_IOMMU_BIND: 8,
      VFIO_IOMMU_CACHE_INVALIDATE: 8,
      ALLOC_IOASID: 16,
      ALLOC_IOASID_SVA: 16,
      ALLOC_IOASID_KVM: 16,
      ALLOC_IOASID_USER_PAGE_TABLE: 40,
      ALLOC_IOASID_NESTED_PAGE_TABLE: 40,
      DESTROY_IOASID: 8,
      MAP_IOASID: 40,
      UNMAP_IOASID: 24,
      INVALIDATE_IOASID: 32,
      INFO_IOASID: 40,
      FAULT_IOASID: 32,
      AUTHORIZE_IOASID: 16,
      DEAUTHORIZE_IOASID: 16,
      KVM_GET_API_VERSION: 0,
      KVM_CREATE_VM: 0,
      KVM_CHECK_EXTENSION: 0,
      KVM_SET_USER_MEMORY_REGION: 32,
      KVM_SET_USER_MEMORY_REGION2: 44,
    });
  });

  test('name only fields that the struct has, and never without a name', () => {
    const rows = all.flatMap(([, info]) => [info, ...(info.variants?.by.values() ?? [])]);
    for (const info of rows.filter(({ struct }) => struct !== null)) {
      const fields = Object.keys((info.struct as Struct<any>).fields);
      const hints = { ...info.flags, ...info.enums };
      for (const [field, names] of Object.entries(hints)) {
        expect(fields, info.name).toContain(field);
        expect(Object.keys(names).length, `${info.name} ${field}`).toBeGreaterThan(0);
      }
      for (const [field, { length, element }] of Object.entries(info.pointers)) {
        expect(fields).toContain(field);
        expect(fields).toContain(length);
        if (element !== null && 'by' in element) expect(fields).toContain(element.by);
      }
    }
  });

  test('has a view for each op of the test ioctl', () => {
    const ops = Object.entries(allConstants).filter(([name]) => name.startsWith('IOMMU_TEST_OP_'));
    const views = ops.map(([, op]) =>
      findIoctl(iommufdTest.IOMMU_TEST_CMD, encoded(iommufdTest.iommu_test_cmd, { op })),
    );
    expect(views.every((info) => info?.struct?.view != null)).toBe(true);
    // MOCK_DOMAIN_FLAGS has its own arm, and so has each other op: 23 ops, 23 structs.
    expect(new Set(views.map((info) => info?.struct)).size).toBe(ops.length);
  });

  test('tell a device from a container, which uses the same numbers', () => {
    const number = vfio.VFIO_DEVICE_FEATURE;
    expect(number).toBe(vfio.VFIO_IOMMU_DIRTY_PAGES);
    const bytes = encoded(vfio.vfio_device_feature, { argsz: 8, flags: vfio.VFIO_DEVICE_FEATURE_SET | 3 });
    expect(findIoctl(number, bytes, '/dev/vfio/vfio')?.name).toBe('VFIO_IOMMU_DIRTY_PAGES');
    for (const file of ['/dev/vfio/devices/vfio3', '[vfio-device]']) {
      const info = findIoctl(number, bytes, file)!;
      expect(printStruct(info.struct!, bytes, info)).toBe('{argsz=8, flags=SET|LOW_POWER_ENTRY}');
    }
  });

  test('falls back to the common head for an op it does not know, and for too few bytes', () => {
    const unknown = encoded(iommufdTest.iommu_test_cmd, { size: 72, op: 99 });
    expect(findIoctl(iommufdTest.IOMMU_TEST_CMD, unknown)?.struct).toBe(iommufdTest.iommu_test_cmd);
    expect(findIoctl(iommufdTest.IOMMU_TEST_CMD, new Uint8Array(4))?.struct).toBe(iommufdTest.iommu_test_cmd);
    expect(findIoctl(0x1234, new Uint8Array())).toBeUndefined();
  });
});

describe('an argument, printed', () => {
  test('shows names of flags, decimal ids and hexadecimal addresses', () => {
    const map = encoded(iommufd.iommu_ioas_map, {
      size: 40,
      flags: 7,
      ioas_id: 1,
      user_va: 0x7f0000000000n,
      length: 0x2000n,
      iova: 0x1000n,
    });
    expect(printIoctl(iommufd.IOMMU_IOAS_MAP, map)).toBe(
      '{size=40, flags=FIXED_IOVA|WRITEABLE|READABLE, ioas_id=1, user_va=0x7f0000000000, length=0x2000, iova=0x1000}',
    );
  });

  test('shows bits and values that have no name as numbers', () => {
    const map = encoded(iommufd.iommu_ioas_map, { flags: 0x81 });
    expect(printIoctl(iommufd.IOMMU_IOAS_MAP, map)).toContain('flags=FIXED_IOVA|0x80,');
    const option = encoded(iommufd.iommu_option, { option_id: 0x77, op: 1 });
    expect(printIoctl(iommufd.IOMMU_OPTION, option)).toBe(
      '{size=0, option_id=0x77, op=GET, object_id=0, val64=0x0}',
    );
  });

  test('shows a reserved field only when somebody set it', () => {
    expect(printIoctl(iommufd.IOMMU_IOAS_CHANGE_PROCESS, Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0))).toBe(
      '{size=8}',
    );
    expect(printIoctl(iommufd.IOMMU_IOAS_CHANGE_PROCESS, Uint8Array.of(8, 0, 0, 0, 1, 0, 0, 0))).toBe(
      '{size=8, __reserved=1}',
    );
  });

  test('shows as much as the client gave, and no more than the struct', () => {
    const alloc = encoded(iommufd.iommu_hwpt_alloc, { size: 24, flags: 1, dev_id: 3, pt_id: 1 });
    expect(printIoctl(iommufd.IOMMU_HWPT_ALLOC, alloc.subarray(0, 24))).toBe(
      '{size=24, flags=ALLOC_NEST_PARENT, dev_id=3, pt_id=1, out_hwpt_id=0}',
    );
    expect(printIoctl(iommufd.IOMMU_DESTROY, Uint8Array.of(8, 0, 0, 0, 2, 0, 0, 0, 9, 9))).toBe(
      '{size=8, id=2}',
    );
  });

  test('shows the arm of the test ioctl that its op selects', () => {
    const access = encoded(iommufdTest.iommu_test_cmd_access_rw, {
      size: 72,
      op: 8,
      id: 4,
      iova: 0x10n,
      flags: 5,
    });
    expect(printIoctl(iommufdTest.IOMMU_TEST_CMD, access)).toBe(
      '{size=72, op=ACCESS_RW, id=4, iova=0x10, length=0x0, uptr=0x0, flags=WRITE|SLOW_PATH}',
    );
  });

  test('shows structs inside structs, and arrays', () => {
    const avail = encoded(vfio.vfio_iommu_type1_info_dma_avail, {
      header: { id: 3, version: 1, next: 0 },
      avail: 9,
    });
    expect(printStruct(vfio.vfio_iommu_type1_info_dma_avail, avail)).toBe(
      '{header={id=3, version=1, next=0}, avail=9}',
    );
    const ste = encoded(iommufd.iommu_hwpt_arm_smmuv3, { ste: [1n, 0xffn] });
    expect(printStruct(iommufd.iommu_hwpt_arm_smmuv3, ste)).toBe('{ste=[0x1, 0xff]}');
  });

  test('shows nothing of what it does not know', () => {
    expect(printIoctl(0x1234, new Uint8Array(8))).toBe('');
    expect(printIoctl(vfio.VFIO_GET_API_VERSION, new Uint8Array())).toBe('');
  });

  test('names the extension that VFIO is asked for by value', () => {
    expect(printValue(vfio.VFIO_CHECK_EXTENSION, 3)).toBe('VFIO_TYPE1v2_IOMMU');
    expect(printValue(vfio.VFIO_SET_IOMMU, 77)).toBe('0x4d');
    expect(printValue(vfio.VFIO_GET_API_VERSION, 0)).toBe('0x0');
  });
});
