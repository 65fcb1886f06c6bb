/** Queues of an NVMe controller: rings in memory that one side fills and the other empties. */

export class CompletionQueue {
  head = 0;
  tail = 0;
  /** What entries of this round have as their phase. */
  phase = 1;
  /** An entry was written that nobody was told of. */
  isNew = false;
  /** Submission queues that complete here. */
  users = 0;

  constructor(
    readonly id: number,
    readonly hi: number,
    readonly lo: number,
    readonly size: number,
    readonly vector: number,
    readonly hasInterrupt: boolean,
  ) {}

  /** Entries that may be written. */
  get room(): number {
    return (this.head - this.tail - 1 + this.size) % this.size;
  }

  get isFull(): boolean {
    return this.room === 0;
  }

  get isEmpty(): boolean {
    return this.head === this.tail;
  }

  advance(): void {
    this.tail += 1;
    if (this.tail < this.size) return;
    this.tail = 0;
    this.phase ^= 1;
  }
}

export class SubmissionQueue {
  head = 0;
  tail = 0;

  constructor(
    readonly id: number,
    readonly hi: number,
    readonly lo: number,
    readonly size: number,
    readonly completions: CompletionQueue,
  ) {}

  /** There is a command, and room to say how it ended. */
  get isReady(): boolean {
    return this.head !== this.tail && !this.completions.isFull;
  }

  advance(): void {
    this.head += 1;
    if (this.head === this.size) this.head = 0;
  }
}
