/** The directory of a platform device (drivers/base/platform.c), beyond what every device has. */
import type { Bindings } from './bindings.js';
import type { SysDevice } from './device.js';
import type { SysTree } from './tree.js';

export function describePlatformDevice(tree: SysTree, { path, name }: SysDevice, bindings: Bindings): void {
  tree.text(`${path}/modalias`, `platform:${name}\n`);
  tree.text(`${path}/numa_node`, '-1\n');
  tree.attribute(`${path}/uevent`, {
    show: () => {
      const driver = bindings.driverOf(name);
      return `${driver === null ? '' : `DRIVER=${driver.name}\n`}MODALIAS=platform:${name}`;
    },
    store: () => {},
  });
}
