/** Operations on address spaces and the memory in them: iommufd's IOAS calls, VFIO's container calls, accesses. */
import { memfds, procFd } from './layouts.js';
import { isRef, type Operand, type Ref } from './program.js';
import type { Maker, Thing, Value } from './maker.js';

/** Adds one operation (and what it needs) to the sequence in context `ctx`. */
export type Make = (m: Maker, ctx: Thing) => void;

const FIXED = 1;
const WRITE = 2;
const READ = 4;
const VA_MASK = 0xfff;

/** As a 32-bit field: ids are. */
export const idOf = (thing: Thing | null, m: Maker): Value => {
  if (thing === null) return m.wrongId();
  return isRef(thing.ref) ? { ...thing.ref, width: 4 } : thing.ref;
};

const u64Of = (operand: Operand): Value => (isRef(operand) ? { ...operand, width: 8 } : operand);

/** An IOVA from a small window, so that ranges meet, or from the edges of the mock aperture. */
export function someIova(m: Maker): bigint {
  const r = m.random;
  return r.weighted([
    [0x1000000n + BigInt(r.below(48)) * 4096n, 70],
    [0x1000000n + BigInt(r.below(64)) * 2048n, 8],
    [0x7fff0000n + BigInt(r.below(16)) * 4096n, 8],
    [BigInt(r.below(16)) * 4096n, 6],
    [0x80000000n + BigInt(r.below(16)) * 4096n, 4],
    [2n ** 64n - 4096n * BigInt(1 + r.below(4)), 4],
  ]);
}

/** A length in bytes, mostly a few pages; within one page of `va` when the sequence asks for that. */
function someLength(m: Maker, va: number): number {
  const r = m.random;
  if (m.singlePages) {
    const room = 4096 - (va & VA_MASK);
    return r.chance(85) ? room : Math.max(1, Math.min(room, r.pick([2048, 1, 4095])));
  }
  return r.weighted([
    [4096, 45],
    [8192, 20],
    [12288, 10],
    [2048, 8],
    [4096 * (1 + r.below(20)), 10],
    [1 + r.below(9000), 7],
  ]);
}

const mapKeep = (m: Maker): string[] =>
  m.singlePages ? ['user_va', 'length', 'vaddr', 'size', 'start'] : [];

function mapFlags(m: Maker): number {
  const access = m.random.weighted([
    [WRITE | READ, 75],
    [READ, 15],
    [WRITE, 8],
    [0, 2],
  ]);
  return access | (m.random.chance(60) ? FIXED : 0);
}

function rememberMap(
  m: Maker,
  ctx: Thing,
  ioas: Thing | null,
  iova: Operand,
  length: number,
  va: number,
): void {
  m.remember('map', ctx, iova, { of: ioas, length, va });
}

const map: Make = (m, ctx) => {
  const ioas = m.one('ioas', ctx);
  const child = m.random.chance(2);
  // A child's private memory dies with it: see exclusions.
  const va = child ? 0x10300000 + m.random.below(4) * 4096 : m.address();
  const length = someLength(m, va);
  const flags = mapFlags(m);
  const iova = someIova(m) + (m.random.chance(70) ? BigInt(va & VA_MASK) : 0n);
  const { op, clean } = m.ioctl(
    'IOAS_MAP',
    ctx.ref,
    { flags, ioas_id: idOf(ioas, m), user_va: va, length, iova },
    { keep: child ? [...mapKeep(m), 'user_va', 'length'] : mapKeep(m), child },
  );
  if (clean) rememberMap(m, ctx, ioas, flags & FIXED ? iova : m.result(op, 'IOAS_MAP', 'iova'), length, va);
};

const mapFile: Make = (m, ctx) => {
  const r = m.random;
  const ioas = m.one('ioas', ctx);
  const dmabuf = r.chance(15) ? m.one('dmabuf') : null;
  const fd: Value =
    dmabuf === null
      ? r.weighted([
          [3, 50],
          [4, 15],
          [r.pick(memfds), 20],
          [procFd, 4],
          [0, 3],
          [99, 3],
        ])
      : { ...(dmabuf.ref as Ref), width: 4 };
  const start = r.chance(85) ? r.below(18) * 4096 : r.below(30000);
  const length = someLength(m, start);
  const flags = mapFlags(m);
  const iova = someIova(m) + (r.chance(70) ? BigInt(start & VA_MASK) : 0n);
  const values = { flags, ioas_id: idOf(ioas, m), fd, start, length, iova };
  const { op, clean } = m.ioctl('IOAS_MAP_FILE', ctx.ref, values, { keep: mapKeep(m) });
  if (clean)
    rememberMap(m, ctx, ioas, flags & FIXED ? iova : m.result(op, 'IOAS_MAP_FILE', 'iova'), length, 0);
};

const unmap: Make = (m, ctx) => {
  const r = m.random;
  const mapped = m.one('map', ctx);
  const ioas = mapped !== null && r.chance(90) ? mapped.of : m.one('ioas', ctx);
  if (mapped === null || r.chance(10)) {
    const everything = r.chance(50);
    const values = everything
      ? { iova: 0, length: 2n ** 64n - 1n }
      : { iova: someIova(m), length: 4096 * (1 + r.below(12)) };
    const { clean } = m.ioctl('IOAS_UNMAP', ctx.ref, { ioas_id: idOf(ioas, m), ...values });
    if (clean && everything) for (const t of m.all('map', ctx)) if (t.of === ioas) t.gone = true;
    return;
  }
  const length = r.chance(85) ? mapped.length : mapped.length + r.pick([-4096, 4096, 8192, -2048]);
  const { clean } = m.ioctl('IOAS_UNMAP', ctx.ref, {
    ioas_id: idOf(ioas, m),
    iova: u64Of(mapped.ref),
    length: BigInt.asUintN(64, BigInt(length)),
  });
  if (clean && r.chance(90)) mapped.gone = true;
};

const copy: Make = (m, ctx) => {
  const r = m.random;
  const mapped = m.one('map', ctx);
  const dst = m.one('ioas', ctx);
  const src = mapped !== null && r.chance(92) ? mapped.of : m.one('ioas', ctx);
  const inside = r.chance(25) ? r.pick([2048, 4096, 1]) : 0;
  const whole = mapped === null ? 4096 : mapped.length;
  const length = r.chance(70) ? Math.max(1, whole - inside) : r.pick([2048, 4096, 8192, whole + 4096]);
  const flags = mapFlags(m);
  const iova = someIova(m);
  const { op, clean } = m.ioctl(
    'IOAS_COPY',
    ctx.ref,
    {
      flags,
      dst_ioas_id: idOf(dst, m),
      src_ioas_id: idOf(src, m),
      length,
      dst_iova: iova,
      src_iova: u64Of(mapped === null ? someIova(m) : m.plus(mapped.ref, inside)),
    },
    {},
  );
  if (clean)
    rememberMap(m, ctx, dst, flags & FIXED ? iova : m.result(op, 'IOAS_COPY', 'dst_iova'), length, 0);
};

const ioasAlloc: Make = (m, ctx) => {
  const { op, clean } = m.ioctl('IOAS_ALLOC', ctx.ref, {});
  if (clean) m.remember('ioas', ctx, m.result(op, 'IOAS_ALLOC', 'out_ioas_id'));
};

const ranges: Make = (m, ctx) => {
  const room = m.random.pick([0, 1, 2, 3, 8, 8, 8]);
  const at = m.buffer(128);
  m.ioctl(
    'IOAS_IOVA_RANGES',
    ctx.ref,
    { ioas_id: idOf(m.one('ioas', ctx), m), num_iovas: room, allowed_iovas: at },
    { watch: { at, length: 128 } },
  );
};

const allow: Make = (m, ctx) => {
  const r = m.random;
  const count = r.below(4);
  const bytes = new Uint8Array(count * 16);
  const view = new DataView(bytes.buffer);
  let at = r.chance(80) ? 0x1000000n : BigInt(r.below(3)) * 4096n;
  for (let i = 0; i < count; i++) {
    const start = at + BigInt(r.below(8)) * 4096n;
    const last = start + BigInt(1 + r.below(32)) * 4096n - 1n;
    view.setBigUint64(i * 16, start, true);
    view.setBigUint64(i * 16 + 8, r.chance(90) ? last : r.pick([start, start - 1n, 2n ** 64n - 1n]), true);
    at = r.chance(90) ? last + 1n + BigInt(r.below(4)) * 4096n : start;
  }
  const buffer = m.buffer(64);
  m.poke(buffer, bytes);
  m.ioctl('IOAS_ALLOW_IOVAS', ctx.ref, {
    ioas_id: idOf(m.one('ioas', ctx), m),
    num_iovas: count,
    allowed_iovas: buffer,
  });
};

const option: Make = (m, ctx) => {
  const r = m.random;
  const huge = r.chance(65);
  m.ioctl('OPTION', ctx.ref, {
    option_id: huge ? 1 : 0,
    op: r.below(2),
    object_id: huge ? idOf(m.one('ioas', ctx), m) : 0,
    val64: r.pick([0, 1, 1, 0, 2]),
  });
};

const vfioIoas: Make = (m, ctx) => {
  const op = m.random.weighted([
    [1, 55],
    [0, 35],
    [2, 10],
  ]);
  m.ioctl('VFIO_IOAS', ctx.ref, { ioas_id: idOf(m.one('ioas', ctx), m), op });
};

const vfioMap: Make = (m, ctx) => {
  const va = m.address();
  const length = someLength(m, va);
  const iova = someIova(m);
  const flags = m.random.pick([3, 3, 3, 1, 2, 0]);
  m.ioctl('VFIO_IOMMU_MAP_DMA', ctx.ref, { flags, vaddr: va, iova, size: length }, { keep: mapKeep(m) });
  m.remember('map', ctx, iova, { of: m.one('ioas', ctx), length, va });
};

const vfioUnmap: Make = (m, ctx) => {
  const r = m.random;
  const mapped = m.one('map', ctx);
  if (mapped === null || r.chance(15)) {
    m.ioctl('VFIO_IOMMU_UNMAP_DMA', ctx.ref, { flags: 2, iova: 0, size: r.chance(90) ? 0 : 4096 });
    return;
  }
  const inside = r.chance(25) ? 4096 : 0;
  const length = Math.max(0, r.chance(70) ? mapped.length - inside : r.pick([4096, 8192, 2048, 0]));
  const iova = u64Of(m.plus(mapped.ref, inside));
  m.ioctl('VFIO_IOMMU_UNMAP_DMA', ctx.ref, { flags: 0, iova, size: length });
};

const vfioInfo: Make = (m, ctx) => {
  const argsz = m.random.pick([16, 20, 24, 40, 48, 56, 64, 72, 88, 104, 120, 200, 256]);
  m.ioctl('VFIO_IOMMU_GET_INFO', ctx.ref, { argsz }, { span: 256 });
};

const vfioPlain: Make = (m, ctx) => {
  const r = m.random;
  const value = BigInt(r.pick([0, 1, 1, 3, 3, 4, 6, 8, 9, 10, 11, 255]));
  const code = r.weighted([
    [0x3b66, 50],
    [0x3b65, 35],
    [0x3b64, 8],
    [0x3b75, 4],
    [0x3b63 + r.below(22), 3],
  ]);
  m.add('ioctl', [ctx.ref, BigInt(code), code === 0x3b75 ? 0x10500000n : value]);
};

const createAccess: Make = (m, ctx) => {
  const ioas = m.one('ioas', ctx);
  const flags = m.random.chance(60) ? 1 : 0;
  const { op, clean } = m.ioctl('CREATE_ACCESS', ctx.ref, { id: idOf(ioas, m), flags });
  if (clean) {
    const fd = m.result(op, 'CREATE_ACCESS', 'out_access_fd');
    m.remember('access', ctx, fd, { of: ioas, flags, fd });
  }
};

/** A range in what the access sees: an IOVA and a length, mostly mapped. */
function accessRange(
  m: Maker,
  ctx: Thing,
  access: Thing | null,
): { iova: Value; length: number; va: number } {
  const r = m.random;
  const mapped = m.one('map', ctx, (t) => t.of === access?.of) ?? m.one('map', ctx);
  if (mapped === null) return { iova: someIova(m), length: r.pick([1, 8, 4096]), va: m.address() };
  const inside = r.chance(50) ? 0 : r.below(Math.max(1, Math.min(mapped.length, 8192)));
  const left = mapped.length - inside;
  const length = r.weighted([
    [left, 40],
    [r.below(Math.min(left, 256)) + 1, 40],
    [left + 4096, 10],
    [r.pick([0, 1, 4096, 5000]), 10],
  ]);
  return { iova: u64Of(m.plus(mapped.ref, inside)), length, va: mapped.va + inside };
}

/** MOCK_FLAGS_ACCESS_SYZ: the IOVA is the number of an area and an offset in it. */
const nthArea = (m: Maker): bigint => BigInt(m.random.below(4)) | (BigInt(m.random.below(4) * 1024) << 32n);

const accessRw: Make = (m, ctx) => {
  const r = m.random;
  const access = m.one('access', ctx);
  if (access === null && r.chance(80)) return createAccess(m, ctx);
  const { iova, length } = accessRange(m, ctx, access);
  const at = r.chance(80) ? 0x10600000 + r.below(8) * 64 : m.address();
  const nth = r.chance(4);
  const flags = r.pick([0, 1]) | (r.chance(30) ? 4 : 0) | (nth ? 1 << 16 : 0);
  if (flags & 1) m.add('fill', [BigInt(at), BigInt(Math.min(length, 8192)), BigInt(r.next())]);
  m.ioctl(
    'ACCESS_RW',
    ctx.ref,
    { id: idOf(access, m), iova: nth ? nthArea(m) : iova, length, uptr: at, flags },
    { watch: { at, length: Math.min(length, 8192) } },
  );
};

const accessPages: Make = (m, ctx) => {
  const r = m.random;
  const access = m.one('access', ctx, (t) => (t.flags & 1) === 1) ?? m.one('access', ctx);
  if ((access === null || (access.flags & 1) === 0) && r.chance(80)) return createAccess(m, ctx);
  const { iova, length, va } = accessRange(m, ctx, access);
  const nth = r.chance(4);
  const { op, clean } = m.ioctl('ACCESS_PAGES', ctx.ref, {
    id: idOf(access, m),
    flags: (r.chance(50) ? 1 : 0) | (nth ? 1 << 16 : 0),
    iova: nth ? nthArea(m) : iova,
    length,
    uptr: nth || r.chance(20) ? 0 : va,
  });
  if (clean) {
    const ref = m.result(op, 'ACCESS_PAGES', 'out_access_pages_id');
    m.remember('pages', ctx, ref, { of: access });
  }
};

const destroyPages: Make = (m, ctx) => {
  const pages = m.one('pages', ctx);
  if (pages === null && m.random.chance(80)) return accessPages(m, ctx);
  const { clean } = m.ioctl('DESTROY_ACCESS_PAGES', ctx.ref, {
    id: idOf(pages?.of ?? m.one('access', ctx), m),
    access_pages_id: pages === null ? m.random.below(3) : idOf(pages, m),
  });
  if (clean && pages !== null && m.random.chance(85)) pages.gone = true;
};

const replaceIoas: Make = (m, ctx) => {
  const access = m.one('access', ctx);
  m.ioctl('ACCESS_REPLACE_IOAS', ctx.ref, { id: idOf(access, m), ioas_id: idOf(m.one('ioas', ctx), m) });
};

const addReserved: Make = (m, ctx) => {
  m.ioctl('ADD_RESERVED', ctx.ref, {
    id: idOf(m.one('ioas', ctx), m),
    start: someIova(m),
    length: 4096 * (1 + m.random.below(6)),
  });
};

const memoryLimit: Make = (m, ctx) => {
  const limit = m.random.pick([65536, 65536, 4096, 11, 0]);
  m.ioctl('SET_TEMP_MEMORY_LIMIT', ctx.ref, { limit });
};

const checkRefs: Make = (m, ctx) => {
  const mapped = m.one('map', ctx);
  const va = mapped !== null && mapped.va !== 0 && m.random.chance(70) ? mapped.va & ~VA_MASK : m.address();
  m.ioctl('MD_CHECK_REFS', ctx.ref, {
    length: 4096 * m.random.pick([1, 1, 1, 2, 4]),
    uptr: va,
    refs: m.random.pick([0, 0, 1, 1, 2, 3]),
  });
};

const changeProcess: Make = (m, ctx) => {
  m.ioctl('IOAS_CHANGE_PROCESS', ctx.ref, {}, { child: m.random.chance(50) });
};

/** Stores to memory that may be mapped, and looks at all of it. */
const storeAndHash: Make = (m) => {
  const r = m.random;
  const region = r.pick([0x10000000, 0x10300000, 0x10400000]);
  m.add('fill', [BigInt(region + r.below(6) * 4096), BigInt(r.pick([8, 64, 4096, 5000])), BigInt(r.next())]);
  m.add('hash', [BigInt(region), 8n * 4096n]);
};

/** The program changes its own address space. Only shared memory goes away: see exclusions. */
const changeMemory: Make = (m) => {
  const r = m.random;
  const page = BigInt(r.below(6) * 4096);
  const what = r.below(5);
  if (what === 0) m.add('munmap', [0x10300000n + page, 4096n]);
  else if (what === 1) m.add('munmap', [0x10400000n + page, 4096n]);
  else if (what === 2) m.add('mprotect', [0x10300000n + page, 4096n, BigInt(r.pick([0, 1, 3]))]);
  else if (what === 3) m.add('mprotect', [0x10000000n + page, 4096n, BigInt(r.pick([1, 3]))]);
  else m.add('ftruncate', [3n, BigInt(r.pick([64, 32, 128]) * 4096)]);
};

const status: Make = (m) => {
  m.add('status', []);
};

/** Lowers the limit on locked memory and gives up the right to exceed it. */
const limitMemory: Make = (m, ctx) => {
  m.add('rlimit', [8n, BigInt(m.random.pick([0, 1, 4, 16, 64]) * 4096)]);
  m.add('dropcaps', [m.random.pick([1n << 14n, (1n << 14n) | (1n << 24n), 1n << 24n])]);
  if (m.random.chance(30)) m.ioctl('IOAS_CHANGE_PROCESS', ctx.ref, {}, { child: true });
};

/** Only files mapped, then handed to a process that may lock less. */
const handOver: Make = (m, ctx) => {
  const op = m.add('open', [2n]);
  const other = m.remember('ctx', null, m.returned(op));
  if (m.random.chance(50)) m.ioctl('OPTION', other.ref, { val64: 1 });
  ioasAlloc(m, other);
  const ioas = m.all('ioas', other)[0] ?? null;
  for (let i = 0; i < 2; i++) {
    const iova = 0x1000000 + i * 0x10000;
    m.ioctl('IOAS_MAP_FILE', other.ref, { flags: 7, ioas_id: idOf(ioas, m), fd: 3 + i, length: 32768, iova });
  }
  m.ioctl('MOCK_DOMAIN', other.ref, { id: idOf(ioas, m) });
  status(m, ctx);
  limitMemory(m, other);
  m.ioctl('IOAS_CHANGE_PROCESS', other.ref, {}, { child: m.random.chance(80) });
  status(m, ctx);
};

const limitFiles: Make = (m) => {
  m.add('rlimit', [7n, BigInt(9 + m.random.below(8))]);
};

export const memoryOps = {
  map,
  mapFile,
  unmap,
  copy,
  ioasAlloc,
  ranges,
  allow,
  option,
  vfioIoas,
  vfioMap,
  vfioUnmap,
  vfioInfo,
  vfioPlain,
  createAccess,
  accessRw,
  accessPages,
  destroyPages,
  replaceIoas,
  addReserved,
  memoryLimit,
  checkRefs,
  changeProcess,
  storeAndHash,
  changeMemory,
  status,
  limitMemory,
  handOver,
  limitFiles,
} as const satisfies Record<string, Make>;
