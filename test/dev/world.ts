/** A test device before a translator of pages, with physical memory behind it. */
import { Events } from '../../src/base/events.js';
import { Injector } from '../../src/base/inject.js';
import type { Translation } from '../../src/bus/dma.js';
import { DmaEngine, type DmaEngineOptions } from '../../src/dev/dma-engine.js';
import { SparsePages } from '../../src/machine/local-memory.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { PageTranslator } from '../bus/page-translator.js';

export const PAGE = 4096;
export const FRAMES = 64;

export interface DeviceWorld {
  readonly translator: PageTranslator;
  readonly device: DmaEngine;
  readonly events: Events;
  readonly pages: SparsePages;
  /** HPA of a frame. */
  frame(index: number): bigint;
  /** The bytes of a frame. */
  bytes(index: number): Uint8Array;
}

export function makeDevice(
  options: Partial<DmaEngineOptions> & { readonly checking?: boolean } = {},
): DeviceWorld {
  const memory = new PhysicalMemory(new Injector());
  const pages = new SparsePages(FRAMES * PAGE);
  const [window] = memory.window(pages, 0n, BigInt(FRAMES * PAGE))!;
  const translator = new PageTranslator();
  const events = new Events();
  const staleness = {
    events,
    peek: (request: Translation): boolean => translator.translate(request),
    generation: () => 0,
    isLive: () => false,
    checking: options.checking ?? false,
  };
  const device = new DmaEngine({
    name: 'engine',
    sourceId: 0x10,
    translator,
    memory,
    maxPasids: 1 << 20,
    ats: true,
    pri: true,
    staleness,
    ...options,
  });
  return {
    translator,
    device,
    events,
    pages,
    frame: (index) => window!.hpa + BigInt(index * PAGE),
    bytes: (index) => pages.view(0)!.bytes.subarray(index * PAGE, (index + 1) * PAGE),
  };
}

export const bytesOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31 + (i >> 8)) & 0xff);
