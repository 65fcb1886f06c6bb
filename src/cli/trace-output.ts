/**
 * Where --trace goes: standard error or a file, as text or as JSON lines.
 * Invariant: every line is written whole and at once, so that it does not mix with what the program writes.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { TraceRecord } from '../host/trace.js';
import type { EventRecord } from '../host/worker.js';
import { eventJson, eventText } from '../inspect/event-text.js';
import { formatJson } from '../inspect/trace-json.js';
import { formatText, plainInk, type Ink } from '../inspect/trace.js';
import { painter, type Paint } from './paint.js';

export interface TraceOutput {
  write(record: TraceRecord): void;
  /** What the machine says, between the calls. */
  writeEvent(record: EventRecord): void;
  close(): void;
}

const STDERR = 2;

/** Opens the output of `--trace=FILE`, where `-` is standard error. Throws where FILE cannot be written. */
export function openTrace(file: string, format: string): TraceOutput {
  const toStderr = file === '-';
  const fd = toStderr ? STDERR : openSync(file, 'w');
  const ink = inkOf(painter(toStderr ? process.stderr : {}));
  const line = format === 'json' ? formatJson : (record: TraceRecord): string => formatText(record, ink);
  const eventLine = format === 'json' ? eventJson : (record: EventRecord): string => eventText(record, ink);
  return {
    write(record) {
      writeSync(fd, `${line(record)}\n`);
    },
    writeEvent(record) {
      writeSync(fd, `${eventLine(record)}\n`);
    },
    close() {
      if (!toStderr) closeSync(fd);
    },
  };
}

/** The colours of a trace. */
export function inkOf(paint: Paint): Ink {
  return {
    ...plainInk,
    file: (text) => paint('cyan', text),
    error: (text) => paint('red', text),
    reason: (text) => paint('yellow', text),
    quiet: (text) => paint('dim', text),
  };
}
