/** The restated bits of every format, by its name. A format without is not judged, so it is refused. */
import { amdv1Bits } from './amdv1.js';
import type { FormatBits } from './judge.js';
import * as vtdss from './vtdss.js';
import * as x86 from './x86.js';

const restated: Readonly<Record<string, FormatBits>> = {
  amdv1: amdv1Bits(12),
  amdv1_mock: amdv1Bits(11),
  vtdss: vtdss.vtdssBits(vtdss.everything),
  x86: x86.x86Bits(x86.everything),
};

export function bitsOf(name: string): FormatBits {
  const found = restated[name];
  if (found === undefined) throw new Error(`restate the bits of ${name} in test/pt/bits`);
  return found;
}
