/** Huge pages for the time of a run: root may ask the kernel for some, and gives them back. */
import { readFileSync, writeFileSync } from 'node:fs';

const attribute = '/proc/sys/vm/nr_hugepages';

/** What the largest variants need, in pages of 2 MiB. */
const wanted = 256;

function read(): number {
  try {
    return Number(readFileSync(attribute, 'utf8'));
  } catch {
    return 0;
  }
}

function write(pages: number): void {
  try {
    writeFileSync(attribute, String(pages));
  } catch {
    // Not root, or a container that shows the attribute read-only: then the machine has what it has.
  }
}

/** Runs `body` with whether enough huge pages are there; the setting is afterwards what it was. */
export async function withHugePages<T>(body: (available: boolean) => Promise<T>): Promise<T> {
  const before = read();
  if (before >= wanted) return body(true);
  const giveBack = (): void => write(before);
  const interrupted = (): never => {
    giveBack();
    process.exit(1);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  write(wanted);
  try {
    return await body(read() >= wanted);
  } finally {
    giveBack();
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}
