/** Which device files a machine has. Apart from the engine, because programs may look for them before it is loaded. */

/** A device file that programs find. */
export interface DeviceNode {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
}

/** Linux gives /dev/iommu a dynamic minor of the misc major. */
export const devices: readonly DeviceNode[] = [{ path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 }];
