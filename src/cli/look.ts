/** `ioasis walk`, `dump` and `dmesg`: a running daemon is asked, and nothing in it changes. */
import { DaemonError, readDebugFile } from '../host/debug-client.js';
import type { Dump, WalkReport } from '../index.js';
import { dumpText } from '../inspect/dump-text.js';
import { walkText } from '../inspect/walk-text.js';
import type { Invocation } from './commands.js';

const failed = 1;
const usage = 2;

export async function dump({ options }: Invocation): Promise<number> {
  return show(options, 'dump', (text) =>
    options['json'] === true ? text : `${dumpText(JSON.parse(text) as Dump)}\n`,
  );
}

export async function dmesg({ options }: Invocation): Promise<number> {
  return show(options, 'dmesg', (text) => text);
}

/** 0 also where the walk ends in a fault: that is an answer. */
export async function walk({ options, operands }: Invocation): Promise<number> {
  const [device = '', iova = ''] = operands;
  if (!/^(0x[0-9a-f]{1,16}|\d{1,20})$/i.test(iova) || BigInt(iova) >> 64n !== 0n) {
    process.stderr.write(`ioasis: ${iova} is no address, such as 0x1000\n`);
    return usage;
  }
  return show(options, `walk/${device},${iova}`, (text) =>
    options['json'] === true ? text : `${walkText(JSON.parse(text) as WalkReport)}\n`,
  );
}

function show(options: Invocation['options'], name: string, print: (text: string) => string): number {
  const socket = (options['socket'] as string | undefined) ?? process.env['IOASIS_SOCKET'];
  if (!socket) {
    process.stderr.write('ioasis: which daemon? Name its socket with --socket or in IOASIS_SOCKET\n');
    return usage;
  }
  try {
    const text = readDebugFile(socket, name);
    if (text === null) {
      const what = name.startsWith('walk/')
        ? `no such device: ${name.slice('walk/'.length).split(',')[0]}`
        : `no ${name}`;
      process.stderr.write(`ioasis: the daemon at ${socket} has ${what}\n`);
      return failed;
    }
    process.stdout.write(print(text));
    return 0;
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    process.stderr.write(`ioasis: ${error.message}\n`);
    return failed;
  }
}
