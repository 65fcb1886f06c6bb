/**
 * `npm run uml`: a real Linux kernel, user-mode Linux, as the client of an NVMe controller here. Its stock driver finds
 * the device by a VFIO group and container; a file system is made on it, written, synced, mounted again and read back;
 * and then guests are killed while they write, and nothing that was synced may be lost. Exit code 1 if something is,
 * 2 if the sources cannot be had. `npm run uml -- --short` writes less.
 */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEngine, type RunningEngine } from '#ioasis/host/engine.js';
import { Random } from '../differential/random.js';
import { readArguments } from '../lib/arguments.js';
import { runWithPackages } from '../lib/debian.js';
import { Guest, type Place, type Scene } from './guest.js';
import { guestKernel, guestProgram } from './kernel.js';

const DEVICE = '0000:00:05.0';
const DISK_BYTES = 2 * 2 ** 30;
const { short: isShort } = readArguments({ short: { type: 'boolean', default: false } }).values;
/** Of the first scene: files, and MiB in each. */
const WHOLE = isShort ? { files: 4, blocks: 16 } : { files: 16, blocks: 64 };
const KILLS = isShort ? 2 : 6;
const KILLED_BLOCKS = 4;
/** A guest is killed up to so long after its first file was synced. */
const LONGEST_LIFE_MS = 3000;

interface World extends Place {
  readonly disk: string;
}

function engineOn({ disk }: World): Promise<RunningEngine> {
  const topology = { devices: { [DEVICE]: { model: 'nvme', namespaces: [{ file: disk }] } } };
  return startEngine({ config: { selftest: false, topology } });
}

/** Problems of an engine that has no clients any more. */
async function stop(engine: RunningEngine): Promise<string[]> {
  const { bugs, left } = await engine.stop();
  const leaks = Object.entries(left).filter(([, count]) => count !== 0);
  return [...bugs, ...leaks.map(([what, count]) => `left: ${count} ${what}`)];
}

/** Runs a scene to its end: what went wrong. */
async function play(world: World, scene: Scene, done: string): Promise<string[]> {
  const engine = await engineOn(world);
  const heard: string[] = [];
  const guest = new Guest(engine, world, scene, ({ what, number }) => heard.push(`${what} ${number}`));
  await guest.ended();
  const problems = await stop(engine);
  if (!heard.includes(done)) problems.push(`the guest did not say "${done}":`, ...guest.console.slice(-12));
  return problems;
}

/** A guest that writes until it is killed; returns how many files were synced by then. */
async function killed(world: World, first: number, random: Random, problems: string[]): Promise<number> {
  const engine = await engineOn(world);
  let synced = first;
  const scene = { scene: 'write', first, files: 1000, blocks: KILLED_BLOCKS };
  const guest: Guest = new Guest(engine, world, scene, ({ what, number }) => {
    if (what !== 'synced') return;
    if (number === first) setTimeout(() => guest.kill(), random.below(LONGEST_LIFE_MS));
    synced = number + 1;
  });
  await guest.ended();
  if (synced === first)
    problems.push('the guest ended before anything was synced:', ...guest.console.slice(-12));
  problems.push(...(await stop(engine)));
  return synced;
}

async function killScenes(world: World): Promise<string[]> {
  const random = new Random(7, 0);
  const problems: string[] = [];
  let synced = 0;
  for (let round = 1; round <= KILLS && problems.length === 0; round++) {
    synced = await killed(world, synced, random, problems);
    const scene = { scene: 'check', files: synced, blocks: KILLED_BLOCKS };
    problems.push(...(await play(world, scene, `intact ${synced * KILLED_BLOCKS}`)));
    console.log(`  killed ${round} of ${KILLS}: ${synced} files synced, ${problems.length} problems`);
  }
  return problems;
}

async function run(): Promise<number> {
  const kernel = guestKernel();
  const folder = mkdtempSync(join(tmpdir(), 'ioasis-uml-'));
  // Neither the guest nor the disk stays when somebody has had enough.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const world: World = {
    kernel,
    program: guestProgram(),
    device: DEVICE,
    disk: join(folder, 'disk'),
    mountPoint: join(folder, 'mounted'),
  };
  mkdirSync(world.mountPoint);
  writeFileSync(world.disk, '');
  truncateSync(world.disk, DISK_BYTES);
  const megabytes = WHOLE.files * WHOLE.blocks;
  console.log(`${kernel}, with a disk behind ${DEVICE}`);
  const begun = performance.now();
  const problems = await play(world, { scene: 'whole', ...WHOLE }, `intact ${megabytes}`);
  const seconds = Math.round((performance.now() - begun) / 1000);
  console.log(
    `  mkfs, ${megabytes} MiB written, synced, mounted again, read: ${seconds} s, ${problems.length} problems`,
  );
  if (problems.length === 0) problems.push(...(await killScenes(world)));
  for (const problem of problems) console.log(problem);
  return problems.length === 0 ? 0 : 1;
}

await runWithPackages(run);
