/** Log pages, and events that wait to be asked for. NVM Express Base 1.4, 5.14 and 5.2. */
import type { Command } from './command.js';
import { ERROR_ENTRIES, FIRMWARE_REVISION, KELVIN, text } from './identify.js';
import * as status from './status.js';

const ERRORS = 0x01;
const HEALTH = 0x02;
const FIRMWARE = 0x03;
const CHANGED_NAMESPACES = 0x04;

const ERROR_BYTES = 64;
const HEALTH_BYTES = 512;
/** A data unit is a thousand blocks of 512 bytes. */
const UNIT_BYTES = 512_000;

/** Types and informations of events; the log page that tells more. */
export const EVENT_UNKNOWN_DOORBELL = 0x01_00_00;
export const EVENT_DOORBELL_VALUE = 0x01_01_00;

export class Logs {
  readBytes = 0;
  writtenBytes = 0;
  reads = 0;
  writes = 0;
  errors = 0;
  readonly #entries: Uint8Array[] = [];
  /** Dword 0 of events that nobody was told of, by type. */
  readonly #events = new Map<number, number>();
  /** Types that are not told again before their log page was read. */
  readonly #masked = new Set<number>();

  reset(): void {
    this.#events.clear();
    this.#masked.clear();
  }

  /** A command has failed. */
  note(command: Command, code: number): void {
    this.errors += 1;
    const entry = new Uint8Array(ERROR_BYTES);
    const view = new DataView(entry.buffer);
    view.setBigUint64(0, BigInt(this.errors), true);
    view.setUint16(8, command.queue, true);
    view.setUint16(10, command.id, true);
    view.setUint16(12, code << 1, true);
    view.setUint16(14, 0xffff, true);
    view.setUint32(24, command.namespace, true);
    this.#entries.unshift(entry);
    if (this.#entries.length > ERROR_ENTRIES) this.#entries.pop();
  }

  event(dword: number): void {
    const type = dword & 7;
    if (!this.#masked.has(type)) this.#events.set(type, dword);
  }

  /** Dword 0 of an event that nobody was told of; null: there is none. */
  takeEvent(): number | null {
    for (const [type, dword] of this.#events) {
      this.#events.delete(type);
      this.#masked.add(type);
      return dword;
    }
    return null;
  }

  /** What a page says; null: there is no such page. Reading one lets its events be told again. */
  page(id: number, keepsEvents: boolean): Uint8Array | null {
    switch (id) {
      case ERRORS:
        if (!keepsEvents) this.#masked.delete(0);
        return this.#errorPage();
      case HEALTH:
        if (!keepsEvents) this.#masked.delete(1);
        return this.#healthPage();
      case FIRMWARE:
        return firmwarePage();
      case CHANGED_NAMESPACES:
        // Namespaces are as the topology says, as long as the machine is there.
        if (!keepsEvents) this.#masked.delete(2);
        return new Uint8Array(4096);
      default:
        return null;
    }
  }

  #errorPage(): Uint8Array {
    const bytes = new Uint8Array(ERROR_ENTRIES * ERROR_BYTES);
    for (const [index, entry] of this.#entries.entries()) bytes.set(entry, index * ERROR_BYTES);
    return bytes;
  }

  #healthPage(): Uint8Array {
    const bytes = new Uint8Array(HEALTH_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint16(1, KELVIN + 40, true);
    bytes[3] = 100;
    bytes[4] = 10;
    const counts = [
      Math.ceil(this.readBytes / UNIT_BYTES),
      Math.ceil(this.writtenBytes / UNIT_BYTES),
      this.reads,
      this.writes,
    ];
    for (const [index, count] of counts.entries()) view.setBigUint64(32 + 16 * index, BigInt(count), true);
    view.setBigUint64(112, 1n, true);
    view.setBigUint64(176, BigInt(this.errors), true);
    return bytes;
  }
}

/** One slot, in use. */
function firmwarePage(): Uint8Array {
  const bytes = new Uint8Array(512);
  bytes[0] = 1;
  text(bytes, 8, 8, FIRMWARE_REVISION);
  return bytes;
}

/** The part of a page that `command` asks for. */
export function logPart(command: Command, logs: Logs): Uint8Array | number {
  const asked = command.dword(10);
  const keepsEvents = (asked & (1 << 15)) !== 0;
  const length = ((asked >>> 16) + (command.dword(11) & 0xffff) * 2 ** 16 + 1) * 4;
  const offset = command.quad(12);
  const page = logs.page(asked & 0xff, keepsEvents);
  if (page === null) return status.INVALID_LOG_PAGE;
  if ((offset & 3) !== 0 || offset > page.length || length > LONGEST) return status.INVALID_FIELD;
  // What lies behind the page is undefined, and 0 here.
  const bytes = new Uint8Array(length);
  bytes.set(page.subarray(offset, offset + length));
  return bytes;
}

/** No page is longer. */
const LONGEST = 1 << 16;
