/** R16, R17, R18: the fault regions of a VFIO device from C: mapped rings and an eventfd, by way of the shim. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { printHeader } from '../../src/wire/header.js';
import { runCli } from './run-cli.js';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;

describe.runIf(hasCompiler)('a vIOMMU that is told of faults by a region of the device', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fault-region-'));
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
    writeFileSync(
      join(folder, 'machine.yaml'),
      `vfioNesting: true
buses:
  pci: { type: pci }
  soc: { type: platform }
devices:
  0000:00:01.0: { bus: pci }
  dma0: { bus: soc, sourceId: 0xf000 }
`,
    );
    const source = join(repoRoot, 'test/cli/fault-region.c');
    const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-I', folder, '-o', join(folder, 'program'), source];
    expect(spawnSync('cc', args, { encoding: 'utf8' }).stderr).toBe('');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([
    ['on PCI', '/dev/vfio/0', '0000:00:01.0'],
    ['on a platform bus', '/dev/vfio/1', 'dma0'],
  ])('fills what is missing %s, without a PASID and with one', { timeout: 60_000 }, (_, group, device) => {
    const args = ['run', '-t', join(folder, 'machine.yaml'), '--', join(folder, 'program'), group, device];
    const { status, stdout, stderr } = runCli(args);
    expect(stderr).not.toMatch(/line|bug/);
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: 'page 0 came in time\npage 1 came in time\n',
    });
  });
});
