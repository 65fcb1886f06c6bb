/**
 * The part of the tree below /sys that a machine describes (src/machine/sysfs), kept as it says: after every change what
 * has gone is removed and what is new is made. Each file is one more name of a prototype, which costs one system call.
 */
import {
  chmodSync,
  linkSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeSync,
  type Dirent,
} from 'node:fs';
import { join } from 'node:path';
import type { DeviceNode } from '../machine/devices.js';
import type { SysNode } from '../machine/sysfs/tree.js';
import { LIVE_NSEC, MARK_SYSTEM, SYS_PENDING, TreeMode } from './protocol.js';
import { addDevice, makeDirectory, removeDevice } from './tree.js';

/** What a machine shows at one moment. */
export interface Shown {
  readonly devices: readonly DeviceNode[];
  readonly nodes: ReadonlyMap<string, SysNode>;
}

const modes = {
  ours: TreeMode.OURS,
  shared: TreeMode.SHARED,
  through: TreeMode.SHARED,
  system: TreeMode.SYSTEM,
};

/** Where prototypes are, in the tree. */
const PROTOTYPES = 'files';

export class SysTree {
  readonly #root: string;
  #shown: Shown;
  /** By what they are. */
  readonly #prototypes = new Map<string, string>();

  /** `root` has markers for `devices`, and nothing of the machine's /sys yet. */
  constructor(root: string, devices: readonly DeviceNode[]) {
    this.#root = root;
    this.#shown = { devices, nodes: new Map() };
    mkdirSync(join(root, PROTOTYPES));
  }

  /** Makes the tree show `next`. */
  show({ devices, nodes }: Shown): void {
    const before = this.#shown;
    const next = { devices, nodes };
    this.#shown = next;
    for (const device of before.devices) {
      if (!next.devices.some(({ path }) => path === device.path)) removeDevice(this.#root, device);
    }
    for (const [path, node] of [...before.nodes].toReversed()) {
      const now = next.nodes.get(path);
      if (now === undefined || !isSame(node, now)) this.#remove(path, node);
    }
    for (const [path, node] of next.nodes) {
      const old = before.nodes.get(path);
      if (old === undefined || !isSame(old, node)) this.#make(path, node, next.nodes);
    }
    for (const device of next.devices) {
      if (!before.devices.some(({ path }) => path === device.path)) addDevice(this.#root, device);
    }
  }

  /** Whoever waited for the first {@link show} may look now. */
  complete(): void {
    unlinkSync(join(this.#root, SYS_PENDING));
  }

  #remove(path: string, { kind }: SysNode): void {
    const at = join(this.#root, path);
    if (kind === 'directory') rmdirSync(at);
    else unlinkSync(at);
  }

  #make(path: string, node: SysNode, nodes: Shown['nodes']): void {
    const at = join(this.#root, path);
    if (node.kind === 'link') symlinkSync(node.target, at);
    else if (node.kind === 'text') linkSync(this.#prototype(node.text, 0o444, 0), at);
    else if (node.kind === 'file') linkSync(this.#prototype(null, node.mode, node.size), at);
    else {
      makeDirectory(at, modes[node.names]);
      if (node.names === 'shared') this.#listSystem(path, nodes);
    }
  }

  /** A directory that the system has too lists what is there; where that is all that we would list, it is the system's. */
  #listSystem(path: string, nodes: Shown['nodes']): void {
    const system = entriesOf(path);
    const own = new Set<string>();
    for (const other of nodes.keys()) {
      if (other.startsWith(`${path}/`)) own.add(other.slice(path.length + 1).split('/', 1)[0]!);
    }
    const at = join(this.#root, path);
    const names = new Set(system.map(({ name }) => name));
    if ([...own].every((name) => names.has(name))) return chmodSync(at, TreeMode.SYSTEM);
    for (const entry of system) {
      if (own.has(entry.name)) continue;
      const place = join(at, entry.name);
      if (entry.isSymbolicLink()) symlinkSync(MARK_SYSTEM, place);
      else if (!entry.isDirectory()) linkSync(this.#prototype(null, 0, 0), place);
      else mkdirSync(place, TreeMode.SYSTEM);
    }
  }

  /** A file with this content, or one whose content is asked for. */
  #prototype(text: string | null, mode: number, size: number): string {
    const key = text === null ? `${mode} ${size}` : `text ${text}`;
    let path = this.#prototypes.get(key);
    if (path !== undefined) return path;
    path = join(this.#root, PROTOTYPES, String(this.#prototypes.size));
    this.#prototypes.set(key, path);
    const fd = openSync(path, 'wx');
    if (text !== null) writeSync(fd, text);
    closeSync(fd);
    if (text === null) {
      truncateSync(path, size);
      const time = Math.floor(Date.now() / 1000) + LIVE_NSEC / 1e9;
      utimesSync(path, time, time);
    }
    chmodSync(path, mode);
    return path;
  }
}

function entriesOf(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return [];
  }
}

function isSame(one: SysNode, other: SysNode): boolean {
  switch (one.kind) {
    case 'directory':
      return other.kind === 'directory';
    case 'link':
      return other.kind === 'link' && other.target === one.target;
    case 'text':
      return other.kind === 'text' && other.text === one.text;
    case 'file':
      return other.kind === 'file' && other.mode === one.mode && other.size === one.size;
  }
}
