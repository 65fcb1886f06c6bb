/** ioasis' own ioctl: what C makes of it, where its number lies, and how a trace shows it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DMA_EXEC, DMA_PRIV, DMA_READ, DMA_WRITE } from '../../src/bus/dma.js';
import { printHeader } from '../../src/wire/header.js';
import { printIoctl } from '../../src/wire/print.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';

const compiler = process.env['CC'] ?? 'cc';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

const C_ASSERTS = `
#include <stddef.h>
#include "ioasis.h"
_Static_assert(IOASIS_DMA == _IO(0xd1, 0), "");
_Static_assert(sizeof(struct ioasis_dma) == 112, "");
_Static_assert(offsetof(struct ioasis_dma, data_uptr) == 40, "");
_Static_assert(offsetof(struct ioasis_dma, out_job) == 72, "");
_Static_assert(offsetof(struct ioasis_dma, out_old) == 104, "");
_Static_assert(sizeof(struct ioasis_dma_segment) == 16, "");
_Static_assert(sizeof(struct ioasis_dma_completion) == 40, "");
_Static_assert(offsetof(struct ioasis_dma_completion, old) == 32, "");
_Static_assert(IOASIS_DMA_OP_COMPARE_AND_SWAP == 8, "");
_Static_assert(VFIO_DEVICE_BIND_IOMMUFD == _IO(';', 118), "");
`;

test.runIf(hasCompiler)('the printed header declares it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ioasis-dma-'));
  writeFileSync(join(folder, 'ioasis.h'), printHeader());
  writeFileSync(join(folder, 'own.c'), C_ASSERTS);
  const args = ['-fsyntax-only', '-Wall', '-Wextra', '-Werror', join(folder, 'own.c')];
  expect(spawnSync(compiler, args, { encoding: 'utf8' }).stderr).toBe('');
  rmSync(folder, { recursive: true });
});

test('its accesses are those of a bus', () => {
  expect(d.IOASIS_DMA_ACCESS_READ).toBe(DMA_READ);
  expect(d.IOASIS_DMA_ACCESS_WRITE).toBe(DMA_WRITE);
  expect(d.IOASIS_DMA_ACCESS_EXEC).toBe(DMA_EXEC);
  expect(d.IOASIS_DMA_ACCESS_PRIV).toBe(DMA_PRIV);
});

test('a trace names operation, flags and outcome', () => {
  const bytes = new Uint8Array(d.ioasis_dma.size);
  const values = { size: 112, flags: 25, op: 2, pasid: 5, iova: 0x1000n, out_state: 2, out_fault_access: 3 };
  d.ioasis_dma.encode(d.ioasis_dma.create(values), bytes);
  const text = printIoctl(d.IOASIS_DMA, bytes);
  for (const part of ['flags=PASID|ATS|PRI', 'op=COPY', 'pasid=5', 'iova=0x1000'])
    expect(text).toContain(part);
  expect(text).toContain('out_state=FAULTED, out_bytes=0x0, out_fault_iova=0x0, out_fault_access=READ|WRITE');
});

test('all of it is described in docs/dma-test.md', () => {
  const text = readFileSync(new URL('../../docs/dma-test.md', import.meta.url), 'utf8');
  const words = new Set(text.match(/\w+/g));
  // The accesses are told by their endings.
  const names = Object.keys(d.declared.constants).map((name) =>
    name.replace(/^IOASIS_DMA_ACCESS(?!_READ)/, ''),
  );
  const fields = Object.keys(d.ioasis_dma.fields).filter((name) => name !== '__reserved');
  expect([...names, ...fields].filter((name) => !words.has(name))).toEqual([]);
});
