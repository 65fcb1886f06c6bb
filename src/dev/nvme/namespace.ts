/** A namespace: blocks of 512 bytes, with the name that tells it from all others. */
import type { BlockStore } from '../blocks.js';

/** Lg2 of the bytes of a block. */
export const BLOCK_LG2 = 9;
const BLOCK = 2 ** BLOCK_LG2;

/** OURS: the first bytes of every NGUID, "ioasis" with a number that nobody was given. */
const NAME = [0x69, 0x6f, 0x61, 0x73, 0x69, 0x73, 0x10, 0xa5];

export class Namespace {
  /** Blocks that it has. */
  readonly blocks: number;
  /** 16 bytes. */
  readonly guid: Uint8Array;

  constructor(
    /** From 1. */
    readonly id: number,
    readonly store: BlockStore,
    /** Requester id of the physical function: virtual ones have the same namespaces. */
    owner: number,
  ) {
    this.blocks = Math.floor(store.size / BLOCK);
    this.guid = Uint8Array.from([...NAME, 0, 0, owner >> 8, owner & 0xff, 0, 0, id >> 8, id & 0xff]);
  }
}
