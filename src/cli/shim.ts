/** Where the preload shim is. */
import { fileURLToPath } from 'node:url';

/** The shared library; it may not have been built. */
export function shimPath(): string {
  return fileURLToPath(new URL('../../shim/build/libioasis.so', import.meta.url));
}
