/** VFIO_GROUP_GET_DEVICE_FD (vfio_group_ioctl_get_device_fd): a device of the group by its name, and a descriptor for it. */
import { refuse } from '../base/errno.js';
import { textOf } from '../base/text.js';
import { PAGE_BYTES } from '../iommufd/units.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import { O_CLOEXEC, O_RDWR, type Task } from '../mem/task.js';
import { VfioDeviceFile } from './device-file.js';
import type { Access, VfioDevice } from './driver.js';
import type { VfioGroup } from './group.js';
import { bindToCompatIoas } from './group-iommufd.js';
import { rules } from './group-rules.js';

export function getDeviceFd(user: UserMemory, arg: bigint, group: VfioGroup): number {
  const name = copyString(user, arg);
  const device = find(group, name);
  const { task, env } = user;
  const file = new VfioDeviceFile(env, device, group);
  // The descriptor comes first: without one nothing is opened.
  const fd = task.installFd(file, O_RDWR | O_CLOEXEC) ?? refuse(rules.device_descriptors, {});
  try {
    if (!group.hasIommu) refuse(rules.device_no_container, { group: group.number });
    file.open(() => accessOf(group, device, task));
  } catch (error) {
    task.removeFd(fd);
    throw error;
  }
  return fd;
}

/** vfio_df_device_first_open */
function accessOf(group: VfioGroup, device: VfioDevice, task: Task): Access {
  if (group.iommufd !== null) return bindToCompatIoas(group.iommufd, device, task);
  const { iommu } = group.container!;
  if (iommu === null) refuse(rules.device_no_iommu, { group: group.number });
  const faults = iommu.nesting?.openFaults(iommu.env, device.device);
  group.hold();
  return {
    extra: faults ?? null,
    end() {
      iommu.nesting?.closeFaults(device.device);
      group.release();
    },
  };
}

/** strndup_user: what lies behind the end of the string may be missing. */
function copyString(user: UserMemory, at: bigint): string {
  let text = '';
  for (let done = 0; done < PAGE_BYTES;) {
    const from = at + BigInt(done);
    const length = Math.min(PAGE_BYTES - Number(from & BigInt(PAGE_BYTES - 1)), PAGE_BYTES - done);
    const bytes = user.copyIn(from, length, rules.device_name_unreadable);
    const end = bytes.indexOf(0);
    text += textOf(bytes.subarray(0, end < 0 ? length : end));
    if (end >= 0) return text;
    done += length;
  }
  refuse(rules.device_name_length, { at, most: PAGE_BYTES });
}

function find(group: VfioGroup, text: string): VfioDevice {
  const found = group.devices.find((device) => matches(device, text));
  return found ?? refuse(rules.device_name, { group: group.number, name: text });
}

/** Of the drivers of Linux 7.2 only vfio-pci takes more than a name. */
function matches(device: VfioDevice, text: string): boolean {
  const { name } = device.device;
  if (device.bus !== 'pci') return text === name;
  if (!text.startsWith(name)) return false;
  const options = text.slice(name.length);
  if (options !== '' && !options.startsWith(' ')) return false;
  const token = tokenOf(options);
  device.driver.matchToken?.(token === null ? null : bytesOf(token));
  return true;
}

const TOKEN = 'vf_token=';
const UUID_LENGTH = 36;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** vfio_pci_core_match: spaces, and a token once. Null: there is none. */
function tokenOf(options: string): string | null {
  let token: string | null = null;
  for (let rest = options.replace(/^ +/, ''); rest !== ''; rest = rest.replace(/^ +/, '')) {
    if (token !== null || !rest.startsWith(TOKEN)) refuse(rules.device_option, { option: rest });
    token = rest.slice(TOKEN.length, TOKEN.length + UUID_LENGTH);
    if (token.length < UUID_LENGTH) refuse(rules.device_token_short, { token });
    if (!UUID.test(token)) refuse(rules.device_token_form, { token });
    rest = rest.slice(TOKEN.length + UUID_LENGTH);
  }
  return token;
}

/** 16 bytes, as uuid_parse has them. */
const bytesOf = (token: string): Uint8Array =>
  Uint8Array.from(token.replaceAll('-', '').match(/../g)!, (pair) => parseInt(pair, 16));
