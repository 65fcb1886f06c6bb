/** Client memory of a test: a few bytes at any offset; everything else of it reads zero. */
import type { Backing } from '../../src/mem/client.js';

export class FakeBacking implements Backing {
  readonly bytes = new Map<bigint, number>();

  constructor(
    readonly id: number,
    readonly size: bigint = 1n << 62n,
  ) {}

  read(offset: bigint, into: Uint8Array): boolean {
    if (offset + BigInt(into.length) > this.size) return false;
    for (let at = 0; at < into.length; at += 1) into[at] = this.bytes.get(offset + BigInt(at)) ?? 0;
    return true;
  }

  write(offset: bigint, from: Uint8Array): boolean {
    if (offset + BigInt(from.length) > this.size) return false;
    from.forEach((byte, at) => this.bytes.set(offset + BigInt(at), byte));
    return true;
  }
}
