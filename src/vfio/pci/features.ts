/** Features of vfio-pci (vfio_pci_core_ioctl_feature): low power, and the token of a physical function. */
import { refuse } from '../../base/errno.js';
import type { EventCounter } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import type { FeatureRequest } from '../driver.js';
import { takeEventFd } from '../eventfd.js';
import { checkFeature } from '../feature-check.js';
import { rules } from './rules.js';
import { UUID_BYTES, type VfToken } from './token.js';

const WAKEUP = v.vfio_device_low_power_entry_with_wakeup;

/**
 * Low power as the user asks for it. Every call that a program makes wakes the device before it is looked at, so all that
 * is seen of it is the eventfd of a wake-up, which comes with the next call.
 * OURS: registers stay mapped; Linux takes them away until the device wakes up.
 */
export class LowPower {
  #isEngaged = false;
  #wakeup: EventCounter | null = null;

  enter(wakeup: EventCounter | null): void {
    if (this.#isEngaged) {
      wakeup?.close();
      refuse(rules.low_power_twice, {});
    }
    this.#isEngaged = true;
    this.#wakeup = wakeup;
  }

  /** vfio_pci_core_runtime_resume: only whoever wants to be told is woken up for good. */
  resume(): void {
    if (this.#wakeup === null) return;
    this.#wakeup.signal();
    this.exit();
  }

  exit(): void {
    this.#isEngaged = false;
    this.#wakeup?.close();
    this.#wakeup = null;
  }
}

export function pciFeature(request: FeatureRequest, power: LowPower, token: VfToken | null): number | null {
  switch (request.feature) {
    case v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
      if (checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, 0)) power.enter(null);
      return 0;
    case v.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
      return enterWithWakeup(request, power);
    case v.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
      if (checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, 0)) power.exit();
      return 0;
    case v.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN:
      return token === null ? null : setToken(request, token);
    default:
      return null;
  }
}

function enterWithWakeup(request: FeatureRequest, power: LowPower): number {
  const { user, at } = request;
  if (!checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, WAKEUP.size)) return 0;
  const entry = WAKEUP.decode(user.copyIn(at, WAKEUP.size, rules.low_power_unreadable));
  if (entry.wakeup_eventfd < 0) refuse(rules.low_power_eventfd, { fd: entry.wakeup_eventfd });
  power.enter(takeEventFd(user, entry.wakeup_eventfd));
  return 0;
}

function setToken(request: FeatureRequest, token: VfToken): number {
  if (!checkFeature(request, v.VFIO_DEVICE_FEATURE_SET, UUID_BYTES)) return 0;
  token.uuid = request.user.copyIn(request.at, UUID_BYTES, rules.token_unreadable);
  return 0;
}
