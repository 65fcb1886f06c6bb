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

/** Linux gives /dev/iommu a dynamic minor of the misc major. */
const iommufd: DeviceNode = { path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 };
/** Only where the system has none of its own: see `isStandIn`. */
export const KVM_PATH = '/dev/kvm';
const kvm: DeviceNode = { path: KVM_PATH, mode: 0o666, major: 10, minor: 232, isStandIn: true };
const ioasid: DeviceNode = { path: '/dev/ioasid', mode: 0o660, major: 10, minor: 124 };
/** And VFIO a dynamic major of its own. */
const VFIO_MAJOR = 511;

/** Where the file of the device is that is number `index` in the topology. */
export const vfioPath = (index: number): string => `/dev/vfio/devices/vfio${index}`;

/** The device files of a machine with so many devices. */
export function deviceNodes(devices: number): readonly DeviceNode[] {
  const nodes = devices === 0 ? [iommufd] : [iommufd, ioasid, kvm];
  for (let minor = 0; minor < devices; minor++) {
    nodes.push({ path: vfioPath(minor), mode: 0o600, major: VFIO_MAJOR, minor });
  }
  return nodes;
}
