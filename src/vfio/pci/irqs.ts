/** VFIO_DEVICE_GET_IRQ_INFO and SET_IRQS of vfio-pci (vfio_pci_intrs.c): at most one of INTx, MSI and MSI-X is in use. */
import { refuse } from '../../base/errno.js';
import type { InterruptSink } from '../../bus/interrupts.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { EventCounter } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { takeEventFd } from '../eventfd.js';
import type { IrqSet } from '../irq-set.js';
import { Intx } from './intx.js';
import { Messages, type MessageKind } from './messages.js';
import { rules } from './rules.js';

/** What of the device decides about its interrupts. */
export interface IrqOwner {
  readonly interruptPin: number;
  /** In D0. */
  readonly isPowered: boolean;
  /** MSI was enabled, with so many messages. */
  setMsiCount(count: number): void;
}

const kindOf = (index: number): MessageKind => (index === v.VFIO_PCI_MSIX_IRQ_INDEX ? 'msix' : 'msi');

/** Interrupts that tell of something else than the device's work: at most one eventfd. */
type Single = 'err' | 'req';

export class PciIrqs implements InterruptSink {
  readonly intx: Intx;
  readonly messages: Messages;
  readonly #model: PciModel;
  readonly #owner: IrqOwner;
  readonly #singles: Record<Single, EventCounter | null> = { err: null, req: null };

  constructor(model: PciModel, owner: IrqOwner) {
    this.#model = model;
    this.#owner = owner;
    this.intx = new Intx(model.interrupts, model.config);
    this.messages = new Messages(model);
  }

  /** vfio_pci_get_irq_count */
  count(index: number): number {
    const { config } = this.#model;
    switch (index) {
      case v.VFIO_PCI_INTX_IRQ_INDEX:
        return this.#owner.interruptPin === 0 ? 0 : 1;
      case v.VFIO_PCI_MSI_IRQ_INDEX: {
        const at = config.capability(r.PCI_CAP_ID_MSI);
        return at === 0 ? 0 : 1 << ((config.read(at + r.PCI_MSI_FLAGS, 2) & r.PCI_MSI_FLAGS_QMASK) >> 1);
      }
      case v.VFIO_PCI_MSIX_IRQ_INDEX: {
        const at = config.capability(r.PCI_CAP_ID_MSIX);
        return at === 0 ? 0 : (config.read(at + r.PCI_MSIX_FLAGS, 2) & r.PCI_MSIX_FLAGS_QSIZE) + 1;
      }
      case v.VFIO_PCI_ERR_IRQ_INDEX:
        return this.isExpress ? 1 : 0;
      default:
        return index === v.VFIO_PCI_REQ_IRQ_INDEX ? 1 : 0;
    }
  }

  get isExpress(): boolean {
    return this.#model.config.capability(r.PCI_CAP_ID_EXP) !== 0;
  }

  message(vector: number): void {
    this.messages.signal(vector);
  }

  line(asserted: boolean): void {
    if (asserted && this.intx.isEnabled) this.intx.raised();
  }

  /** vfio_pci_set_irqs_ioctl */
  set(request: IrqSet): void {
    const { index, action } = request;
    const isTrigger = action === v.VFIO_IRQ_SET_ACTION_TRIGGER;
    if (index === v.VFIO_PCI_INTX_IRQ_INDEX) {
      if (isTrigger) return this.#triggerIntx(request);
      if (action === v.VFIO_IRQ_SET_ACTION_MASK) return this.#maskIntx(request);
      if (action === v.VFIO_IRQ_SET_ACTION_UNMASK) return this.#unmaskIntx(request);
    } else if (isTrigger) {
      if (index === v.VFIO_PCI_ERR_IRQ_INDEX) return this.#triggerSingle('err', request);
      if (index === v.VFIO_PCI_REQ_IRQ_INDEX) return this.#triggerSingle('req', request);
      return this.#triggerMessages(request);
    }
    refuse(rules.irqs_action, { index, action });
  }

  #unmaskIntx({ user, start, count, kind, values }: IrqSet): void {
    const { intx } = this;
    if (!intx.isEnabled || start !== 0 || count !== 1) refuse(rules.intx_unmask, { start, count });
    const value = values[0] ?? 1;
    if (kind !== v.VFIO_IRQ_SET_DATA_EVENTFD) {
      if (value !== 0) intx.unmask();
    } else intx.unmaskFd.set(user, value);
  }

  #maskIntx({ start, count, kind, values }: IrqSet): void {
    if (!this.intx.isEnabled || start !== 0 || count !== 1) refuse(rules.intx_mask, { start, count });
    if (kind === v.VFIO_IRQ_SET_DATA_EVENTFD) refuse(rules.intx_mask_eventfd, {});
    if ((values[0] ?? 1) !== 0) this.intx.mask();
  }

  #triggerIntx({ user, start, count, kind, values }: IrqSet): void {
    const { intx } = this;
    if (intx.isEnabled && count === 0 && kind === v.VFIO_IRQ_SET_DATA_NONE) return intx.disable();
    if (this.messages.kind !== null || start !== 0 || count !== 1) {
      refuse(rules.intx_trigger, { start, count, inUse: this.messages.kind ?? 'none' });
    }
    const value = values[0] ?? 1;
    if (kind === v.VFIO_IRQ_SET_DATA_EVENTFD) {
      const trigger = value >= 0 ? takeEventFd(user, value) : null;
      if (intx.isEnabled) intx.replace(trigger);
      else intx.enable(trigger);
      return;
    }
    if (!intx.isEnabled) refuse(rules.intx_trigger_off, {});
    if (value !== 0) intx.send();
  }

  /** vfio_pci_set_msi_trigger */
  #triggerMessages({ user, index, start, count, kind, values }: IrqSet): void {
    const { messages, intx } = this;
    const wanted = kindOf(index);
    const isIt = messages.kind === wanted;
    if (isIt && count === 0 && kind === v.VFIO_IRQ_SET_DATA_NONE) return messages.disable();
    const inUse = intx.isEnabled ? 'intx' : (messages.kind ?? wanted);
    if (inUse !== wanted) refuse(rules.messages_other, { inUse, wanted });
    if (kind === v.VFIO_IRQ_SET_DATA_EVENTFD) {
      if (isIt) return messages.setBlock(user, start, values);
      messages.enable(wanted, start + count, this.#owner.isPowered);
      if (wanted === 'msi') this.#owner.setMsiCount(start + count);
      try {
        messages.setBlock(user, start, values);
      } catch (error) {
        messages.disable();
        throw error;
      }
      return;
    }
    if (!isIt) refuse(rules.messages_off, { wanted });
    for (let i = 0; i < count; i++) if ((values[i] ?? 1) !== 0) messages.signal(start + i);
  }

  /** vfio_pci_set_ctx_trigger_single. `none` and `bool` are for testing. */
  #triggerSingle(which: Single, { user, count, kind, values }: IrqSet): void {
    const old = this.#singles[which];
    if (kind === v.VFIO_IRQ_SET_DATA_NONE) {
      if (old === null) refuse(rules.single_unset, { which });
      if (count === 0) this.#replaceSingle(which, null);
      else old.signal();
      return;
    }
    const value = values[0];
    if (kind === v.VFIO_IRQ_SET_DATA_BOOL) {
      if (value === undefined) refuse(rules.single_no_bool, { which });
      if (value !== 0) old?.signal();
      return;
    }
    if (value === undefined) refuse(rules.single_no_eventfd, { which });
    if (value < -1) refuse(rules.single_eventfd, { which, fd: value });
    this.#replaceSingle(which, value < 0 ? null : takeEventFd(user, value));
  }

  #replaceSingle(which: Single, counter: EventCounter | null): void {
    this.#singles[which]?.close();
    this.#singles[which] = counter;
  }

  /** The device wants to be given back (vfio_pci_core_request). */
  request(): void {
    this.#singles.req?.signal();
  }

  /** The device closes. */
  end(): void {
    if (this.intx.isEnabled) this.intx.disable();
    this.messages.disable();
    this.intx.isDisabled = false;
    this.#replaceSingle('err', null);
    this.#replaceSingle('req', null);
  }
}
