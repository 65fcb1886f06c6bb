/** What PCI Express' capability says of the link of a function; those here are part of the root complex and have none. */
import type { ConfigSpace } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { SysTree } from './tree.js';

const LINK_CAPABILITIES = 0x0c;
const LINK_STATUS = 0x12;
const SPEED_MASK = 0xf;
const WIDTH_SHIFT = 4;
const WIDTH_MASK = 0x3f;
/** PCIE_LNK_WIDTH_UNKNOWN */
const WIDTH_UNKNOWN = 255;
const speeds = ['2.5', '5.0', '8.0', '16.0', '32.0', '64.0'];

const speed = (code: number): string => {
  const known = speeds[(code & SPEED_MASK) - 1];
  return known === undefined ? 'Unknown' : `${known} GT/s PCIe`;
};
const width = (word: number): number => (word >>> WIDTH_SHIFT) & WIDTH_MASK;

export function describeLink(tree: SysTree, path: string, config: ConfigSpace): void {
  const at = config.capability(r.PCI_CAP_ID_EXP);
  if (at === 0) return;
  const capabilities = (): number => config.read(at + LINK_CAPABILITIES, 4);
  const status = (): number => config.read(at + LINK_STATUS, 2);
  tree.attribute(`${path}/max_link_speed`, { show: () => speed(capabilities()) });
  tree.attribute(`${path}/max_link_width`, { show: () => String(width(capabilities()) || WIDTH_UNKNOWN) });
  tree.attribute(`${path}/current_link_speed`, { show: () => speed(status()) });
  tree.attribute(`${path}/current_link_width`, { show: () => String(width(status())) });
}
