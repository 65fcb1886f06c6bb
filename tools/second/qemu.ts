/**
 * QEMU's intel-iommu with four devices in front of it: two `edu`, which read into a buffer of their own, and two
 * `iommu-testdev`, which write and say whether that worked. What an `edu` has read is seen by switching translation off
 * and letting it write the buffer to memory, at the end of a row of accesses that has reads.
 */
import { debianProgram } from '../lib/debian-program.js';
import { Qtest } from './qtest.js';
import {
  ACCESS_BYTES,
  MEMORY_BYTES,
  MEMORY_FIRST_FRAME,
  MEMORY_FRAMES,
  READERS,
  REQUESTERS,
  WRITERS,
  WRITTEN,
  takeFault,
  type Access,
  type FaultRecord,
  type Outcome,
  type Side,
} from './side.js';

const REGISTERS = 0xfed9_0000;
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const BAR0 = 0x10;
const COMMAND = 0x04;
/** Memory space and bus master. */
const ENABLE = 0x6;
/** Where the devices' registers go, a MiB each. */
const BARS: ReadonlyMap<number, number> = new Map(
  REQUESTERS.map((source, index) => [source, 0xe000_0000 + index * 0x10_0000]),
);
const EDU = { source: 0x80, target: 0x88, count: 0x90, command: 0x98 } as const;
const EDU_BUFFER = 0x4_0000;
const EDU_BUFFER_BYTES = 4096;
const EDU_RUN = 1;
const EDU_TO_MEMORY = 2;
/** An `edu` waits so long, in the virtual time that only we move. */
const EDU_NS = 100_000_000;
const TEST = { trigger: 0x00, lo: 0x04, hi: 0x08, length: 0x0c, result: 0x10, doorbell: 0x14 } as const;
/** The write was refused; otherwise it compares with what lies at another place, and says that it differs. */
const TEST_REFUSED = 0xdead_0002;
/** A page that no test uses: what goes into and comes out of the buffers. */
const SCRATCH = BigInt(MEMORY_FIRST_FRAME) << 12n;
const SLOTS = EDU_BUFFER_BYTES / ACCESS_BYTES;
const GCMD = 0x18;
const GSTS = 0x1c;
const TE = 1 << 31;
/** QEMU looks for the end of a line again with every piece of it that comes. */
const CHUNK = 1 << 15;

const address = (source: number): string => `addr=${(source >> 3).toString(16)}`;

/** Each read's slot in the buffer of its device; -1 for writes. */
function slotsOf(accesses: readonly Access[]): number[] {
  let next = 0;
  const slots = accesses.map(({ isWrite }) => (isWrite ? -1 : next++));
  if (next > SLOTS) throw new Error('too many reads in a row');
  return slots;
}

export class QemuSide implements Side {
  readonly #qtest: Qtest;
  readonly version: string;
  faultOffset = 0x220;
  /** Tells where to look first for what was written. */
  likely: (index: number) => bigint | null = () => null;

  private constructor(qtest: Qtest, version: string) {
    this.#qtest = qtest;
    this.version = version;
  }

  /** Boots a machine whose IOMMU has `features` (QEMU's properties). Throws PackageGone. */
  static async start(features: string): Promise<QemuSide> {
    const program = debianProgram('qemu-system-x86', 'usr/bin/qemu-system-x86_64');
    const wide = 'dma_mask=0xffffffffffffffff';
    const qtest = await Qtest.start(program, [
      ...['-machine', 'q35', '-m', `${MEMORY_BYTES >> 20}M`],
      ...['-device', `intel-iommu,intremap=off,aw-bits=48${features}`],
      ...READERS.flatMap((source) => ['-device', `edu,${address(source)},${wide}`]),
      ...WRITERS.flatMap((source) => ['-device', `iommu-testdev,${address(source)}`]),
    ]);
    const side = new QemuSide(qtest, program.version);
    await side.#configure();
    return side;
  }

  async read32(offset: number): Promise<number> {
    return Number(BigInt.asIntN(32, BigInt(await this.#qtest.send(`readl ${REGISTERS + offset}`))));
  }

  async write32(offset: number, value: number): Promise<void> {
    await this.#qtest.send(`writel ${REGISTERS + offset} ${value >>> 0}`);
  }

  async read64(offset: number): Promise<bigint> {
    return BigInt(await this.#qtest.send(`readq ${REGISTERS + offset}`));
  }

  async write64(offset: number, value: bigint): Promise<void> {
    await this.#qtest.send(`writeq ${REGISTERS + offset} ${value}`);
  }

  async load(hpa: bigint, bytes: number): Promise<Uint8Array> {
    return Buffer.from(await this.#qtest.send(`b64read ${hpa} ${bytes}`), 'base64');
  }

  async store(hpa: bigint, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += CHUNK) {
      const chunk = bytes.subarray(at, at + CHUNK);
      const text = Buffer.from(chunk).toString('base64');
      await this.#qtest.send(`b64write ${hpa + BigInt(at)} ${chunk.length} ${text}`);
    }
  }

  async access(accesses: readonly Access[]): Promise<Outcome[]> {
    const slots = slotsOf(accesses);
    // All of it is under way before the first answer comes; it is done in this order.
    const outcomes = await Promise.all(
      accesses.map((access, index) =>
        access.isWrite ? this.#write(index, access) : this.#read(access, slots[index]!),
      ),
    );
    return slots.includes(0) ? this.#withReads(accesses, outcomes, slots) : outcomes;
  }

  end(): Promise<void> {
    return this.#qtest.end();
  }

  async #configure(): Promise<void> {
    for (const [source, bar] of BARS) {
      for (const [register, value] of [
        [BAR0, bar],
        [COMMAND, ENABLE],
      ] as const) {
        await this.#qtest.send(`outl ${CONFIG_ADDRESS} ${2 ** 31 + source * 256 + register}`);
        await this.#qtest.send(`outl ${CONFIG_DATA} ${value}`);
      }
    }
    await this.#pattern();
    for (const source of READERS) await this.#edu(source, SCRATCH, 0, false);
  }

  async #pattern(): Promise<void> {
    const page = new BigUint64Array(EDU_BUFFER_BYTES / 8).fill(WRITTEN);
    await this.store(SCRATCH, new Uint8Array(page.buffer));
  }

  /** Lets an `edu` copy between `iova` and slot `slot` of its buffer. */
  async #edu(
    source: number,
    iova: bigint,
    slot: number,
    isWrite: boolean,
    bytes = ACCESS_BYTES,
  ): Promise<void> {
    const bar = BARS.get(source)!;
    const inner = EDU_BUFFER + slot * ACCESS_BYTES;
    const send = (register: number, value: bigint | number): Promise<string> =>
      this.#qtest.send(`writeq ${bar + register} ${value}`);
    await Promise.all([
      send(EDU.source, isWrite ? inner : iova),
      send(EDU.target, isWrite ? iova : inner),
      send(EDU.count, bytes),
      send(EDU.command, EDU_RUN | (isWrite ? EDU_TO_MEMORY : 0)),
      this.#qtest.send(`clock_step ${EDU_NS}`),
    ]);
  }

  async #read({ source, iova }: Access, slot: number): Promise<Outcome> {
    const [, fault] = await Promise.all([
      this.#edu(source, iova, slot, false),
      takeFault(this, this.faultOffset),
    ]);
    return { data: null, fault };
  }

  /** What was written is undone where it should have gone, and looked for everywhere if it did not. */
  async #write(index: number, { source, iova }: Access): Promise<Outcome> {
    const bar = BARS.get(source)!;
    const send = (register: number, value: bigint | number): Promise<string> =>
      this.#qtest.send(`writel ${bar + register} ${value}`);
    const likely = this.likely(index);
    const [fault, isThere, result] = await Promise.all([
      this.#after(
        send(TEST.lo, iova & 0xffff_ffffn),
        send(TEST.hi, iova >> 32n),
        send(TEST.length, ACCESS_BYTES),
        send(TEST.doorbell, 1),
        this.#qtest.send(`readl ${bar + TEST.trigger}`),
      ),
      likely === null ? false : this.#has(likely),
      this.#qtest.send(`readl ${bar + TEST.result}`),
      likely === null ? undefined : this.store(likely, this.before(likely)),
    ]);
    if (isThere) return { data: likely, fault };
    return { data: Number(result) === TEST_REFUSED ? null : await this.#search(iova & 0xfffn), fault };
  }

  /** The fault of what was just sent. */
  async #after(...sent: readonly Promise<string>[]): Promise<FaultRecord | null> {
    const fault = takeFault(this, this.faultOffset);
    await Promise.all(sent);
    return fault;
  }

  /** What lies at an HPA of the tables and data before the accesses. */
  before: (hpa: bigint) => Uint8Array = () => new Uint8Array(ACCESS_BYTES);

  async #has(hpa: bigint): Promise<boolean> {
    return BigInt(await this.#qtest.send(`readq ${hpa}`)) === WRITTEN;
  }

  /** The same place of every page but the scratch page. */
  async #search(inPage: bigint): Promise<bigint | null> {
    const places = Array.from(
      { length: MEMORY_FRAMES - MEMORY_FIRST_FRAME - 1 },
      (_, index) => (BigInt(MEMORY_FIRST_FRAME + 1 + index) << 12n) | inPage,
    );
    const found = await Promise.all(places.map((hpa) => this.#has(hpa)));
    const hpa = places[found.indexOf(true)];
    if (hpa === undefined) return null;
    await this.store(hpa, this.before(hpa));
    return hpa;
  }

  /** Fills in what was read; translation is off meanwhile. */
  async #withReads(
    accesses: readonly Access[],
    outcomes: readonly Outcome[],
    slots: readonly number[],
  ): Promise<Outcome[]> {
    const status = await this.read32(GSTS);
    await this.write32(GCMD, status & ~TE);
    const buffers = new Map<number, Buffer>();
    for (const source of READERS) {
      await this.#edu(source, SCRATCH, 0, true, EDU_BUFFER_BYTES);
      buffers.set(source, Buffer.from(await this.load(SCRATCH, EDU_BUFFER_BYTES)));
    }
    await this.#pattern();
    for (const source of READERS) await this.#edu(source, SCRATCH, 0, false, EDU_BUFFER_BYTES);
    await this.write32(GCMD, status);
    return outcomes.map((outcome, index) => {
      const slot = slots[index]!;
      if (slot < 0 || outcome.fault !== null) return outcome;
      const data = buffers.get(accesses[index]!.source)!.readBigUInt64LE(slot * ACCESS_BYTES);
      // What is nowhere reads as zeros.
      return { ...outcome, data: data === WRITTEN || data === 0n ? null : data };
    });
  }
}
