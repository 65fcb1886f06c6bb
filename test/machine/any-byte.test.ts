/**
 * The tables decide, and nothing beside them: of every table that leads to a page each byte gets a bit flipped, and the
 * next DMA through that byte does what a second reading of all the bytes says.
 */
import { expect, test } from 'vitest';
import { DmaPort } from '../../src/bus/dma-port.js';
import { CAP, registerField } from '../../src/hw/vtd/registers.js';
import { uapi } from '../../src/index.js';
import type { Topology } from '../../src/machine/topology.js';
import { dice } from '../dice.js';
import { answer, type Answer, type Model } from '../hw/vtd/reference.js';
import { invalidateAll, scene, type Scene } from './vtd-machine.js';

const DEVICE = '0000:00:01.0';
const SOURCE = 8;
const PASID = 3;
const IOVA = 0x12_4567_8000n;
/** No large page fits what is mapped from here on. */
const FIRST_PAGE = 0x12_455f_f000n;
const PAGES = 600;
const TABLE_BYTES = 4096;
const HERE = { byte: (Number((IOVA - FIRST_PAGE) >> 12n) * 7) & 255 };

/** A unit that has all that the second reading knows of. */
const topologyOf = (firstStage: boolean): Topology => ({
  units: { vtd0: { firstStage, addressWidth: 57, registers: { ECAP: { RPS: 1, RPRIVS: 1, ERS: 1 } } } },
});

interface Request {
  readonly source: number;
  readonly pasid: number;
  readonly iova: bigint;
}

/** The request that goes through byte `at` of a table on the way of IOVA, and in all other tables the same way. */
function requestThrough(table: string, at: number): Request {
  const own = { source: SOURCE, pasid: PASID, iova: IOVA };
  // Each half of a root entry is for 128 devices and functions.
  if (table === 'root table') return { ...own, source: ((at >> 4) << 8) | (((at >> 3) & 1) << 7) | SOURCE };
  if (table === 'context table') return { ...own, source: at >> 5 };
  if (table === 'PASID directory') return { ...own, pasid: ((at >> 3) << 6) | PASID };
  if (table === 'PASID table') return { ...own, pasid: at >> 6 };
  const shift = BigInt(12 + 9 * (Number(/ level (\d)$/.exec(table)![1]) - 1));
  const iova = (IOVA & ~(511n << shift)) | (BigInt(at >> 3) << shift);
  return { ...own, iova: BigInt.asUintN(64, BigInt.asIntN(57, iova)) };
}

/** What a device finds by a read of one byte, and what it would have to find. */
class Judge {
  readonly #model: Model;
  readonly #byte = new Uint8Array(1);

  constructor(
    readonly made: Scene,
    root: bigint,
  ) {
    const { machine } = made;
    const { hardware } = machine.engine.built.units[0]!;
    const mgaw = BigInt(registerField(hardware.read64(0x08), CAP.MGAW)) + 1n;
    const read = (hpa: bigint): bigint | null => {
      const bytes = machine.physical.read(hpa, 8);
      return bytes === null ? null : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
    };
    this.#model = { read, root, haw: 52n, mgaw, has1GibFirst: true };
  }

  expected({ source, pasid, iova }: Request): Answer | { readonly byte: number } {
    const found = answer(this.#model, { source, pasid, iova, access: 1 });
    if ('reason' in found) return found;
    const bytes = this.made.machine.physical.read(found.hpa, 1);
    return bytes === null ? found : { byte: bytes[0]! };
  }

  /** A port of its own for each: nothing is left of the request before. */
  found({ source, pasid, iova }: Request): { readonly reason: number } | { readonly byte: number } | null {
    const { built, physical } = this.made.machine.engine;
    const port = new DmaPort(source, built.units[0]!.hardware, physical);
    port.pasid = pasid;
    if (port.read(Number(iova >> 32n) | 0, Number(iova & 0xffff_ffffn) | 0, this.#byte))
      return { byte: this.#byte[0]! };
    return port.stop === 'refused' ? { reason: port.reason } : null;
  }
}

const print = (found: Answer | { readonly byte: number }): string =>
  'byte' in found ? `byte ${found.byte}` : 'reason' in found ? `reason ${found.reason}` : 'no memory';

test.each(['first stage', 'second stage'])(
  'a bit that is flipped in any byte of any table is what the next DMA goes by: %s',
  { timeout: 120_000 },
  (stage) => {
    const made = scene({ topology: topologyOf(stage === 'first stage') });
    const { machine, iommufd } = made;
    const device = made.bind(DEVICE);
    // Every entry of the last table leads to a page, which says which one it is.
    const { id, va } = made.ioas(FIRST_PAGE, PAGES);
    for (let page = 0; page < PAGES; page += 1)
      machine.memory.write(va + BigInt(page * TABLE_BYTES), Uint8Array.of(page * 7));
    const hwpt = iommufd.call(uapi.IOMMU_HWPT_ALLOC, {
      flags: uapi.IOMMU_HWPT_ALLOC_PASID,
      dev_id: device.id,
      pt_id: id,
    });
    device.attach(hwpt.out_hwpt_id, PASID);
    const { steps } = machine.walk(DEVICE, IOVA, PASID);
    const levels = [5, 4, 3, 2, 1].map((level) => `${stage} level ${level}`);
    expect(steps.map(({ table }) => table).slice(4)).toEqual(levels);
    const judge = new Judge(made, BigInt(steps[0]!.at));
    const whole = requestThrough('context table', SOURCE << 5);
    expect([judge.found(whole), judge.expected(whole)]).toEqual([HERE, HERE]);
    const next = dice(20_261_126);
    const answers = new Set<string>();
    let before = '';
    let changed = 0;
    // What leads to the stage is the same for both.
    for (const { table, at } of stage === 'first stage' ? steps : steps.slice(4)) {
      for (let byte = 0; byte < TABLE_BYTES; byte += 1) {
        const request = requestThrough(table, byte);
        const place = BigInt(at) + BigInt(byte);
        const old = machine.physical.read(place, 1)!;
        if (byte % 8 === 0) before = print(judge.expected(request));
        const bit = next(8);
        machine.physical.write(place, Uint8Array.of(old[0]! ^ (1 << bit)));
        invalidateAll(machine);
        const expected = judge.expected(request);
        const found = judge.found(request);
        const said = `${table} byte ${byte} bit ${bit}`;
        // What leads to no memory at all is no fault of a translation.
        if ('hpa' in expected) expect(found, said).toBeNull();
        else expect(found, said).toEqual(expected);
        answers.add(print(expected));
        if (print(expected) !== before) changed += 1;
        machine.physical.write(place, old);
      }
    }
    expect(changed).toBeGreaterThan(2000);
    expect(answers.size).toBeGreaterThan(250);
    expect(judge.found(whole)).toEqual(HERE);
  },
);
