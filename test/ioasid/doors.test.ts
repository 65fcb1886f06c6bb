/** One model behind three doors: what a scenario leaves in physical memory is the same, byte by byte. */
import { describe, expect, test } from 'vitest';
import type { Machine } from '../../src/machine/machine.js';
import type { Topology } from '../../src/machine/topology.js';
import * as o from '../../src/wire/uapi/ioasis.js';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as n from '../../src/wire/uapi/vfio-nesting.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { encode, GUEST, NestingScene, table } from '../vfio/nesting-scene.js';
import { IommuScene } from './iommu-scene.js';
import { IoasidScene, PAGE } from './scene.js';
import { hashOf, tablesOf } from './tables.js';

const DEVICE = '0000:00:01.0';
const WRITE_ONLY = 2;
const READ_WRITE = 3;

/** A second stage with 16 pages at GUEST and what `map` says, and a first stage on it that a program keeps. */
interface Scenario {
  readonly features: { readonly ats?: boolean; readonly pri?: boolean; readonly pasidBits?: number };
  readonly map: { readonly iova: bigint; readonly pages: number; readonly flags: number };
  /** Of the first stage; 0: the requester id. Null: there is none. */
  readonly pasid: number | null;
  readonly root: bigint;
  readonly writeProtect: boolean;
  readonly isUnbound: boolean;
}

const BASE: Scenario = {
  features: {},
  map: { iova: 0x4000_0000n, pages: 4, flags: READ_WRITE },
  pasid: 5,
  root: GUEST,
  writeProtect: false,
  isUnbound: false,
};

const topologyOf = ({ features }: Scenario): Topology => ({
  devices: { [DEVICE]: features },
});

/** VFIO's calls on a container. */
function byContainer(scenario: Scenario): Machine {
  const { map, pasid, root, writeProtect, isUnbound } = scenario;
  const s = new NestingScene(DEVICE, topologyOf(scenario));
  const { client, memory } = s.machine;
  const request = { argsz: 32, flags: map.flags, vaddr: memory.alloc(map.pages * 4096), iova: map.iova };
  const bytes = encode(v.vfio_iommu_type1_dma_map, { ...request, size: BigInt(map.pages) * PAGE });
  client.ioctl(s.container, v.VFIO_IOMMU_MAP_DMA, s.store(bytes));
  if (pasid === null) return s.machine;
  if (pasid !== 0) s.request(n.VFIO_IOMMU_PASID_ALLOC, pasid, pasid);
  const vtd_flags = writeProtect ? BigInt(n.IOMMU_SVA_VTD_GPASID_EAFE) : 0n;
  s.bind(table(pasid, { gpgd: root, vtd_flags }));
  if (isUnbound) s.unbind(pasid);
  return s.machine;
}

/** A page table of the program's for the other two. */
const stageOf = ({ root, writeProtect }: Scenario): Uint8Array =>
  encode(u.iommu_hwpt_vtd_s1, {
    flags: writeProtect ? BigInt(u.IOMMU_VTD_S1_EAFE) : 0n,
    pgtbl_addr: root,
    addr_width: 48,
  });

function byIoasid(scenario: Scenario): Machine {
  const { map, pasid, isUnbound } = scenario;
  const s = new IoasidScene(topologyOf(scenario));
  const device = s.device(0);
  const kernel = s.kernel();
  s.authorize(device, kernel);
  s.map(kernel, GUEST, s.memory.alloc(16 * 4096), 16n * PAGE);
  const user_va = s.memory.alloc(map.pages * 4096);
  const mapping = { ioasid: kernel, flags: map.flags, iova: map.iova, user_va };
  s.call(s.fd, i.MAP_IOASID, i.map_ioasid, { ...mapping, length: BigInt(map.pages) * PAGE });
  if (pasid === null) return s.machine;
  const nested = s.nested(kernel, 0n, { data_uptr: s.memory.store(stageOf(scenario)) });
  const number = pasid === 0 ? undefined : pasid;
  if (pasid === 0) s.deauthorize(device, kernel);
  s.authorize(device, nested, number);
  if (!isUnbound) return s.machine;
  s.deauthorize(device, nested, number);
  if (pasid === 0) s.authorize(device, kernel);
  return s.machine;
}

function byIommu(scenario: Scenario): Machine {
  const { map, pasid, isUnbound } = scenario;
  const s = new IommuScene(topologyOf(scenario));
  const ioas = s.iommufd.call(u.IOMMU_IOAS_ALLOC).out_ioas_id;
  const flags = u.IOMMU_HWPT_ALLOC_NEST_PARENT | u.IOMMU_HWPT_ALLOC_PASID;
  const parent = s.hwpt(ioas, { flags });
  s.attach(parent);
  s.map(ioas, GUEST, s.memory.alloc(16 * 4096), 16n * PAGE, READ_WRITE);
  s.map(ioas, map.iova, s.memory.alloc(map.pages * 4096), BigInt(map.pages) * PAGE, map.flags);
  if (pasid === null) return s.machine;
  const nested = s.hwpt(
    parent,
    { flags: u.IOMMU_HWPT_ALLOC_PASID },
    u.IOMMU_HWPT_DATA_VTD_S1,
    stageOf(scenario),
  );
  s.attach(nested, pasid);
  if (!isUnbound) return s.machine;
  if (pasid === 0) s.attach(parent);
  else s.detach(pasid);
  return s.machine;
}

const words = (...values: number[]): Uint8Array => new Uint8Array(new Int32Array(values).buffer);

const doors = [byContainer, byIoasid, byIommu];

const scenarios: Readonly<Record<string, Partial<Scenario>>> = {
  'a second stage alone': { pasid: null },
  'both stages': {},
  'another address': { map: { ...BASE.map, iova: 0x4000_4000n } },
  'one page more': { map: { ...BASE.map, pages: 5 } },
  'pages that may only be written': { map: { ...BASE.map, flags: WRITE_ONLY } },
  'another PASID': { pasid: 6 },
  'a PASID of another table': { pasid: 70 },
  'the requester id': { pasid: 0 },
  'another root': { root: GUEST + PAGE },
  'another flag of the first stage': { writeProtect: true },
  'a device without ATS': { features: { ats: false, pri: false } },
  'a device without page requests': { features: { pri: false } },
  'a smaller PASID directory': { features: { pasidBits: 8 } },
};

describe('tables that ioasis fills, and those of a program on top of them', () => {
  test.each(Object.entries(scenarios))('%s: the same bytes by each door', (_, change) => {
    const [first, ...others] = doors.map((door) => tablesOf(door({ ...BASE, ...change })));
    for (const other of others) expect(other).toEqual(first);
    expect(first!.map(({ what }) => what)).toContain('second stage level 1');
  });

  test('each attribute changes the bytes', () => {
    const hashes = Object.values(scenarios).map((change) =>
      hashOf(tablesOf(byContainer({ ...BASE, ...change }))),
    );
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test.each([5, 0])('what was bound to PASID %i and no more leaves the same by each door', (pasid) => {
    const hashes = doors.map((door) => hashOf(tablesOf(door({ ...BASE, pasid, isUnbound: true }))));
    expect(new Set(hashes).size).toBe(1);
    expect(hashes[0]).not.toBe(hashOf(tablesOf(byContainer({ ...BASE, pasid }))));
  });
});

describe("tables that are a process's, a machine's or a program's own", () => {
  const kinds = {
    sva: {
      byIoasid: (s: IoasidScene) => s.sva(),
      byIommu: (s: IommuScene) => s.hwpt(0, {}, o.IOASIS_HWPT_DATA_SVA, words(-1, 0)),
    },
    kvm: {
      byIoasid: (s: IoasidScene) => s.kvm(s.vm()),
      byIommu: (s: IommuScene) => s.hwpt(0, {}, o.IOASIS_HWPT_DATA_KVM, words(s.vm(), 0)),
    },
    user: {
      byIoasid: (s: IoasidScene) => s.user(0x7000_0000n),
      byIommu: (s: IommuScene) => {
        const stage = stageOf({ ...BASE, root: 0x7000_0000n });
        const [format, data_len] = [u.IOMMU_HWPT_DATA_VTD_S1, stage.length];
        const own = encode(o.ioasis_hwpt_user_page_table, {
          format,
          data_len,
          data_uptr: s.memory.store(stage),
        });
        return s.hwpt(0, {}, o.IOASIS_HWPT_DATA_USER_PAGE_TABLE, own);
      },
    },
  };

  test.each(Object.entries(kinds))('%s: the same bytes through /dev/ioasid and /dev/iommu', (_, make) => {
    for (const pasid of [5, 0]) {
      const a = new IoasidScene({ devices: { [DEVICE]: {} } });
      a.authorize(a.device(0), make.byIoasid(a), pasid === 0 ? undefined : pasid);
      const b = new IommuScene({ devices: { [DEVICE]: {} } });
      b.attach(make.byIommu(b), pasid);
      expect(tablesOf(a.machine)).toEqual(tablesOf(b.machine));
      expect(tablesOf(a.machine).map(({ what }) => what)).toContain('PASID table');
    }
  });
});
