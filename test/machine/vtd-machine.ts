/** A machine with VT-d for tests: devices are bound as VFIO binds them, without its file. */
import { Device } from '../../src/iommufd/device.js';
import { Call } from '../../src/iommufd/call.js';
import type { Context } from '../../src/iommufd/context.js';
import { finish } from '../../src/iommufd/dispatch.js';
import { createMachine, uapi, type EngineConfig, type IommufdClient, type Machine } from '../../src/index.js';

export interface Bound {
  readonly id: number;
  attach(ptId: number, pasid?: number): number;
  replace(ptId: number, pasid?: number): number;
  detach(pasid?: number): void;
  unbind(): void;
}

export interface Scene {
  readonly machine: Machine;
  readonly iommufd: IommufdClient;
  bind(name: string): Bound;
  /** An IOAS with `pages` of memory at `iova`; its address in the client. */
  ioas(iova: bigint, pages: number): { id: number; va: bigint };
}

export const PAGE = 4096n;
const readWrite = uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_READABLE;

export function scene(config: Partial<EngineConfig>): Scene {
  const machine = createMachine(config);
  const iommufd = machine.open('/dev/iommu');
  const context = machine.client.fileOf(iommufd.fd) as Context;
  const inCall = <T>(step: (call: Call) => T): T => {
    let result: T;
    finish(new Call(context, machine.client, 0n, 0), (call) => {
      result = step(call);
      return 0;
    });
    return result!;
  };
  return {
    machine,
    iommufd,
    bind(name) {
      const bound = inCall((call) => Device.bindDevice(call, machine.device(name).iommu));
      return {
        id: bound.id,
        attach: (ptId, pasid = 0) => inCall((call) => bound.attach(call, pasid, ptId)),
        replace: (ptId, pasid = 0) => inCall((call) => bound.replace(call, pasid, ptId)),
        detach: (pasid = 0) => bound.detach(pasid),
        unbind: () => bound.unbind(),
      };
    },
    ioas(iova, pages) {
      const { out_ioas_id: id } = iommufd.call(uapi.IOMMU_IOAS_ALLOC);
      const length = BigInt(pages) * PAGE;
      const va = machine.memory.alloc(Number(length));
      const flags = readWrite | uapi.IOMMU_IOAS_MAP_FIXED_IOVA;
      iommufd.call(uapi.IOMMU_IOAS_MAP, { flags, ioas_id: id, user_va: va, length, iova });
      return { id, va };
    },
  };
}

/** As whoever has changed a table by hand has to do. */
export function invalidateAll(machine: Machine): void {
  const { commands, queue } = machine.engine.built.units[0]!.driver;
  commands.contexts();
  commands.pasidCaches();
  commands.iotlbs();
  queue.sync();
}
