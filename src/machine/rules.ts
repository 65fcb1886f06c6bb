/** Every rule that an errno of the engine can carry, for people to look up. */
import type { Rule } from '../base/errno.js';
import { rules as mock } from '../hw/mock/rules.js';
import { rules as core } from '../hw/rules.js';
import { rules as vtd } from '../hw/vtd/driver/rules.js';
import { rules as kvm } from '../ioasid/kvm-rules.js';
import { rules as ioasid } from '../ioasid/rules.js';
import { rules as owned } from '../iommufd/owned-rules.js';
import { rules as iommufd } from '../iommufd/rules.js';
import { rules as selftest } from '../selftest/rules.js';
import { rules as call } from '../vfio/call-rules.js';
import { rules as container } from '../vfio/container-rules.js';
import { rules as group } from '../vfio/group-rules.js';
import { rules as migration } from '../vfio/migration-rules.js';
import { rules as nestingFaults } from '../vfio/nesting/fault-rules.js';
import { rules as nesting } from '../vfio/nesting/rules.js';
import { rules as pci } from '../vfio/pci/rules.js';
import { rules as platform } from '../vfio/platform/rules.js';
import { rules as vfio } from '../vfio/rules.js';
import { rules as type1 } from '../vfio/type1-rules.js';
import { rules as localClient } from './local-client.js';
import { rules as machine } from './machine-rules.js';
import { rules as sysfs } from './sysfs/rules.js';

const catalogues: readonly Readonly<Record<string, Rule>>[] = [
  iommufd,
  owned,
  core,
  mock,
  vtd,
  vfio,
  call,
  pci,
  platform,
  migration,
  group,
  container,
  type1,
  nesting,
  nestingFaults,
  ioasid,
  kvm,
  sysfs,
  selftest,
  machine,
  localClient,
];

/** The rule with id `start`; if there is none, all whose id begins so, in the order of their catalogues. */
export function findRules(start: string): Rule[] {
  const all = catalogues.flatMap((catalogue) => Object.values(catalogue));
  const exact = all.filter(({ id }) => id === start);
  return exact.length > 0 ? exact : all.filter(({ id }) => id.startsWith(start));
}
