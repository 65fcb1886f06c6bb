/**
 * VF tokens (vfio_pci_core_match_token_uuid): whoever has a physical function in hand can disturb its virtual ones, so
 * both have to show the same secret, which the physical function's user sets.
 */
import { refuse } from '../../base/errno.js';
import { rules } from './rules.js';

export const UUID_BYTES = 16;

/** The secret of a physical function with SR-IOV. */
export class VfToken {
  /** Open virtual functions. */
  users = 0;
  uuid: Uint8Array;

  /** `uuid`: what nobody can guess. */
  constructor(uuid: Uint8Array) {
    this.uuid = uuid;
  }

  matches(other: Uint8Array): boolean {
    return this.uuid.every((byte, index) => byte === other[index]);
  }
}

/** What a function has to do with tokens. */
export type TokenRole =
  | { readonly kind: 'none' }
  /** A virtual function; null: its physical one is in other hands than vfio-pci's. */
  | { readonly kind: 'virtual'; readonly physical: VfToken | null }
  | { readonly kind: 'physical'; readonly own: VfToken };

export function matchToken(role: TokenRole, device: string, given: Uint8Array | null): void {
  if (role.kind === 'virtual') return matchVirtual(role.physical, device, given);
  if (role.kind === 'none') {
    if (given !== null) refuse(rules.token_needless, { device });
    return;
  }
  const { own } = role;
  if (own.users === 0) {
    if (given !== null) own.uuid = given;
    return;
  }
  if (given === null) refuse(rules.token_missing_physical, { device, users: own.users });
  if (!own.matches(given)) refuse(rules.token_wrong_physical, { device });
}

function matchVirtual(physical: VfToken | null, device: string, given: Uint8Array | null): void {
  if (physical === null) {
    if (given !== null) refuse(rules.token_no_physical, { device });
    return;
  }
  if (given === null) refuse(rules.token_missing, { device });
  if (!physical.matches(given)) refuse(rules.token_wrong, { device });
}
