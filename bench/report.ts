/**
 * What the benchmarks print: figures, ratios beside their limits, and what was over. A ratio is always of two things
 * measured in turns within one run, because absolute figures of a shared machine drift.
 */

let missed = 0;

/** How many limits were missed so far. */
export function missedLimits(): number {
  return missed;
}

export function title(text: string): void {
  console.log(`\n${text}`);
}

export function note(text: string): void {
  console.log(`  ${text}`);
}

/** One figure, without a limit. */
export function figure(name: string, value: string): void {
  console.log(`  ${name.padEnd(58)} ${value}`);
}

/** One figure beside the most that it may be. */
export function limited(name: string, value: number, most: number, print: (value: number) => string): void {
  const over = value > most;
  if (over) missed += 1;
  figure(name, `${print(value)} (at most ${print(most)})${over ? '  over' : ''}`);
}

export const asRatio = (value: number): string => `${value.toFixed(2)}x`;

export const asMicroseconds = (ns: number): string => `${(ns / 1000).toFixed(2)} us`;

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** What the quietest quarter of the rounds did not exceed: other programs only ever add time. */
export function quiet(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 2]!;
}
