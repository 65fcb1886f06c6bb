/** Memory read by pid, of the program that was meant and of no other. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import * as sys from '#ioasis/host/sys.js';
import { Witness } from '#ioasis/host/witness.js';
import { compile } from './world.js';

const LENGTH = 4096;

let child: ChildProcess;
let lines: AsyncIterator<string>;
let pidfd: number;
let memory: number;
let at: bigint;

/** The program says where its memory is. */
const whereItIs = async (): Promise<bigint> => BigInt((await lines.next()).value as string);

beforeEach(async () => {
  const program = compile('another');
  child = spawn(program, [program], { stdio: ['pipe', 'pipe', 'inherit'] });
  lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  at = await whereItIs();
  pidfd = sys.pidfdOpen(child.pid!);
  memory = sys.open(`/proc/${child.pid}/mem`, sys.O_RDONLY, 0);
});
afterEach(() => {
  child.kill('SIGKILL');
  sys.close(pidfd);
  sys.close(memory);
});

function readBy(witness: Witness | null): string {
  const into = new Uint8Array(LENGTH).fill(0x7a);
  const isIts = witness!.read(at, into, pidfd);
  return isIts ? String.fromCharCode(into[0]!, into[LENGTH - 1]!) : `no ${into.some((byte) => byte !== 0)}`;
}

test('a process is read, and not where it has nothing', () => {
  const witness = Witness.of(child.pid!, memory);
  expect(readBy(witness)).toBe('aa');
  at = 0n;
  expect(readBy(witness)).toBe('no false');
});

test('another program with the same pid is not, although it has something at the address', async () => {
  const witness = Witness.of(child.pid!, memory);
  child.stdin!.write('\n');
  at = await whereItIs();
  expect(readBy(witness)).toBe('no false');
  const itsMemory = sys.open(`/proc/${child.pid}/mem`, sys.O_RDONLY, 0);
  expect(readBy(Witness.of(child.pid!, itsMemory))).toBe('bb');
  sys.close(itsMemory);
});

test('nor when the descriptor of the process says that its pid is free', async () => {
  const witness = Witness.of(child.pid!, memory);
  const other = spawn('true');
  const dead = sys.pidfdOpen(other.pid!);
  await once(other, 'close');
  const into = new Uint8Array(LENGTH);
  expect(witness!.read(at, into, dead)).toBe(false);
  expect(into.some((byte) => byte !== 0)).toBe(false);
  expect(readBy(witness)).toBe('aa');
  sys.close(dead);
});
