/**
 * What stands behind `npm run TOOL --`. A tool says which options it knows; anything else is answered with one line and
 * exit code 2, and nothing is run.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;

const misusedExit = 2;

/** Ends the process: it was called in a way that it does not know. */
export function misused(message: string): never {
  process.stderr.write(`${message}\n`);
  return process.exit(misusedExit);
}

/** Options by name, and what is none if the tool takes that. */
export function readArguments<const T extends Options>(
  options: T,
  takesOthers = false,
): ReturnType<typeof parseArgs<{ options: T; allowPositionals: boolean }>> {
  try {
    return parseArgs({ options, allowPositionals: takesOthers });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('ERR_PARSE_ARGS_') !== true) throw error;
    const known = Object.keys(options).map((name) => `--${name}`);
    // Behind the first sentence Node explains its own rules.
    return misused(`${message.split('. ')[0]}; options: ${known.join(', ') || 'none'}`);
  }
}

/** A whole number from 0 on. */
export function readCount(what: string, text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : misused(`${what}: "${text}" is no number`);
}
