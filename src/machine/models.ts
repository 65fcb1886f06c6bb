/** Which class a device of the plan is. A model has one line here. */
import { Interrupts } from '../bus/interrupts.js';
import type { DeviceModel } from '../bus/model.js';
import { DmaEngine } from '../dev/dma-engine.js';
import { DmaTest } from '../dev/dma-test.js';
import { Ioat } from '../dev/ioat/ioat.js';
import type { PciPlace } from '../dev/pci-device.js';
import type { VtdHardware } from '../hw/vtd/hardware.js';
import type { Surroundings } from './build.js';
import type { DevicePlan } from './plan.js';

/** A device as it is built: `engine` is what a test device can be made to do. */
export interface Made {
  readonly model: DeviceModel;
  readonly engine: DmaEngine | null;
}

/** `place` is null on a platform bus. */
export function makeModel(
  plan: DevicePlan,
  place: PciPlace | null,
  translator: VtdHardware,
  into: Surroundings,
): Made {
  const { physical: memory, work, sharedMemory } = into;
  if (place === null) return platformTest(makeEngine(plan, translator, into));
  switch (plan.model) {
    case 'ioat':
      return { model: new Ioat(place, { translator, memory, work, sharedMemory }), engine: null };
    case 'nvme':
    case 'dma-test': {
      const engine = makeEngine(plan, translator, into);
      return { model: new DmaTest(place, engine, sharedMemory), engine };
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
      generation: () => physical.tables.moves,
      isLive: (hi, lo) => physical.isLive(hi, lo),
      checking: checkStale,
    },
  });
}
