/** Runs the tests once for each mutant that it is given, and says which one failed first, or that none did. */
import { parentPort, workerData } from 'node:worker_threads';

export interface WorkerInput {
  readonly harness: string;
  readonly tests: readonly string[];
  readonly mutants: readonly number[];
}

/** `mutant` 0 is the code as it is: which tests fail then, and how long they take; and which fail after all mutants. */
export type WorkerReport =
  | { readonly mutant: 0; readonly failed: readonly string[]; readonly milliseconds: number }
  | { readonly mutant: number; readonly killer: string | null }
  | { readonly spoiled: readonly string[] };

const { harness, tests, mutants } = workerData as WorkerInput;
const state = { id: 0 };
Object.assign(globalThis, { mutant: state });

type Declared = Awaited<ReturnType<typeof load>>;

async function load(): Promise<{ title: string; run: () => unknown }[]> {
  const { declared, endFile } = (await import(harness)) as typeof import('./harness.js');
  for (const file of tests) {
    await import(file);
    endFile();
  }
  return [...declared()];
}

async function fails(test: Declared[number]): Promise<boolean> {
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

async function main(): Promise<void> {
  const all = await load();
  const times = new Map<Declared[number], number>();
  const failed: string[] = [];
  for (const test of all) {
    const start = performance.now();
    if (await fails(test)) failed.push(test.title);
    else times.set(test, performance.now() - start);
  }
  const usable = [...times.keys()].toSorted((a, b) => times.get(a)! - times.get(b)!);
  report({ mutant: 0, failed, milliseconds: [...times.values()].reduce((sum, time) => sum + time, 0) });
  for (const id of mutants) {
    state.id = id;
    let killer: string | null = null;
    for (const test of usable) {
      if (!(await fails(test))) continue;
      killer = test.title;
      break;
    }
    state.id = 0;
    report({ mutant: id, killer });
  }
  // A mutant that had left something behind would have made those after it look noticed.
  const spoiled: string[] = [];
  for (const test of usable) if (await fails(test)) spoiled.push(test.title);
  report({ spoiled });
}

await main();
