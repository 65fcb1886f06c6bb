/**
 * What iommufd_fail_nth reached, from the trace of its run: each test sweeps in a process of its own and runs alone,
 * so the processes in which a failure was injected are, in order, the tests.
 */
import type { Verdict } from './judge.js';

/** Fewer points than this would mean that the engine asks for failure at too few places. */
const fewestPoints = 15;

export interface Sweep {
  readonly test: string;
  /** The site that failed, one a point swept, in order. */
  readonly sites: readonly string[];
}

/** The fields of a trace event that matter here; see docs/trace.schema.json. */
interface TraceEvent {
  readonly pid?: number;
  readonly injected?: string;
}

/** The injected failures of a JSON trace, by process, in order of the first. */
export function sitesByProcess(trace: string): string[][] {
  const processes = new Map<number, string[]>();
  for (const line of trace.split('\n')) {
    if (line === '') continue;
    const { pid, injected } = JSON.parse(line) as TraceEvent;
    if (pid === undefined || injected === undefined || injected === '') continue;
    const sites = processes.get(pid) ?? [];
    sites.push(injected);
    processes.set(pid, sites);
  }
  return [...processes.values()];
}

/** Gives each test its sweep. A test without one has an empty list. */
export function sweepsOf(tests: readonly string[], processes: readonly (readonly string[])[]): Sweep[] {
  return tests.map((test, index) => ({ test, sites: processes[index] ?? [] }));
}

/** `verdicts` where a test that passed fails after all if its sweep was too short. */
export function judgeSweeps(verdicts: readonly Verdict[], sweeps: readonly Sweep[]): Verdict[] {
  return verdicts.map((verdict) => {
    const points = sweeps.find((sweep) => sweep.test === verdict.name)?.sites.length ?? 0;
    if (verdict.verdict !== 'passed' || points >= fewestPoints) return verdict;
    return {
      ...verdict,
      verdict: 'failed',
      why: `only ${points} points swept, at least ${fewestPoints} expected`,
    };
  });
}
