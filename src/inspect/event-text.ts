/**
 * What the machine says while a program runs, between the calls of a trace: a line of text, or an object on a line
 * (docs/trace.schema.json).
 */
import type { EventRecord } from '../host/worker.js';
import { plainInk, type Ink } from './trace.js';

const at = (address: bigint): string => `0x${address.toString(16)}`;

/** No line end, and no line end in it. */
export function eventText({ event }: EventRecord, ink: Ink = plainInk): string {
  if (event.kind === 'log') return ink.quiet(`[kernel] ${oneLine(event.text)}`);
  const who = event.pasid < 0 ? event.device : `${event.device} PASID ${event.pasid}`;
  const now = event.current === null ? 'nothing is there' : at(event.current);
  const cached = event.cached === null ? 'nothing' : at(event.cached);
  const text =
    `[stale] ${who} at ${at(event.iova)}: ${event.unit} still uses ${cached}, the table says ${now}; ` +
    `missing: ${event.missing}`;
  return ink.error(oneLine(text));
}

export function eventJson({ event, time }: EventRecord): string {
  if (event.kind === 'log')
    return JSON.stringify({ v: 1, time, event: 'log', level: event.level, text: event.text });
  const { unit, device, pasid, iova, cached, current, missing } = event;
  return JSON.stringify({
    v: 1,
    time,
    event: 'stale-hit',
    unit,
    device,
    ...(pasid < 0 ? {} : { pasid }),
    iova: at(iova),
    cached: cached === null ? null : at(cached),
    current: current === null ? null : at(current),
    missing,
  });
}

const oneLine = (text: string): string => text.replace(/[\s\p{Cc}]+/gu, ' ');
