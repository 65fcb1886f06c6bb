/**
 * The tree of markers beside the socket: what a shim looks paths up in. Devices and live files are symbolic links
 * that say what they are (see protocol.ts); everything else in it is itself.
 */
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DEBUG_ROOT, MARK_ASK, MARK_DEVICE } from './protocol.js';

export interface DeviceNode {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
  /** Not shown where the system has a file of that name. */
  readonly isStandIn?: boolean;
}

/** A sticky directory hides the system's own of the same name. */
const HIDES = 0o1755;

const common = ['probability', 'interval', 'times', 'space', 'verbose', 'task-filter'];
/** Linux' fault attributes: they can be read and written, and what they choose is always on here. */
const faultAttributes: Readonly<Record<string, readonly string[]>> = {
  failslab: ['ignore-gfp-wait', 'cache-filter'],
  fail_page_alloc: ['ignore-gfp-wait', 'ignore-gfp-highmem', 'min-order'],
  fail_usercopy: [],
  fail_iommufd: [],
};

export interface TreeOptions {
  readonly devices: readonly DeviceNode[];
  /** Failure injection can be used, as on a kernel built for tests. */
  readonly selftest: boolean;
  readonly lend: boolean;
  /** The engine can be looked into. */
  readonly inspect: boolean;
}

/** What it can be asked; below `walk` the rest of the path is the question. */
const debugFiles = ['dump', 'dmesg', 'walk'];

/** Makes the tree; `root` must not exist. */
export function makeTree(root: string, options: TreeOptions): void {
  mkdirSync(root, { mode: 0o755 });
  mkdirSync(join(root, 'proc'));
  symlinkSync(MARK_ASK, join(root, 'proc/status'));
  for (const device of options.devices)
    if (device.isStandIn !== true || !existsSync(device.path)) addDevice(root, device);
  if (options.lend) writeFileSync(join(root, 'lend'), '');
  if (options.selftest) makeFaultInjection(root);
  if (!options.inspect) return;
  mkdirSync(join(root, DEBUG_ROOT), { recursive: true });
  for (const name of debugFiles) symlinkSync(MARK_ASK, join(root, DEBUG_ROOT, name));
}

/** Puts a device into a tree that is in use. */
export function addDevice(root: string, device: DeviceNode): void {
  const at = join(root, device.path);
  mkdirSync(dirname(at), { recursive: true });
  symlinkSync(`${MARK_DEVICE}${device.major}:${device.minor}:${device.mode.toString(8)}`, at);
}

function makeFaultInjection(root: string): void {
  symlinkSync(MARK_ASK, join(root, 'proc/fail-nth'));
  const debug = join(root, 'sys/kernel/debug');
  mkdirSync(join(root, 'sys/kernel'), { recursive: true });
  mkdirSync(debug, { mode: HIDES });
  for (const [name, own] of Object.entries(faultAttributes)) {
    mkdirSync(join(debug, name));
    for (const attribute of [...common, ...own]) writeFileSync(join(debug, name, attribute), 'N\n');
  }
}
