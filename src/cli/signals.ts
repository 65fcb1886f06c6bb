/**
 * Signals that are meant for the program: held from the moment that run begins, so that none of them ends ioasis
 * between the start of its engine and the start of the program, and given to the program once it is there.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface HeldSignals {
  /** From now on, and what came before now, goes to `child`. */
  giveTo(child: ChildProcess): void;
  /** Signals do again what they do by default. */
  release(): void;
}

export function holdSignals(): HeldSignals {
  let receiver: ChildProcess | null = null;
  const early: NodeJS.Signals[] = [];
  const deliver = (signal: NodeJS.Signals): void => {
    if (receiver === null) early.push(signal);
    else if (signal !== 'SIGINT' || !sharesTerminal()) receiver.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, deliver);
  return {
    giveTo(child) {
      receiver = child;
      for (const signal of early.splice(0)) child.kill(signal);
    },
    release() {
      for (const signal of forwarded) process.off(signal, deliver);
    },
  };
}

/**
 * True if ioasis is in the foreground of a terminal: there Ctrl-C is sent to the whole process group, so the program
 * has got it already, and a second one would be "I really mean it" to many programs.
 */
function sharesTerminal(): boolean {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  // After the name in parentheses: state, ppid, pgrp, session, tty_nr, tpgid.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[2] === fields[5];
}
