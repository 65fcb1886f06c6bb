/**
 * Reads what a uAPI header declares: structs with their members, enums, and macros that stand for a number.
 * It finds names only; offsets, sizes and values are asked of a C compiler (probe.ts).
 */

export interface Member {
  readonly name: string;
  /** `__u32`, `struct x`, or `''` for an anonymous struct or union. */
  readonly type: string;
  readonly pointer: boolean;
  /** `[4]`, `[]` or no array. */
  readonly array: 'no' | 'fixed' | 'flexible';
  /** Members of an anonymous struct or union. */
  readonly members: readonly Member[];
  readonly union: boolean;
}

export interface Header {
  readonly structs: ReadonlyMap<string, readonly Member[]>;
  /** Tagged enums and their constants, in order. */
  readonly enums: ReadonlyMap<string, readonly string[]>;
  /** Names of enum constants and of object-like macros, in order of appearance. */
  readonly constants: readonly string[];
}

/** Parses the text of one header; of its structs, those that `wants` names. Throws on a member it cannot read. */
export function parseHeader(text: string, wants: (struct: string) => boolean): Header {
  const plain = text
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/\/\/.*/g, ' ')
    .replace(/\\\n/g, ' ')
    .replace(/\b__counted_by\w*\(\w+\)/g, ' ');
  const code = plain.replace(/^[ \t]*#.*$/gm, '');
  const structs = new Map<string, readonly Member[]>();
  for (const match of code.matchAll(/\bstruct\s+(\w+)\s*\{/g)) {
    if (!wants(match[1] as string)) continue;
    const body = balanced(code, match.index + match[0].length);
    structs.set(match[1] as string, members(tokens(body)));
  }
  const enums = new Map<string, readonly string[]>();
  const found: [number, string][] = [];
  for (const match of code.matchAll(/\benum\s*(\w*)\s*\{([^}]*)\}/g)) {
    const names = (match[2] as string)
      .split(',')
      .map((item) => /^\s*(\w+)/.exec(item)?.[1])
      .filter((name) => name !== undefined);
    if (match[1] !== '') enums.set(match[1] as string, names);
    for (const name of names) found.push([plain.search(new RegExp(`\\b${name}\\b`)), name]);
  }
  // A guard has no value; a macro with parameters has no number.
  for (const match of plain.matchAll(/^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+\S.*$/gm)) {
    found.push([match.index, match[1] as string]);
  }
  const constants = [...new Set(found.toSorted((a, b) => a[0] - b[0]).map(([, name]) => name))];
  return { structs, enums, constants };
}

/** The text from `start` up to the brace that closes what is open there. */
function balanced(text: string, start: number): string {
  let depth = 1;
  let at = start;
  for (; depth > 0 && at < text.length; at++) {
    if (text[at] === '{') depth++;
    if (text[at] === '}') depth--;
  }
  return text.slice(start, at - 1);
}

function tokens(text: string): string[] {
  return text.match(/\w+|[{}[\];*]|[^\s\w]/g) ?? [];
}

function members(list: string[]): Member[] {
  const out: Member[] = [];
  while (list.length > 0) out.push(member(list));
  return out;
}

/** Takes one member off the front of `list`. */
function member(list: string[]): Member {
  const kind = list[0];
  if ((kind === 'struct' || kind === 'union') && list[1] === '{') {
    const end = closing(list, 1);
    const inner = members(list.slice(2, end));
    const rest = list.splice(0, end + 1).length > 0 ? until(list) : [];
    return {
      name: rest[0] ?? '',
      type: '',
      pointer: false,
      array: 'no',
      members: inner,
      union: kind === 'union',
    };
  }
  const words = until(list);
  const open = words.indexOf('[');
  const dimension = open < 0 ? [] : words.slice(open + 1, -1);
  const head = open < 0 ? words : words.slice(0, open);
  const name = head.at(-1) ?? '';
  const type = head
    .slice(0, -1)
    .filter((word) => word !== '*')
    .join(' ');
  if (!/^\w+$/.test(name) || !/^(struct )?\w+$/.test(type)) {
    throw new Error(`cannot read the member "${words.join(' ')}"`);
  }
  const array = open < 0 ? 'no' : dimension.length === 0 ? 'flexible' : 'fixed';
  return { name, type, pointer: head.includes('*'), array, members: [], union: false };
}

/** Takes the tokens before the next `;` off `list`, and the `;`. */
function until(list: string[]): string[] {
  const end = list.indexOf(';');
  const words = list.splice(0, end + 1);
  return words.slice(0, -1);
}

function closing(list: readonly string[], open: number): number {
  let depth = 0;
  for (let i = open; i < list.length; i++) {
    if (list[i] === '{') depth++;
    if (list[i] === '}' && --depth === 0) return i;
  }
  throw new Error('a brace is not closed');
}
