/** What it costs to attach a PASID of a VT-d device, among a million of them and among a thousand. */
import { createEngine } from '#ioasis/machine/engine.js';
import { parts } from '#ioasis/machine/parts.js';
import { asMicroseconds, asRatio, figure, limited, quiet, title } from './report.js';

const MANY = 1_000_000;
const FEW = 1000;
const ROUNDS = 3;
const MOST_RATIO = 4;

/** Nanoseconds of this process's CPU an attachment takes, on a machine of its own. */
function costOf(count: number): number {
  const engine = createEngine({ selftest: false, topology: {} }, parts);
  const [device] = engine.built.devices.values();
  const { iommu } = device!;
  const domain = iommu.unit.allocPaging(iommu, 0, null);
  const handle = { domain };
  const before = process.cpuUsage();
  for (let pasid = 1; pasid <= count; pasid++) iommu.group.attachPasid(domain, iommu, pasid, handle);
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1000) / count;
}

export async function run(): Promise<void> {
  title('PASIDs of a device');
  const few: number[] = [];
  const many: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (let small = 0; small < 20; small++) few.push(costOf(FEW));
    many.push(costOf(MANY));
  }
  figure(`attach one among ${FEW}`, asMicroseconds(quiet(few)));
  limited(`attach one among ${MANY}, beside that`, quiet(many) / quiet(few), MOST_RATIO, asRatio);
}
