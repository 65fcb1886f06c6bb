/** A few objects that work together, for sequences that would seldom get that far by drawing operations. */
import type { Maker, Thing } from './maker.js';
import { idOf } from './ops-memory.js';

const SELFTEST_HWPT = 0xdead;
const SELFTEST = 0xdeadbeef;
const SELFTEST_EVENT = 0xbeefbeef;
const DATA_AT = 0x10600f00;

/** Where everything of a scene hangs. */
export interface Stage {
  readonly ctx: Thing;
  readonly ioas: Thing;
  readonly mock: Thing;
  readonly device: Thing;
}

function allocIoas(m: Maker, ctx: Thing): Thing {
  const { op } = m.ioctl('IOAS_ALLOC', ctx.ref, {});
  return m.remember('ioas', ctx, m.result(op, 'IOAS_ALLOC', 'out_ioas_id'));
}

/** An IOAS with a page mapped and a device (with PASIDs) attached. */
export function stage(m: Maker, ctx: Thing): Stage {
  const ioas = allocIoas(m, ctx);
  const { op } = m.ioctl('MOCK_DOMAIN_FLAGS', ctx.ref, { id: idOf(ioas, m), dev_flags: 4 });
  const mock = m.remember('mock', ctx, m.result(op, 'MOCK_DOMAIN_FLAGS', 'out_stdev_id'), { flags: 4 });
  const idev = m.result(op, 'MOCK_DOMAIN_FLAGS', 'out_idev_id');
  const device = m.remember('device', ctx, idev, { of: mock, flags: 4 });
  m.remember('hwpt', ctx, m.result(op, 'MOCK_DOMAIN_FLAGS', 'out_hwpt_id'), { of: ioas });
  const map = { flags: 7, ioas_id: idOf(ioas, m), user_va: 0x10000000, length: 4096, iova: 0x1000000 };
  m.ioctl('IOAS_MAP', ctx.ref, map);
  m.remember('map', ctx, 0x1000000n, { of: ioas, length: 4096, va: 0x10000000 });
  return { ctx, ioas, mock, device };
}

function allocPaging(m: Maker, s: Stage, flags: number, fault: Thing | null = null): Thing {
  const { op } = m.ioctl('HWPT_ALLOC', s.ctx.ref, {
    flags,
    dev_id: idOf(s.device, m),
    pt_id: idOf(s.ioas, m),
    fault_id: fault === null ? 0 : idOf(fault, m),
  });
  return m.remember('hwpt', s.ctx, m.result(op, 'HWPT_ALLOC', 'out_hwpt_id'), { of: s.ioas, flags });
}

function allocNested(m: Maker, s: Stage, parent: Thing, flags: number, fault: Thing | null): Thing {
  const data = Uint8Array.of(0xef, 0xbe, 0xad, 0x0b, 0, 0, 0, 0);
  m.poke(DATA_AT, data);
  const { op } = m.ioctl('HWPT_ALLOC', s.ctx.ref, {
    flags,
    dev_id: idOf(s.device, m),
    pt_id: idOf(parent, m),
    data_type: SELFTEST_HWPT,
    data_len: 8,
    data_uptr: DATA_AT,
    fault_id: fault === null ? 0 : idOf(fault, m),
  });
  const of = parent.kind === 'viommu' ? parent : null;
  return m.remember('nested', s.ctx, m.result(op, 'HWPT_ALLOC', 'out_hwpt_id'), { of, flags });
}

function attach(m: Maker, s: Stage, target: Thing): void {
  m.ioctl('MOCK_DOMAIN_REPLACE', s.ctx.ref, { id: idOf(s.mock, m), pt_id: idOf(target, m) });
}

function allocFault(m: Maker, ctx: Thing): Thing {
  const { op } = m.ioctl('FAULT_QUEUE_ALLOC', ctx.ref, {});
  const fd = m.result(op, 'FAULT_QUEUE_ALLOC', 'out_fault_fd');
  return m.remember('fault', ctx, m.result(op, 'FAULT_QUEUE_ALLOC', 'out_fault_id'), { fd });
}

/** A virtual IOMMU with a virtual device, a nested table in use, and an event queue. */
export function nestedScene(m: Maker, ctx: Thing): void {
  const s = stage(m, ctx);
  const parent = allocPaging(m, s, m.random.pick([1, 1, 9]));
  const viommuOp = m.ioctl('VIOMMU_ALLOC', ctx.ref, {
    type: SELFTEST,
    dev_id: idOf(s.device, m),
    hwpt_id: idOf(parent, m),
  }).op;
  const viommu = m.remember('viommu', ctx, m.result(viommuOp, 'VIOMMU_ALLOC', 'out_viommu_id'), {
    of: s.ioas,
  });
  if (m.random.chance(80)) {
    const values = {
      viommu_id: idOf(viommu, m),
      dev_id: idOf(s.device, m),
      virt_id: m.random.pick([1, 2, 0]),
    };
    const { op } = m.ioctl('VDEVICE_ALLOC', ctx.ref, values);
    m.remember('vdevice', ctx, m.result(op, 'VDEVICE_ALLOC', 'out_vdevice_id'));
  }
  const nested = allocNested(m, s, viommu, 0, null);
  if (m.random.chance(80)) attach(m, s, nested);
  if (m.random.chance(30)) return;
  const values = {
    viommu_id: idOf(viommu, m),
    type: SELFTEST_EVENT,
    veventq_depth: m.random.pick([1, 2, 4]),
  };
  const { op } = m.ioctl('VEVENTQ_ALLOC', ctx.ref, values);
  const fd = m.result(op, 'VEVENTQ_ALLOC', 'out_veventq_fd');
  m.remember('veventq', ctx, m.result(op, 'VEVENTQ_ALLOC', 'out_veventq_id'), { fd });
  m.ioctl('TRIGGER_VEVENT', ctx.ref, { dev_id: idOf(s.device, m) });
}

/** A device attached to a table with a fault queue, and a fault or two. */
export function faultScene(m: Maker, ctx: Thing): void {
  const s = stage(m, ctx);
  const fault = allocFault(m, ctx);
  const kind = m.random.below(3);
  if (kind === 0) {
    attach(m, s, allocPaging(m, s, m.random.pick([4, 12]), fault));
  } else {
    const parent = allocPaging(m, s, kind === 1 ? 1 : 9);
    attach(m, s, allocNested(m, s, parent, m.random.pick([4, 12]), fault));
  }
  for (let i = 0; i < 2; i++) {
    m.ioctl('TRIGGER_IOPF', ctx.ref, { dev_id: idOf(s.device, m), grpid: i, perm: 1 + i, addr: 0x1000000 });
  }
}

/** A device attached to a table that lets PASIDs be attached, and some tables for them. */
export function pasidScene(m: Maker, ctx: Thing): void {
  const s = stage(m, ctx);
  const tables = [allocPaging(m, s, 8), allocPaging(m, s, m.random.pick([8, 9, 10]))];
  if (m.random.chance(50)) tables.push(allocNested(m, s, allocPaging(m, s, 9), 8, null));
  if (m.random.chance(85)) attach(m, s, m.random.pick(tables));
  m.ioctl('PASID_ATTACH', ctx.ref, {
    id: idOf(s.mock, m),
    pasid: m.random.pick([1, 2, 1024]),
    pt_id: idOf(m.random.pick(tables), m),
  });
}

/** A table that tracks what is written through it, tracking switched on. */
export function dirtyScene(m: Maker, ctx: Thing): void {
  const s = stage(m, ctx);
  const hwpt = allocPaging(m, s, 2);
  m.ioctl('HWPT_SET_DIRTY_TRACKING', ctx.ref, { flags: 1, hwpt_id: idOf(hwpt, m) });
}
