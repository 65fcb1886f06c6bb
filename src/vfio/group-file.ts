/** An open /dev/vfio/GROUP (vfio_group_fops): the way into a container, and to the devices of the group. */
import { refuse } from '../base/errno.js';
import { Context } from '../iommufd/context.js';
import type { Env } from '../iommufd/env.js';
import { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import {
  VFIO_GROUP_FLAGS_CONTAINER_SET,
  VFIO_GROUP_FLAGS_VIABLE,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
  vfio_group_status,
} from '../wire/uapi/vfio.gen.js';
import { ContainerFile } from './container.js';
import type { VfioGroup } from './group.js';
import { getDeviceFd } from './group-device.js';
import { createCompatIoas } from './group-iommufd.js';
import { rules } from './group-rules.js';

export class VfioGroupFile implements OpenFile {
  readonly isEngineFile = true;
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;

  constructor(
    readonly env: Env,
    readonly group: VfioGroup,
  ) {
    group.open();
  }

  get name(): string {
    return `/dev/vfio/${this.group.number}`;
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const { env, group } = this;
    const user = new UserMemory(env, task);
    switch (cmd) {
      case VFIO_GROUP_GET_DEVICE_FD:
        return getDeviceFd(user, arg, group);
      case VFIO_GROUP_GET_STATUS:
        return getStatus(user, arg, group);
      case VFIO_GROUP_SET_CONTAINER:
        return setContainer(user, arg, group);
      case VFIO_GROUP_UNSET_CONTAINER:
        return unsetContainer(group);
    }
    refuse(rules.group_ioctl, { cmd: BigInt(cmd >>> 0) });
  }

  read(): number {
    refuse(rules.group_read, { group: this.group.number });
  }

  write(): number {
    refuse(rules.group_write, { group: this.group.number });
  }

  mmap(_request: MmapRequest): SharedPages {
    refuse(rules.group_mmap, { group: this.group.number });
  }

  release(): void {
    this.group.release();
  }
}

function getStatus(user: UserMemory, arg: bigint, group: VfioGroup): number {
  const least = vfio_group_status.endOf('flags');
  const bytes = user.copyIn(arg, least, rules.status_unreadable);
  const { argsz } = vfio_group_status.decode(bytes);
  if (argsz < least) refuse(rules.status_size, { argsz, least });
  if (group.devices.length === 0) refuse(rules.status_no_device, { group: group.number });
  let flags = 0;
  if (group.hasIommu) flags = VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE;
  else if (!group.iommu.isOwned) flags = VFIO_GROUP_FLAGS_VIABLE;
  vfio_group_status.encode({ argsz, flags }, bytes);
  user.copyOut(arg, bytes, rules.status_unwritable);
  return 0;
}

/** A container, or an iommufd that is to stand in for one. */
function setContainer(user: UserMemory, arg: bigint, group: VfioGroup): number {
  const fd = user.copyU32(arg, rules.set_container_unreadable) | 0;
  const file = user.task.fileOf(fd) ?? refuse(rules.set_container_fd, { fd });
  if (!file.isEngineFile) file.release();
  if (group.hasIommu) refuse(rules.set_container_twice, { group: group.number });
  if (group.devices.length === 0) refuse(rules.set_container_no_device, { group: group.number });
  if (file instanceof ContainerFile) {
    file.container.add(group, user.task);
  } else if (file instanceof Context) {
    createCompatIoas(file, user.task);
    file.get();
    group.iommufd = file;
  } else {
    refuse(rules.set_container_kind, { fd });
  }
  return 0;
}

function unsetContainer(group: VfioGroup): number {
  if (!group.hasIommu) refuse(rules.unset_container_none, { group: group.number });
  if (group.usesContainer) refuse(rules.unset_container_busy, { group: group.number });
  group.leave();
  return 0;
}
