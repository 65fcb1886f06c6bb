/**
 * IOMMU_IOAS_MAP and UNMAP of 4 KiB to 1 TiB in process, into one domain with AMD v1 tables and leaves of 4 KiB,
 * 2 MiB and 1 GiB. What it costs follows the entries that are written, never the pages.
 */
import { Call } from '#ioasis/iommufd/call.js';
import type { Context } from '#ioasis/iommufd/context.js';
import { Ioas } from '#ioasis/iommufd/ioas.js';
import type { PagingDomain, Unit } from '#ioasis/hw/unit.js';
import { createEngine } from '#ioasis/machine/engine.js';
import { amdv1 } from '#ioasis/pt/formats/amdv1.js';
import { PageTable } from '#ioasis/pt/page-table.js';
import * as uapi from '#ioasis/wire/uapi/iommufd.gen.js';
import { ARGUMENT, LocalTask, MEMORY } from './local-task.js';
import { asMicroseconds, figure, limited, median, note, title } from './report.js';

const KIB = 1n << 10n;
const MIB = 1n << 20n;
const GIB = 1n << 30n;
const TIB = 1n << 40n;
const PAGE = 4n * KIB;
const PGSIZES = PAGE | (2n * MIB) | GIB;
const ROUNDS = 9;
/** Until the compiler has done what it will. */
const WARM_UP = 50_000;
/** A round lasts about this long. */
const ROUND_NS = 20e6;
const MOST_LEAF_WRITES = 1024;
const ACCESS = uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_FIXED_IOVA;

/** Linux 7.2 with iommufd's selftest in a QEMU/TCG guest, map and unmap in ns; measured before, not in this run. */
const cited: ReadonlyMap<bigint, readonly [map: number, unmap: number]> = new Map([
  [PAGE, [18e3, 11e3]],
  [256n * MIB, [2.3e6, 30e6]],
]);

const sizes: readonly (readonly [name: string, length: bigint])[] = [
  ['4 KiB', PAGE],
  ['64 KiB', 64n * KIB],
  ['2 MiB', 2n * MIB],
  ['32 MiB', 32n * MIB],
  ['256 MiB', 256n * MIB],
  ['1 GiB', GIB],
  ['32 GiB', 32n * GIB],
  ['1 TiB', TIB],
];

const MAP_AT = ARGUMENT;
const UNMAP_AT = ARGUMENT + 64n;

/** An IOAS with one domain. */
class Subject {
  readonly task = new LocalTask();
  readonly table: PageTable;
  readonly #context: Context;
  readonly #ioas: number;

  constructor() {
    const { task } = this;
    this.#context = createEngine({ selftest: false }).open('/dev/iommu', 2, task) as Context;
    const { iommu_ioas_alloc } = uapi;
    iommu_ioas_alloc.encode(iommu_ioas_alloc.create({ size: iommu_ioas_alloc.size }), task.mm.bytes);
    this.#context.ioctl(uapi.IOMMU_IOAS_ALLOC, ARGUMENT, task);
    this.#ioas = iommu_ioas_alloc.decode(task.mm.bytes).out_ioas_id;
    const { physical } = this.#context.env;
    const config = { maxVaLg2: 48, maxOaLg2: 51, startingLevel: 3, pgsizeBitmap: PGSIZES };
    this.table = new PageTable(physical, amdv1, config);
    const ioas = this.#context.objects.peek(this.#ioas) as Ioas;
    const call = new Call(this.#context, task, 0n, 0);
    ioas.table.addDomain(call, domainOver(this.table));
    call.commit();
  }

  prepare(userVa: bigint, length: bigint): void {
    const { iommu_ioas_map, iommu_ioas_unmap } = uapi;
    const target = { ioas_id: this.#ioas, length, iova: 0n };
    const map = { size: iommu_ioas_map.size, flags: ACCESS, user_va: userVa, ...target };
    iommu_ioas_map.encode(iommu_ioas_map.create(map), this.task.mm.bytes);
    const unmap = { size: iommu_ioas_unmap.size, ...target };
    iommu_ioas_unmap.encode(iommu_ioas_unmap.create(unmap), this.task.mm.bytes, Number(UNMAP_AT - ARGUMENT));
  }

  map(): void {
    this.#context.ioctl(uapi.IOMMU_IOAS_MAP, MAP_AT, this.task);
  }

  unmap(): void {
    this.#context.ioctl(uapi.IOMMU_IOAS_UNMAP, UNMAP_AT, this.task);
  }
}

/** A table as the object model sees a domain; nobody attaches a device to it. */
function domainOver(table: PageTable): PagingDomain {
  return {
    kind: 'paging',
    ops: {},
    unit: null as unknown as Unit,
    pgsizeBitmap: table.pgsizeBitmap,
    apertureStart: table.apertureStart,
    apertureLast: table.apertureLast,
    dirtyOps: null,
    iopfHandler: null,
    map: (iova, hpa, length, prot) => table.map(iova, hpa, length, prot),
    unmap: (iova, length) => void table.unmap(iova, length),
    iovaToPhys: (iova) => table.iovaToPhys(iova),
    free: () => table.destroy(),
  };
}

interface Cost {
  readonly mapNs: number;
  readonly unmapNs: number;
  /** Leaf entries that one map writes. */
  readonly entries: number;
}

function measure(subject: Subject, userVa: bigint, length: bigint): Cost {
  subject.prepare(userVa, length);
  const before = subject.table.stats.leafWrites;
  subject.map();
  const entries = subject.table.stats.leafWrites - before;
  subject.unmap();
  const map: number[] = [];
  const unmap: number[] = [];
  let repeats = 1;
  for (let round = -2; round < ROUNDS; round++) {
    let mapped = 0n;
    let unmapped = 0n;
    for (let i = 0; i < repeats; i++) {
      const begun = process.hrtime.bigint();
      subject.map();
      const between = process.hrtime.bigint();
      subject.unmap();
      mapped += between - begun;
      unmapped += process.hrtime.bigint() - between;
    }
    // The first rounds are for the compiler, and say how often a round repeats.
    const whole = Number(mapped + unmapped) / repeats;
    if (round < 0) repeats = Math.max(1, Math.min(5000, Math.round(ROUND_NS / whole)));
    else {
      map.push(Number(mapped) / repeats);
      unmap.push(Number(unmapped) / repeats);
    }
  }
  return { mapNs: median(map), unmapNs: median(unmap), entries };
}

function print(name: string, cost: Cost): void {
  const { mapNs, unmapNs, entries } = cost;
  const times = `${asMicroseconds(mapNs)} + ${asMicroseconds(unmapNs)}`.padEnd(26);
  const each = ((mapNs + unmapNs) / entries).toFixed(0);
  figure(name, `${times} ${String(entries).padStart(7)} leaf entries, ${each} ns each`);
}

function printCited(name: string, length: bigint, { mapNs, unmapNs }: Cost): void {
  const reference = cited.get(length);
  if (reference === undefined) return;
  const [map, unmap] = reference;
  figure(
    `${name}, Linux 7.2 in a QEMU/TCG guest, cited`,
    `${asMicroseconds(map)} + ${asMicroseconds(unmap)}`,
  );
  limited(`${name}, map + unmap`, mapNs + unmapNs, map + unmap, asMicroseconds);
}

export async function run(): Promise<void> {
  const subject = new Subject();
  subject.prepare(MEMORY, PAGE);
  for (let i = 0; i < WARM_UP; i++) {
    subject.map();
    subject.unmap();
  }
  title('map + unmap into one domain, in process');
  note('IOVA and memory congruent modulo 1 GiB');
  for (const [name, length] of sizes) {
    const cost = measure(subject, MEMORY, length);
    print(`  ${name}`, cost);
    printCited(`  ${name}`, length, cost);
    if (length === TIB) limited(`  ${name}, leaf entries`, cost.entries, MOST_LEAF_WRITES, String);
  }
  note('IOVA and memory 4 KiB apart: every page has an entry');
  for (const [name, length] of sizes) {
    if (length > GIB) continue;
    const cost = measure(subject, MEMORY + PAGE, length);
    print(`  ${name}`, cost);
    printCited(`  ${name}`, length, cost);
  }
}
