/**
 * YAML (or JSON, which is YAML too) as plain values, with the place of every key and value.
 * Invariant: whatever the text is, the answer is values or complaints, soon: there are no aliases to expand, no tags to
 * construct, and a limit on size and depth.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseAllDocuments,
  type Document,
  type Node,
  type YAMLMap,
} from 'yaml';

/** Where something stands; offsets into the text. */
export interface Place {
  readonly start: number;
  /** Behind its last character. */
  readonly end: number;
}

/** Something to say about a place. */
export interface Complaint {
  readonly place: Place;
  readonly text: string;
}

export interface ParsedText {
  readonly value: unknown;
  readonly complaints: readonly Complaint[];
  /** Whether the text has something there. */
  has(path: readonly PropertyKey[]): boolean;
  /** Where what `path` leads to stands, or its key; else what is nearest above it. */
  placeOf(path: readonly PropertyKey[], atKey?: boolean): Place;
}

/** The parser's time grows with the square of what is wrong. */
const MAX_CHARACTERS = 1 << 17;
const MAX_DEPTH = 32;
const TOO_DEEP = `expected at most ${MAX_DEPTH} levels of nesting`;
const NOWHERE: Place = { start: 0, end: 0 };

export function parseText(text: string): ParsedText {
  const reader = new Reader();
  const value = reader.read(text);
  return {
    value,
    complaints: reader.complaints,
    has: (path) => reader.has(path),
    placeOf: (path, atKey = false) => reader.placeOf(path, atKey),
  };
}

const keyOf = (path: readonly PropertyKey[]): string => JSON.stringify(path.map(String));

class Reader {
  readonly complaints: Complaint[] = [];
  readonly #values = new Map<string, Place>();
  readonly #keys = new Map<string, Place>();

  read(text: string): unknown {
    if (text.length > MAX_CHARACTERS) {
      this.#complain(NOWHERE, `expected at most ${MAX_CHARACTERS} characters, found ${text.length}`);
      return undefined;
    }
    const unclosed = tooManyBrackets(text);
    if (unclosed !== null) {
      this.#complain(unclosed, TOO_DEEP);
      return undefined;
    }
    const documents = parseAllDocuments(text, {
      intAsBigInt: true,
      // Checked here: the parser compares every key with every other.
      uniqueKeys: false,
      prettyErrors: false,
      version: '1.2',
    });
    const [first, second] = documents;
    // Empty, or comments alone: an empty topology.
    if (first === undefined) return {};
    for (const document of documents) this.#takeErrors(document);
    if (second !== undefined)
      this.#complain(placeOf(second.contents, second.range), 'expected one document, found another');
    if (this.complaints.length > 0) return undefined;
    return first.contents === null || isEmpty(first.contents) ? {} : this.#convert(first.contents, [], 0);
  }

  has(path: readonly PropertyKey[]): boolean {
    return this.#values.has(keyOf(path));
  }

  placeOf(path: readonly PropertyKey[], atKey: boolean): Place {
    for (let length = path.length; length > 0; length--) {
      const key = keyOf(path.slice(0, length));
      const isWhole = length === path.length;
      const found =
        isWhole && !atKey ? this.#values.get(key) : (this.#keys.get(key) ?? this.#values.get(key));
      if (found !== undefined) return found;
    }
    return this.#values.get(keyOf([])) ?? NOWHERE;
  }

  #complain(place: Place, text: string): void {
    this.complaints.push({ place, text });
  }

  #takeErrors(document: Document.Parsed): void {
    for (const { pos, code, message } of [...document.errors, ...document.warnings]) {
      const place = { start: pos[0], end: pos[1] };
      if (code === 'TAG_RESOLVE_FAILED') this.#complain(place, 'tags mean nothing here');
      else if (code === 'RESOURCE_EXHAUSTION') this.#complain(place, TOO_DEEP);
      else this.#complain(place, `no YAML: ${message.split('\n')[0]}`);
    }
    const { yaml } = document.directives ?? {};
    if (yaml?.explicit === true && yaml.version !== '1.2') {
      this.#complain(NOWHERE, `expected YAML 1.2, found a directive for ${yaml.version}`);
    }
  }

  #convert(node: Node | null, path: readonly PropertyKey[], depth: number): unknown {
    const place = placeOf(node, null);
    this.#values.set(keyOf(path), place);
    if (node === null) return null;
    if (isAlias(node)) {
      this.#complain(place, `aliases are not followed: write out what *${node.source} stands for`);
      return undefined;
    }
    if (depth > MAX_DEPTH) {
      this.#complain(place, TOO_DEEP);
      return undefined;
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => this.#convert(item as Node | null, [...path, index], depth + 1));
    }
    if (isMap(node)) return this.#convertMap(node, path, depth);
    return isScalar(node) ? plainNumber(node.value) : undefined;
  }

  #convertMap(node: YAMLMap, path: readonly PropertyKey[], depth: number): Record<string, unknown> {
    const members: [string, unknown][] = [];
    for (const { key, value } of node.items) {
      const at = placeOf(key as Node, null);
      if (!isScalar(key) || key.value === null || key.value === '__proto__') {
        this.#complain(at, 'expected a name as the key');
        continue;
      }
      // A number as a key is its text: 12 and "12" name the same device.
      const name = typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
      const whole = keyOf([...path, name]);
      if (this.#keys.has(whole)) this.#complain(at, `${name} was given before`);
      else this.#keys.set(whole, at);
      members.push([name, this.#convert(value as Node | null, [...path, name], depth + 1)]);
    }
    return Object.fromEntries(members);
  }
}

/** Integers that a double cannot hold become the text that an address may be written as. */
function plainNumber(value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  return value < 0n ? String(value) : `0x${value.toString(16)}`;
}

const isEmpty = (node: Node): boolean => isScalar(node) && node.value === null && node.source === '';

function placeOf(node: Node | null, fallback: readonly number[] | null | undefined): Place {
  const range = node?.range ?? fallback;
  return range == null ? NOWHERE : { start: range[0]!, end: range[1] ?? range[0]! };
}

/** Far beyond {@link MAX_DEPTH}, because brackets in strings and comments count too. */
const MAX_BRACKETS = 256;

/** Where more brackets are open than can be meant: the parser would spend seconds on them. */
function tooManyBrackets(text: string): Place | null {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (letter === '[' || letter === '{') depth += 1;
    else if ((letter === ']' || letter === '}') && depth > 0) depth -= 1;
    if (depth > MAX_BRACKETS) return { start: at, end: at + 1 };
  }
  return null;
}
