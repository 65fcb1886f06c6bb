/** Which device files a machine has. Apart from the engine, because programs may look for them before it is loaded. */
import { planMachine, type MachinePlan } from './plan.js';
import type { Topology } from './topology.js';

/** A device file that programs find. */
export interface DeviceNode {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
}

/** Linux gives /dev/iommu a dynamic minor of the misc major. */
const iommufd: DeviceNode = { path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 };
/** And VFIO a dynamic major of its own. */
const VFIO_MAJOR = 511;

/** Where the file of the device is that is number `index` in the topology. */
export const vfioPath = (index: number): string => `/dev/vfio/devices/vfio${index}`;

/** The device files of a machine; `topology` null: one without devices. */
export function deviceNodes(topology: Topology | null): readonly DeviceNode[] {
  return topology === null ? [iommufd] : nodesOf(planMachine(topology));
}

/** The same for a plan. */
export function nodesOf({ devices }: Pick<MachinePlan, 'devices'>): readonly DeviceNode[] {
  const vfio = devices.map((_, minor) => ({ path: vfioPath(minor), mode: 0o600, major: VFIO_MAJOR, minor }));
  return [iommufd, ...vfio];
}
