/** Which device files a machine has. Apart from the engine, because programs may look for them before it is loaded. */

/** A device file that programs find. */
export interface DeviceNode {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
  /** Not shown where the system has a file of that name. */
  readonly isStandIn?: boolean;
}

export const CONTAINER_PATH = '/dev/vfio/vfio';

/** Linux gives /dev/iommu a dynamic minor of the misc major. */
const iommufd: DeviceNode = { path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 };
/** Only where the system has none of its own: see `isStandIn`. */
export const KVM_PATH = '/dev/kvm';
const kvm: DeviceNode = { path: KVM_PATH, mode: 0o666, major: 10, minor: 232, isStandIn: true };
const ioasid: DeviceNode = { path: '/dev/ioasid', mode: 0o660, major: 10, minor: 124 };
/** Anybody may open a container: it is nothing before a group is in it. */
const container: DeviceNode = { path: CONTAINER_PATH, mode: 0o666, major: 10, minor: 196 };
/** And VFIO dynamic majors of its own, for devices and for groups. */
export const VFIO_DEVICE_MAJOR = 511;
const VFIO_GROUP_MAJOR = 510;

/** Where the file of the device is that VFIO has as number `number`. */
export const vfioPath = (number: number): string => `/dev/vfio/devices/vfio${number}`;

/** Where the file of an IOMMU group is, whose number the plan says. */
export const vfioGroupPath = (group: number): string => `/dev/vfio/${group}`;

/** What the plan says of a device, as far as files go. */
interface Grouped {
  readonly groupNumber: number;
  readonly coherent: boolean;
  /** Of its file below /dev/vfio/devices; null: VFIO does not have it. Default: its place among the devices. */
  readonly vfioNumber?: number | null;
}

/** The device files of a machine with these devices, in the order of the topology. */
export function deviceNodes(devices: readonly Grouped[]): readonly DeviceNode[] {
  const nodes = devices.length === 0 ? [iommufd] : [iommufd, ioasid, kvm];
  devices.forEach(({ vfioNumber }, index) => {
    if (vfioNumber === null) return;
    const minor = vfioNumber ?? index;
    nodes.push({ path: vfioPath(minor), mode: 0o600, major: VFIO_DEVICE_MAJOR, minor });
  });
  if (devices.length > 0) nodes.push(container);
  // A group none of whose devices VFIO takes is none to it.
  const taken = devices.filter(({ coherent, vfioNumber }) => coherent && vfioNumber !== null);
  for (const group of new Set(taken.map(({ groupNumber }) => groupNumber))) {
    nodes.push({ path: vfioGroupPath(group), mode: 0o600, major: VFIO_GROUP_MAJOR, minor: group });
  }
  return nodes;
}
