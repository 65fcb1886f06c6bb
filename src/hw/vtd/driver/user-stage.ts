/**
 * What a user-managed table stands on when its addresses are a process's own: a second stage without a table, which the
 * process's address space answers. Nobody else is asked for a page that is not there: as for any second stage, that is
 * the host's to see to.
 */
import { refuse } from '../../../base/errno.js';
import { joinWords } from '../../../base/words.js';
import type { OwnedSpace, ProvidedPage, Providers } from '../../../mem/providers.js';
import type { VtdDevice } from './device.js';
import type { SecondStageRoot } from './entry.js';
import { flushSecondStage } from './flush.js';
import type { VtdNested } from './nested.js';
import { Places } from './places.js';
import type { VtdUnit } from './unit.js';
import { rules } from './rules.js';

export class UserStage {
  readonly nested = new Set<VtdNested>();
  readonly coherentWalk: boolean;
  readonly forceSnoop = false;
  readonly root: SecondStageRoot;
  readonly #frame: number;
  readonly #none = new Places();

  constructor(
    readonly unit: VtdUnit,
    readonly space: OwnedSpace,
    readonly providers: Providers,
    addressWidth: number,
  ) {
    this.coherentWalk = unit.capabilities.coherentWalk;
    this.#frame = providers.add({
      name: space.name,
      translate: (hi, lo, access, page) => this.#translate(hi, lo, access, page),
      onInvalidate: null,
    });
    space.onInvalidate = (start, last) => flushSecondStage(this.#none, this.nested, start, last, false);
    this.root = {
      rootHi: this.#frame >>> 20,
      rootLo: this.#frame << 12,
      addressWidth,
      tracksDirty: false,
    };
  }

  /** As of a second stage with a table: the entry says the same of it. */
  checkCompatible({ unit: { capabilities, name } }: VtdDevice): void {
    const { addressWidth } = this.root;
    if (!capabilities.nesting) refuse(rules.vtd_user_stage_nesting, { unit: name });
    if (!capabilities.coherentWalk && this.coherentWalk)
      refuse(rules.vtd_user_stage_coherency, { unit: name });
    if ((capabilities.sagaw & (1 << addressWidth)) === 0)
      refuse(rules.vtd_user_stage_levels, { unit: name, levels: addressWidth + 2 });
  }

  #translate(hi: number, lo: number, access: number, page: ProvidedPage): boolean {
    const { space } = this;
    if (space.translate(hi, lo, access, page)) return true;
    return space.resolve(joinWords(hi, lo), access) && space.translate(hi, lo, access, page);
  }

  free(): void {
    this.space.onInvalidate = null;
    this.providers.remove(this.#frame);
  }
}
