/**
 * One open of /dev/iommu (struct iommufd_ctx): its objects, its groups, what may be mapped of it, and the two
 * settings that all its IOASes share. It lives until its own file and every event file made from it are closed.
 */
import { refuse, type Rule } from '../base/errno.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import type { IommuGroup } from '../hw/group.js';
import type { Env } from './env.js';
import type { Call } from './call.js';
import type { DeviceGroup } from './device-group.js';
import type { Ioas } from './ioas.js';
import type { IommufdObject, ObjectType, Unmade } from './object.js';
import { dispatch, type IoctlTable } from './dispatch.js';
import { MmapSpace } from './mmap-space.js';
import { ObjectTable } from './object-table.js';
import { rules } from './rules.js';

/**
 * How pinned pages count: not at all (CAP_IPC_LOCK), per user, or per mm as VFIO did. And as VFIO's type1 does, as
 * locked and not as pinned pages of the mm, against its limit or (CAP_IPC_LOCK) beyond it. Memory of a device, which
 * only type1 takes, is nobody's memory, and never counts.
 */
export type AccountMode = 'none' | 'user' | 'mm' | 'type1' | 'type1-unlimited' | 'device';

export class Context implements OpenFile {
  readonly isEngineFile = true;
  readonly name: string = '/dev/iommu';
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;

  readonly objects: ObjectTable;
  readonly groups = new Map<IommuGroup, DeviceGroup>();
  readonly mmapSpace = new MmapSpace();
  accountMode: 'user' | 'mm' = 'user';
  /** Every IOAS that nobody has used so far; null while there was none. */
  unusedIoas: Unmade | null = null;
  /** The IOAS that VFIO's container ioctls act on. */
  vfioIoas: Ioas | null = null;
  /** Areas in all IOASes, against the limit. */
  areas = 0;
  #files = 1;

  constructor(
    readonly env: Env,
    readonly ioctls: IoctlTable,
    /** Called once, when the context ends. */
    readonly onEnd: () => void = () => {},
  ) {
    this.objects = new ObjectTable(env.limits);
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    return dispatch(this, cmd, arg, task);
  }

  read(): number {
    refuse(rules.iommufd_read, {});
  }

  write(): number {
    refuse(rules.iommufd_write, {});
  }

  mmap(request: MmapRequest): SharedPages {
    return this.mmapSpace.map(request);
  }

  release(): void {
    this.put();
  }

  /** An event file holds the context open as its own file does. */
  get(): void {
    this.#files += 1;
  }

  put(): void {
    this.#files -= 1;
    if (this.#files > 0) return;
    this.objects.destroyAll();
    this.onEnd();
  }

  /** The object with this id and type; ENOENT by `rule` for anything else, whatever the reason. */
  find<T extends IommufdObject>(call: Call, id: number, type: T['type'] & ObjectType, rule: Rule): T {
    const object = call.shouldFail(rule.id) ? undefined : this.objects.peek(id);
    if (object === undefined || object.type !== type) {
      refuse(rule, { id, found: object === undefined ? 'nothing' : object.type });
    }
    return object as T;
  }

  /** The object with this id, of whatever type. */
  findAny(call: Call, id: number, rule: Rule): IommufdObject {
    const object = call.shouldFail(rule.id) ? undefined : this.objects.peek(id);
    if (object === undefined) refuse(rule, { id });
    return object;
  }
}
