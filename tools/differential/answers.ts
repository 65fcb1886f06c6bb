/** What player.c prints, read back. */

/** One sequence in brief: four bytes an operation (errno, 24 bits of hash), and four over the final memory. */
export interface BriefAnswer {
  readonly bytes: Uint8Array;
  /** How its process ended, when not by itself: a wait status in hexadecimal. */
  readonly died: string | null;
}

/** One sequence in full. */
export interface FullAnswer {
  /** Per operation: result, errno, the struct's bytes in hexadecimal, a hash of what else was watched. */
  readonly lines: readonly string[];
  /** Hash of every region of memory at the end. */
  readonly memory: readonly string[];
  readonly died: string | null;
}

/** Reads `B` lines (and the `X` lines before them), by sequence number. */
export function readBrief(lines: readonly string[]): Map<number, BriefAnswer> {
  const answers = new Map<number, BriefAnswer>();
  let died: string | null = null;
  for (const line of lines) {
    const [tag, number, rest = ''] = line.split(' ');
    if (tag === 'X') died = rest;
    if (tag !== 'B') continue;
    answers.set(Number(number), { bytes: Buffer.from(rest, 'base64url'), died });
    died = null;
  }
  return answers;
}

/** Reads `F` and `E` lines, by sequence number. */
export function readFull(lines: readonly string[]): Map<number, FullAnswer> {
  const answers = new Map<number, FullAnswer>();
  let died: string | null = null;
  let ops: string[] = [];
  for (const line of lines) {
    const [tag, number, ...rest] = line.split(' ');
    if (tag === 'X') died = rest[0] ?? '';
    else if (tag === 'F') ops.push(rest.slice(1).join(' '));
    else if (tag === 'E') {
      answers.set(Number(number), { lines: ops, memory: rest, died });
      ops = [];
      died = null;
    }
  }
  return answers;
}

/** The inverse of readFull: what the player would have printed. */
export function fullLines(number: number, answer: FullAnswer): string[] {
  const died = answer.died === null ? [] : [`X ${number} ${answer.died}`];
  const ops = answer.lines.map((line, index) => `F ${number} ${index} ${line}`);
  return [...died, ...ops, `E ${number} ${answer.memory.join(' ')}`];
}

/** The errno of operation `index`, 0 for success. */
export function errnoOf(answer: BriefAnswer, index: number): number {
  return answer.bytes[index * 4] ?? 0;
}
