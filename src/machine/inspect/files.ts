/**
 * What a machine shows of itself as files below /sys/kernel/debug/ioasis, where Linux has its own such files. Each is
 * made when it is opened, and only read.
 *
 *     dump                        JSON, see dump.ts
 *     dmesg                       the log, a line each; first of all how much of it is lost
 *     walk/DEVICE[:PASID],IOVA    JSON, see report.ts
 */
import type { Events, MachineEvent } from '../../base/events.js';
import type { Engine } from '../engine.js';
import { dumpOf, walkOf } from './dump.js';

/** The text of the file `name`; null: there is none. */
export function debugFile(engine: Engine, name: string): string | null {
  if (name === 'dump') return `${JSON.stringify(dumpOf(engine))}\n`;
  if (name === 'dmesg') return logOf(engine.events);
  return name.startsWith('walk/') ? walkFile(engine, name.slice('walk/'.length)) : null;
}

function logOf({ count, recent }: Events): string {
  const lost = count - recent.length;
  return (lost === 0 ? '' : `${lost} older events are lost\n`) + recent.map(logLine).join('');
}

function logLine(event: MachineEvent): string {
  return event.kind === 'log' ? `${event.text}\n` : '';
}

const question =
  /^(?<device>[^,]{1,64}?)(?::(?<pasid>0x[0-9a-f]{1,5}|\d{1,7}))?,(?<iova>0x[0-9a-f]{1,16}|\d{1,20})$/i;
const MAX_PASID = 0xfffff;

function walkFile(engine: Engine, asked: string): string | null {
  const whole = /^([^,]{1,64}),/.exec(asked)?.[1];
  const parts = question.exec(asked)?.groups;
  if (parts === undefined) return null;
  // A name may end like a PASID: the whole of it comes first.
  const isName = whole !== undefined && engine.built.devices.has(whole);
  const device = isName ? whole : parts['device']!;
  const pasid = isName || parts['pasid'] === undefined ? null : Number(parts['pasid']);
  const iova = BigInt(parts['iova']!);
  if ((pasid !== null && pasid > MAX_PASID) || iova >= 1n << 64n) return null;
  const report = walkOf(engine, device, pasid, iova);
  return report === null ? null : `${JSON.stringify(report)}\n`;
}
