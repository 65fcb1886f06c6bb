/** An NVMe controller behind a real VT-d unit, and a driver for it with numbers of its own. */
import type { InterruptMode } from '../../../src/bus/interrupts.js';
import type { PciModel } from '../../../src/bus/model.js';
import type { RegisterRegion } from '../../../src/bus/region.js';
import type { EngineConfig } from '../../../src/index.js';
import type { NamespaceDescription } from '../../../src/machine/topology.js';
import { scene, type Bound, type Scene } from '../../machine/vtd-machine.js';

export const NAME = '0000:00:05.0';
export const START = 0x10_0000n;
export const PAGES = 512;
export const UNMAPPED = 0x7000_0000n;

/** Where things are in the memory that is mapped. */
export const at = (page: number, offset = 0): bigint => START + BigInt(page * 4096 + offset);
const ASQ = at(0);
const ACQ = at(1);
/** Pages of I/O queues: pair `id` has two of these. */
const IO = 2;
export const ROOM = 32;

export interface Submission {
  readonly opcode: number;
  readonly namespace?: number;
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  /** Bits 7:6 of byte 1, and the fused bits. */
  readonly flags?: number;
  /** Command dwords from 10 on. */
  readonly dwords?: readonly number[];
}

export interface Completion {
  readonly id: number;
  readonly result: number;
  /** Status code with its type in bits 10:8. */
  readonly status: number;
  readonly doNotRetry: boolean;
  readonly queue: number;
  readonly head: number;
}

interface Pair {
  readonly sq: bigint;
  readonly cq: bigint;
  readonly size: number;
  tail: number;
  head: number;
  phase: number;
  completions: number;
}

export interface NvmeWorldOptions extends Partial<EngineConfig> {
  readonly namespaces?: readonly NamespaceDescription[];
  readonly virtual?: string;
  readonly mode?: InterruptMode;
}

export class NvmeWorld {
  readonly scene: Scene;
  readonly model: PciModel;
  readonly bar: RegisterRegion;
  readonly bound: Bound;
  readonly ioas: number;
  readonly messages: number[] = [];
  readonly lines: boolean[] = [];
  readonly pairs = new Map<number, Pair>();
  nextId = 1;
  readonly #va: bigint;
  readonly #view: DataView;

  constructor({ namespaces = [{ size: '1M' }], virtual, mode = 'msix', ...config }: NvmeWorldOptions = {}) {
    const topology = { devices: { [NAME]: { model: 'nvme', namespaces, virtualFunctions: 2 } } } as const;
    this.scene = scene({ topology, ...config });
    const { machine } = this.scene;
    if (virtual !== undefined) machine.setNumVfs(NAME, 2);
    const name = virtual ?? NAME;
    this.model = machine.device(name).model as PciModel;
    this.bar = this.model.regions[0] as RegisterRegion;
    this.#view = new DataView(this.bar.image.buffer, this.bar.image.byteOffset);
    const { id, va } = this.scene.ioas(START, PAGES);
    this.ioas = id;
    this.#va = va;
    this.bound = this.scene.bind(name);
    this.bound.attach(id);
    this.model.interrupts.sink = {
      message: (vector) => this.messages.push(vector),
      line: (asserted) => this.lines.push(asserted),
    };
    this.model.interrupts.mode = mode;
    this.model.config.write(4, 2, mode === 'intx' ? 0x0006 : 0x0406);
  }

  load32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  store32(offset: number, value: number): void {
    this.bar.store(offset, 4, value | 0, 0);
  }

  store64(offset: number, value: bigint): void {
    const high = Number(BigInt.asIntN(32, value >> 32n));
    this.bar.store(offset, 8, Number(BigInt.asIntN(32, value)), high);
  }

  write(iova: bigint, bytes: Uint8Array): void {
    this.scene.machine.memory.write(this.#va + iova - START, bytes);
  }

  read(iova: bigint, length: number): Uint8Array {
    return this.scene.machine.memory.load(this.#va + iova - START, length);
  }

  settle(most = 1_000_000): number {
    let steps = 0;
    while (steps < most && this.scene.machine.engine.work.step()) steps += 1;
    return steps;
  }

  get ready(): boolean {
    return (this.load32(0x1c) & 1) !== 0;
  }

  get fatal(): boolean {
    return (this.load32(0x1c) & 2) !== 0;
  }

  /** Admin queues of 16 and 32 entries, and EN. */
  enable(asq = ASQ, acq = ACQ): void {
    this.store32(0x24, 15 | (31 << 16));
    this.store64(0x28, asq);
    this.store64(0x30, acq);
    this.store32(0x14, 0x0046_0001);
    this.write(ACQ, new Uint8Array(4096));
    this.pairs.clear();
    this.pairs.set(0, { sq: ASQ, cq: ACQ, size: 16, tail: 0, head: 0, phase: 1, completions: 32 });
  }

  disable(): void {
    this.store32(0x14, 0x0046_0000);
  }

  /** One pair of I/O queues, with vector `id`. */
  makePair(id: number, size = 8): void {
    const sq = at(IO + 2 * id);
    const cq = at(IO + 2 * id + 1);
    this.write(cq, new Uint8Array(4096));
    this.expect({ opcode: 5, prp1: cq, dwords: [id | ((size - 1) << 16), 3 | (id << 16)] });
    this.expect({ opcode: 1, prp1: sq, dwords: [id | ((size - 1) << 16), 1 | (id << 16)] });
    this.pairs.set(id, { sq, cq, size, tail: 0, head: 0, phase: 1, completions: size });
  }

  /** Puts a command into queue `queue` and, unless told otherwise, rings. */
  submit(submission: Submission, queue = 0, rings = true): number {
    const { opcode, namespace = 0, prp1 = 0n, prp2 = 0n, flags = 0, dwords = [] } = submission;
    const pair = this.pairs.get(queue)!;
    const id = this.nextId++ & 0xffff;
    const view = new DataView(new ArrayBuffer(64));
    view.setUint8(0, opcode);
    view.setUint8(1, flags);
    view.setUint16(2, id, true);
    view.setUint32(4, namespace, true);
    view.setBigUint64(24, prp1, true);
    view.setBigUint64(32, prp2, true);
    for (const [index, dword] of dwords.entries()) view.setUint32(40 + 4 * index, dword, true);
    this.write(pair.sq + BigInt(64 * pair.tail), new Uint8Array(view.buffer));
    pair.tail = (pair.tail + 1) % pair.size;
    if (rings) this.ring(queue);
    return id;
  }

  ring(queue = 0): void {
    this.store32(0x1000 + queue * 8, this.pairs.get(queue)!.tail);
  }

  /** What has completed since the last look; the phase says it. */
  reap(queue = 0, acknowledges = true): Completion[] {
    const pair = this.pairs.get(queue)!;
    const found: Completion[] = [];
    for (;;) {
      const view = new DataView(this.read(pair.cq + BigInt(16 * pair.head), 16).buffer);
      const word = view.getUint16(14, true);
      if ((word & 1) !== pair.phase) break;
      found.push({
        id: view.getUint16(12, true),
        result: view.getUint32(0, true),
        status: (word >>> 1) & 0x7ff,
        doNotRetry: word >>> 15 === 1,
        queue: view.getUint16(10, true),
        head: view.getUint16(8, true),
      });
      pair.head = (pair.head + 1) % pair.completions;
      if (pair.head === 0) pair.phase ^= 1;
    }
    if (acknowledges && found.length > 0) this.store32(0x1004 + queue * 8, pair.head);
    return found;
  }

  /** Runs one command to its end. */
  run(submission: Submission, queue = 0): Completion {
    const id = this.submit(submission, queue);
    this.settle();
    const found = this.reap(queue).find((completion) => completion.id === id);
    if (found === undefined) throw new Error(`command ${id} is not over`);
    return found;
  }

  /** The same for one that has to succeed. */
  expect(submission: Submission, queue = 0): Completion {
    const completion = this.run(submission, queue);
    if (completion.status !== 0) throw new Error(`status 0x${completion.status.toString(16)}`);
    return completion;
  }

  /** A PRP list of the pages from `first` on, at `list`. */
  list(list: bigint, pages: readonly bigint[]): void {
    const view = new DataView(new ArrayBuffer(pages.length * 8));
    for (const [index, page] of pages.entries()) view.setBigUint64(index * 8, page, true);
    this.write(list, new Uint8Array(view.buffer));
  }
}
