/** Help, manual pages and completions are made from one table: each has to know every command and option of it. */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { commands, optionSpelling, type CommandSpec } from '../../src/cli/commands.js';
import { completionScript } from '../../src/cli/completion.js';
import { commandPage, mainPage } from '../../src/cli/man.js';
import { buildProgram } from '../../src/cli/program.js';

const names = commands.map((command) => command.name);
const silent = { out: () => {}, err: () => {}, columns: 100 };

function helpOf(name: string | null): string {
  const program = buildProgram(silent, () => {});
  const command = name === null ? program : program.commands.find((candidate) => candidate.name() === name);
  return command?.helpInformation() ?? '';
}

/** The names of options as they are typed. */
function switchesOf(command: CommandSpec): string[] {
  return command.options.flatMap((option) =>
    option.negatable === true ? [`--${option.name}`, `--no-${option.name}`] : [`--${option.name}`],
  );
}

/** Runs `script` in `shell`; null where the machine has no such shell. */
function inShell(shell: string, args: readonly string[], script: string): string | null {
  const { error, stdout, stderr, status } = spawnSync(shell, args, { input: script, encoding: 'utf8' });
  if (error !== undefined) return null;
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}

/** What bash offers for the last of `words`. */
const complete = (...words: string[]): string[] => {
  const script = `${completionScript('bash')}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_ioasis; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return (inShell('bash', ['--norc'], script) ?? '').trim().split('\n');
};

describe('help', () => {
  test('the short help lists every command on one screen', () => {
    const help = helpOf(null);
    for (const command of commands)
      expect(help).toContain(`\n  ${command.name.padEnd(13)}  ${command.summary}\n`);
    expect(help.split('\n').length).toBeLessThanOrEqual(24);
    expect(help).toMatchSnapshot();
  });

  test.each(commands)('the help of $name lists its options', (command) => {
    const help = helpOf(command.name);
    for (const option of command.options) expect(help).toContain(`  ${optionSpelling(option)} `);
    expect(help).toMatchSnapshot();
  });
});

describe('man', () => {
  test('ioasis(1) lists every command', () => {
    for (const name of names) expect(mainPage()).toContain(`\\fB${name}\\fR`);
    expect(mainPage()).toMatchSnapshot();
  });

  test.each(commands)('the page of $name has its options and exit statuses', (command) => {
    const page = commandPage(command);
    const plain = page.replaceAll('\\-', '-').replaceAll('\\(aq', "'");
    for (const option of command.options) expect(plain).toContain(`\\fB${optionSpelling(option)}\\fR`);
    for (const [status] of command.exits) expect(plain).toContain(`\\fB${status}\\fR`);
  });

  test.each([...names, null])('groff has nothing to complain about in the page of %s', (name) => {
    const command = commands.find((candidate) => candidate.name === name);
    const page = command === undefined ? mainPage() : commandPage(command);
    const text = inShell('groff', ['-man', '-Tutf8', '-ww', '-P-cbou'], page);
    if (text !== null) expect(text).toContain('SEE ALSO');
  });

  test('text that looks like a request is text', () => {
    const spec: CommandSpec = { ...(commands[0] as CommandSpec), description: [".so /etc/passwd\\n'x"] };
    expect(commandPage(spec)).toContain('\n\\&.so /etc/passwd\\en\\(aqx\n');
  });
});

describe('completion', () => {
  test.each(['bash', 'zsh', 'fish'])('%s knows every command and option', (shell) => {
    const script = completionScript(shell) ?? '';
    for (const command of commands) {
      expect(script).toContain(command.name);
      for (const name of switchesOf(command)) {
        expect(script).toContain(shell === 'fish' ? `-l ${name.slice(2)} ` : name);
      }
    }
  });

  test.each([
    ['bash', '-nc'],
    ['zsh', '-nc'],
    ['fish', '-nc'],
  ])('%s accepts its script', (shell, parseOnly) => {
    inShell(shell, [parseOnly, completionScript(shell) ?? ''], '');
  });

  test('bash completes commands, options and values', () => {
    expect(complete('ioasis', 'd')).toEqual(['daemon', 'dump', 'dmesg', 'doctor', 'demo']);
    expect(complete('ioasis', 'run', '--profile', 'vtd-3')).toEqual(['vtd-39bit']);
    expect(complete('ioasis', 'profiles', 'sh')).toEqual(['shared-group']);
    expect(complete('ioasis', 'run', '--fail')).toEqual(['--fail-nth', '--fail-kind']);
    expect(complete('ioasis', 'run', '--memory', 'v')).toEqual(['verbs']);
    expect(complete('ioasis', 'completion', 'z')).toEqual(['zsh']);
    expect(complete('ioasis', 'man', 'ru')).toEqual(['run', 'rules']);
  });

  test('after the program of run, bash offers nothing of ours', () => {
    expect(complete('ioasis', 'run', '--timeout', '3', 'prog', '--fail')).toEqual(['']);
    expect(complete('ioasis', 'run', '--', 'prog', '--fail')).toEqual(['']);
    expect(complete('ioasis', 'run', '-t', 'x.yaml', 'prog', '--fail')).toEqual(['']);
  });
});
