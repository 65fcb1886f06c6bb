/** ioasis' own types: where their numbers lie, what C makes of them, and how a trace shows them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { printHeader } from '../../src/wire/header.js';
import { findIoctl } from '../../src/wire/ioctls.js';
import { printIoctl } from '../../src/wire/print.js';
import { declared, isIoasisNumber } from '../../src/wire/uapi/ioasis.js';
import * as iommufd from '../../src/wire/uapi/iommufd.gen.js';
import { allConstants, allStructs } from './all.js';

const compiler = process.env['CC'] ?? 'cc';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

/** What programs count on. */
const C_ASSERTS = `
#include <stddef.h>
#include "ioasis.h"
_Static_assert(IOASIS_HWPT_INVALIDATE_DATA_RANGE == 0x10a50000, "");
_Static_assert(IOASIS_VIOMMU_TYPE_VTD == 0x10a50001, "");
_Static_assert(IOASIS_VEVENTQ_TYPE_VTD == 0x10a50002, "");
_Static_assert(sizeof(struct ioasis_hwpt_invalidate_range) == 24, "");
_Static_assert(offsetof(struct ioasis_hwpt_invalidate_range, last) == 8, "");
_Static_assert(offsetof(struct ioasis_hwpt_invalidate_range, flags) == 16, "");
_Static_assert(sizeof(struct ioasis_vevent_vtd_fault) == 32, "");
_Static_assert(offsetof(struct ioasis_vevent_vtd_fault, addr) == 8, "");
_Static_assert(offsetof(struct ioasis_vevent_vtd_fault, pasid) == 16, "");
_Static_assert(offsetof(struct ioasis_vevent_vtd_fault, flags) == 20, "");
_Static_assert(offsetof(struct ioasis_vevent_vtd_fault, reason) == 24, "");
`;

test.runIf(hasCompiler)('the printed header declares them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ioasis-own-'));
  writeFileSync(join(folder, 'ioasis.h'), printHeader());
  writeFileSync(join(folder, 'own.c'), C_ASSERTS);
  const args = ['-fsyntax-only', '-Wall', '-Wextra', '-Werror', join(folder, 'own.c')];
  expect(spawnSync(compiler, args, { encoding: 'utf8' }).stderr).toBe('');
  rmSync(folder, { recursive: true });
});

describe('their numbers', () => {
  const types = Object.entries(declared.constants).filter(([name]) => /_(TYPE|DATA)_/.test(name));

  test("are in ioasis' range, each once, and are nobody else's", () => {
    expect(types.length).toBe(6);
    expect(new Set(types.map(([, value]) => value)).size).toBe(6);
    for (const [, value] of types) {
      expect(value >>> 16).toBe(0x10a5);
      expect(Object.values(allConstants)).not.toContain(value);
    }
  });

  test.each([
    [0x10a4ffff, false],
    [0x10a50000, true],
    [0x10a5ffff, true],
    [0x10a60000, false],
    [0, false],
  ])('0x%i is one of them: %s', (value, is) => expect(isIoasisNumber(value)).toBe(is));

  test('of structs are names that Linux has not', () => {
    const linux = new Set(allStructs.map(({ name }) => name));
    expect(declared.structs.filter(({ name }) => linux.has(name))).toEqual([]);
  });
});

test('a trace calls them by their whole name', () => {
  const bytes = new Uint8Array(iommufd.iommu_viommu_alloc.size);
  iommufd.iommu_viommu_alloc.encode(iommufd.iommu_viommu_alloc.create({ size: 40, type: 0x10a50001 }), bytes);
  const info = findIoctl(iommufd.IOMMU_VIOMMU_ALLOC, bytes);
  expect(info?.enums['type']).toMatchObject({ IOASIS_VIOMMU_TYPE_VTD: 0x10a50001 });
  expect(findIoctl(iommufd.IOMMU_VEVENTQ_ALLOC, bytes)?.enums['type']).toMatchObject({
    IOASIS_VEVENTQ_TYPE_VTD: 0x10a50002,
  });
  expect(printIoctl(iommufd.IOMMU_VIOMMU_ALLOC, bytes)).toContain('type=IOASIS_VIOMMU_TYPE_VTD');
});
