/**
 * Reset of one function (pci_try_reset_function): what configuration it had is put back, so that a driver which resets
 * its device finds BARs, bus mastering and interrupts as they were.
 */
import type { ConfigSpace, PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';

/** Registers of capabilities that pci_save_state keeps: the capability, the offset, and the width. */
type Saved = readonly [id: number, offset: number, width: 2 | 4];

const standard: readonly Saved[] = [
  [r.PCI_CAP_ID_EXP, r.PCI_EXP_DEVCTL, 2],
  [r.PCI_CAP_ID_EXP, r.PCI_EXP_LNKCTL, 2],
  [r.PCI_CAP_ID_EXP, r.PCI_EXP_DEVCTL2, 2],
  [r.PCI_CAP_ID_MSI, r.PCI_MSI_ADDRESS_LO, 4],
  [r.PCI_CAP_ID_MSI, r.PCI_MSI_FLAGS, 2],
  [r.PCI_CAP_ID_MSIX, r.PCI_MSIX_FLAGS, 2],
];

const extended: readonly Saved[] = [
  [r.PCI_EXT_CAP_ID_PASID, r.PCI_PASID_CTRL, 2],
  [r.PCI_EXT_CAP_ID_PRI, r.PCI_PRI_CTRL, 2],
  [r.PCI_EXT_CAP_ID_ATS, r.PCI_ATS_CTRL, 2],
];

/** Every register that is saved, in the order in which it is put back: COMMAND after the BARs. */
function* registersOf(config: ConfigSpace): Generator<readonly [at: number, width: 2 | 4]> {
  for (let at = r.PCI_STD_HEADER_SIZEOF - 4; at >= r.PCI_CACHE_LINE_SIZE; at -= 4) yield [at, 4];
  yield [r.PCI_COMMAND, 2];
  for (const [id, offset, width] of extended) {
    const at = config.extendedCapability(id);
    if (at !== 0) yield [at + offset, width];
  }
  for (const [id, offset, width] of standard) {
    const at = config.capability(id);
    if (at !== 0) yield [at + offset, width];
  }
}

/** pci_save_state; what it returns is pci_restore_state. */
export function saveState({ config, interrupts }: PciModel): () => void {
  const saved = Array.from(
    registersOf(config),
    ([at, width]) => [at, width, config.read(at, width)] as const,
  );
  const { mode } = interrupts;
  return () => {
    for (const [at, width, value] of saved) config.write(at, width, value);
    interrupts.mode = mode;
  };
}
