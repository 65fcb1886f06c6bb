/** Every rule that an errno of the engine can carry, for people to look up. */
import type { Rule } from '../base/errno.js';
import { rules as mock } from '../hw/mock/rules.js';
import { rules as machine } from './machine-rules.js';
import { rules as vtd } from '../hw/vtd/driver/rules.js';
import { rules as core } from '../hw/rules.js';
import { rules as iommufd } from '../iommufd/rules.js';
import { rules as selftest } from '../selftest/rules.js';
import { rules as container } from '../vfio/container-rules.js';
import { rules as group } from '../vfio/group-rules.js';
import { rules as vfio } from '../vfio/rules.js';
import { rules as type1 } from '../vfio/type1-rules.js';

const catalogues: readonly Readonly<Record<string, Rule>>[] = [
  iommufd,
  core,
  mock,
  vtd,
  vfio,
  group,
  container,
  type1,
  selftest,
  machine,
];

/** The rule with id `start`; if there is none, all whose id begins so, in the order of their catalogues. */
export function findRules(start: string): Rule[] {
  const all = catalogues.flatMap((catalogue) => Object.values(catalogue));
  const exact = all.filter(({ id }) => id === start);
  return exact.length > 0 ? exact : all.filter(({ id }) => id.startsWith(start));
}
