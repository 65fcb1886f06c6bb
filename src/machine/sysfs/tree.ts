/**
 * What a program sees below /sys, as a description: every path with what is there. Pure data but for live files, whose
 * content is asked for when it is read. Whoever shows it (host) makes a directory tree of it.
 * Invariant: every directory on the way to a path is in the tree; links are relative and lead to what is in it.
 */
import { bytesOf, textOf } from '../../base/text.js';

/** Whose names a directory holds: ours alone, or the system's too, of which it also lists what is not in the tree. */
export interface SysDirectory {
  readonly kind: 'directory';
  /**
   * `ours`: what is not in the tree does not exist. `shared`: it is the system's, and is listed. `through`: it is the
   * system's, and is not listed. `system`: the directory is the system's, which does not list what is in the tree.
   */
  readonly names: 'ours' | 'shared' | 'through' | 'system';
}

export interface SysLink {
  readonly kind: 'link';
  readonly target: string;
}

/** Never changes, and only ever read. */
export interface SysText {
  readonly kind: 'text';
  readonly text: string;
}

export interface SysFile {
  readonly kind: 'file';
  /** Permission bits. */
  readonly mode: number;
  /** Bytes, as stat says. */
  readonly size: number;
  /** Everything in it. */
  readonly read?: () => Uint8Array;
  /** One write: all of `bytes`. Throws an Errno; else it is done. */
  readonly write?: (bytes: Uint8Array, offset: number) => void;
}

export type SysNode = SysDirectory | SysLink | SysText | SysFile;

/** What stat says of the size of an attribute. */
const PAGE = 4096;
const LINKS_MAX = 40;

const OURS: SysDirectory = { kind: 'directory', names: 'ours' };

export class SysTree {
  /** By path, a directory before what is in it. */
  readonly nodes = new Map<string, SysNode>();

  /** `settings`: what was written to attributes that only remember it, by path; it outlives the tree. */
  constructor(readonly settings: Map<string, string> = new Map()) {}

  directory(path: string, names: SysDirectory['names'] = 'ours'): void {
    this.#parents(path);
    this.nodes.set(path, names === 'ours' ? OURS : { kind: 'directory', names });
  }

  text(path: string, text: string): void {
    this.#add(path, { kind: 'text', text });
  }

  /** A link at `path` to the absolute `target`. */
  link(path: string, target: string): void {
    this.#add(path, { kind: 'link', target: relative(path, target) });
  }

  /** An attribute: text, ending in a newline. */
  attribute(path: string, { show, store }: Attribute): void {
    const read = show === undefined ? {} : { read: () => bytesOf(`${show()}\n`) };
    const write =
      store === undefined ? {} : { write: (bytes: Uint8Array) => store(textOf(bytes).replace(/\n$/, '')) };
    const mode = (show === undefined ? 0 : 0o444) | (store === undefined ? 0 : 0o200);
    this.#add(path, { kind: 'file', mode, size: PAGE, ...read, ...write });
  }

  /** An attribute that says what was written to it last; `check` throws for what it does not take. */
  setting(path: string, initial: string, check: (text: string) => string): void {
    const { settings } = this;
    this.attribute(path, {
      show: () => settings.get(path) ?? initial,
      store: (text) => settings.set(path, check(text)),
    });
  }

  file(path: string, file: Omit<SysFile, 'kind'>): void {
    this.#add(path, { kind: 'file', ...file });
  }

  /** What is at `path`, links on the way and at its end followed. */
  find(path: string): SysNode | null {
    let at = path;
    for (let links = 0; links < LINKS_MAX; links++) {
      const followed = this.#followFirst(at);
      if (followed === at) return this.nodes.get(at) ?? null;
      at = followed;
    }
    return null;
  }

  /** `path` with its first link replaced; the same when there is none. */
  #followFirst(path: string): string {
    for (let end = path.indexOf('/', 1); ; end = path.indexOf('/', end + 1)) {
      const head = end < 0 ? path : path.slice(0, end);
      const node = this.nodes.get(head);
      if (node?.kind === 'link') return resolve(head, node.target) + path.slice(head.length);
      if (end < 0) return path;
    }
  }

  #add(path: string, node: SysNode): void {
    this.#parents(path);
    this.nodes.set(path, node);
  }

  #parents(path: string): void {
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (parent !== '' && !this.nodes.has(parent)) this.directory(parent);
  }
}

export interface Attribute {
  /** Its text, without the newline. */
  readonly show?: () => string;
  /** Takes what was written, without a newline at its end. Throws an Errno. */
  readonly store?: (text: string) => unknown;
}

/** The text of a link at `path` that leads to `target`. */
function relative(path: string, target: string): string {
  const from = path.split('/').slice(0, -1);
  const to = target.split('/');
  let common = 0;
  while (common < from.length && from[common] === to[common]) common += 1;
  return [...from.slice(common).map(() => '..'), ...to.slice(common)].join('/');
}

/** Where the link at `path` leads. */
function resolve(path: string, target: string): string {
  const parts = path.split('/').slice(0, -1);
  for (const part of target.split('/')) {
    if (part === '..') parts.pop();
    else parts.push(part);
  }
  return parts.join('/');
}
