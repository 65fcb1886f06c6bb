/** Completion scripts of bash, zsh and fish, made from the command table. */
import {
  commands,
  profileNames,
  type CommandSpec,
  type Invocation,
  type OperandSpec,
  type OptionSpec,
} from './commands.js';

const shells: Readonly<Record<string, () => string>> = { bash, zsh, fish };

export async function completion({ operands }: Invocation): Promise<number> {
  const script = shells[operands[0] ?? ''];
  if (script === undefined) {
    process.stderr.write(
      `ioasis: no completion for ${operands[0]}; there are ${Object.keys(shells).join(', ')}\n`,
    );
    return 2;
  }
  process.stdout.write(script());
  return 0;
}

/** The script for `shell`; undefined if there is none. */
export function completionScript(shell: string): string | undefined {
  return shells[shell]?.();
}

function switches(option: OptionSpec): string[] {
  return option.negatable === true ? [`--${option.name}`, `--no-${option.name}`] : [`--${option.name}`];
}

/** The same with the letter. */
function spellings(option: OptionSpec): string[] {
  return option.short === undefined ? switches(option) : [...switches(option), `-${option.short}`];
}

/** Fixed words that an operand can be. */
function operandWords(operand: OperandSpec): string[] {
  if (operand.kind === 'command') return commands.map((command) => command.name);
  if (operand.kind === 'profile') return [...profileNames];
  if (operand.kind === 'shell') return Object.keys(shells);
  return [];
}

const takesValue = (option: OptionSpec): boolean => option.value !== undefined && option.bare === undefined;

// ---- bash ----

function bash(): string {
  const names = commands.map((command) => command.name).join(' ');
  return `# bash completion for ioasis
_ioasis() {
  local cur=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${names} help --help --version" -- "$cur")
    return
  fi
  case $command in
${commands.map(bashCommand).join('\n')}
    help) mapfile -t COMPREPLY < <(compgen -W "${names}" -- "$cur") ;;
  esac
}
complete -F _ioasis -o bashdefault -o default ioasis
`;
}

function bashCommand(command: CommandSpec): string {
  const withValue = command.options.filter(takesValue);
  const words = ['--help', ...command.options.flatMap(spellings)].join(' ');
  const operands = command.operands.flatMap(operandWords).join(' ');
  const lines = [`    ${command.name})`];
  if (command.passThrough === true) lines.push(bashProgram(withValue));
  const values = withValue.filter((option) => option.choices !== undefined);
  if (values.length > 0) {
    lines.push('      case $previous in');
    for (const option of values) {
      const { choices = [] } = option;
      lines.push(
        `        ${spellings(option).join('|')}) mapfile -t COMPREPLY < <(compgen -W "${choices.join(' ')}" -- "$cur"); return ;;`,
      );
    }
    lines.push('      esac');
  }
  lines.push(`      if [[ $cur == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "${words}" -- "$cur")`);
  if (command.operands.some((operand) => operand.kind === 'program')) {
    lines.push('      else mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")');
  } else if (operands !== '') {
    lines.push(`      else mapfile -t COMPREPLY < <(compgen -W "${operands}" -- "$cur")`);
  }
  lines.push('      fi ;;');
  return lines.join('\n');
}

/** After the program the words are the program's: its own completion answers, where bash-completion is loaded. */
function bashProgram(withValue: readonly OptionSpec[]): string {
  const names = withValue.flatMap(spellings).join('|');
  return `      local i=2
      while [[ $i -lt $COMP_CWORD ]]; do
        case \${COMP_WORDS[i]} in
          ${names}) i=$((i + 2)) ;;
          --) i=$((i + 1)); break ;;
          -*) i=$((i + 1)) ;;
          *) break ;;
        esac
      done
      if [[ $i -lt $COMP_CWORD ]]; then
        if declare -F _command_offset >/dev/null; then _command_offset $i; fi
        return
      fi`;
}

// ---- zsh ----

function zsh(): string {
  const list = commands.map(({ name, summary }) => `    ${quote(`${name}:${summary}`)}`).join('\n');
  return `#compdef ioasis
# zsh completion for ioasis
_ioasis() {
  local -a names
  names=(
${list}
    'help:print the help of a command'
  )
  if (( CURRENT == 2 )); then
    _describe -t commands 'ioasis command' names
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${commands.map(zshCommand).join('\n')}
    help) _describe -t commands 'ioasis command' names ;;
  esac
}
if [[ $funcstack[1] == _ioasis ]]; then _ioasis "$@"; else compdef _ioasis ioasis; fi
`;
}

function zshCommand(command: CommandSpec): string {
  const options = command.options.flatMap((option) => {
    const text = option.summary.replace(/[[\]:]/g, '\\$&');
    return spellings(option).map((name) => {
      if (option.value === undefined) return quote(`${name}[${text}]`);
      const form = option.bare === undefined ? name : `${name}=-`;
      const colons = option.bare === undefined ? ':' : '::';
      return quote(`${form}[${text}]${colons}${option.value}:${zshValue(option)}`);
    });
  });
  const operands = command.operands.map((operand, index) => quote(zshOperand(command, operand, index + 1)));
  const words = [quote('--help[print the help of this command]'), ...options, ...operands];
  return `    ${command.name})\n      _arguments -S ${words.join(' \\\n        ')} ;;`;
}

function zshValue(option: OptionSpec): string {
  if (option.kind === 'choices') return `_sequence compadd - ${option.choices?.join(' ')}`;
  if (option.choices !== undefined) return `(${option.choices.join(' ')})`;
  return option.kind === 'file' || option.kind === 'path' ? '_files' : ' ';
}

function zshOperand(command: CommandSpec, operand: OperandSpec, place: number): string {
  const colons = operand.optional === true ? '::' : ':';
  if (command.passThrough === true) return `*::${operand.name}:_normal`;
  if (operand.kind === 'program') return `${place}${colons}${operand.name}:_command_names -e`;
  return `${place}${colons}${operand.name}:(${operandWords(operand).join(' ')})`;
}

const quote = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`;

// ---- fish ----

function fish(): string {
  const lines = [
    '# fish completion for ioasis',
    'complete -c ioasis -e',
    'complete -c ioasis -n __fish_use_subcommand -f -l version -d "print the version"',
    'complete -c ioasis -n __fish_use_subcommand -f -a help -d "print the help of a command"',
    `complete -c ioasis -n "__fish_seen_subcommand_from help" -f -a "${commands.map(({ name }) => name).join(' ')}"`,
  ];
  for (const command of commands) {
    lines.push(
      `complete -c ioasis -n __fish_use_subcommand -f -a ${command.name} -d ${fishQuote(command.summary)}`,
    );
    const when = `-n "__fish_seen_subcommand_from ${command.name}"`;
    for (const option of command.options) lines.push(...fishOption(when, option));
    for (const operand of command.operands) lines.push(fishOperand(when, operand));
  }
  return `${lines.join('\n')}\n`;
}

function fishOption(when: string, option: OptionSpec): string[] {
  return switches(option).map((name) => {
    const value = takesValue(option) ? fishValue(option) : ' -f';
    const letter = option.short === undefined ? '' : ` -s ${option.short}`;
    return `complete -c ioasis ${when}${letter} -l ${name.slice(2)}${value} -d ${fishQuote(option.summary)}`;
  });
}

function fishValue(option: OptionSpec): string {
  if (option.choices !== undefined) return ` -x -a "${option.choices.join(' ')}"`;
  return option.kind === 'path' || option.kind === 'file' ? ' -r -F' : ' -x';
}

function fishOperand(when: string, operand: OperandSpec): string {
  const words = operandWords(operand);
  if (words.length > 0) return `complete -c ioasis ${when} -f -a "${words.join(' ')}"`;
  if (operand.kind === 'program') return `complete -c ioasis ${when} -a "(__fish_complete_subcommand)"`;
  return `complete -c ioasis ${when} -f`;
}

const fishQuote = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;
