/** ioasis' VT-d unit with as much memory as the other side has, at the same addresses, and one DMA engine a requester. */
import { Events } from '#ioasis/base/events.js';
import { Injector } from '#ioasis/base/inject.js';
import type { Endpoint } from '#ioasis/bus/dma.js';
import { DmaEngine } from '#ioasis/dev/dma-engine.js';
import { VtdHardware } from '#ioasis/hw/vtd/hardware.js';
import type { VtdCapabilities } from '#ioasis/hw/vtd/capabilities.js';
import { PhysicalMemory } from '#ioasis/mem/physical.js';
import {
  ACCESS_BYTES,
  MEMORY_FIRST_FRAME,
  MEMORY_FRAMES,
  REQUESTERS,
  WRITTEN,
  takeFault,
  type Access,
  type Outcome,
  type Side,
} from './side.js';

/** The store grows in blocks of so many frames; single frames come from below the first of them. */
const BLOCK_LG2 = 22;
const BLOCK_FRAMES = 1 << (BLOCK_LG2 - 12);

function answering(sourceId: number): Endpoint {
  return { name: 'device', sourceId, invalidateDeviceTlb: () => true, pageGroupResponse: () => undefined };
}

export class OurSide implements Side {
  readonly memory = new PhysicalMemory(new Injector());
  readonly unit: VtdHardware;
  readonly faultOffset: number;
  readonly #devices: ReadonlyMap<number, DmaEngine>;
  readonly #written = new Uint8Array(new BigUint64Array([WRITTEN]).buffer);

  constructor(capabilities: VtdCapabilities, faultOffset: number) {
    const { memory } = this;
    this.faultOffset = faultOffset;
    const arena = memory.tables.openArena();
    for (let frame = BLOCK_FRAMES; frame < MEMORY_FRAMES; frame += BLOCK_FRAMES) {
      if (arena.allocate(BLOCK_LG2) !== frame) throw new Error('memory does not lie where it should');
    }
    this.unit = new VtdHardware({
      name: 'ours',
      memory,
      capabilities,
      messages: { message: () => undefined },
      // QEMU's devices have no cache, and nothing waits for their answer.
      endpoints: { endpoint: (sourceId) => answering(sourceId) },
      events: new Events(),
    });
    const translator = this.unit;
    this.#devices = new Map(
      REQUESTERS.map((sourceId) => [
        sourceId,
        new DmaEngine({ name: 'device', sourceId, translator, memory }),
      ]),
    );
  }

  async read32(offset: number): Promise<number> {
    return this.unit.read32(offset);
  }

  async write32(offset: number, value: number): Promise<void> {
    this.unit.write32(offset, value);
  }

  async read64(offset: number): Promise<bigint> {
    return this.unit.read64(offset);
  }

  async write64(offset: number, value: bigint): Promise<void> {
    this.unit.write64(offset, value);
  }

  async load(hpa: bigint, bytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(bytes);
    this.memory.read(hpa, into);
    return into;
  }

  async store(hpa: bigint, bytes: Uint8Array): Promise<void> {
    if (!this.memory.write(hpa, bytes)) throw new Error(`no memory at 0x${hpa.toString(16)}`);
  }

  async access(accesses: readonly Access[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const access of accesses) {
      const data = access.isWrite ? this.#write(access) : this.#read(access);
      outcomes.push({ data, fault: await takeFault(this, this.faultOffset) });
    }
    return outcomes;
  }

  #read({ source, iova }: Access): bigint | null {
    const job = this.#devices.get(source)!.submit({ kind: 'read', iova, length: ACCESS_BYTES });
    if (job.state !== 'done') return null;
    return new DataView(job.data!.slice().buffer).getBigUint64(0, true) || null;
  }

  /** Where the write went; what was there before is there again afterwards. */
  #write({ source, iova }: Access): bigint | null {
    const before = this.#column(iova & 0xfffn);
    const job = this.#devices.get(source)!.submit({
      kind: 'write',
      iova,
      length: ACCESS_BYTES,
      data: this.#written,
    });
    if (job.state !== 'done') return null;
    const after = this.#column(iova & 0xfffn);
    const index = after.findIndex((value, at) => value === WRITTEN && before[at] !== WRITTEN);
    if (index < 0) return null;
    const hpa = (BigInt(MEMORY_FIRST_FRAME + index) << 12n) | (iova & 0xfffn);
    this.memory.write(hpa, new Uint8Array(new BigUint64Array([before[index]!]).buffer));
    return hpa;
  }

  /** The 64-bit words at one place of every page. */
  #column(inPage: bigint): BigUint64Array {
    const { memory } = this;
    const column = new BigUint64Array(MEMORY_FRAMES - MEMORY_FIRST_FRAME);
    const words = new Int32Array(column.buffer);
    for (let index = 0; index < column.length; index += 1) {
      memory.load64(0, ((MEMORY_FIRST_FRAME + index) << 12) | Number(inPage));
      words[index * 2] = memory.loadedLo;
      words[index * 2 + 1] = memory.loadedHi;
    }
    return column;
  }
}
