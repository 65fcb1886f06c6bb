/**
 * Random programs. A sequence belongs to a flavour, which sets up a scene (a few objects that work) and then draws
 * operations by weight; hostility is how often one is made wrong. Sequence N of seed S never depends on others.
 */
import { Maker, type Thing } from './maker.js';
import { deviceOps } from './ops-devices.js';
import { memoryOps, type Make } from './ops-memory.js';
import type { Sequence } from './program.js';
import { Random } from './random.js';
import { dirtyScene, faultScene, nestedScene, pasidScene, stage } from './scenes.js';

const ops = { ...memoryOps, ...deviceOps };
type OpName = keyof typeof ops;
type Weights = Partial<Record<OpName, number>>;

interface Flavour {
  readonly weight: number;
  readonly hostility?: number;
  readonly singlePages?: boolean;
  readonly scene: readonly OpName[];
  /** More often than the scene: objects that are known to work together. */
  readonly stage?: (m: Maker, ctx: Thing) => void;
  readonly weights: Weights;
}

const basics: Weights = { ioasAlloc: 2, destroy: 3, closeFd: 1, oddCall: 1, openContext: 1, memoryLimit: 1 };
const mapping: Weights = {
  map: 12,
  unmap: 6,
  copy: 5,
  mapFile: 4,
  ranges: 3,
  allow: 2,
  addReserved: 2,
  option: 2,
};
const accesses: Weights = { createAccess: 3, accessRw: 10, accessPages: 5, destroyPages: 3, replaceIoas: 1 };
const nesting: Weights = {
  nestedAlloc: 6,
  viommuAlloc: 5,
  vdeviceAlloc: 5,
  invalidate: 8,
  checkIotlb: 4,
  checkCache: 4,
};

const flavours: Record<string, Flavour> = {
  memory: {
    weight: 18,
    scene: ['ioasAlloc', 'ioasAlloc', 'map', 'createAccess'],
    weights: { ...basics, ...mapping, ...accesses, storeAndHash: 2, checkRefs: 2 },
  },
  domains: {
    weight: 16,
    stage: stage,
    scene: ['ioasAlloc', 'mockDomain', 'map', 'hwptAlloc'],
    weights: {
      ...basics, ...mapping, mockDomain: 5, replaceDomain: 4, hwptAlloc: 5, checkMap: 6, checkRefs: 3, hwInfo: 3,
      createAccess: 2, accessRw: 4, accessPages: 4, destroyPages: 2, storeAndHash: 1, setDirty: 1, getDirty: 2,
    },
  }, // prettier-ignore
  dirty: {
    weight: 10,
    singlePages: true,
    stage: dirtyScene,
    scene: ['ioasAlloc', 'mockDomain', 'hwptAlloc', 'map', 'map'],
    weights: {
      ...basics, map: 8, unmap: 3, copy: 2, hwptAlloc: 5, setDirty: 7, getDirty: 12, makeDirty: 12, mockDomain: 2,
      replaceDomain: 2, checkMap: 3,
    },
  }, // prettier-ignore
  nested: {
    weight: 16,
    stage: nestedScene,
    scene: ['ioasAlloc', 'mockDomain', 'map', 'hwptAlloc', 'viommuAlloc', 'vdeviceAlloc', 'nestedAlloc'],
    weights: {
      ...basics, ...nesting, map: 4, unmap: 2, hwptAlloc: 4, mockDomain: 4, replaceDomain: 6, hwQueueAlloc: 7,
      hwQueueTwice: 2, veventqAlloc: 5, vevent: 6, readVevent: 6, pollQueue: 3, mmapWindow: 5, munmapWindow: 3,
      destroy: 8, accessRw: 1, createAccess: 1, faultAlloc: 1, hwInfo: 2, dmabufGet: 1, mapFile: 2,
    },
  }, // prettier-ignore
  faults: {
    weight: 12,
    stage: faultScene,
    scene: ['ioasAlloc', 'faultAlloc', 'mockDomain', 'hwptAlloc', 'nestedAlloc', 'replaceDomain', 'iopf'],
    weights: {
      ...basics, faultAlloc: 4, mockDomain: 3, hwptAlloc: 4, nestedAlloc: 5, replaceDomain: 8, iopf: 16, readFault: 14,
      writeFault: 12, pollQueue: 6, pasidAttach: 3, pasidDetach: 2, closeFd: 3, viommuAlloc: 2, vdeviceAlloc: 2,
      },
  }, // prettier-ignore
  pasids: {
    weight: 10,
    stage: pasidScene,
    scene: ['ioasAlloc', 'mockDomain', 'hwptAlloc', 'hwptAlloc', 'nestedAlloc'],
    weights: {
      ...basics, mockDomain: 4, hwptAlloc: 6, nestedAlloc: 5, viommuAlloc: 2, vdeviceAlloc: 2, replaceDomain: 5,
      pasidAttach: 18, pasidDetach: 6, pasidCheck: 8, faultAlloc: 2, iopf: 3, hwInfo: 3, map: 2,
    },
  }, // prettier-ignore
  vfio: {
    weight: 10,
    scene: ['ioasAlloc', 'vfioIoas', 'vfioMap'],
    weights: {
      ...basics, vfioIoas: 6, vfioMap: 16, vfioUnmap: 12, vfioInfo: 6, vfioPlain: 8, mockDomain: 3, map: 3, unmap: 2,
      createAccess: 2, accessRw: 3, checkMap: 2, addReserved: 1, option: 1, copy: 1,
    },
  }, // prettier-ignore
  files: {
    weight: 8,
    scene: ['ioasAlloc', 'mapFile', 'createAccess', 'dmabufGet'],
    weights: {
      ...basics, mapFile: 18, map: 3, unmap: 5, copy: 3, dmabufGet: 4, dmabufRevoke: 4, mockDomain: 4, accessRw: 8,
      accessPages: 3, createAccess: 2, changeProcess: 6, storeAndHash: 2, changeMemory: 2, checkMap: 2, closeFd: 2,
    },
  }, // prettier-ignore
  process: {
    weight: 6,
    scene: ['ioasAlloc', 'map', 'createAccess'],
    weights: {
      ...basics, map: 10, mapFile: 6, unmap: 6, vfioMap: 2, vfioIoas: 2, mockDomain: 4, changeProcess: 6, status: 10,
      limitMemory: 3, handOver: 2, option: 5, changeMemory: 8, accessRw: 6, accessPages: 3, storeAndHash: 2, createAccess: 2,
      checkRefs: 3, copy: 2,
    },
  }, // prettier-ignore
  descriptors: {
    weight: 4,
    scene: ['ioasAlloc', 'mockDomain', 'hwptAlloc', 'viommuAlloc', 'limitFiles'],
    weights: {
      ...basics, openContext: 8, oddCall: 10, faultAlloc: 8, veventqAlloc: 8, createAccess: 8, dmabufGet: 4, closeFd: 10,
      limitFiles: 4, viommuAlloc: 3, hwptAlloc: 2, mmapWindow: 3,
    },
  }, // prettier-ignore
  everything: {
    weight: 10,
    hostility: 45,
    scene: [
      'ioasAlloc',
      'mockDomain',
      'map',
      'hwptAlloc',
      'faultAlloc',
      'createAccess',
      'viommuAlloc',
      'nestedAlloc',
    ],
    weights: Object.fromEntries(
      (Object.keys(ops) as OpName[]).filter((name) => name !== 'limitFiles').map((name) => [name, 1]),
    ),
  },
};

const names = Object.keys(flavours);
const flavourWeights = names.map((name) => [name, (flavours[name] as Flavour).weight] as const);

/** Operations in a sequence, the ones that only store to memory not counted. */
const LENGTH = 64;
const LONG = 400;

/** Sequence `number` of `seed`. */
export function generateSequence(seed: number, number: number): Sequence {
  const random = new Random(seed, number);
  const flavour = flavours[random.weighted(flavourWeights)] as Flavour;
  const m = new Maker(random);
  m.singlePages = flavour.singlePages ?? false;
  m.hostility = 0;
  const ctx = m.remember('ctx', null, m.returned(m.add('open', [2n])));
  if (flavour.stage !== undefined && random.chance(65)) flavour.stage(m, ctx);
  else for (const name of flavour.scene) ops[name](m, ctx);
  m.hostility = random.chance(15) ? 0 : (flavour.hostility ?? 28);
  const weights = Object.entries(flavour.weights) as [OpName, number][];
  const makes = weights.map(([name, weight]) => [ops[name] as Make, weight] as const);
  m.childPlaysToo = random.chance(15);
  const length = random.chance(1) ? LONG : LENGTH;
  while (m.ops.length < length) {
    const contexts = m.all('ctx');
    const where = random.chance(94) ? ctx : random.pick(contexts);
    random.weighted(makes)(m, where);
  }
  return { number, ops: m.ops };
}

/** What is left out of the programs on purpose, and why; printed after every run. */
export const exclusions: readonly { readonly what: string; readonly why: string }[] = [
  {
    what: 'TEST_DIRTY on mappings of several pages',
    why: 'page-table entries grow over frames that happen to be adjacent, and a dirty bit covers its entry',
  },
  {
    what: 'HWPT_GET_DIRTY_BITMAP from the second half of a page on',
    why: 'where that page is one dirty entry, Linux 7.2 takes its rest for 0 bytes long and never comes back',
  },
  {
    what: 'HW_QUEUE_ALLOC over several different pages',
    why: 'EFAULT or not depends on whether the frames happen to be adjacent; one page mapped twice is tried instead',
  },
  {
    what: 'HW_QUEUE_ALLOC with 2^36 to 2^40 bytes',
    why: 'ENOMEM or ENOENT depends on how much memory the machine has',
  },
  {
    what: 'destroying a mock device while a PASID of it is attached',
    why: 'the mock code of Linux 7.2 then uses freed memory; the player detaches first, in both worlds',
  },
  {
    what: 'a device that writes to a memfd sealed with F_SEAL_WRITE',
    why: 'Linux writes behind the seal, which no program can: here it is EFAULT',
  },
  {
    what: 'a memory limit (SET_TEMP_MEMORY_LIMIT) of less than a page',
    why: 'it decides how many pages are pinned before the first is mapped, and so which of two errors comes first',
  },
  {
    what: 'lseek of a dma-buf, and POLLRDNORM where there may be one',
    why: 'its descriptor is a pipe here, which has no length and says POLLRDNORM with POLLIN',
  },
  {
    what: 'private memory unmapped by its owner, or mapped by a child that exits',
    why: 'keeping such pages takes io_uring in the daemon; the test programs of Linux cover it',
  },
];
