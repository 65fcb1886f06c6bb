/** From what people type to what the engine is started with: shared by run and daemon. */
import type { EngineOptions } from '../host/engine.js';
import type { Invocation } from './commands.js';
import type { Topology } from '../index.js';
import type { TraceOutput } from './trace-output.js';

export type CliOptions = Invocation['options'];

/** Options that only say how an engine is made, so they mean nothing to one that already runs. */
const ofTheEngine = [
  'topology',
  'profile',
  'dmesg',
  'selftest',
  'trace',
  'failNth',
  'failKind',
  'memory',
  'holdPins',
];

/** The first option, as it is typed, that a running engine cannot follow any more; null if there is none. */
export function engineOnly(options: CliOptions): string | null {
  if (options['lend'] === false) return '--no-lend';
  if (options['checkStale'] === false) return '--no-check-stale';
  if (options['trap'] === false) return '--no-trap';
  const found = ofTheEngine.find((name) => options[name] !== undefined);
  return found === undefined ? null : `--${found.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Starts what --trace asks for; null without it. */
export async function traceOutput(options: CliOptions): Promise<TraceOutput | null> {
  const file = options['trace'] as string | undefined;
  if (file === undefined) return null;
  const { openTrace } = await import('./trace-output.js');
  return openTrace(file, (options['traceFormat'] as string | undefined) ?? 'text');
}

/**
 * The machine that --topology or --profile names, for the engine's configuration; undefined without them. Null: it cannot
 * be had, and standard error says why.
 */
export async function topologyOf(options: CliOptions): Promise<Topology | null | undefined> {
  const file = options['topology'] as string | undefined;
  const profile = options['profile'] as string | undefined;
  if (file === undefined && profile === undefined) return undefined;
  if (file !== undefined && profile !== undefined) {
    process.stderr.write('ioasis: a machine is made from --topology or from --profile, not from both\n');
    return null;
  }
  const { readTopology, TopologyFileError } = await import('../topology/read.js');
  const path = file ?? (await import('../topology/profiles.js')).profileFile(profile as string);
  try {
    return readTopology(path);
  } catch (error) {
    if (!(error instanceof TopologyFileError)) throw error;
    // As compilers say it, so that editors find the place.
    process.stderr.write(`${error.message}\n`);
    return null;
  }
}

/** Options of the table that say how the engine behaves; `log` gets the lines of the kernel's log. */
export function engineOptions(
  options: CliOptions,
  output: TraceOutput | null,
  topology: Topology | undefined,
  log: string[] | null = null,
): EngineOptions {
  const selftest = options['selftest'] === true || namesSelftest(topology);
  return {
    config: { selftest, checkStale: options['checkStale'] !== false, ...given('topology', topology) },
    ...given('onEvent', topology === undefined ? undefined : eventSink(output, log)),
    ...given('memory', options['memory'] as EngineOptions['memory']),
    ...given('holdPins', options['holdPins'] as boolean | undefined),
    ...given('traps', options['trap'] === false ? false : undefined),
    warn: (text) => process.stderr.write(`ioasis: ${text}\n`),
    ...given('failNth', options['failNth'] as number | undefined),
    ...given('failKinds', options['failKind'] as EngineOptions['failKinds']),
    ...given('lend', options['lend'] === false ? false : undefined),
    ...given('trace', output === null ? undefined : output.write),
  };
}

function eventSink(output: TraceOutput | null, log: string[] | null): EngineOptions['onEvent'] {
  if (output === null && log === null) return undefined;
  return (record) => {
    output?.writeEvent(record);
    if (record.event.kind === 'log') log?.push(record.event.text);
  };
}

const namesSelftest = (topology: Topology | undefined): boolean =>
  Object.values(topology?.units ?? {}).some(({ type }) => type === 'selftest');

function given<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: T };
}
