/** The printed header is judged by a C compiler, with the numbers that another one said of Linux' own headers. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { printHeader } from '../../src/wire/header.js';
import { allEnums, allStructs } from './all.js';

const compiler = process.env['CC'] ?? 'cc';
const recorded = JSON.parse(readFileSync(new URL('./uapi-linux-7.2.json', import.meta.url), 'utf8')) as {
  structs: Record<string, { size: number; fields: Record<string, [offset: number, size: number]> }>;
  constants: Record<string, number>;
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ioasis-header-'));
  writeFileSync(join(folder, 'ioasis.h'), printHeader());
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What the compiler says of `lines` after the header; '' if nothing. */
function compile(lines: readonly string[], args: readonly string[] = []): string {
  const file = join(folder, 'probe.c');
  writeFileSync(file, ['#include <stddef.h>', '#include "ioasis.h"', ...lines, ''].join('\n'));
  const done = spawnSync(compiler, ['-fsyntax-only', '-Wall', '-Wextra', '-Werror', ...args, file], {
    encoding: 'utf8',
  });
  return done.error === undefined ? done.stderr : String(done.error);
}

const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

/** `iommu_test_cmd_check_iotlb` and `check_iotlb_id` are `iommu_test_cmd` and `check_iotlb.id` in C. */
function inC(name: string, field: string): string {
  const struct = allStructs.find((each) => each.name === name);
  const view = struct?.view ?? null;
  if (view === null) return `struct ${name}, ${field}`;
  const head = allStructs.find((each) => each.name === view.of)?.fields ?? {};
  if (field in head) return `struct ${view.of}, ${field}`;
  const own = field.startsWith(`${view.arm}_`) ? field.slice(view.arm.length + 1) : field;
  return `struct ${view.of}, ${view.arm}.${own in head ? own : field}`;
}

const destroyIs = (size: number): string =>
  `_Static_assert(sizeof(struct iommu_destroy) == ${size}, "destroy");`;

describe.runIf(hasCompiler)('the printed header', () => {
  test('compiles by itself without a warning, as C and as C++, and twice in one file', () => {
    expect(compile(['#include "ioasis.h"'])).toBe('');
    expect(compile([], ['-x', 'c++'])).toBe('');
  });

  test("has Linux' sizes and offsets, and a difference would be seen", () => {
    const asserts = Object.entries(recorded.structs).flatMap(([name, { size, fields }]) => {
      const tag = allStructs.find((each) => each.name === name)?.view?.of ?? name;
      return [
        `_Static_assert(sizeof(struct ${tag}) == ${size}, "sizeof ${name}");`,
        ...Object.entries(fields).map(
          ([field, [offset]]) =>
            `_Static_assert(offsetof(${inC(name, field)}) == ${offset}, "${name}.${field}");`,
        ),
      ];
    });
    expect(asserts.length).toBeGreaterThan(450);
    expect(compile(asserts)).toBe('');
    expect(compile(['_Static_assert(offsetof(struct iommu_ioas_map, iova) == 24, "iova");'])).toContain(
      'iova',
    );
  });

  test("R46: has Linux' constants, each call among them, and enums", () => {
    const values = Object.entries(recorded.constants).map(
      ([name, value]) => `_Static_assert((${name}) == ${value}, "${name}");`,
    );
    const tags = Object.keys(allEnums).map((tag) => `extern enum ${tag} a_${tag};`);
    expect(compile([...values, ...tags])).toBe('');
  });

  test("leaves the word to Linux' header of the same guard, and stops it if it comes second", () => {
    const linux = '#ifndef _IOMMUFD_H\n#define _IOMMUFD_H\nstruct iommu_destroy { int theirs; };\n#endif\n';
    writeFileSync(join(folder, 'linux.h'), linux);
    expect(compile([destroyIs(4)], ['-include', join(folder, 'linux.h')])).toBe('');
    expect(compile(['#include "linux.h"', destroyIs(8)])).toBe('');
  });
});
