/** A command as it was fetched, and what is said when it is over. One is used again and again. */
import { SQ_ENTRY } from './registers.js';

/** How data is described: PRPs, or an SGL with metadata in one buffer or in an SGL. */
export const PSDT_PRP = 0;
export const PSDT_RESERVED = 3;

/** Where the two PRP entries, or the first SGL descriptor, are. */
export const DATA_POINTER = 24;

export class Command {
  readonly bytes = new Uint8Array(SQ_ENTRY);
  readonly view = new DataView(this.bytes.buffer);
  /** Of the queue that it came from. */
  queue = 0;
  /** Dword 0 of the completion. */
  result = 0;

  get opcode(): number {
    return this.bytes[0]!;
  }

  /** Part of a fused operation. */
  get isFused(): boolean {
    return (this.bytes[1]! & 3) !== 0;
  }

  get psdt(): number {
    return this.bytes[1]! >>> 6;
  }

  get id(): number {
    return this.view.getUint16(2, true);
  }

  get namespace(): number {
    return this.view.getUint32(4, true);
  }

  /** Command dword `index`, unsigned. */
  dword(index: number): number {
    return this.view.getUint32(index * 4, true);
  }

  /** Dwords `index` and the next, as far as a number is exact; beyond, at least as large as that. */
  quad(index: number): number {
    return this.dword(index + 1) * 2 ** 32 + this.dword(index);
  }
}
