/** A chain of capabilities behind an info struct (vfio_info_cap_add, vfio_info_cap_shift). */
import { put32 } from '../base/bytes.js';
import { vfio_info_cap_header } from '../wire/uapi/vfio.gen.js';

const NEXT = vfio_info_cap_header.fields.next.offset;

export class InfoCaps {
  readonly #caps: Uint8Array[] = [];
  /** Bytes of all of them. */
  size = 0;

  /** `cap` begins with its header. */
  add(cap: Uint8Array): void {
    this.#caps.push(cap);
    this.size += sizeOf(cap);
  }

  /** The chain as it lies `offset` bytes into the struct: each says where the next begins, the last 0. */
  bytes(offset: number): Uint8Array {
    const chain = new Uint8Array(this.size);
    let at = 0;
    for (const cap of this.#caps) {
      const end = at + sizeOf(cap);
      chain.set(cap, at);
      put32(chain, at + NEXT, end === this.size ? 0 : offset + end);
      at = end;
    }
    return chain;
  }
}

/** The next begins at a multiple of 8. */
const sizeOf = ({ length }: Uint8Array): number => (length + 7) & ~7;
