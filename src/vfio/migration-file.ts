/** The file through which the state of a device comes or goes: a stream, of use as long as the device is in that state. */
import { refuse } from '../base/errno.js';
import type { OpenFile, SharedPages, Task } from '../mem/task.js';
import { rules } from './migration-rules.js';

export class StateFile implements OpenFile {
  readonly isEngineFile = true;
  readonly name = '[vfio-migration]';
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;
  #isOver = false;
  #done = 0;
  #length: number;
  #bytes: Uint8Array;

  private constructor(
    readonly isForReading: boolean,
    bytes: Uint8Array,
    readonly most: number,
  ) {
    this.#bytes = bytes;
    this.#length = bytes.length;
  }

  /** What was saved, to be read. */
  static ofSaved(bytes: Uint8Array): StateFile {
    return new StateFile(true, bytes, bytes.length);
  }

  /** For at most `most` bytes that are to come. */
  static forRestoring(most: number): StateFile {
    return new StateFile(false, new Uint8Array(0), most);
  }

  /** What has come. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The device is in another state. */
  end(): void {
    this.#isOver = true;
    this.#bytes = new Uint8Array(0);
    this.#length = 0;
  }

  ioctl(cmd: number): number {
    refuse(rules.state_file_ioctl, { cmd: BigInt(cmd >>> 0) });
  }

  read(at: bigint, count: number, task: Task): number {
    if (!this.isForReading) refuse(rules.state_file_write_only, {});
    if (this.#isOver) refuse(rules.state_file_over_read, {});
    const part = this.bytes.subarray(this.#done, this.#done + count);
    if (!task.mm.write(at, part)) refuse(rules.state_file_unwritable, { at, length: part.length });
    this.#done += part.length;
    return part.length;
  }

  write(at: bigint, count: number, task: Task): number {
    if (this.isForReading) refuse(rules.state_file_read_only, {});
    if (this.#isOver) refuse(rules.state_file_over_write, {});
    const length = this.#length + count;
    if (length > this.most) refuse(rules.state_file_most, { length, most: this.most });
    const bytes = new Uint8Array(count);
    if (!task.mm.read(at, bytes)) refuse(rules.state_file_unreadable, { at, length: count });
    if (length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(bytes, this.#length);
    this.#length = length;
    return count;
  }

  #grow(length: number): void {
    const larger = new Uint8Array(Math.min(this.most, Math.max(length, 2 * this.#bytes.length)));
    larger.set(this.bytes);
    this.#bytes = larger;
  }

  mmap(): SharedPages {
    refuse(rules.state_file_mmap, {});
  }

  release(): void {}
}
