/** The reference: a Map from page to page, with no leaf, no level, and nothing clever. */

interface Area {
  readonly start: bigint;
  readonly length: bigint;
}

export class NaiveTable {
  readonly #pages = new Map<bigint, { hpa: bigint; prot: number }>();
  readonly #areas: Area[] = [];
  readonly #unit: bigint;

  constructor(unit: bigint) {
    this.#unit = unit;
  }

  map(iova: bigint, hpa: bigint, length: bigint, prot: number): 'ok' | 'EADDRINUSE' {
    for (let at = 0n; at < length; at += this.#unit) {
      if (this.#pages.has((iova + at) / this.#unit)) return 'EADDRINUSE';
    }
    for (let at = 0n; at < length; at += this.#unit) {
      this.#pages.set((iova + at) / this.#unit, { hpa: hpa + at, prot });
    }
    this.#areas.push({ start: iova, length });
    return 'ok';
  }

  /** One of the ranges that were mapped and still are. */
  pickRange(pick: number): Area | null {
    return this.#areas[pick % Math.max(1, this.#areas.length)] ?? null;
  }

  /** Unmaps the range that was mapped at `start`. */
  unmap(start: bigint): void {
    const index = this.#areas.findIndex((area) => area.start === start);
    const [area] = this.#areas.splice(index, 1);
    for (let at = 0n; at < area!.length; at += this.#unit) this.#pages.delete((start + at) / this.#unit);
  }

  iovaToPhys(iova: bigint): bigint {
    const page = this.#pages.get(iova / this.#unit);
    return page === undefined ? -1n : page.hpa + (iova % this.#unit);
  }

  protAt(iova: bigint): number {
    return this.#pages.get(iova / this.#unit)?.prot ?? 0;
  }
}
