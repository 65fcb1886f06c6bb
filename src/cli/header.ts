/** `ioasis header`: the interface for a C compiler. */
import { printHeader } from '../wire/header.js';

export async function header(): Promise<number> {
  process.stdout.write(printHeader());
  return 0;
}
