/** IOMMU_DESTROY. */
import { refuse } from '../base/errno.js';
import type { IommuDestroy } from '../wire/uapi/iommufd.gen.js';
import type { Call } from './call.js';
import { rules } from './rules.js';

export function destroy(call: Call, cmd: IommuDestroy): void {
  const { objects } = call.context;
  if (objects.destroyUnmade(cmd.id)) return;
  const object = objects.peek(cmd.id);
  if (object === undefined) refuse(rules.destroy_id, { id: cmd.id });
  const users = object.users - 1;
  if (!objects.destroy(object)) refuse(rules.destroy_in_use, { id: cmd.id, type: object.type, users });
}
