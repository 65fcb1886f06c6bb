/** A chain of capabilities behind an info struct (vfio_info_cap_add, vfio_info_cap_shift). */
import { vfio_info_cap_header } from '../wire/uapi/vfio.gen.js';

const HEADER = vfio_info_cap_header.size;

export class InfoCaps {
  readonly #bodies: { readonly id: number; readonly version: number; readonly body: Uint8Array }[] = [];
  /** Bytes of all of them. */
  size = 0;

  /** `body` is what follows the header. */
  add(id: number, version: number, body: Uint8Array = new Uint8Array(0)): void {
    this.#bodies.push({ id, version, body });
    this.size += sizeOf(body);
  }

  /** The chain as it lies `offset` bytes into the struct: each says where the next begins, the last 0. */
  bytes(offset: number): Uint8Array {
    const chain = new Uint8Array(this.size);
    let at = 0;
    for (const [index, { id, version, body }] of this.#bodies.entries()) {
      const end = at + sizeOf(body);
      const next = index + 1 === this.#bodies.length ? 0 : offset + end;
      vfio_info_cap_header.encode({ id, version, next }, chain, at);
      chain.set(body, at + HEADER);
      at = end;
    }
    return chain;
  }
}

/** The next begins at a multiple of 8. */
const sizeOf = (body: Uint8Array): number => (HEADER + body.length + 7) & ~7;
