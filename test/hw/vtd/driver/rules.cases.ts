/** By rule of the VT-d driver: what breaks it alone, and the nearest thing that does not. */
import type { ErrnoName } from '../../../../src/base/errno.js';
import type { PagingDomain, UserData, ViommuCore } from '../../../../src/hw/unit.js';
import type { VtdDevice } from '../../../../src/hw/vtd/driver/device.js';
import { ioasis_hwpt_invalidate_range } from '../../../../src/wire/uapi/ioasis.js';
import { iommu_hwpt_vtd_s1_invalidate } from '../../../../src/wire/uapi/iommufd.gen.js';
import { Bench, emptySpace, invalidations, s1Data, type BenchOptions } from './bench.js';
import {
  CAP,
  CM,
  ECAP,
  ECAP_EAFS,
  ECAP_FSTS,
  ECAP_NEST,
  ECAP_PASID,
  ECAP_SC,
  ECAP_SMPWCS,
  ECAP_SRS,
  ECAP_SSADS,
  ECAP_SSTS,
  FS5LP,
} from './fake.js';

export interface RuleCase {
  readonly errno: ErrnoName;
  readonly refused: () => unknown;
  /** The other side of the boundary. */
  readonly accepted: () => unknown;
}

const NEST_PARENT = 1;
const DIRTY = 2;
const PASID = 8;
const VTD_S1 = 0;
const RANGE = 0x10a50000;

/** SAGAW of 39, 48 and 57 bits; MGAW of so many. */
const SAGAW = 0x1fn << 8n;
const MGAW = 0x3fn << 16n;
const SSLPS = 0xfn << 34n;
const ND = 7n;
const withFields = (sagaw: bigint, mgaw: bigint): bigint =>
  (CAP & ~SAGAW & ~MGAW) | (sagaw << 8n) | ((mgaw - 1n) << 16n);

const noCore = {} as ViommuCore;
const someData = { ...s1Data(), type: 7 };

function one(options: BenchOptions = {}): { bench: Bench; device: VtdDevice } {
  const bench = new Bench(options);
  return { bench, device: bench.device(0x100) };
}

function alloc(flags: number, options: BenchOptions = {}, data: UserData | null = null): PagingDomain {
  const { bench, device } = one(options);
  return bench.unit.allocPaging(device, flags, data);
}

function attach(device: VtdDevice, domain: Parameters<VtdDevice['group']['attach']>[0]): void {
  device.group.attach(domain, { domain });
}

/** A table made behind one unit, for a device behind another that has `options`. */
function across(flags: number, options: BenchOptions, from: BenchOptions = {}): void {
  const { bench, device } = one(from);
  const domain = bench.unit.allocPaging(device, flags, null);
  attach(one({ ...options, memory: bench.memory }).device, domain);
}

function nest(flags: number, options: BenchOptions = {}, data: UserData = s1Data()): void {
  const { bench, device } = one();
  const parent = bench.parent(device);
  const other = one({ ...options, memory: bench.memory });
  other.bench.unit.allocNested(other.device, parent, flags, data);
}

function userTable(options: BenchOptions = {}, data: UserData = s1Data()): void {
  one(options).bench.unit.allocUserTable(emptySpace(), data);
}

/** A table at addresses of a process, made behind one unit, for a device behind another. */
function acrossUserTable(options: BenchOptions): void {
  const { bench } = one();
  const domain = bench.unit.allocUserTable(emptySpace(), s1Data());
  attach(one({ ...options, memory: bench.memory }).device, domain);
}

/** A nested table that says `config`, attached behind a unit that has `options`. */
function attachNested(config: Parameters<typeof s1Data>[0], options: BenchOptions = {}): void {
  const { bench, device } = one(options);
  attach(device, bench.nested(device, bench.parent(device), config));
}

function invalidate(entry: object, type = VTD_S1): void {
  const { bench, device } = one();
  const nested = bench.nested(device, bench.parent(device));
  const struct = type === RANGE ? ioasis_hwpt_invalidate_range : iommu_hwpt_vtd_s1_invalidate;
  nested.invalidate!(invalidations(type, struct as typeof iommu_hwpt_vtd_s1_invalidate, [entry]));
}

/** Attaches the domain of an owner that tells somebody else already, or not. */
function attachProvided(options: BenchOptions, onInvalidate: (() => void) | null): void {
  const { bench } = one();
  const domain = bench.unit.allocProvided({ name: 'process 1', translate: () => false, onInvalidate });
  attach(one({ ...options, memory: bench.memory }).device, domain);
}

function fillDomainIds(options: BenchOptions, count: number): void {
  const { bench, device } = one(options);
  for (let pasid = 1; pasid <= count; pasid += 1) {
    const domain = bench.unit.allocPaging(device, 0, null);
    device.group.attachPasid(domain, device, pasid, { domain });
  }
}

function attachWaiting(pri: boolean): void {
  const bench = new Bench();
  const device = bench.device(0x100, { pri });
  const domain = bench.unit.allocPaging(device, 0, null);
  domain.iopfHandler = () => {};
  attach(device, domain);
}

function withoutMemory(failing: boolean): void {
  const { bench, device } = one();
  const domain = bench.unit.allocPaging(device, 0, null);
  if (failing) bench.injector.arm(1);
  attach(device, domain);
}

function viommu(data: UserData | null, flags: number): unknown {
  const { bench, device } = one();
  return bench.unit.initViommu(noCore, bench.unit.allocPaging(device, flags, null), data);
}

/** SSLPS of one unit, for a table that was made with both sizes. */
const pages = (bits: bigint): BenchOptions => ({ cap: (CAP & ~SSLPS) | (bits << 34n) });

export const cases: Readonly<Record<string, RuleCase>> = {
  vtd_no_width: {
    errno: 'EINVAL',
    refused: () => new Bench({ cap: withFields(2n, 39n) }),
    accepted: () => new Bench({ cap: withFields(2n, 39n), ecap: ECAP & ~ECAP_FSTS }),
  },
  vtd_hw_info_type: {
    errno: 'EOPNOTSUPP',
    refused: () => one().bench.unit.hwInfo(one().device, 2),
    accepted: () => one().bench.unit.hwInfo(one().device, 1),
  },
  vtd_paging_data: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(0, {}, someData),
    accepted: () => alloc(0, {}, null),
  },
  vtd_paging_flags: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(16),
    accepted: () => alloc(NEST_PARENT | DIRTY | PASID),
  },
  vtd_paging_no_nesting: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(NEST_PARENT, { ecap: ECAP & ~ECAP_NEST }),
    accepted: () => alloc(DIRTY, { ecap: ECAP & ~ECAP_NEST }),
  },
  vtd_paging_no_dirty: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(DIRTY, { ecap: ECAP & ~ECAP_SSADS }),
    accepted: () => alloc(NEST_PARENT, { ecap: ECAP & ~ECAP_SMPWCS }),
  },
  vtd_paging_no_second_stage: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(NEST_PARENT, { ecap: ECAP & ~ECAP_SSTS }),
    accepted: () => alloc(PASID, { ecap: ECAP & ~ECAP_SSTS }),
  },
  vtd_paging_width: {
    errno: 'EOPNOTSUPP',
    refused: () => alloc(NEST_PARENT, { cap: withFields(4n, 30n) }),
    accepted: () => alloc(NEST_PARENT, { cap: withFields(4n, 31n) }),
  },
  vtd_provided_no_first_stage: {
    errno: 'EOPNOTSUPP',
    refused: () =>
      one({ ecap: ECAP & ~ECAP_FSTS }).bench.unit.allocProvided({
        name: 'x',
        translate: () => false,
        onInvalidate: null,
      }),
    accepted: () => one().bench.unit.allocProvided({ name: 'x', translate: () => false, onInvalidate: null }),
  },

  vtd_user_table_no_nesting: {
    errno: 'EOPNOTSUPP',
    refused: () => userTable({ ecap: ECAP & ~ECAP_NEST }),
    accepted: () => userTable(),
  },
  vtd_user_table_format: {
    errno: 'EOPNOTSUPP',
    refused: () => userTable({}, someData),
    accepted: () => userTable({}, s1Data()),
  },
  vtd_user_table_width: {
    errno: 'EINVAL',
    refused: () => userTable({ cap: withFields(4n, 30n) }),
    accepted: () => userTable({ cap: withFields(4n, 31n) }),
  },
  vtd_user_stage_nesting: {
    errno: 'EINVAL',
    refused: () => acrossUserTable({ ecap: ECAP & ~ECAP_NEST }),
    accepted: () => acrossUserTable({}),
  },
  vtd_user_stage_coherency: {
    errno: 'EINVAL',
    refused: () => acrossUserTable({ ecap: ECAP & ~ECAP_SMPWCS }),
    accepted: () => acrossUserTable({ ecap: ECAP | ECAP_SMPWCS }),
  },
  vtd_user_stage_levels: {
    errno: 'EINVAL',
    refused: () => acrossUserTable({ cap: withFields(8n, 48n), ecap: ECAP & ~ECAP_FSTS }),
    accepted: () => acrossUserTable({ cap: withFields(12n, 48n) }),
  },

  vtd_nested_no_nesting: {
    errno: 'EOPNOTSUPP',
    refused: () => nest(0, { ecap: ECAP & ~ECAP_NEST }),
    accepted: () => nest(0),
  },
  vtd_nested_flags: { errno: 'EOPNOTSUPP', refused: () => nest(NEST_PARENT), accepted: () => nest(PASID) },
  vtd_nested_data_type: {
    errno: 'EOPNOTSUPP',
    refused: () => nest(0, {}, someData),
    accepted: () => nest(0, {}, s1Data()),
  },
  vtd_nested_parent: {
    errno: 'EINVAL',
    refused: () => {
      const { bench, device } = one();
      bench.nested(device, bench.unit.allocPaging(device, DIRTY, null));
    },
    accepted: () => {
      const { bench, device } = one();
      bench.nested(device, bench.unit.allocPaging(device, NEST_PARENT | DIRTY, null));
    },
  },
  vtd_nested_no_five_levels: {
    errno: 'EINVAL',
    refused: () => attachNested({ addr_width: 57 }),
    accepted: () => attachNested({ addr_width: 57 }, { cap: CAP | FS5LP }),
  },
  vtd_nested_width: {
    errno: 'EINVAL',
    refused: () => attachNested({ addr_width: 47 }, { cap: CAP | FS5LP }),
    accepted: () => attachNested({ addr_width: 48 }),
  },
  vtd_nested_supervisor: {
    errno: 'EINVAL',
    refused: () => attachNested({ flags: 1n }, { ecap: ECAP & ~ECAP_SRS }),
    accepted: () => attachNested({ flags: 6n }, { ecap: ECAP & ~ECAP_SRS }),
  },
  vtd_nested_accessed: {
    errno: 'EINVAL',
    refused: () => attachNested({ flags: 2n }, { ecap: ECAP & ~ECAP_EAFS }),
    accepted: () => attachNested({ flags: 5n }, { ecap: ECAP & ~ECAP_EAFS }),
  },

  vtd_invalidate_type: {
    errno: 'EINVAL',
    refused: () => invalidate({}, 1),
    accepted: () => invalidate({}, VTD_S1),
  },
  vtd_invalidate_flags: {
    errno: 'EOPNOTSUPP',
    refused: () => invalidate({ flags: 3 }),
    accepted: () => invalidate({ flags: 1 }),
  },
  vtd_invalidate_reserved: {
    errno: 'EOPNOTSUPP',
    refused: () => invalidate({ __reserved: 1 }),
    accepted: () => invalidate({ __reserved: 0 }),
  },
  vtd_invalidate_alignment: {
    errno: 'EINVAL',
    refused: () => invalidate({ addr: 0x800n, npages: 1n }),
    accepted: () => invalidate({ addr: 0x1000n, npages: 1n }),
  },
  vtd_invalidate_everything: {
    errno: 'EINVAL',
    refused: () => invalidate({ addr: 0x1000n, npages: (1n << 64n) - 1n }),
    accepted: () => invalidate({ addr: 0x1000n, npages: (1n << 64n) - 2n }),
  },
  ioasis_invalidate_type: {
    errno: 'EOPNOTSUPP',
    refused: () => invalidate({}, RANGE + 1),
    accepted: () => invalidate({}, RANGE),
  },
  ioasis_invalidate_flags: {
    errno: 'EOPNOTSUPP',
    refused: () => invalidate({ flags: 2 }, RANGE),
    accepted: () => invalidate({ flags: 1 }, RANGE),
  },
  ioasis_invalidate_reserved: {
    errno: 'EOPNOTSUPP',
    refused: () => invalidate({ __reserved: 1 }, RANGE),
    accepted: () => invalidate({ __reserved: 0 }, RANGE),
  },
  ioasis_invalidate_order: {
    errno: 'EINVAL',
    refused: () => invalidate({ start: 5n, last: 4n }, RANGE),
    accepted: () => invalidate({ start: 5n, last: 5n }, RANGE),
  },

  vtd_first_stage_missing: {
    errno: 'EINVAL',
    refused: () => across(0, { ecap: ECAP & ~ECAP_FSTS }),
    accepted: () => across(0, {}),
  },
  vtd_first_stage_coherency: {
    errno: 'EINVAL',
    refused: () => across(0, { ecap: ECAP & ~ECAP_SMPWCS }),
    accepted: () => across(0, {}, { ecap: ECAP & ~ECAP_SMPWCS }),
  },
  vtd_first_stage_levels: {
    errno: 'EINVAL',
    refused: () => across(0, {}, { cap: withFields(0xcn, 57n) | FS5LP }),
    accepted: () => across(0, { cap: CAP | FS5LP }, { cap: withFields(0xcn, 57n) | FS5LP }),
  },
  vtd_first_stage_pages: {
    errno: 'EINVAL',
    refused: () => across(0, { cap: CAP & ~(1n << 56n) }),
    accepted: () => across(0, {}, { cap: CAP & ~(1n << 56n) }),
  },
  vtd_second_stage_dirty: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, { ecap: ECAP & ~ECAP_SSADS }),
    accepted: () => across(NEST_PARENT, { ecap: ECAP & ~ECAP_SSADS }),
  },
  vtd_second_stage_nesting: {
    errno: 'EINVAL',
    refused: () => across(NEST_PARENT, { ecap: ECAP & ~ECAP_NEST }),
    accepted: () => across(DIRTY, { ecap: ECAP & ~ECAP_NEST }),
  },
  vtd_second_stage_missing: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, { ecap: ECAP & ~ECAP_SSTS }),
    accepted: () => across(DIRTY, {}),
  },
  vtd_second_stage_coherency: {
    errno: 'EINVAL',
    refused: () => across(NEST_PARENT, { ecap: ECAP & ~ECAP_SMPWCS }),
    accepted: () => across(NEST_PARENT, {}, { ecap: ECAP & ~ECAP_SMPWCS }),
  },
  vtd_second_stage_width: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, { cap: withFields(4n, 47n) }),
    accepted: () => across(DIRTY, { cap: withFields(4n, 49n) }),
  },
  vtd_second_stage_levels: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, { cap: withFields(8n, 48n), ecap: ECAP & ~ECAP_FSTS }),
    accepted: () => across(DIRTY, { cap: withFields(12n, 48n) }),
  },
  vtd_second_stage_2m: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, pages(0b10n)),
    accepted: () => across(DIRTY, pages(0b11n), pages(0b10n)),
  },
  vtd_second_stage_1g: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, pages(0b01n)),
    accepted: () => across(DIRTY, pages(0b11n), pages(0b01n)),
  },
  vtd_second_stage_sync: {
    errno: 'EINVAL',
    refused: () => across(DIRTY, { cap: CAP | CM }),
    accepted: () => across(DIRTY, {}, { cap: CAP | CM }),
  },
  vtd_second_stage_snoop: {
    errno: 'EINVAL',
    refused: () => {
      const { bench, device } = one();
      const domain = bench.parent(device);
      domain.enforceCacheCoherency!();
      attach(one({ ecap: ECAP & ~ECAP_SC, memory: bench.memory }).device, domain);
    },
    accepted: () => across(NEST_PARENT, { ecap: ECAP & ~ECAP_SC }),
  },
  vtd_provided_missing: {
    errno: 'EINVAL',
    refused: () => attachProvided({ ecap: ECAP & ~ECAP_FSTS }, null),
    accepted: () => attachProvided({}, null),
  },
  vtd_provided_busy: {
    errno: 'EBUSY',
    refused: () => attachProvided({}, () => {}),
    accepted: () => attachProvided({}, null),
  },
  vtd_no_pasid: {
    errno: 'EOPNOTSUPP',
    refused: () => {
      const { bench, device } = one({ ecap: ECAP & ~ECAP_PASID });
      bench.unit.setDevPasid(bench.unit.allocPaging(device, 0, null), device, 1, null);
    },
    accepted: () => {
      const { bench, device } = one();
      bench.unit.setDevPasid(bench.unit.allocPaging(device, 0, null), device, 1, null);
    },
  },
  // ND 0: 16 ids, of which two are never given out.
  vtd_no_domain_id: {
    errno: 'ENOSPC',
    refused: () => fillDomainIds({ cap: CAP & ~ND }, 15),
    accepted: () => fillDomainIds({ cap: CAP & ~ND }, 14),
  },
  vtd_no_page_requests: {
    errno: 'ENODEV',
    refused: () => attachWaiting(false),
    accepted: () => attachWaiting(true),
  },
  vtd_pasid_table_memory: {
    errno: 'ENODEV',
    refused: () => withoutMemory(true),
    accepted: () => withoutMemory(false),
  },
  vtd_viommu_data: {
    errno: 'EOPNOTSUPP',
    refused: () => viommu(someData, NEST_PARENT),
    accepted: () => viommu(null, NEST_PARENT),
  },
  vtd_viommu_parent: {
    errno: 'EINVAL',
    refused: () => viommu(null, DIRTY),
    accepted: () => viommu(null, DIRTY | NEST_PARENT),
  },
};
