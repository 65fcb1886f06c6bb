/**
 * QEMU without a guest: its devices are driven by the text commands of qtest over a socket. Commands are answered in
 * order, so they may be sent in a row and awaited together.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DebianProgram } from '../lib/debian-program.js';

const START_MS = 30_000;

export class Qtest {
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #folder: string;
  readonly #waiting: {
    resolve: (answer: string) => void;
    reject: (error: Error) => void;
    command: string;
  }[] = [];
  #rest = '';
  #ended: Error | null = null;

  private constructor(child: ChildProcess, socket: Socket, folder: string) {
    this.#child = child;
    this.#socket = socket;
    this.#folder = folder;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#received(text));
    socket.on('close', () => this.#lost(new Error('QEMU has ended')));
    socket.on('error', (error) => this.#lost(error));
  }

  /** Starts `program` with `args`; it has no guest, no display and no default devices. */
  static async start(program: DebianProgram, args: readonly string[]): Promise<Qtest> {
    const folder = mkdtempSync(join(tmpdir(), 'second-'));
    const path = join(folder, 'qtest');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const firmware = join(program.root, 'usr/share');
    const child = spawn(
      program.command,
      [
        ...program.args,
        ...[
          '-accel',
          'qtest',
          '-qtest',
          `unix:${path}`,
          '-qtest-log',
          '/dev/null',
          '-display',
          'none',
          '-nodefaults',
        ],
        ...['-L', join(firmware, 'seabios'), '-L', join(firmware, 'qemu')],
        ...args,
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        // Accelerators are modules.
        env: { ...process.env, QEMU_MODULE_DIR: join(program.root, 'usr/lib/x86_64-linux-gnu/qemu') },
      },
    );
    return new Qtest(child, await connection(server, child), folder);
  }

  /** Sends one command; what comes after `OK`. */
  send(command: string): Promise<string> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, command });
      this.#socket.write(`${command}\n`);
    });
  }

  async end(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
    this.#socket.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #received(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) {
      const [word, ...more] = line.split(' ');
      const waiting = this.#waiting.shift();
      if (word === 'OK') waiting?.resolve(more.join(' '));
      else waiting?.reject(new Error(`${waiting.command}: ${line}`));
    }
  }

  #lost(error: Error): void {
    this.#ended = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

function connection(server: Server, child: ChildProcess): Promise<Socket> {
  let said = '';
  child.stderr?.on('data', (text: Buffer) => (said += text.toString()));
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(new Error(`QEMU does not start: ${said}`));
    const timer = setTimeout(fail, START_MS);
    child.once('exit', fail);
    server.once('connection', (socket) => {
      clearTimeout(timer);
      server.close();
      resolve(socket);
    });
  });
}
