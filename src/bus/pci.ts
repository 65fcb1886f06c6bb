/** Where a PCI function stands, as Linux writes it, and the requester id that follows: bus << 8 | device << 3 | function. */
import { hex } from '../base/hex.js';

const DEVICES = 32;

/** `0000:00:02.0` */
export function pciName(segment: number, rid: number): string {
  return `${hex(segment, 4)}:${hex(rid >>> 8, 2)}:${hex((rid >>> 3) & 31, 2)}.${rid & 7}`;
}

/** The requester id in `02:00.0` or `0000:02:00.0`; null when it is no such text. */
export function parsePciName(text: string): { segment: number; rid: number } | null {
  const parts = /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])$/i.exec(text);
  if (parts === null) return null;
  const device = parseInt(parts[3]!, 16);
  if (device >= DEVICES) return null;
  const rid = (parseInt(parts[2]!, 16) << 8) | (device << 3) | Number(parts[4]);
  return { segment: parseInt(parts[1] ?? '0', 16), rid };
}
