/**
 * Every command and option, as data. commander, --help, the man pages and the completions of three shells are made
 * from this table, so none of them can know an option that the others do not.
 * Invariant: importing this file loads no command; an action is imported when its command runs.
 */

/** How a value is checked and converted; what `complete` offers follows from it too. */
export type ValueKind = 'text' | 'file' | 'path' | 'seconds' | 'count' | 'choice' | 'choices';

export interface OptionSpec {
  /** Without dashes. */
  readonly name: string;
  /** One letter, without a dash. */
  readonly short?: string;
  /** What stands for the value in help: absent for a switch. */
  readonly value?: string;
  readonly kind?: ValueKind;
  readonly choices?: readonly string[];
  /** The value may be left out (`--trace` or `--trace=FILE`); this is then its value. */
  readonly bare?: string;
  /** `--no-NAME` exists too, and the switch is on unless that is given. */
  readonly negatable?: boolean;
  /** The environment variable that the command looks at when the option is not given. */
  readonly env?: string;
  /** One line, no full stop. */
  readonly summary: string;
  /** More, for the man page: whole sentences. */
  readonly detail?: string;
}

export interface OperandSpec {
  readonly name: string;
  readonly kind: 'program' | 'command' | 'shell' | 'rule' | 'profile' | 'device' | 'address';
  readonly optional?: boolean;
  readonly summary: string;
}

export interface Example {
  readonly text: string;
  readonly command: string;
}

/** What an action gets: options by camelCase name, operands, and everything after the program. */
export interface Invocation {
  readonly options: Readonly<Record<string, unknown>>;
  readonly operands: readonly string[];
}

/** Returns the exit status. */
export type Action = (invocation: Invocation) => Promise<number>;

export interface CommandSpec {
  readonly name: string;
  /** One line, no full stop. */
  readonly summary: string;
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly operands: readonly OperandSpec[];
  /** Options end at the first operand; the rest belongs to the program. */
  readonly passThrough?: boolean;
  readonly options: readonly OptionSpec[];
  readonly exits: readonly (readonly [status: string, meaning: string])[];
  readonly examples: readonly Example[];
  readonly load: () => Promise<Action>;
}

/** Files in examples/topologies; named here so that help and completion need not look. */
export const profileNames = [
  'ioat',
  'no-ats',
  'no-coherency',
  'no-dirty-tracking',
  'nvme',
  'platform',
  'reserved-windows',
  'shared-group',
  'vtd',
  'vtd-39bit',
  'vtd-57bit',
  'vtd-legacy-like',
] as const;

const topologyOptions: readonly OptionSpec[] = [
  {
    name: 'topology',
    short: 't',
    value: 'FILE',
    kind: 'path',
    summary: 'build the machine that FILE describes: IOMMUs, buses, devices',
    detail:
      'YAML or JSON; docs/topology.md says what can be in it, docs/topology.schema.json lets editors complete it. ' +
      'Without it there are no devices. An empty file is a machine with one VT-d unit and one device.',
  },
  {
    name: 'profile',
    value: 'NAME',
    kind: 'choice',
    choices: profileNames,
    summary: 'the same with a topology that comes with ioasis; see ioasis profiles',
  },
];

const checkStaleOption: OptionSpec = {
  name: 'check-stale',
  negatable: true,
  summary: 'find stale translations of tables that the program writes itself (default)',
  detail:
    'An IOMMU may go on using a translation after the table has changed, until it is told. That is reported with ' +
    '--trace. Tables of ioasis are watched at no cost; those in the memory of a program change without a trace, so ' +
    'every cached translation is compared with them when it is used. --no-check-stale leaves that out.',
};

const engineOptions: readonly OptionSpec[] = [
  {
    name: 'selftest',
    summary: "offer the kernel's mock IOMMU and IOMMU_TEST_CMD",
    detail:
      'What a kernel built with CONFIG_IOMMUFD_TEST offers: mock devices, and the calls by which ' +
      'tools/testing/selftests/iommu makes, checks and breaks them.',
  },
  {
    name: 'lend',
    negatable: true,
    summary: 'answer capability checks as if the program were privileged (default)',
    detail:
      'An ordinary user has a small RLIMIT_MEMLOCK and no capabilities. With --lend ioasis answers as Linux ' +
      'answers root, until the program drops a capability itself. With --no-lend the limits are those of the user.',
  },
  {
    name: 'memory',
    value: 'MODE',
    kind: 'choice',
    choices: ['direct', 'verbs'],
    summary: "how the program's memory is reached: direct, verbs",
    detail:
      'direct: process_vm_readv and process_vm_writev, with the shim as the fallback. ' +
      'verbs: always ask the shim, as where a container forbids those calls.',
  },
  {
    name: 'trap',
    negatable: true,
    summary: 'let programs map the registers of devices (default on x86-64)',
    detail:
      'Loads from mapped registers are plain loads; each store is a fault, which the shim carries out. ' +
      'With --no-trap, and on other machines, such regions can be read and written, and cannot be mapped.',
  },
  {
    name: 'hold-pins',
    summary: 'keep pinned private memory for devices after the program has unmapped it',
    detail:
      'As Linux does, by io_uring, which takes some microseconds for every copy, and where the program is not ' +
      'privileged at most RLIMIT_MEMLOCK. Without it such memory is found by its address: a device meets an error ' +
      'after the program has unmapped it or ended, and what lies there now if it was put to another use.',
  },
];

const socketOption: OptionSpec = {
  name: 'socket',
  value: 'PATH',
  kind: 'path',
  env: 'IOASIS_SOCKET',
  summary: 'socket of a daemon that is already running',
  detail: 'The run then shares the engine, its devices and its memory identities with other programs.',
};

const traceOptions: readonly OptionSpec[] = [
  {
    name: 'trace',
    value: 'FILE',
    kind: 'file',
    bare: '-',
    summary: 'print every call and why it failed (to FILE, else stderr)',
    detail:
      'One line a call, as strace prints it, for the files of ioasis only. After an error stands the rule that ' +
      'was broken and the values that broke it.',
  },
  {
    name: 'trace-format',
    value: 'FORMAT',
    kind: 'choice',
    choices: ['text', 'json'],
    summary: 'text (strace-like) or json (one object a line)',
    detail: 'The shape of the objects is docs/trace.schema.json. 64-bit values are hexadecimal strings.',
  },
];

const run: CommandSpec = {
  name: 'run',
  summary: 'run a program on the engine',
  description: [
    'Starts an engine, starts the program with the preload shim in front of its C library, and ends with the ' +
      "program's exit status. The program opens /dev/iommu as on Linux; nothing has to be installed, loaded or " +
      'owned by root.',
    "The program's standard input, output and error are its own. ioasis writes to standard error only what " +
      '--trace asks for, and what it has to say about its own failures.',
    'SIGINT, SIGTERM and SIGHUP are passed on to the program.',
  ],
  operands: [{ name: 'program', kind: 'program', summary: 'the program and its arguments' }],
  passThrough: true,
  options: [
    ...topologyOptions,
    ...engineOptions.slice(0, 1),
    ...traceOptions,
    {
      name: 'dmesg',
      summary: "print the kernel's log of the machine to standard error at the end",
      detail: 'Faults and what drivers of IOMMUs have to say, in the words of Linux.',
    },
    checkStaleOption,
    {
      name: 'timeout',
      value: 'SECONDS',
      kind: 'seconds',
      summary: 'end the program after SECONDS, with status 124',
      detail: 'SIGTERM first; SIGKILL two seconds later.',
    },
    {
      name: 'fail-nth',
      value: 'N',
      kind: 'count',
      summary: 'make the N-th point that can fail fail, in every task',
      detail:
        'For the error paths of your own program. Counts the points where Linux could run out of memory or meet a ' +
        'bad pointer, in each task from its first call on. At the end it says what failed. Run with 1, 2, 3, ... ' +
        'until nothing does: then every error path has been taken once.',
    },
    {
      name: 'fail-kind',
      value: 'KIND,...',
      kind: 'choices',
      choices: ['failslab', 'fail_page_alloc', 'fail_usercopy', 'fail_iommufd'],
      summary: 'count only these kinds of failure',
      detail: "The names are those of Linux' fault injection in debugfs. Without it all of them count.",
    },
    ...engineOptions.slice(1),
    socketOption,
  ],
  exits: [
    ['N', "the program's own status"],
    ['124', 'the time of --timeout was over'],
    ['125', 'ioasis itself failed'],
    ['126', 'the program was found but could not be executed'],
    ['127', 'the program was not found'],
    ['128+N', 'signal N ended the program'],
  ],
  examples: [
    { text: 'A program that opens /dev/iommu', command: 'ioasis run -- ./my-driver --queue 4' },
    { text: 'What does it do, and why was it refused?', command: 'ioasis run --trace -- ./my-driver' },
    { text: 'On a machine with a 39-bit IOMMU', command: 'ioasis run --profile vtd-39bit -- ./my-driver' },
    { text: 'On a machine of your own', command: 'ioasis run -t machine.yaml -- ./my-driver' },
    { text: "Linux' own test program", command: 'ioasis run --selftest -- ./iommufd' },
    { text: 'The third failing point of an error path', command: 'ioasis run --fail-nth 3 -- ./my-driver' },
  ],
  load: async () => (await import('./run.js')).run,
};

const daemon: CommandSpec = {
  name: 'daemon',
  summary: 'run an engine for several programs, in the foreground',
  description: [
    'Prints the path of its socket and the lines that make programs use it, then serves until SIGINT or SIGTERM. ' +
      'Programs on one daemon see the same devices; each open of /dev/iommu is a context of its own, as on Linux.',
  ],
  operands: [],
  options: [
    {
      name: 'socket',
      value: 'PATH',
      kind: 'path',
      summary: 'where to listen, in a directory that is yours alone',
      detail: 'Without it, a socket in a new private directory below XDG_RUNTIME_DIR or TMPDIR.',
    },
    ...topologyOptions,
    ...engineOptions.slice(0, 1),
    ...traceOptions,
    checkStaleOption,
    ...engineOptions.slice(1),
  ],
  exits: [
    ['0', 'ended by SIGINT or SIGTERM'],
    ['125', 'the engine could not start'],
  ],
  examples: [
    { text: 'One engine, two programs', command: 'ioasis daemon --socket ~/.ioasis/socket' },
    { text: 'in another terminal', command: 'ioasis run --socket ~/.ioasis/socket -- ./my-driver' },
  ],
  load: async () => (await import('./daemon.js')).daemon,
};

const jsonOption: OptionSpec = { name: 'json', summary: 'print JSON' };
const askedSocket: OptionSpec = {
  name: 'socket',
  value: 'PATH',
  kind: 'path',
  env: 'IOASIS_SOCKET',
  summary: 'socket of the daemon to ask',
};
const lookExits: CommandSpec['exits'] = [
  ['0', 'printed'],
  ['1', 'there is no such daemon or device'],
  ['2', 'called wrongly'],
];

const walk: CommandSpec = {
  name: 'walk',
  summary: 'follow an address of a device through the tables, entry by entry',
  description: [
    'Reads the tables of a running daemon as they are now: root, context and PASID tables, then first and second ' +
      'stage. Each entry is printed with its fields, and where the way ends, why. No cache is asked or filled and no ' +
      'fault is recorded.',
  ],
  operands: [
    { name: 'device', kind: 'device', summary: 'a device, as DEVICE or DEVICE:PASID' },
    { name: 'iova', kind: 'address', summary: 'the address that the device emits' },
  ],
  options: [jsonOption, askedSocket],
  exits: lookExits,
  examples: [
    { text: 'By requester id', command: 'ioasis walk 0000:00:01.0 0x1000' },
    { text: 'By PASID 5', command: 'ioasis walk 0000:00:01.0:5 0x1000' },
  ],
  load: async () => (await import('./look.js')).walk,
};

const dump: CommandSpec = {
  name: 'dump',
  summary: 'print objects, devices, tables and caches of a daemon',
  description: [
    'Every open /dev/iommu with its objects, every device, and every unit with its registers, its tables (page tables ' +
      'as ranges) and what its caches hold.',
  ],
  operands: [],
  options: [jsonOption, askedSocket],
  exits: lookExits,
  examples: [{ text: 'What is attached where?', command: 'ioasis dump --socket ~/.ioasis/socket' }],
  load: async () => (await import('./look.js')).dump,
};

const dmesg: CommandSpec = {
  name: 'dmesg',
  summary: "print the kernel's log of a daemon",
  description: ['Faults and what drivers of IOMMUs have to say, in the words of Linux.'],
  operands: [],
  options: [askedSocket],
  exits: lookExits,
  examples: [{ text: 'Why did DMA fail?', command: 'ioasis dmesg' }],
  load: async () => (await import('./look.js')).dmesg,
};

const profiles: CommandSpec = {
  name: 'profiles',
  summary: 'list the machines that come with ioasis, or print one to start from',
  description: [
    'A profile is a topology file. With a name it is printed as it is: save it, change it, and use it with ' +
      'run --topology.',
  ],
  operands: [{ name: 'name', kind: 'profile', optional: true, summary: 'a profile' }],
  options: [],
  exits: [
    ['0', 'printed'],
    ['1', 'no profile has that name'],
  ],
  examples: [
    { text: 'What machines are there?', command: 'ioasis profiles' },
    { text: 'One of your own', command: 'ioasis profiles vtd > machine.yaml' },
  ],
  load: async () => (await import('./profiles.js')).listProfiles,
};

const doctor: CommandSpec = {
  name: 'doctor',
  summary: 'say what works on this machine, and whether a program can be intercepted',
  description: [
    'Looks at Node, the shim, the kernel and the rights of this user, and says in one line each what that means. ' +
      'With a program it reads that file too: a static, foreign or privileged program cannot be preloaded, and a ' +
      'script is as good as its interpreter.',
  ],
  operands: [{ name: 'program', kind: 'program', optional: true, summary: 'a program, by name or path' }],
  options: [],
  exits: [
    ['0', 'nothing stands in the way'],
    ['1', 'something failed'],
  ],
  examples: [{ text: 'Why is nothing traced?', command: 'ioasis doctor ./my-driver' }],
  load: async () => (await import('./doctor/main.js')).doctor,
};

const rules: CommandSpec = {
  name: 'rules',
  summary: 'list the rules behind every errno',
  description: [
    'Each check of the engine has a rule with an id of its own: the errno it gives and the sentence that explains ' +
      'it. The id is what a trace prints. An id, or the beginning of one, selects.',
  ],
  operands: [{ name: 'id', kind: 'rule', optional: true, summary: 'an id, or the beginning of ids' }],
  options: [{ name: 'json', summary: 'print an array of objects' }],
  exits: [
    ['0', 'printed'],
    ['1', 'no rule has that id'],
  ],
  examples: [{ text: 'What can unmap be refused for?', command: 'ioasis rules unmap' }],
  load: async () => (await import('./rules.js')).listRules,
};

const header: CommandSpec = {
  name: 'header',
  summary: 'print a C header with every struct, constant and call',
  description: [
    "The machine's <linux/iommufd.h> may be older than what the engine speaks (Linux 7.2). This header is made from " +
      'the same declarations as the engine itself.',
  ],
  operands: [],
  options: [],
  exits: [['0', 'printed']],
  examples: [{ text: 'Compile against it', command: 'ioasis header > ioasis.h' }],
  load: async () => (await import('./header.js')).header,
};

const demo: CommandSpec = {
  name: 'demo',
  summary: 'compile and run a small example, with its trace explained',
  description: [
    'Compiles examples/first-steps.c with cc into a cache directory and runs it with --selftest and --trace: an ' +
      'address space, a mapping, a device that copies through it, and a mistake with its reason.',
  ],
  operands: [],
  options: [],
  exits: [
    ['0', 'the example did what it says'],
    ['125', 'no C compiler, or the example does not compile'],
  ],
  examples: [{ text: 'The whole idea in a few seconds', command: 'ioasis demo' }],
  load: async () => (await import('./demo.js')).demo,
};

const man: CommandSpec = {
  name: 'man',
  summary: 'print a manual page (roff)',
  description: [
    'Without a command the page is ioasis(1); with one it is that of the command, as ioasis-run(1).',
  ],
  operands: [{ name: 'command', kind: 'command', optional: true, summary: 'a command of ioasis' }],
  options: [],
  exits: [
    ['0', 'printed'],
    ['2', 'no such command'],
  ],
  examples: [
    { text: 'Read it', command: 'ioasis man run | man -l -' },
    { text: 'Install it', command: 'ioasis man > ~/.local/share/man/man1/ioasis.1' },
  ],
  load: async () => (await import('./man.js')).man,
};

const completion: CommandSpec = {
  name: 'completion',
  summary: 'print a completion script for bash, zsh or fish',
  description: ['The script knows every command, option and fixed value of this version.'],
  operands: [{ name: 'shell', kind: 'shell', summary: 'bash, zsh or fish' }],
  options: [],
  exits: [
    ['0', 'printed'],
    ['2', 'no such shell'],
  ],
  examples: [
    { text: 'In this bash', command: 'source <(ioasis completion bash)' },
    { text: 'fish, for good', command: 'ioasis completion fish > ~/.config/fish/completions/ioasis.fish' },
  ],
  load: async () => (await import('./completion.js')).completion,
};

const version: CommandSpec = {
  name: 'version',
  summary: 'print the versions of ioasis, of the interface it speaks and of Node',
  description: ['For bug reports. --version prints the number alone.'],
  operands: [],
  options: [],
  exits: [['0', 'printed']],
  examples: [{ text: 'For a bug report', command: 'ioasis version' }],
  load: async () => (await import('./version.js')).version,
};

export const commands: readonly CommandSpec[] = [
  run,
  daemon,
  profiles,
  walk,
  dump,
  dmesg,
  doctor,
  rules,
  header,
  demo,
  man,
  completion,
  version,
];

/** What ioasis is, in a line and in a paragraph: for help and for ioasis(1). */
export const about = {
  summary: 'the Linux DMA address-space subsystem as an ordinary user program',
  description: [
    'ioasis is /dev/iommu without root, without a kernel module and without hardware. Programs run on it unmodified: ' +
      'their open, ioctl, read, write, mmap and poll of that device are answered by an engine that has the object ' +
      'model, the page tables and the error numbers of Linux 7.2, and that can say why it refused.',
  ],
};

/** Environment variables, for the manual. */
export const environment: readonly (readonly [name: string, meaning: string])[] = [
  ['IOASIS_SOCKET', 'The socket of a running daemon, as --socket. Set for the program by run.'],
  ['LD_PRELOAD', 'Kept: the shim is put in front of what it names.'],
  ['NO_COLOR', 'If set and not empty, nothing is coloured. Colour is used on a terminal only.'],
  ['XDG_RUNTIME_DIR, TMPDIR', 'Where the private directory with the socket is made.'],
  ['XDG_CACHE_HOME', 'Where demo keeps what it compiled.'],
];

export function findCommand(name: string): CommandSpec | undefined {
  return commands.find((command) => command.name === name);
}

/** `-t, --topology FILE`, `--trace[=FILE]`, `--[no-]lend`: as people write it. */
export function optionSpelling(option: OptionSpec): string {
  const letter = option.short === undefined ? '' : `-${option.short}, `;
  const name = `--${option.negatable === true ? '[no-]' : ''}${option.name}`;
  if (option.value === undefined) return letter + name;
  return letter + (option.bare === undefined ? `${name} ${option.value}` : `${name}[=${option.value}]`);
}

/** `ioasis run [options] [--] program [args...]`, without `ioasis run`. */
export function operandSpelling(command: CommandSpec): string {
  const words = command.operands.map((operand) => {
    const word = command.passThrough === true ? `[--] ${operand.name} [args...]` : operand.name;
    return operand.optional === true ? `[${word}]` : word;
  });
  return [...(command.options.length > 0 ? ['[options]'] : []), ...words].join(' ');
}
