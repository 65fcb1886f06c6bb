/** The data structures that say what a controller and its namespaces are. NVM Express Base 1.4, 5.15. */
import { BLOCK_LG2, type Namespace } from './namespace.js';
import { IOCQES, IOSQES, MDTS, VERSION_1_4 } from './registers.js';

export const IDENTIFY_BYTES = 4096;

/** What a controller says of itself. */
export interface ControllerFacts {
  readonly vendor: number;
  readonly subsystemVendor: number;
  /** At most 20 characters. */
  readonly serial: string;
  /** Among those that have the same namespaces. */
  readonly id: number;
  readonly isShared: boolean;
  readonly isVirtual: boolean;
  readonly namespaces: readonly Namespace[];
}

const MODEL = 'ioasis NVMe controller';
export const FIRMWARE_REVISION = '1.0';

/** Several controllers in the subsystem; one of a virtual function. */
const CMIC_CONTROLLERS = 1 << 1;
const CMIC_VIRTUAL = 1 << 2;
/** Namespace attributes change: it could tell. */
const OAES_NAMESPACES = 1 << 8;
/** An I/O controller. */
const IO_CONTROLLER = 1;
/** Log pages with offsets, and the changes of namespaces. */
const LPA = 1 << 2;
/** Compare, dataset management, write zeroes, timestamp. */
const ONCS = 1 | (1 << 2) | (1 << 3) | (1 << 6);
/** There is a write cache; a flush of all namespaces is done. */
const VWC = 1 | (3 << 1);
/** SGLs, byte aligned; bit buckets; longer than the data. */
const SGLS = 1 | (1 << 16) | (1 << 18);
/** Of 0 degrees Celsius. */
export const KELVIN = 273;

/** Fills a field with ASCII and spaces. */
export function text(bytes: Uint8Array, at: number, length: number, value: string): void {
  for (let i = 0; i < length; i++) bytes[at + i] = i < value.length ? value.charCodeAt(i) & 0x7f : 0x20;
}

export function identifyController(facts: ControllerFacts): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, facts.vendor, true);
  view.setUint16(2, facts.subsystemVendor, true);
  text(bytes, 4, 20, facts.serial);
  text(bytes, 24, 40, MODEL);
  text(bytes, 64, 8, FIRMWARE_REVISION);
  bytes[72] = 6;
  bytes[76] = (facts.isShared ? CMIC_CONTROLLERS : 0) | (facts.isVirtual ? CMIC_VIRTUAL : 0);
  bytes[77] = MDTS;
  view.setUint16(78, facts.id, true);
  view.setUint32(80, VERSION_1_4, true);
  view.setUint32(92, OAES_NAMESPACES, true);
  bytes[111] = IO_CONTROLLER;
  // Abort Command Limit and Asynchronous Event Request Limit, 0's based; one firmware slot, read-only.
  bytes[258] = 3;
  bytes[259] = MOST_EVENT_REQUESTS - 1;
  bytes[260] = 3;
  bytes[261] = LPA;
  bytes[262] = ERROR_ENTRIES - 1;
  view.setUint16(266, KELVIN + 70, true);
  view.setUint16(268, KELVIN + 80, true);
  bytes[512] = IOSQES * 0x11;
  bytes[513] = IOCQES * 0x11;
  view.setUint32(516, facts.namespaces.length, true);
  view.setUint16(520, ONCS, true);
  bytes[525] = VWC;
  view.setUint32(536, SGLS, true);
  const name = `nqn.2014-08.org.nvmexpress:uuid:10a510a5-0000-4000-8000-${facts.serial.replace(/\D/g, '').padStart(12, '0')}`;
  for (let i = 0; i < name.length; i++) bytes[768 + i] = name.charCodeAt(i);
  // One power state, of 10 W.
  view.setUint16(2048, 1000, true);
  return bytes;
}

/** Asynchronous event requests that may be out, and entries of the error log. */
export const MOST_EVENT_REQUESTS = 4;
export const ERROR_ENTRIES = 64;

/** Deallocated blocks read 0, and Write Zeroes may deallocate. */
const DLFEAT = 1 | (1 << 3);
const NMIC_SHARED = 1;

export function identifyNamespace({ blocks, guid }: Namespace, isShared: boolean): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  const size = BigInt(blocks);
  for (const at of [0, 8, 16]) view.setBigUint64(at, size, true);
  bytes[30] = isShared ? NMIC_SHARED : 0;
  bytes[33] = DLFEAT;
  view.setBigUint64(48, size << BigInt(BLOCK_LG2), true);
  bytes.set(guid, 104);
  // One format: no metadata.
  bytes[128 + 2] = BLOCK_LG2;
  return bytes;
}

const DESCRIPTOR_GUID = 2;

/** Names of a namespace. */
export function namespaceDescriptors({ guid }: Namespace): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  bytes[0] = DESCRIPTOR_GUID;
  bytes[1] = guid.length;
  bytes.set(guid, 4);
  return bytes;
}

/** Numbers of the namespaces above `after`. */
export function namespaceList(namespaces: readonly Namespace[], after: number): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { id } of namespaces) {
    if (id <= after || at === bytes.length) continue;
    view.setUint32(at, id, true);
    at += 4;
  }
  return bytes;
}
