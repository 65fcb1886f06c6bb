/** /sys/module: the modules of which programs ask whether they are there, and their parameters, with Linux' defaults. */
import type { Driver } from './bindings.js';
import { refuse } from '../../base/errno.js';
import { parseNumber } from './parse.js';
import { rules } from './rules.js';
import type { SysTree } from './tree.js';

/** A parameter that is written: whether it is a switch, or a number. */
type Parameter = readonly [name: string, value: string, kind: 'fixed' | 'switch' | 'number'];

const modules: Readonly<Record<string, readonly Parameter[]>> = {
  ioatdma: [],
  iommufd: [],
  nvme: [],
  vfio: [['enable_unsafe_noiommu_mode', 'N', 'switch']],
  vfio_iommu_type1: [
    ['allow_unsafe_interrupts', 'N', 'switch'],
    ['disable_hugepages', 'N', 'switch'],
    ['dma_entry_limit', '65535', 'number'],
  ],
  // OURS: virtual functions can be had without asking for them, where Linux has N.
  vfio_pci: [
    ['disable_denylist', 'N', 'fixed'],
    ['disable_idle_d3', 'N', 'switch'],
    ['disable_vga', 'N', 'fixed'],
    ['enable_sriov', 'Y', 'switch'],
    ['nointxmask', 'N', 'switch'],
  ],
  vfio_pci_core: [],
  vfio_platform: [['reset_required', 'Y', 'fixed']],
};

export function describeModules(tree: SysTree, drivers: readonly Driver[]): void {
  for (const [module, parameters] of Object.entries(modules)) {
    const at = `/sys/module/${module}`;
    tree.directory(at);
    tree.text(`${at}/initstate`, 'live\n');
    for (const [name, value, kind] of parameters) {
      const path = `${at}/parameters/${name}`;
      if (kind === 'fixed') tree.text(path, `${value}\n`);
      else
        tree.setting(path, value, (text) =>
          kind === 'switch' ? parseSwitch(name, text) : number(name, text),
        );
    }
  }
  for (const { module, name, bus } of drivers) {
    tree.link(`/sys/module/${module}/drivers/${bus}:${name}`, `/sys/bus/${bus}/drivers/${name}`);
  }
}

const number = (name: string, text: string): string => String(parseNumber(name, text));

/** As kstrtobool: by its first letter. */
function parseSwitch(file: string, text: string): string {
  if (/^(?:[yt1]|on)/i.test(text)) return 'Y';
  if (/^(?:[nf0]|of)/i.test(text)) return 'N';
  refuse(rules.sysfs_switch, { file, text });
}
