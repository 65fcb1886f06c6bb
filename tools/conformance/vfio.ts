/**
 * Linux' VFIO test programs on ioasis, with the scripts that come with them: set up, run, clean up, all under one
 * `ioasis run`. Most of their tests run in each of the five IOMMU modes.
 */
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { runProgram } from '../lib/process.js';
import { parseTap, type TapTest } from '../lib/tap.js';
import type { Verdict } from './judge.js';
import { endingOf, printRun } from './report.js';
import type { SuiteRun } from './table.js';
import type { User } from '../lib/users.js';
import { countModes, judgeVfio } from './vfio-judge.js';
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

/** Of storms: those of each mode, that of one alone, or none because another user has had it. */
export type Storms = 'all' | 'one' | 'none';

/** A run a program. */
export async function runVfio(programs: VfioPrograms, user: User, storms: Storms): Promise<SuiteRun[]> {
  const runs: SuiteRun[] = [];
  for (const program of programs.paths.keys()) {
    const verdicts: Verdict[] = [];
    const tests: TapTest[] = [];
    for (const part of partsOf(program, storms)) {
      const done = await runPart(programs, user, part);
      verdicts.push(...done.verdicts);
      tests.push(...done.tests);
    }
    const modes = countModes(verdicts, tests);
    runs.push({ suite: program, user: user.name, verdicts, sweeps: [], modes });
  }
  return runs;
}

function partsOf(program: string, storms: Storms): Part[] {
  if (storms === 'all' || program !== 'vfio_pci_driver_test') return [{ program, options: [] }];
  const others = { program, options: ['-T', STORM] };
  if (storms === 'none') return [others];
  return [others, { program, options: ['-r', `${program}.iommufd.${STORM}`] }];
}

interface PartRun {
  readonly verdicts: readonly Verdict[];
  readonly tests: readonly TapTest[];
}

async function runPart(programs: VfioPrograms, user: User, part: Part): Promise<PartRun> {
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
    return { verdicts, tests: tap.tests };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
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
