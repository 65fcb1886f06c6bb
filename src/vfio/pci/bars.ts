/** BARs: how large they are, and what their registers say to a user who sizes them (vfio_bar_fixup). */
import { get32, put32 } from '../../base/bytes.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';

export const BARS = 6;
const PAGE = 4096;

const registerOf = (model: PciModel, bar: number): number =>
  model.barTypes?.[bar] ?? model.config.read(r.PCI_BASE_ADDRESS_0 + bar * 4, 4);

/** pci_resource_len; 0 where there is none, or only the upper half of the one before. */
export const barLength = (model: PciModel, bar: number): number => model.regions[bar]?.image.length ?? 0;

/** IORESOURCE_MEM: it obeys the memory enable of the command register, and can be mapped. */
export const isMemoryBar = (model: PciModel, bar: number): boolean =>
  (registerOf(model, bar) & r.PCI_BASE_ADDRESS_SPACE_IO) === 0;

/** vfio_pci_probe_mmaps. What is smaller than a page would have to share it. */
export const canMapBar = (model: PciModel, bar: number): boolean =>
  barLength(model, bar) >= PAGE && isMemoryBar(model, bar);

/** Type bits of a BAR, which nobody can write. */
function flagsOf(register: number): number {
  if ((register & r.PCI_BASE_ADDRESS_SPACE_IO) !== 0) return r.PCI_BASE_ADDRESS_SPACE_IO;
  return register & (r.PCI_BASE_ADDRESS_MEM_PREFETCH | r.PCI_BASE_ADDRESS_MEM_TYPE_64);
}

export function fixBars(model: PciModel, virtual: Uint8Array): void {
  for (let bar = 0; bar < BARS; bar++) {
    const at = r.PCI_BASE_ADDRESS_0 + bar * 4;
    const length = barLength(model, bar);
    if (length === 0) {
      put32(virtual, at, 0);
      continue;
    }
    const flags = flagsOf(registerOf(model, bar));
    put32(virtual, at, (get32(virtual, at) & -length) | flags);
    if ((flags & r.PCI_BASE_ADDRESS_MEM_TYPE_64) === 0 || bar === BARS - 1) continue;
    // A length below 4 GiB leaves all of the upper half to the user.
    put32(virtual, at + 4, get32(virtual, at + 4) & -Math.max(1, length / 2 ** 32));
    bar += 1;
  }
  // No device here has a ROM.
  put32(virtual, r.PCI_ROM_ADDRESS, 0);
}
