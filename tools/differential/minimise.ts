/**
 * Cuts a sequence down to what is needed for its first difference. Operations are not taken out but turned into
 * nothing, so that references keep their meaning; many cuts are tried in one go, since a boot costs seconds.
 */
import { differences } from './compare.js';
import { kinds, type Op, type Sequence } from './program.js';
import { playFull, type Play } from './worlds.js';

const nothing: Op = { kind: kinds[0], flags: 0, args: [], bytes: new Uint8Array(0), span: 0, refs: [] };

function without(sequence: Sequence, from: number, count: number): Sequence {
  const ops = sequence.ops.map((op, index) => (index >= from && index < from + count ? nothing : op));
  return { number: sequence.number, ops };
}

/** The first of `cuts` that still differs in its last operation, or null. */
async function firstThatDiffers(a: Play, b: Play, cuts: readonly Sequence[]): Promise<Sequence | null> {
  const numbered = cuts.map((cut, number) => ({ ...cut, number }));
  const [left, right] = await Promise.all([playFull(a, numbered), playFull(b, numbered)]);
  for (const cut of numbered) {
    const [x, y] = [left.get(cut.number), right.get(cut.number)];
    if (x === undefined || y === undefined) continue;
    const last = cut.ops.length - 1;
    if (differences(cut, x, y).some((d) => d.index >= last)) return cuts[cut.number] ?? null;
  }
  return null;
}

/**
 * `sequence`, up to operation `index` where it differs (all of it, when only its memory at the end does), with
 * whatever can be left out turned into nothing.
 */
export async function minimise(a: Play, b: Play, sequence: Sequence, index: number): Promise<Sequence> {
  let best: Sequence = { number: sequence.number, ops: sequence.ops.slice(0, index + 1) };
  for (let size = best.ops.length >> 1; size >= 1;) {
    const cuts: Sequence[] = [];
    for (let from = 0; from < best.ops.length - 1; from += size) {
      const cut = without(best, from, Math.min(size, best.ops.length - 1 - from));
      if (cut.ops.some((op, i) => op !== best.ops[i])) cuts.push(cut);
    }
    const shorter = await firstThatDiffers(a, b, cuts);
    if (shorter === null) size >>= 1;
    else best = shorter;
  }
  return best;
}

/** The operations that are left, with their places. */
export function remaining(sequence: Sequence): [number, Op][] {
  return [...sequence.ops.entries()].filter(([, op]) => op.kind !== 'none');
}
