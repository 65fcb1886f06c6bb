/**
 * The declarations against three others: numbers stated here by hand, what a C compiler once said of Linux 7.2
 * (recorded by `npm run uapi -- --write`), and, where IOASIS_LINUX_HEADERS names them, the headers themselves.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { scalarBytes } from '../../src/wire/struct.js';
import * as iommufd from '../../src/wire/uapi/iommufd.gen.js';
import * as iommufdTest from '../../src/wire/uapi/iommufd_test.gen.js';
import * as vfio from '../../src/wire/uapi/vfio.gen.js';
import { allConstants, allEnums, allStructs, fieldsOf } from './all.js';

type Place = [offset: number, size: number, element: number, signed: number];
interface Recorded {
  linux: string;
  structs: Record<string, { size: number; fields: Record<string, Place> }>;
  constants: Record<string, number>;
}

const recorded = JSON.parse(
  readFileSync(new URL('./uapi-linux-7.2.json', import.meta.url), 'utf8'),
) as Recorded;

describe('what a C compiler said of Linux 7.2', () => {
  test('is of the release that ioasis follows', () => {
    expect(recorded.linux).toMatch(/^7\.2\.\d+$/);
  });

  test('names the same structs', () => {
    expect(allStructs.map((each) => each.name)).toEqual(Object.keys(recorded.structs));
  });

  test.each(allStructs.map((each) => [each.name, each] as const))(
    'is field by field struct %s',
    (name, each) => {
      const places: Record<string, Place> = {};
      for (const [field, { scalar, inner, offset, count }] of fieldsOf(each)) {
        const element = scalar === null ? 0 : scalarBytes[scalar];
        const size = inner === null ? element * Math.max(count, 1) : inner.size;
        places[field] = [offset, size, element, scalar === 's32' ? 1 : 0];
      }
      if (each.tail !== null) {
        const { element, offset } = each.tail;
        places[each.tail.name] = [
          offset,
          0,
          typeof element === 'string' ? scalarBytes[element] : element.size,
          0,
        ];
      }
      expect({ size: each.size, fields: places }).toEqual(recorded.structs[name]);
    },
  );

  test('has the same constants with the same values', () => {
    expect(allConstants).toEqual(recorded.constants);
  });
});

describe('numbers stated by hand', () => {
  // <linux/iommufd.h>: the type is ';' and the calls count up from 0x80.
  test.each([
    ['IOMMU_DESTROY', 0x80, 8],
    ['IOMMU_IOAS_ALLOC', 0x81, 12],
    ['IOMMU_IOAS_ALLOW_IOVAS', 0x82, 24],
    ['IOMMU_IOAS_COPY', 0x83, 40],
    ['IOMMU_IOAS_IOVA_RANGES', 0x84, 32],
    ['IOMMU_IOAS_MAP', 0x85, 40],
    ['IOMMU_IOAS_UNMAP', 0x86, 24],
    ['IOMMU_OPTION', 0x87, 24],
    ['IOMMU_VFIO_IOAS', 0x88, 12],
    ['IOMMU_HWPT_ALLOC', 0x89, 48],
    ['IOMMU_GET_HW_INFO', 0x8a, 40],
    ['IOMMU_HWPT_SET_DIRTY_TRACKING', 0x8b, 16],
    ['IOMMU_HWPT_GET_DIRTY_BITMAP', 0x8c, 48],
    ['IOMMU_HWPT_INVALIDATE', 0x8d, 32],
    ['IOMMU_FAULT_QUEUE_ALLOC', 0x8e, 16],
    ['IOMMU_IOAS_MAP_FILE', 0x8f, 40],
    ['IOMMU_VIOMMU_ALLOC', 0x90, 40],
    ['IOMMU_VDEVICE_ALLOC', 0x91, 24],
    ['IOMMU_IOAS_CHANGE_PROCESS', 0x92, 8],
    ['IOMMU_VEVENTQ_ALLOC', 0x93, 32],
    ['IOMMU_HW_QUEUE_ALLOC', 0x94, 40],
    ['IOMMU_TEST_CMD', 0xa0, 72],
  ])('%s is 0x3b%i', (name, nr, size) => {
    const irregular: Record<string, string> = {
      IOMMU_GET_HW_INFO: 'iommu_hw_info',
      IOMMU_FAULT_QUEUE_ALLOC: 'iommu_fault_alloc',
    };
    expect(allConstants[name]).toBe((0x3b << 8) | nr);
    const tag = irregular[name] ?? name.toLowerCase();
    expect(allStructs.find((each) => each.name === tag)?.size).toBe(size);
  });

  test('the flags of a mapping, and where its fields lie', () => {
    expect(iommufd.IOMMU_IOAS_MAP_FIXED_IOVA).toBe(1);
    expect(iommufd.IOMMU_IOAS_MAP_WRITEABLE).toBe(2);
    expect(iommufd.IOMMU_IOAS_MAP_READABLE).toBe(4);
    const raw = new Uint8Array(40);
    new DataView(raw.buffer).setUint32(8, 3, true);
    new DataView(raw.buffer).setBigUint64(16, 0x7fff_1234_5000n, true);
    new DataView(raw.buffer).setBigUint64(32, 0xffff_ffff_ffff_f000n, true);
    expect(iommufd.iommu_ioas_map.decode(raw)).toMatchObject({
      ioas_id: 3,
      user_va: 0x7fff_1234_5000n,
      iova: 0xffff_ffff_ffff_f000n,
    });
  });

  test('a descriptor is signed: -1 in a map_file is no file, not file 4294967295', () => {
    const raw = new Uint8Array(40).fill(0xff, 12, 16);
    expect(iommufd.iommu_ioas_map_file.decode(raw).fd).toBe(-1);
  });

  test('the request and the answer of hw_info share their data type', () => {
    const { in_data_type, out_data_type } = iommufd.iommu_hw_info.fields;
    expect([in_data_type.offset, out_data_type.offset]).toEqual([24, 24]);
  });

  // vfio.h, "IOCTLs for VFIO file descriptor" and "Additional API for Type1": 100 and up, type ';'.
  test('the VFIO calls that /dev/iommu answers', () => {
    expect(vfio.VFIO_API_VERSION).toBe(0);
    expect(vfio.VFIO_GET_API_VERSION).toBe(0x3b64);
    expect(vfio.VFIO_CHECK_EXTENSION).toBe(0x3b65);
    expect(vfio.VFIO_SET_IOMMU).toBe(0x3b66);
    expect(vfio.VFIO_IOMMU_GET_INFO).toBe(0x3b70);
    expect(vfio.VFIO_IOMMU_MAP_DMA).toBe(0x3b71);
    expect(vfio.VFIO_IOMMU_UNMAP_DMA).toBe(0x3b72);
    expect(vfio.VFIO_IOMMU_DIRTY_PAGES).toBe(0x3b75);
    expect(vfio.VFIO_TYPE1v2_IOMMU).toBe(3);
    expect(vfio.VFIO_DMA_UNMAP_FLAG_ALL).toBe(1 << 1);
    expect(vfio.VFIO_IOMMU_INFO_CAPS).toBe(1 << 1);
  });

  // iommufd_test.h: ops count from 1; the union lies between byte 16 and `last`.
  test('the views of the test ioctl are all as long as it is, and begin alike', () => {
    const views = iommufdTest.declared.structs.filter((each) => each.view !== null);
    expect(views.length).toBe(23);
    for (const view of views) {
      expect(view.size, view.name).toBe(72);
      expect(Object.keys(view.fields).slice(0, 4)).toEqual(['size', 'op', 'id', '__reserved']);
      expect(fieldsOf(view).at(-1)).toMatchObject(['last', { offset: 64 }]);
    }
    expect(iommufdTest.IOMMU_TEST_OP_ADD_RESERVED).toBe(1);
    expect(iommufdTest.IOMMU_TEST_OP_DMABUF_REVOKE).toBe(23);
    expect(iommufdTest.MOCK_APERTURE_LAST).toBe(0x7fffffff);
    expect(iommufdTest.MOCK_HUGE_PAGE_SIZE).toBe(1 << 20);
  });

  test('enums hold constants that are also declared alone', () => {
    for (const [tag, members] of Object.entries(allEnums)) {
      expect(Object.keys(members).length, tag).toBeGreaterThan(0);
      for (const [name, value] of Object.entries(members)) expect(allConstants[name], name).toBe(value);
    }
    expect(Object.keys(iommufd.iommufd_hwpt_alloc_flags)).toContain('IOMMU_HWPT_ALLOC_NEST_PARENT');
  });
});

const headers = process.env['IOASIS_LINUX_HEADERS'];
const compiler = process.env['CC'] ?? 'cc';

describe.runIf(headers !== undefined)('the headers in IOASIS_LINUX_HEADERS', () => {
  test('agree with iommufd.h and vfio.h as declared, or the compiler says where not', () => {
    const top = headers as string;
    // Debian packages the headers of all architectures together: only those of this compiler's are meant.
    const machine = execFileSync(compiler, ['-print-multiarch'], { encoding: 'utf8' }).trim();
    const include = [top, join(top, machine)].flatMap((folder) => ['-isystem', folder]);
    const asserts = [...iommufd.declared.structs, ...vfio.declared.structs].flatMap((each) => [
      `_Static_assert(sizeof(struct ${each.name}) == ${each.size}, "sizeof ${each.name}");`,
      ...fieldsOf(each).map(
        ([name, field]) =>
          `_Static_assert(offsetof(struct ${each.name}, ${name}) == ${field.offset}, "${each.name}.${name}");`,
      ),
    ]);
    const constants = { ...iommufd.declared.constants, ...vfio.declared.constants };
    const values = Object.entries(constants).map(
      ([name, value]) => `_Static_assert(${name} == ${value}, "${name}");`,
    );
    const folder = mkdtempSync(join(tmpdir(), 'ioasis-uapi-'));
    const file = join(folder, 'probe.c');
    writeFileSync(
      file,
      [
        '#include <stddef.h>',
        '#include <linux/iommufd.h>',
        '#include <linux/vfio.h>',
        ...asserts,
        ...values,
      ].join('\n'),
    );
    try {
      execFileSync(compiler, ['-fsyntax-only', ...include, file], {
        stdio: ['ignore', 2, 2],
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
