/**
 * What a VFIO test program printed, as verdicts. With the devices that it is given here no test has a reason to skip, but
 * for want of huge pages, so any other skip is a failure.
 */
import type { Tap, TapTest } from '../lib/tap.js';
import { judgeEnding, type Verdict } from './judge.js';

/** As the library of the test programs calls them; a name before those that it begins with. */
const modes = [
  'vfio_type1v2_iommu',
  'vfio_type1_iommu',
  'iommufd_compat_type1v2',
  'iommufd_compat_type1',
  'iommufd',
];

/** What the test prints when mmap has no huge pages for it. */
const NO_MEMORY = 'mmap() failed: ';

export function judgeVfio(tap: Tap, ending: string): Verdict[] {
  const verdicts = tap.tests.map(verdictOf);
  const missing = Math.max(0, (tap.planned ?? 1) - verdicts.length);
  for (let n = 0; n < missing; n++) {
    const name = `test ${verdicts.length + 1} of ${tap.planned ?? '?'}`;
    verdicts.push({ name, verdict: 'failed', why: 'did not run', output: tap.rest });
  }
  return judgeEnding(verdicts, ending, tap.rest);
}

function verdictOf({ name, outcome, reason, output }: TapTest): Verdict {
  if (outcome === 'pass') return { name, verdict: 'passed', why: '', output: [] };
  if (outcome === 'fail') return { name, verdict: 'failed', why: 'failed', output };
  if (name.includes('_hugetlb_') && reason.startsWith(NO_MEMORY)) {
    const size = name.includes('_1gb') ? '1 GiB' : '2 MiB';
    return { name, verdict: 'skipped', why: `no huge pages of ${size} on this machine`, output: [] };
  }
  return { name, verdict: 'failed', why: `skipped: ${reason}`, output };
}

/** What became of the tests of one IOMMU mode. */
export interface ModeCount {
  /** Empty for tests that have none. */
  readonly mode: string;
  readonly tests: number;
  readonly passed: number;
  /** By DMA, in storms of copies that passed. */
  readonly bytes: number;
}

function modeOf({ name }: { readonly name: string }): string {
  const variant = name.split('.')[1] ?? '';
  return modes.find((each) => variant === each || variant.startsWith(`${each}_`)) ?? '';
}

/** By IOMMU mode, those that have tests. `tests` are what the verdicts are about. */
export function countModes(verdicts: readonly Verdict[], tests: readonly TapTest[]): ModeCount[] {
  const counts: ModeCount[] = [];
  for (const mode of [...modes, '']) {
    const of = verdicts.filter((verdict) => modeOf(verdict) === mode);
    if (of.length === 0) continue;
    const passed = of.filter(({ verdict }) => verdict === 'passed').length;
    const bytes = bytesMoved(tests.filter((test) => modeOf(test) === mode));
    counts.push({ mode, tests: of.length, passed, bytes });
  }
  return counts;
}

/** Storms say how many copies of which size they start, and then check that all are done. */
function bytesMoved(tests: readonly TapTest[]): number {
  let bytes = 0;
  for (const { outcome, output } of tests) {
    const storm = /^Kicking off (\d+) memcpys of size 0x([0-9a-f]+)$/m.exec(output.join('\n'));
    if (outcome === 'pass' && storm !== null) bytes += Number(storm[1]) * parseInt(storm[2]!, 16);
  }
  return bytes;
}
