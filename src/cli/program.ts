/**
 * commander's commands, made from the table in commands.ts.
 * Invariant: nothing here knows a command or an option by name.
 */
import { Command, CommanderError, Help, InvalidArgumentError, Option } from 'commander';
import {
  about,
  commands,
  operandSpelling,
  optionSpelling,
  type CommandSpec,
  type OptionSpec,
} from './commands.js';
import { packageVersion } from './package.js';

/** ioasis was called wrongly. */
const usageStatus = 2;
/** The same for `run`, whose other numbers belong to the program. */
const runUsageStatus = 125;

/** Where help goes; colours are the caller's business, through `hasColors`. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  readonly columns: number;
}

/** Parses `args` (without node and script), runs the command and returns the exit status. */
export async function runProgram(args: readonly string[], output: Output): Promise<number> {
  let status = 0;
  const program = buildProgram(output, (code) => (status = code));
  const spec = commands.find((command) => command.name === args[0]);
  const spelled = spec === undefined ? [...args] : [spec.name, ...spellOutBare(args.slice(1), spec)];
  try {
    await program.parseAsync(spelled, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    return spec?.passThrough === true ? runUsageStatus : usageStatus;
  }
  return status;
}

/** Every command with its options; `done` gets the status of the one that ran. */
export function buildProgram(output: Output, done: (status: number) => void): Command {
  const program = new Command('ioasis');
  prepare(program, output);
  program
    .description(`ioasis: ${about.summary}`)
    .usage('<command> [options]')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this, or the help of a command')
    .helpCommand('help [command]', 'print the help of a command')
    .enablePositionalOptions();
  for (const spec of commands) addCommand(program, spec, output, done);
  program.addHelpText('after', '\nMore: ioasis help <command>, ioasis man [command] | man -l -');
  return program;
}

function addCommand(
  program: Command,
  spec: CommandSpec,
  output: Output,
  done: (status: number) => void,
): void {
  const command = program.command(spec.name);
  prepare(command, output);
  command
    .summary(spec.summary)
    .description(`ioasis ${spec.name}: ${spec.summary}`)
    .usage(operandSpelling(spec))
    .helpOption('-h, --help', 'print this');
  for (const operand of spec.operands) {
    command.argument(operand.optional === true ? `[${operand.name}]` : `<${operand.name}>`, operand.summary);
  }
  if (spec.passThrough === true) command.argument('[args...]').passThroughOptions();
  for (const option of spec.options) addOption(command, option);
  command.addHelpText('after', afterHelp(spec));
  command.action(async () => {
    const action = await spec.load();
    done(await action({ options: command.opts(), operands: command.args }));
  });
}

function prepare(command: Command, output: Output): void {
  command.createHelp = () => new TableHelp();
  command
    .exitOverride()
    .configureOutput({
      writeOut: output.out,
      writeErr: output.err,
      getOutHelpWidth: () => output.columns,
      getErrHelpWidth: () => output.columns,
      outputError: (text, write) => write(text.replace(/^error: /, 'ioasis: ')),
    })
    .showSuggestionAfterError();
}

function addOption(command: Command, spec: OptionSpec): void {
  const letter = spec.short === undefined ? '' : `-${spec.short}, `;
  const value = spec.value === undefined ? '' : ` <${spec.value}>`;
  const option = new Option(`${letter}--${spec.name}${value}`, spec.summary);
  spellings.set(option, optionSpelling(spec));
  if (spec.env !== undefined) environments.set(option, spec.env);
  const convert = converter(spec);
  if (convert !== null) option.argParser(convert);
  if (spec.negatable === true) option.default(true);
  command.addOption(option);
  if (spec.negatable === true) command.addOption(new Option(`--no-${spec.name}`).hideHelp());
}

/** How the table writes an option; commander's own spelling of optional values invites `--trace program`. */
const spellings = new WeakMap<Option, string>();
/** Environment variables that a command itself looks at. */
const environments = new WeakMap<Option, string>();

class TableHelp extends Help {
  override subcommandTerm(command: Command): string {
    return command.name();
  }

  override optionTerm(option: Option): string {
    return spellings.get(option) ?? option.flags;
  }

  override optionDescription(option: Option): string {
    const env = environments.get(option);
    return env === undefined ? option.description : `${option.description} [env: ${env}]`;
  }

  override visibleArguments(command: Command): ReturnType<Help['visibleArguments']>[number][] {
    return [...super.visibleArguments(command)].filter((argument) => argument.description !== '');
  }
}

function converter(spec: OptionSpec): ((text: string) => unknown) | null {
  const choices = spec.choices ?? [];
  switch (spec.kind) {
    case 'seconds':
      return (text) => number(text, /^\d+(\.\d+)?$/, 'a number of seconds above 0');
    case 'count':
      return (text) => number(text, /^\d+$/, 'a whole number above 0');
    case 'choice':
      return (text) => member(text, choices);
    case 'choices':
      return (text) => text.split(',').map((word) => member(word, choices));
    default:
      return null;
  }
}

function number(text: string, form: RegExp, what: string): number {
  const value = Number(text);
  if (!form.test(text) || value <= 0 || !Number.isFinite(value)) {
    throw new InvalidArgumentError(`It has to be ${what}.`);
  }
  return value;
}

function member(word: string, choices: readonly string[]): string {
  if (choices.includes(word)) return word;
  throw new InvalidArgumentError(`It has to be one of ${choices.join(', ')}.`);
}

/**
 * Writes `--trace` as `--trace=-`, up to the first operand: so a value is only ever what stands after `=`, and
 * `ioasis run --trace program` runs `program`.
 */
function spellOutBare(args: readonly string[], spec: CommandSpec): string[] {
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === '--' || !arg.startsWith('-')) return [...out, ...args.slice(i)];
    const option = spec.options.find(({ name, short }) => arg === `--${name}` || arg === `-${short}`);
    out.push(option?.bare === undefined ? arg : `${arg}=${option.bare}`);
    const takesNext = option?.value !== undefined && option.bare === undefined;
    if (takesNext && i + 1 < args.length) out.push(args[++i] as string);
  }
  return out;
}

function afterHelp(spec: CommandSpec): string {
  const lines: string[] = [];
  if (spec.exits.length > 1) {
    lines.push('', 'Exit status:');
    for (const [status, meaning] of spec.exits) lines.push(`  ${status.padEnd(6)} ${meaning}`);
  }
  lines.push('', 'Examples:');
  const width = Math.max(...spec.examples.map((example) => example.command.length));
  for (const { text, command } of spec.examples) lines.push(`  ${command.padEnd(width)}  # ${text}`);
  return lines.join('\n');
}
