/**
 * Linux' VFIO test programs on ioasis, with the scripts that come with them: set up, run, clean up, all under one
 * `ioasis run`. A row of results is a program in one of the five IOMMU modes; programs without modes have one.
 */
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { runProgram } from '../lib/process.js';
import { parseTap } from '../lib/tap.js';
import type { Verdict } from './judge.js';
import { endingOf, printRun } from './report.js';
import type { SuiteRun } from './table.js';
import type { User } from '../lib/users.js';
import { bytesMoved, byMode, judgeVfio } from './vfio-judge.js';
import type { VfioPrograms } from './vfio-programs.js';

/** The second has virtual functions. */
const topology = `devices:
  0000:00:01.0: { model: ioat }
  0000:00:02.0: { model: ioat, virtualFunctions: 2 }
  0000:00:03.0: { model: ioat }
`;
const [FIRST, WITH_VFS, THIRD] = ['0000:00:01.0', '0000:00:02.0', '0000:00:03.0'] as const;

/** Which devices a program is given. */
const devicesOf: Readonly<Record<string, readonly string[]>> = {
  vfio_pci_device_init_perf_test: [FIRST, WITH_VFS, THIRD],
  vfio_pci_sriov_uapi_test: [WITH_VFS],
};

/** A program with arguments of the kernel's harness: which of its tests to run. */
interface Part {
  readonly program: string;
  readonly options: readonly string[];
}

const STORM = 'memcpy_storm';
const timeoutMs = 20 * 60_000;

export interface VfioRun extends SuiteRun {
  /** By DMA, in storms of copies. */
  readonly bytes: number;
}

/** Of storms: those of each mode, that of one alone, or none because another user has had it. */
export type Storms = 'all' | 'one' | 'none';

export async function runVfio(programs: VfioPrograms, user: User, storms: Storms): Promise<VfioRun[]> {
  const runs: VfioRun[] = [];
  for (const program of programs.paths.keys()) {
    for (const part of partsOf(program, storms)) runs.push(...(await runPart(programs, user, part)));
  }
  return together(runs);
}

/** A storm that was run by itself is one more test of its suite. */
function together(runs: readonly VfioRun[]): VfioRun[] {
  const suites = new Map<string, VfioRun>();
  for (const run of runs) {
    const { verdicts, bytes } = suites.get(run.suite) ?? { verdicts: [], bytes: 0 };
    suites.set(run.suite, { ...run, verdicts: [...verdicts, ...run.verdicts], bytes: bytes + run.bytes });
  }
  return [...suites.values()];
}

function partsOf(program: string, storms: Storms): Part[] {
  if (storms === 'all' || program !== 'vfio_pci_driver_test') return [{ program, options: [] }];
  const others = { program, options: ['-T', STORM] };
  if (storms === 'none') return [others];
  return [others, { program, options: ['-r', `${program}.iommufd.${STORM}`] }];
}

async function runPart(programs: VfioPrograms, user: User, part: Part): Promise<VfioRun[]> {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-'));
  chmodSync(folder, 0o755);
  try {
    const command = user.command(
      ['--topology', join(folder, 'topology.yaml')],
      script(folder, programs, part),
    );
    const result = await runProgram(command, { env: user.env, timeoutMs });
    const tap = parseTap(result.output);
    const verdicts = judgeVfio(tap, endingOf(result));
    printRun([part.program, ...part.options].join(' '), user.name, verdicts, result);
    return [...byMode(verdicts)].map(([mode, of]) => runOf(part.program, mode, user, of, tap.tests));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runOf(
  program: string,
  mode: string,
  user: User,
  verdicts: readonly Verdict[],
  tests: Parameters<typeof bytesMoved>[0],
): VfioRun {
  const names = new Set(verdicts.map(({ name }) => name));
  const bytes = bytesMoved(tests.filter(({ name }) => names.has(name)));
  const suite = mode === '' ? program : `${program}/${mode}`;
  return { suite, user: user.name, verdicts, sweeps: [], bytes };
}

/** Puts everything that a run needs into `folder`, where every user can read it; returns what to run. */
function script(folder: string, { paths, scripts }: VfioPrograms, { program, options }: Part): string {
  writeFileSync(join(folder, 'topology.yaml'), topology, { mode: 0o644 });
  for (const path of [paths.get(program)!, ...scripts]) {
    const copy = join(folder, basename(path));
    copyFileSync(path, copy);
    chmodSync(copy, 0o755);
  }
  const devices = (devicesOf[program] ?? [FIRST]).join(' ');
  const lines = [
    '#!/bin/bash',
    'TMPDIR=$(mktemp -d) || exit 1',
    'export TMPDIR',
    `here=${folder}`,
    `bash $here/setup.sh ${devices} >&2 || exit 1`,
    `bash $here/run.sh $here/${program} ${options.join(' ')}`,
    'status=$?',
    'bash $here/cleanup.sh >&2 || status=1',
    'rmdir $TMPDIR',
    'exit $status',
  ];
  const file = join(folder, 'all.sh');
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o755 });
  return file;
}
