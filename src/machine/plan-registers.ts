/** What capability registers have to say so that there is a unit at all, and a driver for it: where a topology sets their fields. */
import { Capabilities } from '../hw/vtd/driver/capabilities.js';
import { capabilityRegisters, type VtdFeatures } from '../hw/vtd/features.js';
import { WINDOW } from '../hw/vtd/register-map.js';
import { CAP, ECAP, PEUADDR_REG, registerField } from '../hw/vtd/registers.js';

interface RegisterProblem {
  /** Below `registers`. */
  readonly field: readonly string[];
  readonly text: string;
}

/** FRO counts in units of 16 bytes, and so large is a record. */
const RECORD = 16;
/** Fault records come behind all other registers. */
const FIRST_FREE = (PEUADDR_REG + RECORD) & -RECORD;

export function registerProblems(features: VtdFeatures): RegisterProblem[] {
  const { cap, ecap } = capabilityRegisters(features);
  const needed = (['SMTS', 'QI'] as const).filter((name) => registerField(ecap, ECAP[name]) === 0);
  const problems: RegisterProblem[] = needed.map((name) => ({
    field: ['ECAP', name],
    text: 'expected 1: the driver knows scalable mode with queued invalidation',
  }));
  problems.push(...recordProblems(cap, features));
  if (problems.length === 0 && new Capabilities(cap, ecap).agaw < 0) {
    problems.push({
      field: ['CAP', 'SAGAW'],
      text: 'expected a width of tables that all stages of the unit have',
    });
  }
  return problems;
}

function recordProblems(cap: bigint, { registers }: VtdFeatures): RegisterProblem[] {
  const first = registerField(cap, CAP.FRO) * RECORD;
  const count = registerField(cap, CAP.NFR) + 1;
  if (first >= FIRST_FREE && first + count * RECORD <= WINDOW) return [];
  const field = registers.CAP?.FRO === undefined ? 'NFR' : 'FRO';
  const room = `0x${FIRST_FREE.toString(16)} to 0x${(WINDOW - 1).toString(16)}`;
  const last = `0x${(first + count * RECORD - 1).toString(16)}`;
  const text = `expected fault records within ${room} of the registers, and these are at 0x${first.toString(16)} to ${last}`;
  return [{ field: ['CAP', field], text }];
}
