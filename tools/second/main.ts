/**
 * `npm run second`: QEMU's intel-iommu as a second implementation. The same tables, registers and accesses on both
 * sides; what became of each access has to be the same, or a row of differences.ts has to say why it is not. Exit code 1
 * on a difference without a reason, 2 if QEMU cannot be had. `npm run second -- SEED...` repeats runs.
 */
import { readArguments, readCount } from '../lib/arguments.js';
import { runWithPackages } from '../lib/debian.js';
import { Random } from '../differential/random.js';
import { CACHED, differences } from './differences.js';
import { OurSide } from './ours.js';
import { QemuSide } from './qemu.js';
import { QueueComparison, queueDifferences } from './queue.js';
import { buildScene, DATA, type Mode, type Scene } from './scenes.js';
import { MEMORY_BYTES, MEMORY_FIRST_FRAME, type Access, type Outcome, type Side } from './side.js';

const SEEDS = [1, 2];
const SCENES = 20;
const DESCRIPTORS = 150;
const HAW = 48;
/** ECAP_REG: walks are coherent. QEMU sets accessed bits without it, which only a unit with it may (SFS.9). */
const SMPWCS = 1n << 48n;
const FRAME = 4096;
/** QEMU's properties that make a unit of each kind. */
const FEATURES: Readonly<Record<Mode, string>> = {
  legacy: '',
  second: ',scalable-mode=on',
  first: ',scalable-mode=on,fsts=on',
};

interface Tally {
  accesses: number;
  equal: number;
  moved: number;
  readonly byDifference: Map<string, number>;
  readonly unexplained: string[];
}

class Comparison {
  /** What the other side's tables hold. */
  readonly #shadow = new Uint8Array(Number(DATA));

  private constructor(
    readonly qemu: QemuSide,
    readonly ours: OurSide,
  ) {}

  static async start(features: string): Promise<Comparison> {
    const qemu = await QemuSide.start(features);
    const [cap, ecap] = await Promise.all([qemu.read64(8), qemu.read64(0x10)]);
    const faultOffset = Number((cap >> 24n) & 0x3ffn) * 16;
    qemu.faultOffset = faultOffset;
    const ours = new OurSide({ cap, ecap: ecap | SMPWCS, haw: HAW }, faultOffset);
    const both = new Comparison(qemu, ours);
    await both.#fill();
    return both;
  }

  /** Every word of data says where it lies. */
  async #fill(): Promise<void> {
    const words = new BigUint64Array((MEMORY_BYTES - Number(DATA)) / 8);
    for (let index = 0; index < words.length; index += 1)
      words[index] = (0xdn << 60n) | (DATA + BigInt(index * 8));
    const bytes = new Uint8Array(words.buffer);
    for (const side of [this.ours, this.qemu]) await side.store(DATA, bytes);
  }

  async run(scene: Scene, tally: Tally): Promise<void> {
    await this.#bring();
    await Promise.all([this.ours, this.qemu].map((side) => start(side, scene.root)));
    const ours = await this.ours.access(scene.accesses);
    this.qemu.likely = (index) => ours[index]!.data;
    this.qemu.before = (hpa) => {
      const bytes = new Uint8Array(8);
      this.ours.memory.read(hpa, bytes);
      return bytes;
    };
    const theirs = await this.qemu.access(scene.accesses);
    for (const [index, access] of scene.accesses.entries()) {
      await this.#judge(scene, access, ours[index]!, theirs[index]!, tally);
    }
  }

  /** The same for `count` invalidation descriptors. */
  async runQueue(mode: Mode, seed: number, count: number, tally: Tally): Promise<void> {
    const queue = new QueueComparison(mode, this.ours, this.qemu);
    await this.#bring();
    await queue.start();
    const random = new Random(seed, -1);
    for (let index = 0; index < count; index += 1) {
      const found = await queue.run(random);
      tally.accesses += 1;
      if (found.ours === found.theirs) tally.equal += 1;
      else {
        const row = queueDifferences.find(({ explains }) => explains(found, mode));
        const words = found.words.map(hex).join(' ');
        if (row !== undefined) note(tally, row.name);
        else tally.unexplained.push(`${mode} ${words}: ioasis ${found.ours}; QEMU ${found.theirs}`);
      }
    }
  }

  async #judge(scene: Scene, access: Access, ours: Outcome, theirs: Outcome, tally: Tally): Promise<void> {
    tally.accesses += 1;
    if (ours.data !== null) tally.moved += 1;
    if (show(ours) === show(theirs)) {
      tally.equal += 1;
      return;
    }
    const row = differences.find(({ explains }) => explains(ours, theirs, access, scene));
    if (row !== undefined) return note(tally, row.name);
    await start(this.ours, scene.root);
    const [cold] = await this.ours.access([access]);
    if (show(cold!) === show(theirs)) return note(tally, CACHED.name);
    const what = `${scene.mode} ${access.isWrite ? 'write' : 'read'} ${hex(access.iova)} by ${hex(access.source)}`;
    tally.unexplained.push(`${what}: ioasis ${show(ours)}; QEMU ${show(theirs)}`);
  }

  /** Copies the frames of our tables that have changed to the other side. */
  async #bring(): Promise<void> {
    const sent: Promise<void>[] = [];
    for (let frame = MEMORY_FIRST_FRAME + 1; frame < Number(DATA) / FRAME; frame += 1) {
      const known = this.#shadow.subarray(frame * FRAME, (frame + 1) * FRAME);
      const now = new Uint8Array(FRAME);
      this.ours.memory.readAt(0, frame * FRAME, now, 0, FRAME);
      if (Buffer.compare(now, known) === 0) continue;
      known.set(now);
      sent.push(this.qemu.store(BigInt(frame * FRAME), now));
    }
    await Promise.all(sent);
  }
}

/** Translation off, the root table, and on again, with no cache left. */
async function start(side: Side, root: bigint): Promise<void> {
  await side.write32(0x18, 0);
  await side.write64(0x20, root);
  await side.write32(0x18, 1 << 30);
  await side.write32(0x18, 1 << 31);
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

function show({ data, fault }: Outcome): string {
  const moved = data === null ? 'nothing' : hex(data);
  if (fault === null) return moved;
  const { reason, source, address, isRead, pasid } = fault;
  const what = `${hex(reason)} ${isRead ? 'read' : 'write'} ${hex(address)} by ${hex(source)}`;
  return `${moved}, fault ${what}${pasid < 0 ? '' : ` PASID ${pasid}`}`;
}

function note({ byDifference }: Tally, name: string): void {
  byDifference.set(name, (byDifference.get(name) ?? 0) + 1);
}

const newTally = (): Tally => ({ accesses: 0, equal: 0, moved: 0, byDifference: new Map(), unexplained: [] });

function print(
  run: string,
  what: string,
  { accesses, equal, moved, byDifference, unexplained }: Tally,
): void {
  const share = moved === 0 ? '' : `, ${moved} moved data`;
  const lines = [`${run}: ${equal} of ${accesses} ${what} equal${share}`];
  for (const [name, count] of byDifference) lines.push(`  ${count} ${name}`);
  for (const line of unexplained) lines.push(`  WITHOUT A REASON ${line}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<number> {
  const given = readArguments({}, true).positionals.map((text) => readCount('a seed', text));
  const seeds = given.length > 0 ? given : SEEDS;
  const seen = new Set<string>();
  let wrong = 0;
  for (const mode of Object.keys(FEATURES) as Mode[]) {
    const both = await Comparison.start(FEATURES[mode]);
    process.stdout.write(`${mode}: QEMU ${both.qemu.version}\n`);
    for (const seed of seeds) {
      const tally = newTally();
      for (let index = 0; index < SCENES; index += 1) {
        const scene = buildScene(mode, both.ours.memory, new Random(seed, index));
        await both.run(scene, tally);
        scene.free();
      }
      const queue = newTally();
      await both.runQueue(mode, seed, DESCRIPTORS, queue);
      print(`${mode}, seed ${seed}`, 'accesses', tally);
      print(`${mode}, seed ${seed}`, 'invalidations', queue);
      for (const { byDifference, unexplained } of [tally, queue]) {
        for (const name of byDifference.keys()) seen.add(name);
        wrong += unexplained.length;
      }
    }
    await both.qemu.end();
  }
  const rows = [...differences, CACHED, ...queueDifferences].filter(({ name }) => seen.has(name));
  process.stdout.write(rows.map(({ name, why }) => `${name}: ${why}\n`).join(''));
  return wrong === 0 ? 0 : 1;
}

await runWithPackages(main);
