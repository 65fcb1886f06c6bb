/** MSI and MSI-X (vfio_pci_intrs.c): an eventfd for each message that the user gave one. */
import { refuse } from '../../base/errno.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { EventCounter } from '../../mem/task.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import { takeEventFd } from '../eventfd.js';
import { rules } from './rules.js';

export type MessageKind = 'msi' | 'msix';

export class Messages {
  /** What is enabled. */
  kind: MessageKind | null = null;
  readonly #model: PciModel;
  readonly #triggers = new Map<number, EventCounter>();

  constructor(model: PciModel) {
    this.#model = model;
  }

  /** vfio_msi_enable: so many are allocated, and MSI-X takes more as they are wanted. */
  enable(kind: MessageKind, count: number, isPowered: boolean): void {
    if (count < 1) refuse(rules.messages_none, { kind });
    if (!isPowered) refuse(rules.messages_power, { kind });
    this.kind = kind;
    this.#setDevice(kind, true);
    this.#model.interrupts.mode = kind;
  }

  /** vfio_msi_set_block: one for each from `start` on; all of them go when one cannot be had. */
  setBlock(user: UserMemory, start: number, fds: readonly number[]): void {
    let vector = start;
    try {
      for (const fd of fds) this.#set(user, vector++, fd);
    } catch (error) {
      while (vector > start) this.#clear(--vector);
      throw error;
    }
  }

  /** vfio_msi_set_vector_signal */
  #set(user: UserMemory, vector: number, fd: number): void {
    this.#clear(vector);
    if (fd < 0) return;
    user.alloc('vfio_pci_irq_ctx');
    this.#triggers.set(vector, takeEventFd(user, fd));
  }

  #clear(vector: number): void {
    this.#triggers.get(vector)?.close();
    this.#triggers.delete(vector);
  }

  signal(vector: number): void {
    this.#triggers.get(vector)?.signal();
  }

  /** vfio_msi_disable */
  disable(): void {
    const { kind } = this;
    if (kind === null) return;
    for (const vector of this.#triggers.keys()) this.#clear(vector);
    this.#model.interrupts.mode = 'none';
    this.#setDevice(kind, false);
    this.kind = null;
  }

  /** The enable bit of the device itself. */
  #setDevice(kind: MessageKind, enabled: boolean): void {
    const { config } = this.#model;
    const id = kind === 'msi' ? r.PCI_CAP_ID_MSI : r.PCI_CAP_ID_MSIX;
    const bit = kind === 'msi' ? r.PCI_MSI_FLAGS_ENABLE : r.PCI_MSIX_FLAGS_ENABLE;
    const at = config.capability(id) + r.PCI_CAP_FLAGS;
    const flags = config.read(at, 2);
    config.write(at, 2, enabled ? flags | bit : flags & ~bit);
  }
}
