/** Which class a device of the plan is. A model has one line here. */
import { Interrupts } from '../bus/interrupts.js';
import type { DeviceModel } from '../bus/model.js';
import { MemoryBlocks } from '../dev/blocks.js';
import { DmaEngine } from '../dev/dma-engine.js';
import { DmaTest } from '../dev/dma-test.js';
import { Ioat } from '../dev/ioat/ioat.js';
import { Namespace } from '../dev/nvme/namespace.js';
import { Nvme } from '../dev/nvme/nvme.js';
import type { PciPlace } from '../dev/pci-device.js';
import type { VtdHardware } from '../hw/vtd/hardware.js';
import type { Surroundings } from './build.js';
import type { DevicePlan } from './plan.js';

/** A device as it is built: `engine` is what a test device can be made to do. */
export interface Made {
  readonly model: DeviceModel;
  readonly engine: DmaEngine | null;
}

/** Namespaces, and the requester id of the physical function whose they are. */
export interface Storage {
  readonly namespaces: readonly Namespace[];
  readonly owner: number;
}

/** Opens the namespaces of a controller; its virtual functions have the same. */
export function openStorage({ namespaces, sourceId }: DevicePlan, { openBlocks }: Surroundings): Storage {
  const opened = namespaces.map(({ size, file }, index) => {
    const store = file === null ? new MemoryBlocks(size!) : openBlocks(file, size);
    return new Namespace(index + 1, store, sourceId);
  });
  return { namespaces: opened, owner: sourceId };
}

/** `place` is null on a platform bus. */
export function makeModel(
  plan: DevicePlan,
  place: PciPlace | null,
  translator: VtdHardware,
  into: Surroundings,
  storage: Storage,
): Made {
  const { physical: memory, work, sharedMemory } = into;
  if (place === null) return platformTest(makeEngine(plan, translator, into));
  switch (plan.model) {
    case 'ioat':
      return { model: new Ioat(place, { translator, memory, work, sharedMemory }), engine: null };
    case 'nvme': {
      const { namespaces, owner } = storage;
      return {
        model: new Nvme(place, { translator, memory, work, sharedMemory, namespaces, owner }),
        engine: null,
      };
    }
    case 'dma-test': {
      const engine = makeEngine(plan, translator, into);
      return { model: new DmaTest(place, engine, sharedMemory, plan.cxlMemory), engine };
    }
  }
}

/** A test device that is not on PCI has neither registers nor interrupts. */
function platformTest(engine: DmaEngine): Made {
  const model: DeviceModel = {
    name: engine.name,
    endpoint: engine,
    regions: [],
    interrupts: new Interrupts({ intx: false, msi: 0, msix: 0 }),
    get pending() {
      return engine.pending;
    },
    reset: () => engine.reset(),
  };
  return { model, engine };
}

function makeEngine(
  { name, sourceId, ats, pri, pasidBits }: DevicePlan,
  translator: VtdHardware,
  { physical, events, checkStale }: Surroundings,
): DmaEngine {
  return new DmaEngine({
    name,
    sourceId,
    translator,
    memory: physical,
    maxPasids: pasidBits === 0 ? 0 : 2 ** pasidBits,
    ats,
    pri,
    staleness: {
      events,
      peek: (request) => translator.peek(request),
      generation: () => physical.tables.moves,
      isLive: (hi, lo) => physical.isLive(hi, lo),
      checking: checkStale,
    },
  });
}
