/**
 * `npm run bench [-- NAME ...] [--gate]`: every measurement, or those named, each beside its limit or its peer in
 * the same run. A missed limit is marked `over`; with --gate it also makes the exit status 1.
 */
import { buildPrograms } from './programs.js';
import { missedLimits, note, title } from './report.js';

interface Benchmark {
  readonly run: () => Promise<void>;
}

/** In the order in which they run. */
const benchmarks: Readonly<Record<string, () => Promise<Benchmark>>> = {
  'round-trip': () => import('./round-trip.js'),
  scale: () => import('./scale.js'),
  areas: () => import('./areas.js'),
  map: () => import('./map.js'),
  translate: () => import('./translate.js'),
  pasids: () => import('./pasids.js'),
  dma: () => import('./dma.js'),
  owners: () => import('./owners.js'),
  vfio: () => import('./vfio.js'),
  'start-up': () => import('./start-up.js'),
  'interval-map': () => import('./interval-map.js'),
};

const args = process.argv.slice(2);
const names = args.filter((arg) => arg !== '--gate');
const unknown = names.filter((name) => !(name in benchmarks));
if (unknown.length > 0) {
  console.error(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(benchmarks).join(', ')}`);
  process.exit(2);
}
buildPrograms();
for (const [name, load] of Object.entries(benchmarks)) {
  if (names.length === 0 || names.includes(name)) await (await load()).run();
}
const missed = missedLimits();
title(missed === 0 ? 'every limit is kept' : `limits missed: ${missed}`);
if (missed > 0) note('figures of a busy machine drift; run again before believing one that is close');
if (args.includes('--gate') && missed > 0) process.exitCode = 1;
