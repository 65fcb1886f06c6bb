/** From what people type to what the engine is started with: shared by run and daemon. */
import type { EngineOptions } from '../host/engine.js';
import type { Invocation } from './commands.js';
import type { TraceOutput } from './trace-output.js';

export type CliOptions = Invocation['options'];

/** Options that only say how an engine is made, so they mean nothing to one that already runs. */
const ofTheEngine = ['selftest', 'trace', 'failNth', 'failKind', 'memory', 'holdPins'];

/** The first option, as it is typed, that a running engine cannot follow any more; null if there is none. */
export function engineOnly(options: CliOptions): string | null {
  if (options['lend'] === false) return '--no-lend';
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

/** Options of the table that say how the engine behaves. */
export function engineOptions(options: CliOptions, output: TraceOutput | null): EngineOptions {
  return {
    config: { selftest: options['selftest'] === true },
    ...given('memory', options['memory'] as EngineOptions['memory']),
    ...given('holdPins', options['holdPins'] as boolean | undefined),
    warn: (text) => process.stderr.write(`ioasis: ${text}\n`),
    ...given('failNth', options['failNth'] as number | undefined),
    ...given('failKinds', options['failKind'] as EngineOptions['failKinds']),
    ...given('lend', options['lend'] === false ? false : undefined),
    ...given('trace', output === null ? undefined : output.write),
  };
}

function given<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: T };
}
