/** An IOAT behind a real VT-d unit, and a driver for it as the VFIO selftests have one, with numbers of its own. */
import type { InterruptSink } from '../../../src/bus/interrupts.js';
import type { PciModel } from '../../../src/bus/model.js';
import type { RegisterRegion } from '../../../src/bus/region.js';
import type { EngineConfig } from '../../../src/index.js';
import { scene, type Bound, type Scene } from '../../machine/vtd-machine.js';

export const NAME = '0000:00:04.0';
/** What is mapped: read and write, `PAGES` from here. */
export const START = 0x10_0000n;
export const PAGES = 1024;
const CHANNEL = 0x80;

export interface Descriptor {
  readonly size: number;
  readonly ctl?: number;
  readonly src?: bigint;
  readonly dst?: bigint;
  readonly next?: bigint;
}

export class IoatWorld {
  readonly scene: Scene;
  readonly model: PciModel;
  readonly bar: RegisterRegion;
  readonly bound: Bound;
  readonly ioas: number;
  /** Vectors that were raised. */
  readonly messages: number[] = [];
  readonly lines: boolean[] = [];
  readonly #va: bigint;
  readonly #view: DataView;

  constructor(config: Partial<EngineConfig> = {}, name = NAME) {
    const topology = { devices: { [NAME]: { model: 'ioat', virtualFunctions: 3 } } } as const;
    this.scene = scene({ topology, ...config });
    const { machine } = this.scene;
    if (name !== NAME) machine.setNumVfs(NAME, 3);
    this.model = machine.device(name).model as PciModel;
    this.bar = this.model.regions[0] as RegisterRegion;
    this.#view = new DataView(this.bar.image.buffer, this.bar.image.byteOffset);
    const { id, va } = this.scene.ioas(START, PAGES);
    this.ioas = id;
    this.#va = va;
    this.bound = this.scene.bind(name);
    this.bound.attach(id);
    const sink: InterruptSink = {
      message: (vector) => this.messages.push(vector),
      line: (asserted) => this.lines.push(asserted),
    };
    this.model.interrupts.sink = sink;
    this.model.interrupts.mode = 'msix';
    this.model.config.write(4, 2, 0x0406);
    this.store(0x03, 1, 0x08);
  }

  store(offset: number, width: 1 | 2 | 4, value: number): void {
    this.bar.store(offset, width, value | 0, 0);
  }

  store64(offset: number, value: bigint): void {
    const high = Number(BigInt.asIntN(32, value >> 32n));
    this.bar.store(offset, 8, Number(BigInt.asIntN(32, value)), high);
  }

  load32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  /** Does all that there is to do; how many pieces it took. */
  settle(most = 1_000_000): number {
    let steps = 0;
    while (steps < most && this.scene.machine.engine.work.step()) steps += 1;
    return steps;
  }

  get status(): number {
    return this.load32(CHANNEL + 0x08) & 7;
  }

  get completed(): bigint {
    return this.#view.getBigUint64(CHANNEL + 0x08, true) & ~0x3fn;
  }

  get errors(): number {
    return this.load32(CHANNEL + 0x28);
  }

  write(iova: bigint, bytes: Uint8Array): void {
    this.scene.machine.memory.write(this.#va + iova - START, bytes);
  }

  read(iova: bigint, length: number): Uint8Array {
    return this.scene.machine.memory.load(this.#va + iova - START, length);
  }

  put(at: bigint, { size, ctl = 0, src = 0n, dst = 0n, next = 0n }: Descriptor): void {
    const view = new DataView(new ArrayBuffer(64));
    view.setUint32(0, size, true);
    view.setUint32(4, ctl, true);
    view.setBigUint64(8, src, true);
    view.setBigUint64(16, dst, true);
    view.setBigUint64(24, next, true);
    this.write(at, new Uint8Array(view.buffer));
  }

  /** Starts the chain at `at`, `count` descriptors of it. */
  start(at: bigint, count: number, control = 0x0d): void {
    this.store64(CHANNEL + 0x10, at);
    this.store(CHANNEL, 2, control);
    this.store(CHANNEL + 6, 2, count);
  }

  command(value: number): void {
    this.store(CHANNEL + 4, 1, value);
  }
}
