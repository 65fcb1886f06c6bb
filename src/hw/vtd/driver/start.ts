/** How a unit is started and stopped (Linux: init_dmars, dmar_enable_qi, iommu_set_root_entry, iommu_enable_translation). */
import { Bug } from '../../../base/errno.js';
import {
  FEADDR_REG,
  FECTL_REG,
  FEDATA_REG,
  FEUADDR_REG,
  GCMD_QIE,
  GCMD_REG,
  GCMD_SRTP,
  GCMD_TE,
  GSTS_REG,
  PEADDR_REG,
  PECTL_REG,
  PEDATA_REG,
  PEUADDR_REG,
  RTADDR_REG,
  TTM_SCALABLE,
  TTM_SHIFT,
} from '../registers.js';
import { handleFaults } from './faults.js';
import type { VtdUnit } from './unit.js';

/** Data of the messages for the fault event and the page request event. */
export interface Vectors {
  readonly fault: number;
  readonly pageRequest: number;
}

/** Where messages go: the local APIC with id 0. */
const MSI_ADDRESS = 0xfee0_0000;

export function start(unit: VtdUnit, vectors: Vectors): void {
  const { mmio, capabilities, queue, commands, contexts } = unit;
  handleFaults(unit);
  queue.program();
  command(unit, GCMD_QIE, 0);
  mmio.write64(RTADDR_REG, contexts.rootHpa | BigInt(TTM_SCALABLE << TTM_SHIFT));
  command(unit, GCMD_QIE, GCMD_SRTP);
  if (!capabilities.flushesAtRootChange) {
    commands.contexts();
    queue.sync();
    commands.pasidCaches();
    queue.sync();
    commands.iotlbs();
    queue.sync();
  }
  if (capabilities.pageRequests) {
    mmio.write32(PEDATA_REG, vectors.pageRequest);
    mmio.write32(PEADDR_REG, MSI_ADDRESS);
    mmio.write32(PEUADDR_REG, 0);
    mmio.write32(PECTL_REG, 0);
    unit.pageRequests.program();
  }
  mmio.write32(FEDATA_REG, vectors.fault);
  mmio.write32(FEADDR_REG, MSI_ADDRESS);
  mmio.write32(FEUADDR_REG, 0);
  mmio.write32(FECTL_REG, 0);
  command(unit, GCMD_QIE | GCMD_TE, 0);
}

export function stop(unit: VtdUnit): void {
  command(unit, GCMD_QIE, 0);
  unit.pageRequests.stop();
  command(unit, 0, 0);
}

/** Sets what is on to `enabled`, does `once`, and waits until the unit says that it is so. */
function command(unit: VtdUnit, enabled: number, once: number): void {
  const { mmio } = unit;
  mmio.write32(GCMD_REG, enabled | once);
  const isDone = (mmio.read32(GSTS_REG) & (enabled | once)) === (enabled | once);
  if (!isDone) throw new Bug('DMAR hardware is malfunctioning');
}
