/** An archive that a Linux kernel takes as its first root file system (cpio, newc), for a guest that reads it once. */

export const FILE = 0o100755;
export const FOLDER = 0o040755;
export const LINK = 0o120777;

const field = (value: number): string => value.toString(16).padStart(8, '0');
const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);

/** One entry; owners and times are 0. The folders above come before it. */
export function cpioEntry(name: string, mode: number, data: Uint8Array): Buffer {
  const size = Buffer.byteLength(name) + 1;
  const numbers = [0, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, size, 0];
  const head = Buffer.from(`070701${numbers.map(field).join('')}${name}\0`);
  return Buffer.concat([padded(head), padded(data)]);
}

/** What comes last. */
export const cpioEnd = (): Buffer => cpioEntry('TRAILER!!!', 0, Buffer.alloc(0));
