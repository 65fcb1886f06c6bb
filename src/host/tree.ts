/**
 * The tree beside the socket: what a shim looks paths up in. Devices and questions are symbolic links that say what they
 * are (see protocol.ts); what is below /sys is itself, so that stat, readdir and readlink need nobody; of files there
 * that change, only their opening comes to the daemon.
 */
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DeviceNode } from '../machine/devices.js';
import { DEBUG_ROOT, MARK_ASK, MARK_DEVICE, SYS_PENDING, TreeMode } from './protocol.js';

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
  /** Stores to mapped registers are caught in the program. */
  readonly traps: boolean;
  /** The engine can be looked into. */
  readonly inspect: boolean;
  /** More of /sys comes once the engine is there. */
  readonly sys: boolean;
}

/** What it can be asked; below `walk` the rest of the path is the question. */
const debugFiles = ['dump', 'dmesg', 'walk'];

/** Makes the tree; `root` must not exist. */
export function makeTree(root: string, options: TreeOptions): void {
  mkdirSync(root, { mode: 0o755 });
  mkdirSync(join(root, 'proc'));
  symlinkSync(MARK_ASK, join(root, 'proc/status'));
  makeDirectory(join(root, 'dev'), TreeMode.SYSTEM);
  for (const device of options.devices) {
    if (device.isStandIn !== true || !existsSync(device.path)) addDevice(root, device);
  }
  if (options.lend) writeFileSync(join(root, 'lend'), '');
  if (options.traps) writeFileSync(join(root, 'traps'), '');
  if (options.sys) writeFileSync(join(root, SYS_PENDING), '');
  if (options.selftest || options.inspect) makePassage(root);
  if (options.selftest) makeFaultInjection(root);
  if (!options.inspect) return;
  mkdirSync(join(root, DEBUG_ROOT));
  for (const name of debugFiles) symlinkSync(MARK_ASK, join(root, DEBUG_ROOT, name));
}

/** The way to files below /sys/kernel/debug: directories of the system. */
function makePassage(root: string): void {
  for (const path of ['sys', 'sys/kernel', 'sys/kernel/debug']) {
    makeDirectory(join(root, path), TreeMode.SYSTEM);
  }
}

/** A directory with this mode, whatever umask says; it may be there already. */
export function makeDirectory(path: string, mode: number): void {
  let isMade = false;
  try {
    mkdirSync(path, mode);
    isMade = true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const isExact = isMade && (mode & (STICKY | process.umask())) === 0;
  if (!isExact) chmodSync(path, mode);
}

/** Not for mkdir to give. */
const STICKY = 0o1000;

/** Puts a device into a tree that is in use. */
export function addDevice(root: string, device: DeviceNode): void {
  const at = join(root, device.path);
  for (let end = device.path.indexOf('/', 5); end >= 0; end = device.path.indexOf('/', end + 1)) {
    const directory = join(root, device.path.slice(0, end));
    if (!existsSync(directory)) makeDirectory(directory, TreeMode.OURS);
  }
  symlinkSync(`${MARK_DEVICE}${device.major}:${device.minor}:${device.mode.toString(8)}`, at);
}

/** Takes it out again. */
export function removeDevice(root: string, { path }: DeviceNode): void {
  rmSync(join(root, path), { force: true });
}

function makeFaultInjection(root: string): void {
  symlinkSync(MARK_ASK, join(root, 'proc/fail-nth'));
  const debug = join(root, 'sys/kernel/debug');
  chmodSync(debug, TreeMode.OURS);
  for (const [name, own] of Object.entries(faultAttributes)) {
    mkdirSync(join(debug, name));
    for (const attribute of [...common, ...own]) writeFileSync(join(debug, name, attribute), 'N\n');
  }
}
