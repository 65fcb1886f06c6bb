/** What type1 does: maps, unmaps as its two versions do, counts, says what is dirty, describes itself. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf } from '../refusal.js';
import { LOW, MAX, PAGE } from '../iommufd/world.js';
import { ContainerWorld, RW, V1, V2 } from './container-world.js';

const { VFIO_DMA_UNMAP_FLAG_ALL: ALL, VFIO_DMA_UNMAP_FLAG_VADDR: UNMAP_VADDR } = v;

describe('unmapping', () => {
  test('v1 takes a mapping whole when its start is in the range, and nothing when it is not', () => {
    const w = new ContainerWorld();
    const { containerFd: fd } = w.inContainer(V1);
    w.mapDma(fd);
    expect(w.unmapDma(fd, { iova: LOW + PAGE, size: PAGE })).toBe(0n);
    expect(w.unmapDma(fd, { size: PAGE })).toBe(4n * PAGE);
    expect(w.env.pins.pinnedPages).toBe(0);
    w.end();
  });

  test('ALL takes everything, and says how much', () => {
    const w = new ContainerWorld();
    const { containerFd: fd } = w.inContainer();
    w.mapDma(fd);
    w.mapDma(fd, { iova: LOW + 64n * PAGE, size: PAGE });
    expect(w.unmapDma(fd, { flags: ALL, iova: 0n, size: 0n })).toBe(5n * PAGE);
    w.end();
  });

  test('an address that is taken away can be given anew, by another process too, which then pays', () => {
    const w = new ContainerWorld();
    const { containerFd: fd } = w.inContainer();
    const vaddr = w.mapDma(fd);
    expect(w.unmapDma(fd, { flags: UNMAP_VADDR })).toBe(4n * PAGE);
    const other = w.other();
    const struct = v.vfio_iommu_type1_dma_map;
    const bytes = new Uint8Array(struct.size);
    const flags = v.VFIO_DMA_MAP_FLAG_VADDR;
    struct.encode({ argsz: struct.size, flags, vaddr, iova: LOW, size: 4n * PAGE }, bytes);
    const otherFd = other.client.installFd(w.file(fd))!;
    other.client.ioctl(otherFd, v.VFIO_IOMMU_MAP_DMA, other.client.memory.store(bytes));
    expect([w.client.mm.account.lockedVm, other.client.mm.account.lockedVm]).toEqual([0, 4]);
    w.unmapDma(fd);
    expect(other.client.mm.account.lockedVm).toBe(0);
    w.end();
  });
});

describe('locked memory', () => {
  test('is counted for every mapping, as locked and not as pinned, up to the limit', () => {
    const w = new ContainerWorld({ capabilities: [], memlockLimit: 8n * PAGE });
    const { containerFd: fd } = w.inContainer();
    const vaddr = w.mapDma(fd);
    w.mapDma(fd, { iova: LOW + 16n * PAGE, vaddr });
    expect(w.client.mm.account).toEqual({ lockedVm: 8, pinnedVm: 0 });
    expect(errnoOf(() => w.mapDma(fd, { iova: LOW + 32n * PAGE, size: PAGE }))).toBe('ENOMEM');
    w.unmapDma(fd);
    w.mapDma(fd, { iova: LOW + 32n * PAGE, size: PAGE });
    w.end();
  });

  test('has no limit for who may lock what it likes, and is counted all the same', () => {
    const w = new ContainerWorld({ memlockLimit: PAGE });
    const { containerFd: fd } = w.inContainer();
    w.mapDma(fd);
    expect(w.client.mm.account.lockedVm).toBe(4);
    w.end();
  });

  test('of a hole and the limit, what comes first is the answer', () => {
    const w = new ContainerWorld({ capabilities: [], memlockLimit: 2n * PAGE });
    const { containerFd: fd } = w.inContainer();
    const one = w.buffer(1);
    expect(errnoOf(() => w.mapDma(fd, { vaddr: one }))).toBe('EFAULT');
    expect(errnoOf(() => w.mapDma(fd, { vaddr: w.buffer(3) }))).toBe('ENOMEM');
    expect(w.client.mm.account.lockedVm).toBe(0);
    w.end();
  });
});

const bitmapOf = (w: ContainerWorld, at: bigint, words: number): bigint[] => [
  ...new BigUint64Array(w.client.memory.load(at, 8 * words).slice().buffer),
];

describe('dirty pages', () => {
  test('are all that a device could have written: every page of every mapping, again and again', () => {
    const w = new ContainerWorld();
    const { containerFd: fd } = w.inContainer();
    w.mapDma(fd, { iova: LOW + 2n * PAGE, size: 3n * PAGE });
    w.mapDma(fd, { iova: LOW + 62n * PAGE, size: 4n * PAGE });
    w.dirty(fd, v.VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
    for (let round = 0; round < 2; round++) {
      const data = w.buffer();
      w.getBitmap(fd, { size: 128n * PAGE }, { data, size: 16n });
      expect(bitmapOf(w, data, 2)).toEqual([0b11100n | (0b11n << 62n), 0b11n]);
    }
    const data = w.buffer();
    w.unmapDirty(fd, { iova: LOW + 62n * PAGE }, { data });
    expect(bitmapOf(w, data, 1)).toEqual([0b1111n]);
    w.dirty(fd, v.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
    expect(errnoOf(() => w.getBitmap(fd, { size: 128n * PAGE }, { data, size: 16n }))).toBe('EINVAL');
    w.end();
  });
});

test('GET_INFO links three capabilities, all of them or none', () => {
  const w = new ContainerWorld();
  const { containerFd: fd, group } = w.inContainer();
  w.mapDma(fd);
  const short = w.info(fd, v.vfio_iommu_type1_info.size).info;
  expect(short).toMatchObject({ flags: 3, iova_pgsizes: ~(PAGE - 1n) & short.iova_pgsizes, cap_offset: 0 });
  const { info, bytes } = w.info(fd, short.argsz);
  expect(info.cap_offset).toBe(24);
  const ids: number[] = [];
  const view = new DataView(bytes.buffer);
  let avail = 0;
  for (let at = info.cap_offset; at !== 0; at = view.getUint32(at + 4, true)) {
    ids.push(view.getUint16(at, true));
    if (ids.at(-1) === v.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) avail = view.getUint32(at + 8, true);
  }
  expect(ids).toEqual([
    v.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
    v.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
    v.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  ]);
  expect(avail).toBe(0xffff - 1);
  expect(group.usesContainer).toBe(false);
  w.end();
});

/** Mappings of a container as a list, and what the next call makes of it. */
class Model {
  maps: { start: number; pages: number; valid: boolean }[] = [];

  constructor(readonly isV2: boolean) {}

  #hits(start: number, pages: number): Model['maps'] {
    return this.maps.filter((m) => m.start < start + pages && start < m.start + m.pages);
  }

  map(start: number, pages: number): string {
    if (this.#hits(start, pages).length > 0) return 'EEXIST';
    this.maps.push({ start, pages, valid: true });
    this.maps = this.maps.toSorted((a, b) => a.start - b.start);
    return 'none';
  }

  setAddress(start: number, pages: number): string {
    const [first] = this.#hits(start, pages);
    if (first === undefined) return 'ENOENT';
    if (first.valid || first.start !== start || first.pages !== pages) return 'EINVAL';
    first.valid = true;
    return 'none';
  }

  /** The pages that went, or an errno. */
  unmap(start: number, pages: number, takesAddress: boolean): number | string {
    const hits = this.#hits(start, pages);
    const cut = hits.some((m) => m.start < start || m.start + m.pages > start + pages);
    if (this.isV2 && cut) return 'EINVAL';
    const taken = this.isV2 || hits[0] === undefined || hits[0].start >= start ? hits : [];
    if (takesAddress && taken.some((m) => !m.valid)) return 'EINVAL';
    for (const m of taken) {
      if (takesAddress) m.valid = false;
      else this.maps = this.maps.filter((other) => other !== m);
    }
    return taken.reduce((sum, m) => sum + m.pages, 0);
  }
}

/** Pages, of a call that returns bytes; or an errno. */
function answer(act: () => bigint): number | string {
  let size = 0n;
  const code = errnoOf(() => (size = act()));
  return code === 'none' ? Number(size / PAGE) : code;
}

const step = fc.record({
  op: fc.constantFrom('map', 'map', 'unmap', 'unmap', 'take', 'give', 'dma'),
  start: fc.nat(15),
  pages: fc.integer({ min: 1, max: 6 }),
});

test.for([V1, V2])('any sequence of calls does what a list of mappings does: version %i', (version) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const w = new ContainerWorld();
      const { containerFd: fd, groupFd, device } = w.inContainer(version);
      const deviceFd = w.deviceFd(groupFd, device.name);
      const model = new Model(version === V2);
      const vaddr = w.buffer(32);
      for (const { op, start, pages } of steps) {
        const [iova, size] = [LOW + BigInt(start) * PAGE, BigInt(pages) * PAGE];
        if (op === 'map')
          expect(errnoOf(() => w.mapDma(fd, { iova, size, vaddr }))).toBe(model.map(start, pages));
        if (op === 'give') {
          const flags = v.VFIO_DMA_MAP_FLAG_VADDR;
          const code = errnoOf(() => w.mapDma(fd, { iova, size, vaddr, flags }));
          expect(code).toBe(model.setAddress(start, pages));
        }
        if (op === 'unmap' || op === 'take') {
          const flags = op === 'take' ? UNMAP_VADDR : 0;
          expect(answer(() => w.unmapDma(fd, { iova, size, flags }))).toBe(
            model.unmap(start, pages, op === 'take'),
          );
        }
        if (op === 'dma') {
          const done = w.dma(deviceFd, { op: d.IOASIS_DMA_OP_FILL, iova, length: 1n, value: 1n }).out_state;
          const isMapped = model.maps.some((m) => m.start <= start && start < m.start + m.pages);
          expect(done === d.IOASIS_DMA_DONE).toBe(isMapped);
        }
        const locked = model.maps.reduce((sum, m) => sum + m.pages, 0);
        expect(w.client.mm.account).toEqual({ lockedVm: locked, pinnedVm: 0 });
      }
      w.client.close(deviceFd);
      w.end();
    }),
    { numRuns: 60 },
  );
});

test('a mapping ends at the last address that is valid, and no later', () => {
  const w = new ContainerWorld();
  const { containerFd: fd } = w.inContainer();
  const [last] = [...w.container(fd).iommu!.table.reserved.holes()].slice(-1);
  w.mapDma(fd, { iova: last!.last - PAGE + 1n, size: PAGE, flags: RW });
  expect(errnoOf(() => w.mapDma(fd, { iova: MAX - PAGE + 1n, size: 2n * PAGE }))).toBe('EOVERFLOW');
  w.end();
});
