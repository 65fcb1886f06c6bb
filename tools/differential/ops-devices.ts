/** Operations on devices, page tables, virtual IOMMUs, faults and events, and on descriptors themselves. */
import { mmapSlots } from './layouts.js';
import type { Operand, Ref } from './program.js';
import type { Maker, Thing, Value } from './maker.js';
import { idOf, someIova, type Make } from './ops-memory.js';

const SELFTEST_HWPT = 0xdead;
const SELFTEST = 0xdeadbeef;
const SELFTEST_EVENT = 0xbeefbeef;
const SELFTEST_INFO = 0xfeedbeef;
const IOTLB_DEFAULT = 0xbadbeef;
const CACHE_DEFAULT = 0xbaddad;
const NEST_PARENT = 1;
const DIRTY = 2;
const FAULT_VALID = 4;
const PASID = 8;

/** What a device can be attached to. */
function attachTarget(m: Maker, ctx: Thing): Value {
  const r = m.random;
  const kind = r.weighted([
    ['ioas', 30],
    ['hwpt', 35],
    ['nested', 30],
    ['viommu', 5],
  ] as const);
  return idOf(m.one(kind, ctx) ?? m.one('hwpt', ctx) ?? m.one('ioas', ctx), m);
}

const mockDomain: Make = (m, ctx) => {
  const r = m.random;
  const target = r.chance(75) ? m.one('ioas', ctx) : (m.one('hwpt', ctx) ?? m.one('ioas', ctx));
  const flags = r.weighted([
    [0, 45],
    [4, 40],
    [1, 10],
    [5, 5],
  ]);
  const name = flags === 0 && r.chance(60) ? 'MOCK_DOMAIN' : 'MOCK_DOMAIN_FLAGS';
  const values = name === 'MOCK_DOMAIN' ? {} : { dev_flags: flags };
  const { op, clean } = m.ioctl(name, ctx.ref, { id: idOf(target, m), ...values });
  if (!clean) return;
  const mock = m.remember('mock', ctx, m.result(op, name, 'out_stdev_id'), { flags });
  m.remember('device', ctx, m.result(op, name, 'out_idev_id'), { of: mock, flags });
  m.remember('hwpt', ctx, m.result(op, name, 'out_hwpt_id'), { of: target });
};

const replaceDomain: Make = (m, ctx) => {
  m.ioctl('MOCK_DOMAIN_REPLACE', ctx.ref, { id: idOf(m.one('mock', ctx), m), pt_id: attachTarget(m, ctx) });
};

/** iommu_hwpt_selftest in the buffers; returns where. */
function hwptData(m: Maker): number {
  const at = m.buffer(16);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, m.random.chance(80) ? IOTLB_DEFAULT : 7, true);
  bytes[4] = m.random.weighted([
    [0, 80],
    [1, 14],
    [2, 6],
  ]);
  m.poke(at, bytes);
  return at;
}

const hwptAlloc: Make = (m, ctx) => {
  if (m.one('device', ctx) === null && m.random.chance(80)) return mockDomain(m, ctx);
  const r = m.random;
  const ioas = m.one('ioas', ctx);
  const flags = r.weighted([
    [0, 25],
    [NEST_PARENT, 25],
    [DIRTY, m.singlePages ? 60 : 10],
    [PASID, 15],
    [FAULT_VALID, 8],
    [NEST_PARENT | PASID, 6],
    [NEST_PARENT | DIRTY, 4],
    [PASID | FAULT_VALID, 6],
    [r.below(16), 8],
  ]);
  const withData = r.chance(15);
  const data = withData
    ? { data_type: SELFTEST_HWPT, data_len: r.pick([8, 8, 8, 4, 12, 0]), data_uptr: hwptData(m) }
    : {};
  const fault = flags & FAULT_VALID ? { fault_id: idOf(m.one('fault', ctx), m) } : {};
  const { op, clean } = m.ioctl('HWPT_ALLOC', ctx.ref, {
    flags,
    dev_id: idOf(m.one('device', ctx), m),
    pt_id: idOf(ioas, m),
    ...data,
    ...fault,
  });
  if (clean) m.remember('hwpt', ctx, m.result(op, 'HWPT_ALLOC', 'out_hwpt_id'), { of: ioas, flags });
};

const nestedAlloc: Make = (m, ctx) => {
  if (m.one('device', ctx) === null && m.random.chance(80)) return mockDomain(m, ctx);
  const r = m.random;
  const viommu = r.chance(55) ? m.one('viommu', ctx) : null;
  const parent = viommu ?? m.one('hwpt', ctx, (t) => (t.flags & NEST_PARENT) !== 0) ?? m.one('hwpt', ctx);
  const fault = r.chance(35) ? m.one('fault', ctx) : null;
  const flags =
    (fault === null ? 0 : FAULT_VALID) | (r.chance(25) ? PASID : 0) | (r.chance(4) ? r.below(16) : 0);
  const { op, clean } = m.ioctl('HWPT_ALLOC', ctx.ref, {
    flags,
    dev_id: idOf(m.one('device', ctx), m),
    pt_id: idOf(parent, m),
    data_type: r.chance(95) ? SELFTEST_HWPT : r.below(4),
    data_len: r.pick([8, 8, 8, 8, 8, 8, 4, 3, 12, 0]),
    data_uptr: hwptData(m),
    fault_id: fault === null ? 0 : idOf(fault, m),
  });
  if (clean) m.remember('nested', ctx, m.result(op, 'HWPT_ALLOC', 'out_hwpt_id'), { of: viommu, flags });
};

const hwInfo: Make = (m, ctx) => {
  const r = m.random;
  const at = m.buffer(64);
  const flags = r.chance(40) ? 1 : 0;
  m.ioctl(
    'GET_HW_INFO',
    ctx.ref,
    {
      flags,
      dev_id: idOf(m.one('device', ctx), m),
      data_len: r.pick([0, 4, 8, 8, 16, 64]),
      data_uptr: at,
      in_data_type: r.pick([0, 0, SELFTEST_INFO, SELFTEST_INFO, 1, 2]),
    },
    { watch: { at, length: 64 } },
  );
};

const setDirty: Make = (m, ctx) => {
  const hwpt = m.one('hwpt', ctx, (t) => (t.flags & DIRTY) !== 0) ?? m.one('hwpt', ctx);
  m.ioctl('HWPT_SET_DIRTY_TRACKING', ctx.ref, {
    flags: m.random.chance(75) ? 1 : 0,
    hwpt_id: idOf(hwpt, m),
  });
};

const whole = (mapped: Thing): boolean => (mapped.va & 0xfff) === 0;

/** A range that bitmaps are asked for: around a mapping of the table's IOAS. */
function dirtyRange(
  m: Maker,
  ctx: Thing,
): { hwpt: Thing | null; iova: Value; length: number; pageSize: number } {
  const r = m.random;
  const hwpt = m.one('hwpt', ctx, (t) => (t.flags & DIRTY) !== 0) ?? m.one('hwpt', ctx);
  const mapped = m.one('map', ctx, (t) => t.of === hwpt?.of && whole(t)) ?? m.one('map', ctx, whole);
  const at = mapped === null || r.chance(10) ? someIova(m) : mapped.ref;
  const pageSize = r.pick([2048, 2048, 2048, 4096, 4096, 1024, 8192]);
  const length = r.chance(60) && mapped !== null ? mapped.length : 4096 * (1 + r.below(16));
  return { hwpt, iova: typeof at === 'bigint' ? at & ~0xfffn : { ...at, width: 8 }, length, pageSize };
}

const getDirty: Make = (m, ctx) => {
  const { hwpt, iova, length, pageSize } = dirtyRange(m, ctx);
  const r = m.random;
  const at = m.buffer(64);
  m.ioctl(
    'HWPT_GET_DIRTY_BITMAP',
    ctx.ref,
    {
      hwpt_id: idOf(hwpt, m),
      flags: r.chance(40) ? 1 : 0,
      iova: r.chance(96) ? iova : r.pick([0, 1, 2047, 2n ** 31n, 2n ** 64n - 4096n, 2n ** 64n - 1n]),
      length,
      page_size: pageSize,
      data: at + (r.chance(10) ? 4 : 0),
    },
    // Never in the middle of a page: see exclusions.
    { watch: { at, length: 128 }, keep: ['iova'] },
  );
};

/** Marks granules dirty as a device would. Only where one page is one mapping: see exclusions. */
const makeDirty: Make = (m, ctx) => {
  const { hwpt, iova, length, pageSize } = dirtyRange(m, ctx);
  if (!m.singlePages) return getDirty(m, ctx);
  const at = m.buffer(64);
  const bytes = new Uint8Array(16);
  for (let i = 0; i < bytes.length; i++) bytes[i] = m.random.below(256);
  m.poke(at, bytes);
  m.ioctl('DIRTY', ctx.ref, {
    id: idOf(hwpt, m),
    iova,
    length: length + (length % pageSize === 0 || m.random.chance(15) ? 0 : pageSize - (length % pageSize)),
    page_size: pageSize,
    uptr: at,
  });
};

const invalidate: Make = (m, ctx) => {
  const r = m.random;
  const viommu = r.chance(45) ? m.one('viommu', ctx) : null;
  const target = viommu ?? m.one('nested', ctx) ?? m.one('hwpt', ctx);
  const entry = viommu === null ? 8 : 12;
  const count = r.pick([0, 1, 1, 2, 3]);
  const bytes = new Uint8Array(entry * count + 16);
  const view = new DataView(bytes.buffer);
  const step = r.weighted([
    [entry, 80],
    [entry + 4, 8],
    [entry - 4, 6],
    [1, 6],
  ]);
  for (let i = 0; i < count && i * step + 12 <= bytes.length; i++) {
    view.setUint32(i * step, r.pick([0, 0, 0, 1, 2]), true);
    const id = r.pick([0, 1, 2, 3, 4]);
    if (viommu === null) view.setUint32(i * step + 4, id, true);
    else {
      view.setUint32(i * step + 4, r.pick([1, 1, 2, 3]), true);
      view.setUint32(i * step + 8, id, true);
    }
  }
  if (r.chance(5)) bytes[entry] = 1;
  const at = m.buffer(64);
  m.poke(at, bytes);
  m.ioctl('HWPT_INVALIDATE', ctx.ref, {
    hwpt_id: idOf(target, m),
    data_uptr: at,
    data_type: r.chance(92) ? SELFTEST : r.pick([0, 1, 0xdadbeef]),
    entry_len: step,
    entry_num: count,
  });
};

const faultAlloc: Make = (m, ctx) => {
  const { op, clean } = m.ioctl('FAULT_QUEUE_ALLOC', ctx.ref, {});
  if (clean) {
    m.remember('fault', ctx, m.result(op, 'FAULT_QUEUE_ALLOC', 'out_fault_id'), {
      fd: m.result(op, 'FAULT_QUEUE_ALLOC', 'out_fault_fd'),
    });
  }
};

const iopf: Make = (m, ctx) => {
  if (m.one('device', ctx) === null && m.random.chance(80)) return mockDomain(m, ctx);
  const r = m.random;
  m.ioctl('TRIGGER_IOPF', ctx.ref, {
    dev_id: idOf(m.one('device', ctx), m),
    pasid: r.pick([0, 0, 0, 1, 2, 3, 1024]),
    grpid: r.below(8),
    perm: r.below(16),
    addr: someIova(m),
  });
};

function queueFd(m: Maker, ctx: Thing, kind: 'fault' | 'veventq'): Operand {
  return m.one(kind, ctx)?.fd ?? m.one('fault', ctx)?.fd ?? 200n;
}

/** read, with the odd position or count now and then. */
function readQueue(m: Maker, fd: Operand, counts: readonly number[]): void {
  const r = m.random;
  const at = r.chance(92) ? m.buffer(256) : m.random.pick([0, 0x10504000, 0x10103000, 0x10603ff0]);
  const position = r.chance(96) ? 2n ** 64n - 1n : r.pick([0n, 1n, 40n]);
  m.add('read', [fd, BigInt(at), BigInt(r.pick(counts)), position]);
}

const readFault: Make = (m, ctx) => {
  if (m.one('fault', ctx) === null && m.random.chance(80)) return faultAlloc(m, ctx);
  readQueue(m, queueFd(m, ctx, 'fault'), [40, 40, 80, 120, 400, 4000, 0, 39, 41, 8]);
};

const writeFault: Make = (m, ctx) => {
  if (m.one('fault', ctx) === null && m.random.chance(80)) return faultAlloc(m, ctx);
  const r = m.random;
  const count = r.pick([1, 1, 1, 2, 3]);
  const bytes = new Uint8Array(count * 8);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    view.setUint32(i * 8, r.weighted([[1, 40], [2, 30], [3, 15], [r.below(8), 15]]), true); // prettier-ignore
    view.setUint32(i * 8 + 4, r.weighted([[0, 50], [1, 40], [2, 5], [0x80000000, 5]]), true); // prettier-ignore
  }
  const at = r.chance(93) ? m.buffer(64) : r.pick([0, 0x10504000, 0x10603ffc]);
  if (at >= 0x10600000) m.poke(at, bytes);
  const position = r.chance(97) ? 2n ** 64n - 1n : r.pick([0n, 1n, 8n]);
  m.add('write', [
    queueFd(m, ctx, 'fault'),
    BigInt(at),
    BigInt(r.pick([count * 8, count * 8, count * 8, 0, 7, 4, count * 8 + 8])),
    position,
  ]);
};

const pollQueue: Make = (m, ctx) => {
  const r = m.random;
  const fd = r.chance(80) ? queueFd(m, ctx, r.chance(60) ? 'fault' : 'veventq') : ctx.ref;
  // The number of a closed queue may be that of a dma-buf now, also of one that a mutated call made.
  const masks = m.dmabufTried ? [0x1, 0x4, 0x5, 0] : [0x41, 0x45, 0x1, 0x4, 0x1f, 0];
  m.add('poll', [fd, BigInt(r.pick(masks))]);
};

const viommuAlloc: Make = (m, ctx) => {
  if (m.one('device', ctx) === null && m.random.chance(80)) return mockDomain(m, ctx);
  const r = m.random;
  const parent = m.one('hwpt', ctx, (t) => (t.flags & NEST_PARENT) !== 0) ?? m.one('hwpt', ctx);
  const data = r.chance(60);
  const at = m.buffer(32);
  if (data) {
    const bytes = new Uint8Array(24);
    new DataView(bytes.buffer).setUint32(0, r.next(), true);
    m.poke(at, bytes);
  }
  const values = data ? { data_len: r.pick([24, 24, 24, 24, 8, 7, 32, 12]), data_uptr: at } : {};
  const { op, clean } = m.ioctl(
    'VIOMMU_ALLOC',
    ctx.ref,
    {
      type: r.chance(94) ? SELFTEST : r.pick([0, 1, 2, 3]),
      dev_id: idOf(m.one('device', ctx), m),
      hwpt_id: idOf(parent, m),
      ...values,
    },
    { watch: { at, length: 32 } },
  );
  if (!clean) return;
  const viommu = m.remember('viommu', ctx, m.result(op, 'VIOMMU_ALLOC', 'out_viommu_id'), {
    of: parent?.of ?? null,
  });
  // Offsets are given from one page upward; whether this one was, the answer tells.
  if (data) m.remember('window', ctx, BigInt(r.pick([4096, 4096, 12288, 20480])), { of: viommu });
};

const vdeviceAlloc: Make = (m, ctx) => {
  if (m.one('viommu', ctx) === null && m.random.chance(80)) return viommuAlloc(m, ctx);
  const r = m.random;
  const { op, clean } = m.ioctl('VDEVICE_ALLOC', ctx.ref, {
    viommu_id: idOf(m.one('viommu', ctx), m),
    dev_id: idOf(m.one('device', ctx), m),
    virt_id: r.weighted([
      [1, 40],
      [2, 25],
      [3, 15],
      [r.pick([0, 99, 0xffffffff]), 15],
      [2 ** 40, 5],
    ]),
  });
  if (clean) m.remember('vdevice', ctx, m.result(op, 'VDEVICE_ALLOC', 'out_vdevice_id'));
};

const veventqAlloc: Make = (m, ctx) => {
  if (m.one('viommu', ctx) === null && m.random.chance(80)) return viommuAlloc(m, ctx);
  const r = m.random;
  const { op, clean } = m.ioctl('VEVENTQ_ALLOC', ctx.ref, {
    viommu_id: idOf(m.one('viommu', ctx), m),
    type: r.weighted([
      [SELFTEST_EVENT, 80],
      [r.below(4), 20],
    ]),
    veventq_depth: r.pick([1, 2, 2, 3, 8, 0, 0x80000]),
  });
  if (clean) {
    m.remember('veventq', ctx, m.result(op, 'VEVENTQ_ALLOC', 'out_veventq_id'), {
      fd: m.result(op, 'VEVENTQ_ALLOC', 'out_veventq_fd'),
    });
  }
};

const vevent: Make = (m, ctx) => {
  m.ioctl('TRIGGER_VEVENT', ctx.ref, { dev_id: idOf(m.one('device', ctx), m) });
};

const readVevent: Make = (m, ctx) => {
  if (m.one('veventq', ctx) === null && m.random.chance(80)) return veventqAlloc(m, ctx);
  readQueue(m, queueFd(m, ctx, 'veventq'), [12, 12, 24, 36, 100, 8, 20, 7, 11, 0, 4000]);
};

const hwQueueAlloc: Make = (m, ctx) => {
  if (m.one('viommu', ctx) === null && m.random.chance(80)) return viommuAlloc(m, ctx);
  const r = m.random;
  const viommu = m.one('viommu', ctx);
  if (r.chance(4)) {
    // Ends at the last address there is: the overflow shows only when the length is rounded up to pages.
    const below = r.pick([0, 64, 2048]);
    const values = { viommu_id: idOf(viommu, m), type: SELFTEST, nesting_parent_iova: below };
    m.ioctl(
      'HW_QUEUE_ALLOC',
      ctx.ref,
      { ...values, length: 2n ** 64n - BigInt(Math.max(1, below)) },
      { keep: ['length', 'nesting_parent_iova'] },
    );
    return;
  }
  const mapped = m.one('map', ctx, (t) => t.of === viommu?.of) ?? m.one('map', ctx);
  const start = mapped === null ? someIova(m) & ~0xfffn : m.plus(mapped.ref, r.pick([0, 0, 64, 1024]));
  const { op, clean } = m.ioctl(
    'HW_QUEUE_ALLOC',
    ctx.ref,
    {
      viommu_id: idOf(viommu, m),
      type: r.chance(94) ? SELFTEST : r.below(3),
      index: r.pick([0, 0, 0, 1, 1, 2]),
      nesting_parent_iova: typeof start === 'bigint' ? start : { ...start, width: 8 },
      length: r.weighted<Value>([
        [64, 30],
        [1024, 30],
        [2048, 20],
        [1, 5],
        [0, 3],
        [2 ** 31, 2],
        [2n ** 41n, 2],
        [2n ** 63n, 2],
        [2n ** 64n - 1n, 2],
        [2n ** 64n - 2048n, 2],
      ]),
    },
    { keep: ['length', 'nesting_parent_iova'] },
  );
  if (clean) m.remember('hwqueue', ctx, m.result(op, 'HW_QUEUE_ALLOC', 'out_hw_queue_id'));
};

/** A queue over two pages of IOVA with the same page below both: never contiguous, so always refused. */
const hwQueueTwice: Make = (m, ctx) => {
  const viommu = m.one('viommu', ctx);
  if (viommu?.of == null) return hwQueueAlloc(m, ctx);
  const iova = 0x1100000 + m.random.below(16) * 8192;
  const ioas_id = idOf(viommu.of, m);
  for (const part of [0, 4096]) {
    const values = { flags: 7, ioas_id, user_va: 0x10000000, length: 4096, iova: iova + part };
    m.ioctl('IOAS_MAP', ctx.ref, values, { keep: ['length', 'user_va'] });
  }
  m.ioctl(
    'HW_QUEUE_ALLOC',
    ctx.ref,
    { viommu_id: idOf(viommu, m), type: SELFTEST, nesting_parent_iova: iova, length: 8192 },
    { keep: ['length', 'nesting_parent_iova'] },
  );
};

const mmapWindow: Make = (m, ctx) => {
  if (m.one('window', ctx) === null && m.random.chance(80)) return viommuAlloc(m, ctx);
  const r = m.random;
  const window = m.one('window', ctx);
  const offset =
    window === null || r.chance(15) ? BigInt(r.pick([0, 4096, 8192, 12288])) : (window.ref as bigint);
  const length = r.weighted([
    [8192, 80],
    [4096, 10],
    [12288, 5],
    [100, 5],
  ]);
  const at = BigInt(mmapSlots + r.below(4) * 65536);
  const protection = r.weighted([
    [3, 60],
    [1, 25],
    [5, 8],
    [0, 7],
  ]);
  const share = r.chance(90) ? 1 : 2;
  m.add('mmap', [at, BigInt(length), BigInt(protection), BigInt(share), ctx.ref, offset]);
  m.add('hash', [at, 8192n]);
  if (r.chance(30)) {
    m.add('fill', [at, 16n, BigInt(r.next())]);
    m.add('hash', [at, 8192n]);
  }
};

const munmapWindow: Make = (m) => {
  m.add('munmap', [BigInt(mmapSlots + m.random.below(4) * 65536), 8192n]);
};

const pasids = [1, 1, 2, 2, 3, 1024, 1024, 0xfffff, 0x100000, 0];

const pasidAttach: Make = (m, ctx) => {
  const r = m.random;
  const mock = m.one('mock', ctx, (t) => (t.flags & 4) !== 0) ?? m.one('mock', ctx);
  const hwpt = r.chance(75) ? m.one('hwpt', ctx, (t) => (t.flags & PASID) !== 0) : null;
  const nested = r.chance(40) ? m.one('nested', ctx, (t) => (t.flags & PASID) !== 0) : null;
  const target = nested ?? hwpt;
  m.ioctl(r.chance(55) ? 'PASID_ATTACH' : 'PASID_REPLACE', ctx.ref, {
    id: idOf(mock, m),
    pasid: r.pick(pasids),
    pt_id: target === null ? attachTarget(m, ctx) : idOf(target, m),
  });
};

const pasidDetach: Make = (m, ctx) => {
  m.ioctl('PASID_DETACH', ctx.ref, { id: idOf(m.one('mock', ctx), m), pasid: m.random.pick(pasids) });
};

const pasidCheck: Make = (m, ctx) => {
  const r = m.random;
  m.ioctl('PASID_CHECK_HWPT', ctx.ref, {
    id: idOf(m.one('mock', ctx), m),
    pasid: r.pick(pasids),
    hwpt_id: r.chance(35) ? 0 : attachTarget(m, ctx),
  });
};

const checkMap: Make = (m, ctx) => {
  const r = m.random;
  const hwpt = m.one('hwpt', ctx);
  const mapped = m.one('map', ctx, (t) => t.of === hwpt?.of) ?? m.one('map', ctx);
  const iova = mapped === null ? someIova(m) : mapped.ref;
  m.ioctl('MD_CHECK_MAP', ctx.ref, {
    id: idOf(hwpt, m),
    iova: typeof iova === 'bigint' ? iova : { ...iova, width: 8 },
    length: r.chance(80) ? (mapped?.length ?? 2048) : r.pick([2048, 4096, 8192, 0]),
    uptr: mapped !== null && r.chance(92) ? mapped.va : m.address(),
  });
};

const checkIotlb: Make = (m, ctx) => {
  if (m.one('nested', ctx) === null && m.random.chance(80)) return nestedAlloc(m, ctx);
  m.ioctl('MD_CHECK_IOTLB', ctx.ref, {
    id: idOf(m.one('nested', ctx), m),
    iotlb_id: m.random.below(5),
    iotlb: m.random.pick([IOTLB_DEFAULT, IOTLB_DEFAULT, 0, 7]),
  });
};

const checkCache: Make = (m, ctx) => {
  m.ioctl('DEV_CHECK_CACHE', ctx.ref, {
    id: idOf(m.one('device', ctx), m),
    cache_id: m.random.below(5),
    cache: m.random.pick([CACHE_DEFAULT, CACHE_DEFAULT, 0]),
  });
};

const dmabufGet: Make = (m, ctx) => {
  const length = m.random.pick([4096, 8192, 4096, 100, 0, 512 * 4096, 512 * 4096 + 1]);
  m.dmabufTried = true;
  const { op, clean } = m.ioctl('DMABUF_GET', ctx.ref, { length, open_flags: m.random.pick([2, 0x80002]) });
  if (clean) m.remember('dmabuf', ctx, m.returned(op));
};

const dmabufRevoke: Make = (m, ctx) => {
  if (m.one('dmabuf') === null && m.random.chance(80)) return dmabufGet(m, ctx);
  const dmabuf = m.one('dmabuf');
  const fd: Value = dmabuf === null ? m.random.pick([3, 8, 99]) : { ...(dmabuf.ref as Ref), width: 4 };
  m.ioctl('DMABUF_REVOKE', ctx.ref, { dmabuf_fd: fd, revoked: m.random.chance(70) ? 1 : 0 });
};

const destroyable = [
  'ioas', 'hwpt', 'nested', 'mock', 'fault', 'viommu', 'vdevice', 'veventq', 'hwqueue', 'device', 'access',
] as const; // prettier-ignore

const destroy: Make = (m, ctx) => {
  const thing = m.one(m.random.pick(destroyable), ctx);
  const id = thing === null || thing.kind === 'access' ? m.wrongId() : idOf(thing, m);
  const { clean } = m.ioctl('DESTROY', ctx.ref, { id });
  if (!clean || thing === null || m.random.chance(15)) return;
  thing.gone = true;
  if (thing.kind === 'mock') for (const t of m.all('device', ctx)) if (t.of === thing) t.gone = true;
};

const closeFd: Make = (m, ctx) => {
  const kinds = ['access', 'fault', 'veventq', 'dmabuf'] as const;
  const thing = m.one(m.random.pick(kinds), ctx);
  if (thing === null) return destroy(m, ctx);
  m.add('close', [thing.fd ?? thing.ref]);
  if (m.random.chance(90) && (thing.kind === 'access' || thing.kind === 'dmabuf')) thing.gone = true;
};

/** Descriptor calls that iommufd's files do not have, or that only look at the descriptor. */
const oddCall: Make = (m, ctx) => {
  const r = m.random;
  const fd = r.pick([ctx.ref, queueFd(m, ctx, 'fault'), queueFd(m, ctx, 'veventq')]);
  const what = r.below(5);
  if (what === 0) m.add('dup', [fd]);
  else if (what === 1) m.add('lseek', [ctx.ref, BigInt(r.below(3)), BigInt(r.below(3))]);
  else if (what === 2) m.add('read', [fd, 0x10600000n, 40n, 2n ** 64n - 1n]);
  else if (what === 3) m.add('write', [fd, 0x10600000n, 8n, 2n ** 64n - 1n]);
  else
    m.add('ioctl', [fd, BigInt(r.pick([0x3b80, 0x3b64, 0x5421, 0x3ba0])), BigInt(r.pick([0, 0x10500000]))]);
};

const openContext: Make = (m, ctx) => {
  const op = m.add('open', [m.random.pick([2n, 0x80002n, 0n, 1n])]);
  if (m.random.chance(40)) {
    m.remember('ctx', null, m.returned(op));
  } else {
    m.add('close', [m.random.chance(96) ? m.returned(op) : ctx.ref]);
  }
};

export const deviceOps = {
  mockDomain,
  replaceDomain,
  hwptAlloc,
  nestedAlloc,
  hwInfo,
  setDirty,
  getDirty,
  makeDirty,
  invalidate,
  faultAlloc,
  iopf,
  readFault,
  writeFault,
  pollQueue,
  viommuAlloc,
  vdeviceAlloc,
  veventqAlloc,
  vevent,
  readVevent,
  hwQueueAlloc,
  hwQueueTwice,
  mmapWindow,
  munmapWindow,
  pasidAttach,
  pasidDetach,
  pasidCheck,
  checkMap,
  checkIotlb,
  checkCache,
  dmabufGet,
  dmabufRevoke,
  destroy,
  closeFd,
  oddCall,
  openContext,
} as const satisfies Record<string, Make>;
