/**
 * Memory of devices that clients have mapped, as what another device reaches when somebody maps it for DMA. Registers
 * act on what is stored there, whoever stores it.
 */
import type { Backing } from '../mem/client.js';
import type { SharedPages } from '../mem/task.js';
import { newBackingId } from './private-backing.js';
import * as sys from './sys.js';
import { deviceName, type Vma } from './vma.js';

type Width = 1 | 2 | 4 | 8;

/** What one mapping shows: bytes from `start` on of the file. */
interface Piece {
  readonly start: number;
  readonly pages: SharedPages;
}

/** A file, as far as clients have mapped it. */
class DeviceMemory implements Backing {
  readonly id = newBackingId();
  /** None covers another. */
  #pieces: Piece[] = [];

  add(made: Piece): void {
    if (this.#pieces.some((piece) => covers(piece, made.start, made.pages.bytes.length))) return;
    const kept = this.#pieces.filter(({ start, pages }) => !covers(made, start, pages.bytes.length));
    this.#pieces = [...kept, made];
  }

  /** Whoever has it mapped for DMA still reaches nothing: the engine's memory is soon somebody else's. */
  end(): void {
    this.#pieces = [];
  }

  #pieceAt(offset: bigint, length: number): Piece | undefined {
    return this.#pieces.find((piece) => covers(piece, Number(offset), length));
  }

  read(offset: bigint, into: Uint8Array): boolean {
    const piece = this.#pieceAt(offset, into.length);
    if (piece === undefined) return false;
    const from = Number(offset) - piece.start;
    into.set(piece.pages.bytes.subarray(from, from + into.length));
    return true;
  }

  write(offset: bigint, from: Uint8Array): boolean {
    const piece = this.#pieceAt(offset, from.length);
    if (piece === undefined) return false;
    const { bytes, store } = piece.pages;
    if (store === undefined) bytes.set(from, Number(offset) - piece.start);
    else storeEach(store, Number(offset) - piece.start, from);
    return true;
  }
}

const covers = ({ start, pages }: Piece, at: number, length: number): boolean =>
  at >= start && at + length <= start + pages.bytes.length;

/** As transactions of the bus: in order, each as wide as its place allows. */
function storeEach(store: NonNullable<SharedPages['store']>, offset: number, from: Uint8Array): void {
  const view = new DataView(from.buffer, from.byteOffset, from.length);
  for (let done = 0; done < from.length;) {
    const width = widthAt(offset + done, from.length - done);
    const high = width === 8 ? view.getInt32(done + 4, true) : 0;
    store(offset + done, width, lowOf(view, done, width), high);
    done += width;
  }
}

function widthAt(at: number, left: number): Width {
  for (const width of [8, 4, 2] as const) if (at % width === 0 && left >= width) return width;
  return 1;
}

function lowOf(view: DataView, at: number, width: Width): number {
  if (width === 1) return view.getUint8(at);
  return width === 2 ? view.getUint16(at, true) : view.getInt32(at, true);
}

/** By `major:minor:inode` of the file that clients map. */
const known = new Map<string, DeviceMemory>();

function keyOf(fd: number): string | null {
  const status = sys.fstat(fd);
  return status === null ? null : `${deviceName(status.dev)}:${status.ino}`;
}

/** Clients can map `pages` by `fd`, from its byte `start` on. */
export function noteDeviceMemory(fd: number, start: number, pages: SharedPages): void {
  const key = keyOf(fd);
  if (key === null) return;
  let memory = known.get(key);
  if (memory === undefined) known.set(key, (memory = new DeviceMemory()));
  memory.add({ start, pages });
}

/** `fd` will be closed: no client can map it any more, and what devices have mapped of it is gone. */
export function forgetDeviceMemory(fd: number): void {
  const key = keyOf(fd);
  if (key === null) return;
  known.get(key)?.end();
  known.delete(key);
}

/** What is behind an area of a client, if that is memory of a device. */
export function deviceMemoryOf(vma: Vma): Backing | null {
  return vma.shared ? (known.get(`${vma.device}:${vma.inode}`) ?? null) : null;
}
