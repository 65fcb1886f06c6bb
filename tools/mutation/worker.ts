/**
 * Runs the tests once for each mutant that it is given, and says which one failed first, or that none did. Without mutants
 * it runs them on the code as it is, and says what each costs and which mutants it meets: no other can fail it.
 */
import { parentPort, workerData } from 'node:worker_threads';

/** A test on the code as it is. */
export interface KnownTest {
  /** Among all that are declared: two may have one title. */
  readonly index: number;
  readonly title: string;
  readonly milliseconds: number;
  /** By mutant: 1 if it was asked for. */
  readonly met: Uint8Array;
}

export interface WorkerInput {
  readonly harness: string;
  readonly tests: readonly string[];
  /** Of all mutants. */
  readonly count: number;
  /** Empty: the code as it is. */
  readonly mutants: readonly number[];
  readonly known: readonly KnownTest[];
  /** When the test that runs should have ended, by `Date.now()`: one that does not end is somebody else's to end. */
  readonly deadline: Float64Array;
}

export type WorkerReport =
  | { readonly known: readonly KnownTest[]; readonly failed: readonly string[] }
  | { readonly mutant: number; readonly killer: string | null }
  /** After all mutants: what fails on the code as it is. */
  | { readonly spoiled: readonly string[] };

const { harness, tests, count, mutants, known, deadline } = workerData as WorkerInput;
/** A test may take so many times as long as it did, and so many milliseconds more. */
const PATIENCE = 10;
const LEAST_MS = 3000;
const FIRST_MS = 5 * 60_000;

let current = 0;
const met = new Uint8Array(count + 1);
Object.assign(globalThis, {
  mutant: (id: number): boolean => {
    met[id] = 1;
    return id === current;
  },
});

interface Declared {
  readonly title: string;
  readonly run: () => unknown;
}

async function load(): Promise<Declared[]> {
  const { declared, endFile } = (await import(harness)) as typeof import('./harness.js');
  for (const file of tests) {
    await import(file);
    endFile();
  }
  return [...declared()];
}

async function fails(test: Declared, patience: number): Promise<boolean> {
  deadline[0] = Date.now() + patience;
  try {
    await test.run();
    return false;
  } catch {
    return true;
  }
}

function report(message: WorkerReport): void {
  // A port of a worker thread has no origin.
  // oxlint-disable-next-line require-post-message-target-origin
  parentPort!.postMessage(message);
}

/** The second turn counts: in the first one code is compiled. */
async function learn(all: readonly Declared[]): Promise<void> {
  const failed: string[] = [];
  const found: KnownTest[] = [];
  for (const turn of [1, 2]) {
    for (const [index, test] of all.entries()) {
      met.fill(0);
      const start = performance.now();
      const isFailed = await fails(test, FIRST_MS);
      if (turn === 1) continue;
      if (isFailed) failed.push(test.title);
      else
        found.push({ index, title: test.title, milliseconds: performance.now() - start, met: met.slice() });
    }
  }
  report({ known: found, failed });
}

async function main(): Promise<void> {
  const all = await load();
  if (mutants.length === 0) return learn(all);
  // Quick ones first; whoever noticed a mutant is asked first for the next, which is often its neighbour.
  const order = known.toSorted((a, b) => a.milliseconds - b.milliseconds);
  for (const id of mutants) {
    current = id;
    let killer: string | null = null;
    for (const [at, test] of order.entries()) {
      if (test.met[id] === 0) continue;
      if (!(await fails(all[test.index]!, LEAST_MS + PATIENCE * test.milliseconds))) continue;
      killer = test.title;
      order.unshift(...order.splice(at, 1));
      break;
    }
    current = 0;
    report({ mutant: id, killer });
  }
  // A mutant that had left something behind would have made those after it look noticed.
  const spoiled: string[] = [];
  for (const { index, title } of known) if (await fails(all[index]!, FIRST_MS)) spoiled.push(title);
  report({ spoiled });
}

await main();
// What a test has left running is ended with us.
deadline[0] = 0;
