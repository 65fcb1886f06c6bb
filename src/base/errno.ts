/**
 * How the engine says no. Linux answers a bare number; here every errno carries the rule that was broken and
 * the values that broke it (docs/design.md, "Failing"). One rule belongs to one check: no two checks share an id.
 */

/** Linux generic errno numbers, by name. */
export const errnoNumbers = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  ESPIPE: 29,
  ERANGE: 34,
  EDEADLK: 35,
  EBADE: 52,
  EOVERFLOW: 75,
  EBADFD: 77,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
} as const;

export type ErrnoName = keyof typeof errnoNumbers;

/** A check, as data. `{name}` in the sentence stands for the value of that name. */
export interface Rule {
  readonly id: string;
  readonly errno: ErrnoName;
  readonly sentence: string;
}

/** Turns `{ id: [errno, sentence] }` into rules, so that a catalogue reads as a table and every id is written once. */
export function catalogue<K extends string>(
  table: Record<K, readonly [errno: ErrnoName, sentence: string]>,
): Readonly<Record<K, Rule>> {
  const rules = {} as Record<K, Rule>;
  for (const id of Object.keys(table) as K[]) {
    const [errno, sentence] = table[id];
    rules[id] = { id, errno, sentence };
  }
  return rules;
}

/** The values that a check compared. A bigint is an address or a length and prints in hexadecimal. */
export type ReasonValues = Readonly<Record<string, bigint | number | string>>;

/** A refusal that has not been thrown: for code that has to undo something first. */
export interface Refusal {
  readonly rule: Rule;
  readonly values: ReasonValues;
}

/** Thrown when the client is wrong; the dispatcher turns it into `-1` and the number. */
export class Errno extends Error {
  readonly code: ErrnoName;
  /** Positive, as in `<asm-generic/errno.h>`. */
  readonly errno: number;
  readonly rule: string;
  readonly values: ReasonValues;

  constructor(rule: Rule, values: ReasonValues) {
    super();
    this.code = rule.errno;
    this.errno = errnoNumbers[rule.errno];
    this.rule = rule.id;
    this.values = values;
    this.#sentence = rule.sentence;
  }

  readonly #sentence: string;

  /** The rule in a sentence, with the values that were compared. Built only when somebody reads it. */
  get reason(): string {
    return this.#sentence.replace(/\{(\w+)\}/g, (_, name: string) => printValue(this.values[name]));
  }

  override get message(): string {
    return `${this.code}: ${this.reason} [${this.rule}]`;
  }
}

function printValue(value: bigint | number | string | undefined): string {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** The one host feature the core uses of V8: how many frames a new Error records. */
const stacks = Error as ErrorConstructor & { stackTraceLimit: number };

/**
 * Refuses: throws the Errno of `rule`.
 * A refusal is an answer, not an accident, so no stack is captured: that would be most of its cost.
 */
export function refuse(rule: Rule, values: ReasonValues = {}): never {
  const limit = stacks.stackTraceLimit;
  stacks.stackTraceLimit = 0;
  const error = new Errno(rule, values);
  stacks.stackTraceLimit = limit;
  throw error;
}

/** Thrown when ioasis itself is wrong: poisons one context, is reported, and is never a made-up errno. */
export class Bug extends Error {
  override readonly name = 'Bug';
}

/** Fails with a {@link Bug} unless `condition` holds. */
export function invariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Bug(what);
}
