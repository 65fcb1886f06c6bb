/**
 * Manual pages in roff (man macros), made from the command table: `ioasis man` and `ioasis man COMMAND`.
 * Invariant: text of the table is escaped, so nothing in it is taken for a request or an escape.
 */
import {
  about,
  commands,
  environment,
  findCommand,
  operandSpelling,
  optionSpelling,
  type CommandSpec,
  type Example,
  type Invocation,
} from './commands.js';
import { packageVersion } from './package.js';

export async function man({ operands }: Invocation): Promise<number> {
  const name = operands[0];
  const command = name === undefined ? undefined : findCommand(name);
  if (name !== undefined && command === undefined) {
    process.stderr.write(`ioasis: no command ${name}; there are ${commands.map((c) => c.name).join(', ')}\n`);
    return 2;
  }
  process.stdout.write(command === undefined ? mainPage() : commandPage(command));
  return 0;
}

/** ioasis(1). */
export function mainPage(): string {
  return page('ioasis', about.summary, [
    section('SYNOPSIS', ['.B ioasis', '.I command', '[options]']),
    section('DESCRIPTION', paragraphs(about.description)),
    section(
      'COMMANDS',
      commands.flatMap(({ name, summary }) => tagged(bold(name), `${escape(summary)}.`)),
    ),
    section(
      'ENVIRONMENT',
      environment.flatMap(([name, meaning]) => tagged(bold(name), escape(meaning))),
    ),
    section('EXAMPLES', exampleLines(commands.flatMap((command) => command.examples.slice(0, 1)))),
    section('SEE ALSO', [commands.map(({ name }) => `${bold(`ioasis-${name}`)}(1)`).join(',\n')]),
  ]);
}

/** ioasis-COMMAND(1). */
export function commandPage(command: CommandSpec): string {
  const synopsis = [`.B ioasis ${command.name}`, escape(operandSpelling(command))];
  const options = command.options.flatMap((option) => {
    const env = option.env === undefined ? [] : [`Also from the environment variable ${option.env}.`];
    const text = [`${upperFirst(option.summary)}.`, ...(option.detail ? [option.detail] : []), ...env].join(
      ' ',
    );
    return tagged(bold(optionSpelling(option)), escape(text));
  });
  return page(`ioasis-${command.name}`, command.summary, [
    section('SYNOPSIS', synopsis),
    section('DESCRIPTION', paragraphs(command.description)),
    section('OPTIONS', options),
    section(
      'EXIT STATUS',
      command.exits.flatMap(([status, text]) => tagged(bold(status), `${escape(text)}.`)),
    ),
    section('EXAMPLES', exampleLines(command.examples)),
    section('SEE ALSO', [`${bold('ioasis')}(1)`]),
  ]);
}

function page(name: string, summary: string, sections: readonly string[]): string {
  const head = `.TH ${name.toUpperCase()} 1 "" "ioasis ${packageVersion()}" "User Commands"`;
  return [head, '.SH NAME', `${escape(name)} \\- ${escape(summary)}`, ...sections.filter(Boolean), ''].join(
    '\n',
  );
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : [`.SH ${title}`, ...lines].join('\n');
}

const tagged = (term: string, text: string): string[] => ['.TP', term, text];

const paragraphs = (texts: readonly string[]): string[] => texts.flatMap((text) => ['.PP', escape(text)]);

function exampleLines(examples: readonly Example[]): string[] {
  return examples.flatMap(({ text, command }) => [
    '.PP',
    `${escape(text)}:`,
    '.PP',
    '.nf',
    '.RS 4',
    escape(command),
    '.RE',
    '.fi',
  ]);
}

const bold = (text: string): string => `\\fB${escape(text)}\\fR`;

/** A dash is a minus sign (so that options can be copied), a leading dot or quote is no request. */
function escape(text: string): string {
  const plain = text.replace(/\\/g, '\\e').replace(/-/g, '\\-').replace(/'/g, '\\(aq').replace(/~/g, '\\(ti');
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}

function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
