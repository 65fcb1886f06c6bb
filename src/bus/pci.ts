/**
 * PCI Express: functions at bus:device.function of a segment, bridges between buses, and what follows from where a
 * function stands: its requester id as a unit sees it, and which functions form a group (Linux: pci_device_group).
 */
import { invariant } from '../base/errno.js';
import { hex } from '../base/hex.js';
import type { Translator } from './dma.js';
import { Endpoints } from './endpoints.js';

/** A bridge's own part: the bus behind it, and whether what comes from there carries its own requester id. */
export interface PciBridge {
  readonly secondary: number;
  /** False: a bridge to conventional PCI, whose devices all appear as function 0 of device 0 of its bus. */
  readonly isExpress: boolean;
}

export interface PciFunctionOptions {
  /** Access control services: peers cannot reach it, nor it its peers, around the unit. Default true. */
  readonly acs?: boolean;
  readonly bridge?: PciBridge | null;
}

const FUNCTIONS = 8;
const DEVICES = 32;
const BUSES = 256;

class PciFunction {
  readonly acs: boolean;
  readonly bridge: PciBridge | null;

  constructor(
    readonly segment: PciSegment,
    /** Requester id of the function itself: bus << 8 | device << 3 | function. */
    readonly rid: number,
    options: PciFunctionOptions,
  ) {
    this.acs = options.acs ?? true;
    this.bridge = options.bridge ?? null;
  }

  get bus(): number {
    return this.rid >>> 8;
  }

  /** Where it is, as Linux writes it: `0000:00:02.0`. */
  get name(): string {
    return pciName(this.segment.number, this.rid);
  }

  /** The requester id that reaches the unit: a conventional bridge puts its own in place. */
  get sourceId(): number {
    return this.segment.aliasOf(this);
  }

  /** Functions with an equal one cannot be told apart or kept apart. */
  get groupKey(): string {
    return this.segment.groupKeyOf(this);
  }
}

/** `0000:00:02.0` */
export function pciName(segment: number, rid: number): string {
  return `${hex(segment, 4)}:${hex(rid >>> 8, 2)}:${hex((rid >>> 3) & 31, 2)}.${rid & 7}`;
}

/** The requester id in `02:00.0` or `0000:02:00.0`; null when it is no such text. */
export function parsePciName(text: string): { segment: number; rid: number } | null {
  const parts = /^(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])$/i.exec(text);
  if (parts === null) return null;
  const device = parseInt(parts[3]!, 16);
  if (device >= DEVICES) return null;
  const rid = (parseInt(parts[2]!, 16) << 8) | (device << 3) | Number(parts[4]);
  return { segment: parseInt(parts[1] ?? '0', 16), rid };
}

/** All buses of one segment, behind one unit. */
export class PciSegment extends Endpoints {
  readonly #functions = new Map<number, PciFunction>();
  /** By the bus that it leads to. */
  readonly #bridges = new Map<number, PciFunction>();

  constructor(
    readonly number: number,
    /** What stands between the segment and memory. */
    readonly translator: Translator,
  ) {
    super();
  }

  /** Puts a function at `rid`. Bridges come before what is behind them. */
  place(rid: number, options: PciFunctionOptions = {}): PciFunction {
    invariant(rid >= 0 && rid < BUSES * DEVICES * FUNCTIONS, `${rid} is no requester id of PCI`);
    const made = new PciFunction(this, rid, options);
    invariant(!this.#functions.has(rid), `there are two functions at ${made.name}`);
    this.#functions.set(rid, made);
    if (made.bridge !== null) {
      const { secondary } = made.bridge;
      invariant(secondary > made.bus && secondary < BUSES, `${made.name} leads to bus ${secondary}`);
      invariant(!this.#bridges.has(secondary), `two bridges lead to bus ${secondary}`);
      this.#bridges.set(secondary, made);
    }
    return made;
  }

  at(rid: number): PciFunction | null {
    return this.#functions.get(rid) ?? null;
  }

  functions(): Iterable<PciFunction> {
    return this.#functions.values();
  }

  /** The requester id of `leaf` above all bridges to conventional PCI. */
  aliasOf(leaf: PciFunction): number {
    let alias = leaf.rid;
    for (const { bridge } of this.#above(leaf)) if (!bridge!.isExpress) alias = bridge!.secondary << 8;
    return alias;
  }

  /** The function at the point up to which nothing isolates `leaf` from others, by name. */
  groupKeyOf(leaf: PciFunction): string {
    let owner = leaf;
    for (const bridge of this.#above(leaf)) if (!bridge.bridge!.isExpress) owner = bridge;
    for (const bridge of this.#above(owner)) {
      if (this.#isIsolated(bridge)) break;
      owner = bridge;
    }
    return this.#slotKey(owner);
  }

  /** Bridges between `from` and the root, the nearest first. */
  *#above(from: PciFunction): Generator<PciFunction> {
    for (let at = this.#bridges.get(from.bus); at !== undefined; at = this.#bridges.get(at.bus)) yield at;
  }

  /** ACS all the way from `bridge` to the root. */
  #isIsolated(bridge: PciFunction): boolean {
    if (!bridge.acs) return false;
    for (const above of this.#above(bridge)) if (!above.acs) return false;
    return true;
  }

  /** Functions of a slot without ACS reach each other. */
  #slotKey(owner: PciFunction): string {
    if (owner.acs) return owner.name;
    const slot = owner.rid & ~7;
    for (let rid = slot; rid < slot + FUNCTIONS; rid++) {
      const sibling = this.#functions.get(rid);
      if (sibling !== undefined && !sibling.acs) return sibling.name;
    }
    return owner.name;
  }
}
