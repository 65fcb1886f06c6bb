/** Machines that a topology describes: what each profile is, and that everything in them goes by their tables. */
import { describe, expect, test } from 'vitest';
import { CAP, ECAP, registerField } from '../../src/hw/vtd/registers.js';
import {
  TopologyError,
  createMachine,
  findRules,
  uapi,
  type AddressSpaceProvider,
  type MachineEvent,
  type ProvidedFault,
} from '../../src/index.js';
import { debugFile } from '../../src/machine/inspect/files.js';
import { planMachine } from '../../src/machine/plan.js';
import { profiles } from '../../src/topology/profiles.js';
import { parseTopology } from '../../src/topology/read.js';
import { eventText } from '../../src/inspect/event-text.js';
import { invalidateAll, scene } from './vtd-machine.js';

const topologyOf = (name: string): ReturnType<typeof parseTopology> =>
  parseTopology(profiles().find((profile) => profile.name === name)!.text, name);

/** Capability registers, as IOMMU_GET_HW_INFO gives them to programs. */
function hwInfo(
  name: string,
  deviceName = '0000:00:01.0',
): { cap: bigint; ecap: bigint; capabilities: bigint; pasidLog2: number } {
  const { machine, iommufd, bind } = scene({ topology: topologyOf(name) });
  const room = machine.memory.alloc(4096);
  const info = iommufd.call(uapi.IOMMU_GET_HW_INFO, {
    dev_id: bind(deviceName).id,
    data_len: uapi.iommu_hw_info_vtd.size,
    data_uptr: room,
  });
  expect(info.out_data_type).toBe(uapi.IOMMU_HW_INFO_TYPE_INTEL_VTD);
  const { cap_reg, ecap_reg } = uapi.iommu_hw_info_vtd.decode(
    machine.memory.load(room, uapi.iommu_hw_info_vtd.size),
  );
  return {
    cap: cap_reg,
    ecap: ecap_reg,
    capabilities: info.out_capabilities,
    pasidLog2: info.out_max_pasid_log2,
  };
}

const has = (value: bigint, field: readonly [number, number]): boolean => registerField(value, field) !== 0;

/** Those whose devices do as they are told without a driver; the others have tests in test/dev. */
const ofTestDevices = profiles()
  .map(({ name }) => name)
  .filter((name) => planMachine(topologyOf(name)).devices.every(({ model }) => model === 'dma-test'));

describe('profiles', () => {
  test.each(ofTestDevices)('%s starts, moves data, and leaves nothing', (name) => {
    const { machine, iommufd, bind, ioas } = scene({ topology: topologyOf(name) });
    for (const deviceName of machine.engine.built.devices.keys()) {
      if (name === 'no-coherency' && deviceName === '0000:00:01.0') continue;
      const device = bind(deviceName);
      const { id, va } = ioas(0x1000_0000n, 2);
      machine.memory.write(va, new TextEncoder().encode('hello'));
      if (name !== 'shared-group') device.attach(id);
      else if (deviceName !== '0000:00:01.1' && deviceName !== '0000:00:02.0') device.attach(id);
      else continue;
      const job = machine.device(deviceName).dma.submit({ kind: 'read', iova: 0x1000_0000n, length: 5 });
      expect(job.state).toBe('done');
      expect(new TextDecoder().decode(job.data!)).toBe('hello');
    }
    machine.client.exit();
    void iommufd;
    // Devices bound without a file of their own stay attached until they are unbound.
    expect(machine.leaks().operations).toBe(0);
  });

  test('vtd can everything', () => {
    const { cap, ecap, capabilities, pasidLog2 } = hwInfo('vtd');
    expect(registerField(cap, CAP.MGAW)).toBe(47);
    expect(registerField(cap, CAP.SAGAW)).toBe(0b0110);
    expect(registerField(cap, CAP.SSLPS)).toBe(0b11);
    for (const field of [ECAP.NEST, ECAP.PASID, ECAP.PRS, ECAP.DT, ECAP.SSADS, ECAP.SMTS])
      expect(has(ecap, field)).toBe(true);
    expect(pasidLog2).toBe(20);
    expect(capabilities).toBe(BigInt(uapi.IOMMU_HW_CAP_DIRTY_TRACKING));
  });

  test.each([
    ['vtd-39bit', 38, 0b0010, false],
    ['vtd-57bit', 56, 0b1110, true],
  ] as const)('%s has that width', (name, mgaw, sagaw, fiveLevel) => {
    const { cap } = hwInfo(name);
    expect(registerField(cap, CAP.MGAW)).toBe(mgaw);
    expect(registerField(cap, CAP.SAGAW)).toBe(sagaw);
    expect(has(cap, CAP.FS5LP)).toBe(fiveLevel);
  });

  test('vtd-legacy-like has no PASIDs, no nesting, no page requests', () => {
    const { cap, ecap, capabilities, pasidLog2 } = hwInfo('vtd-legacy-like');
    for (const field of [ECAP.NEST, ECAP.PASID, ECAP.PRS, ECAP.DT, ECAP.SSADS])
      expect(has(ecap, field)).toBe(false);
    expect(registerField(cap, CAP.SSLPS)).toBe(0b01);
    expect(pasidLog2).toBe(0);
    expect(capabilities).toBe(BigInt(uapi.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED));
  });

  test('no-dirty-tracking refuses a table that tracks', () => {
    const { iommufd, bind, ioas } = scene({ topology: topologyOf('no-dirty-tracking') });
    expect(has(hwInfo('no-dirty-tracking').ecap, ECAP.SSADS)).toBe(false);
    const values = {
      flags: uapi.IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
      dev_id: bind('0000:00:01.0').id,
      pt_id: ioas(0n, 1).id,
    };
    expect(() => iommufd.call(uapi.IOMMU_HWPT_ALLOC, values)).toThrow(/hwpt_dirty_device/);
  });

  test('no-ats says so', () => {
    const { ecap, capabilities } = hwInfo('no-ats');
    expect(has(ecap, ECAP.DT) || has(ecap, ECAP.PRS)).toBe(false);
    expect(capabilities & BigInt(uapi.IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED)).not.toBe(0n);
  });

  test('no-coherency refuses to bind the device, and only that', () => {
    const { bind } = scene({ topology: topologyOf('no-coherency') });
    expect(() => bind('0000:00:01.0')).toThrow(/bind_not_coherent/);
    expect(bind('0000:00:02.0').id).toBeGreaterThan(0);
  });

  test('shared-group has three devices in one group, which get one page table', () => {
    const { machine, bind, ioas } = scene({ topology: topologyOf('shared-group') });
    const groups = [...machine.engine.built.devices.values()].map(({ iommu }) => iommu.group);
    expect(new Set(groups.slice(0, 3)).size).toBe(1);
    expect(groups[3]).not.toBe(groups[0]);
    expect(groups.map(({ id }) => id)).toEqual([0, 0, 0, 1]);
    const paths = machine.engine.devices.map(({ path }) => path);
    expect(paths.filter((path) => /^.dev.vfio.\w+$/.test(path))).toEqual([
      '/dev/vfio/vfio',
      '/dev/vfio/0',
      '/dev/vfio/1',
    ]);
    const [first, second] = [bind('0000:00:01.0'), bind('0000:00:02.0')];
    const one = ioas(0x1000n, 1);
    first.attach(one.id);
    expect(machine.device('0000:00:02.0').dma.submit({ kind: 'read', iova: 0x1000n, length: 1 }).state).toBe(
      'done',
    );
    expect(() => second.attach(ioas(0x1000n, 1).id)).toThrow(/attach_group_hwpt/);
  });

  test('reserved-windows keeps every window free', () => {
    const { iommufd, machine, bind } = scene({ topology: topologyOf('reserved-windows') });
    const { out_ioas_id: ioas_id } = iommufd.call(uapi.IOMMU_IOAS_ALLOC);
    bind('0000:00:01.0').attach(ioas_id);
    const room = machine.memory.alloc(4096);
    const { num_iovas } = iommufd.call(uapi.IOMMU_IOAS_IOVA_RANGES, {
      ioas_id,
      num_iovas: 64,
      allowed_iovas: room,
    });
    const ranges = Array.from({ length: num_iovas }, (_, index) =>
      uapi.iommu_iova_range.decode(machine.memory.load(room + BigInt(index * 16), 16)),
    );
    expect(ranges.map(({ start, last }) => [start, last])).toEqual([
      [0n, 0x9ffffn],
      [0xc0000n, 0x7ffffffn],
      [0x8100000n, 0x7bffffffn],
      // direct-relaxable is no obstacle, and first-stage tables have the lower half of 48 bits.
      [0x80000000n, 0xfedfffffn],
      [0xfef00000n, 0x7fff_ffff_ffffn],
    ]);
  });

  test('platform has a bus that is not PCI, with the same faults', () => {
    const { machine } = scene({ topology: topologyOf('platform') });
    for (const name of ['0000:00:01.0', 'dma0']) {
      const job = machine.device(name).dma.submit({ kind: 'read', iova: 0x5000n, length: 1 });
      expect(job).toMatchObject({ state: 'faulted', unitReason: 0x51 });
    }
    const lines = machine.events.recent.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
    expect(lines.filter((line) => line.includes('fault reason 0x51'))).toHaveLength(2);
  });
});

describe('a field of a register', () => {
  test('is what the topology says, whatever the names say', () => {
    const machine = createMachine({
      topology: { units: { u: { registers: { CAP: { MAMV: 9, ND: 2 }, ECAP: { PT: 0 } } } } },
    });
    const { hardware } = machine.engine.built.units[0]!;
    expect(registerField(hardware.read64(0x08), CAP.MAMV)).toBe(9);
    expect(registerField(hardware.read64(0x08), CAP.ND)).toBe(2);
    expect(has(hardware.read64(0x10), ECAP.PT)).toBe(false);
  });

  test('a topology that contradicts itself is refused with the way to it', () => {
    const topology = { units: { u: { pri: true, ats: false } } };
    expect(() => createMachine({ topology })).toThrow(TopologyError);
    expect(() => createMachine({ topology })).toThrow('units.u.pri: page requests need ats: true');
  });

  test('the selftest of a topology is that of --selftest', () => {
    const machine = createMachine({ topology: { units: { mock: { type: 'selftest' } } } });
    expect(machine.engine.built.units).toEqual([]);
    expect(() => machine.device('0000:00:01.0')).toThrow(/machine_device/);
    expect(findRules('machine_device')).toHaveLength(1);
  });
});

describe('what the driver writes is nothing that a unit holds against it', () => {
  const none = { ats: false, pri: false };
  test.each([
    ['first stage only', { secondStage: false, nesting: false, dirtyTracking: false }],
    ['second stage only', { firstStage: false, nesting: false }],
    ['walks that are not coherent', { coherentWalks: false, dirtyTracking: false }],
    ['no snoop control', { snoopControl: false }],
    ['no PASIDs', { pasidBits: 0, ...none }],
    ['no ATS', none],
    ['eight bits of a domain id', { domainIdBits: 8 }],
    ['39 bits', { addressWidth: 39, firstStage: false, nesting: false }],
  ] as const)('%s', (_, features) => {
    const iova = 0x4000_0000n;
    const { machine, bind, ioas } = scene({ topology: { units: { vtd0: features } } });
    const { id, va } = ioas(iova, 1);
    bind('0000:00:01.0').attach(id);
    machine.memory.write(va, Uint8Array.of(42));
    const job = machine.device('0000:00:01.0').dma.submit({ kind: 'read', iova, length: 1 });
    expect([job.state, job.unitReason, job.data]).toEqual(['done', 0, Uint8Array.of(42)]);
    expect(machine.walk('0000:00:01.0', iova).result).toMatchObject({ kind: 'page' });
  });
});

/** Bytes of an entry. */
const sizes: Readonly<Record<string, number>> = { 'root table': 16, 'context table': 32, 'PASID table': 64 };

describe('the tables decide', () => {
  const iova = 0x4000_0000n;

  test('any bit of an entry that is flipped changes what the next DMA finds, as the walk says', () => {
    const topology = { units: { vtd0: { registers: { ECAP: { RPRIVS: 1 } } } } };
    const { machine, bind, ioas } = scene({ topology });
    const device = bind('0000:00:01.0');
    const { id, va } = ioas(iova, 1);
    device.attach(id);
    const { dma } = machine.device('0000:00:01.0');
    machine.memory.write(va, new Uint8Array([42]));
    const before = machine.walk('0000:00:01.0', iova);
    expect(before.result).toMatchObject({ kind: 'page', permits: 'read, write' });
    expect(before.steps.map(({ table }) => table)).toEqual([
      'root table',
      'context table',
      'PASID directory',
      'PASID table',
      ...[4, 3, 2, 1].map((level) => `first stage level ${level}`),
    ]);
    const page = (before.result as { hpa: string }).hpa;
    const reasons = new Set<number>();
    for (const step of before.steps) {
      const bytes = sizes[step.table] ?? 8;
      for (let bit = 0; bit < step.entry.length * 64; bit++) {
        const at = BigInt(step.at) + BigInt(step.index * bytes + (bit >> 6) * 8);
        const word = machine.physical.read(at, 8)!;
        const flipped = Uint8Array.from(word);
        flipped[(bit & 63) >> 3]! ^= 1 << (bit & 7);
        machine.physical.write(at, flipped);
        invalidateAll(machine);
        const { result } = machine.walk('0000:00:01.0', iova);
        const job = dma.submit({ kind: 'read', iova, length: 1 });
        const said = `${step.table} bit ${bit}: ${JSON.stringify(result)}, reason ${job.unitReason.toString(16)}`;
        // What leads to another page may find no memory there, which is no fault of a translation.
        if (result.kind === 'fault')
          expect(job, said).toMatchObject({ state: 'faulted', unitReason: result.reason });
        else expect(job.state, said).not.toBe('faulted');
        if (result.kind === 'fault') reasons.add(result.reason);
        else if (result.hpa === page) expect(job.data![0], said).toBe(42);
        machine.physical.write(at, word);
      }
    }
    expect(reasons.size).toBeGreaterThanOrEqual(20);
  });

  test('so does a nested table in the memory of a program, through both stages', () => {
    const { machine, iommufd, bind, ioas } = scene({ topology: {}, checkStale: true });
    const device = bind('0000:00:01.0');
    // Guest-physical 0x10000: tables of four levels, a page each, then data.
    const { id, va } = ioas(0x10000n, 5);
    const word = (page: number, index: number, entry: bigint): void => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, entry, true);
      machine.memory.write(va + BigInt(page * 4096 + index * 8), bytes);
    };
    const indices = [39n, 30n, 21n, 12n].map((shift) => Number((iova >> shift) & 511n));
    for (const [level, index] of indices.entries())
      word(level, index, 0x10000n + BigInt(level + 1) * 4096n + 7n);
    machine.memory.write(va + 4n * 4096n, new Uint8Array([42]));
    const parent = iommufd.call(uapi.IOMMU_HWPT_ALLOC, {
      flags: uapi.IOMMU_HWPT_ALLOC_NEST_PARENT,
      dev_id: device.id,
      pt_id: id,
    });
    const data = new Uint8Array(uapi.iommu_hwpt_vtd_s1.size);
    uapi.iommu_hwpt_vtd_s1.encode({ flags: 0n, pgtbl_addr: 0x10000n, addr_width: 48, __reserved: 0 }, data);
    const nested = iommufd.call(uapi.IOMMU_HWPT_ALLOC, {
      dev_id: device.id,
      pt_id: parent.out_hwpt_id,
      data_type: uapi.IOMMU_HWPT_DATA_VTD_S1,
      data_len: data.length,
      data_uptr: machine.memory.store(data),
    });
    device.attach(nested.out_hwpt_id);
    const { dma } = machine.device('0000:00:01.0');
    const before = machine.walk('0000:00:01.0', iova);
    expect(before.result).toMatchObject({ kind: 'page', permits: 'read, write' });
    const own = before.steps.filter(({ depth, table }) => depth === 0 && table.startsWith('first stage'));
    expect(own).toHaveLength(4);
    // Four tables and the page, each through four levels.
    expect(before.steps.filter(({ depth }) => depth === 1)).toHaveLength(20);
    const reasons = new Set<number>();
    for (const step of before.steps.filter(({ table }) => table.includes('stage level'))) {
      const at = BigInt(step.at) + BigInt(step.index * 8);
      for (let bit = 0; bit < 64; bit++) {
        const entry = machine.physical.read(at, 8)!;
        const flipped = Uint8Array.from(entry);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        machine.physical.write(at, flipped);
        invalidateAll(machine);
        const { result } = machine.walk('0000:00:01.0', iova);
        const job = dma.submit({ kind: 'read', iova, length: 1 });
        const said = `${step.table} bit ${bit}: ${JSON.stringify(result)}, reason ${job.unitReason.toString(16)}`;
        if (result.kind === 'fault') {
          expect(job, said).toMatchObject({ state: 'faulted', unitReason: result.reason });
          reasons.add(result.reason);
        } else if (result.permits.includes('read')) expect(job.state, said).not.toBe('faulted');
        machine.physical.write(at, entry);
      }
    }
    expect(reasons.size).toBeGreaterThanOrEqual(7);
  });

  test('with the root table zeroed every DMA faults', () => {
    const { machine, bind, ioas } = scene({ topology: topologyOf('vtd') });
    bind('0000:00:01.0').attach(ioas(iova, 1).id);
    const root = BigInt(machine.walk('0000:00:01.0', iova).steps[0]!.at);
    expect(machine.physical.write(root, new Uint8Array(4096))).toBe(true);
    invalidateAll(machine);
    for (const name of ['0000:00:01.0', '0000:00:02.0']) {
      expect(machine.device(name).dma.submit({ kind: 'read', iova, length: 1 })).toMatchObject({
        unitReason: 0x39,
      });
      expect(machine.walk(name, iova).result).toMatchObject({ kind: 'fault', reason: 0x39 });
    }
  });

  test('looking for what is stale in a device leaves no trace in its unit', () => {
    const { machine, bind, ioas } = scene({ topology: {}, checkStale: true });
    bind('0000:00:01.0').attach(ioas(iova, 2).id);
    const { dma } = machine.device('0000:00:01.0');
    const read = { kind: 'read', iova, length: 1, ats: true } as const;
    expect(dma.submit(read).state).toBe('done');
    const leaf = machine.walk('0000:00:01.0', iova).steps.at(-1)!;
    const at = BigInt(leaf.at) + BigInt(leaf.index * 8);
    invalidateAll(machine);
    // Neither the entry of a page that nobody has asked for may be cached, nor a bit set in it.
    const entry = machine.physical.read(at, 8)!;
    entry[0]! &= ~0x20;
    machine.physical.write(at, entry);
    expect(dma.submit(read).state).toBe('done');
    expect(machine.physical.read(at, 8)).toEqual(entry);
    expect(machine.dump().units[0]!.caches.iotlb).toEqual([]);
    // Not present: a fault, if anybody asked.
    entry[0]! &= ~1;
    machine.physical.write(at, entry);
    expect(dma.submit(read).state).toBe('done');
    expect(machine.events.recent).toMatchObject([
      { kind: 'stale-hit', current: null, missing: 'device-TLB invalidation' },
    ]);
  });

  test('an entry that changed without an invalidation is served, and said to be stale', () => {
    const { machine, bind, ioas } = scene({ topology: {} });
    bind('0000:00:01.0').attach(ioas(iova, 1).id);
    const { dma } = machine.device('0000:00:01.0');
    expect(dma.submit({ kind: 'read', iova, length: 1 }).state).toBe('done');
    const leaf = machine.walk('0000:00:01.0', iova).steps.at(-1)!;
    const events: MachineEvent[] = [];
    machine.events.listen((event) => events.push(event));
    machine.physical.write(BigInt(leaf.at) + BigInt(leaf.index * 8), new Uint8Array(8));
    expect(dma.submit({ kind: 'read', iova, length: 1 }).state).toBe('done');
    expect(events).toMatchObject([
      { kind: 'stale-hit', unit: 'vtd0', device: '0000:00:01.0', pasid: -1, iova, current: null },
    ]);
    const line = eventText({ event: events[0]!, time: 0 });
    expect(line).toMatch(
      /^\[stale\] 0000:00:01\.0 at 0x40000000: vtd0 still uses 0x[0-9a-f]+, the table says nothing is there; missing: .+/,
    );
  });
});

test('a flood of faults leaves a log of bounded length, which says what it has lost', () => {
  const { machine } = scene({ topology: {} });
  const { dma } = machine.device('0000:00:01.0');
  const log = (): string[] => debugFile(machine.engine, 'dmesg')!.trimEnd().split('\n');
  dma.submit({ kind: 'read', iova: 0x5000n, length: 1 });
  const [first] = log();
  expect(first).toMatch(/^DMAR: /);
  for (let fault = 0; fault < 3000; fault += 1) dma.submit({ kind: 'read', iova: 0x5000n, length: 1 });
  const lines = log();
  expect(lines[0]).toBe(`${machine.events.count - 4096} older events are lost`);
  expect(machine.events.count).toBe(6002);
  expect(lines).toHaveLength(4097);
});

/** An address space of one page, which is there once somebody says so. */
class OnePage implements AddressSpaceProvider {
  readonly name = 'one page';
  onInvalidate: ((start: bigint, last: bigint) => void) | null = null;
  hpa: bigint | null = null;

  translate(
    hi: number,
    lo: number,
    _access: number,
    page: Parameters<AddressSpaceProvider['translate']>[3],
  ): boolean {
    if (this.hpa === null || hi !== 0 || lo >>> 12 !== 7) return false;
    page.hpaHi = Number(this.hpa >> 32n);
    page.hpaLo = Number(BigInt.asIntN(32, this.hpa));
    page.sizeLg2 = 12;
    page.permitted = 3;
    return true;
  }
}

/** A page of client memory that has HPA, because somebody else has mapped it. */
function world(): { made: ReturnType<typeof scene>; hpa: bigint; va: bigint } {
  const made = scene({ topology: topologyOf('vtd') });
  const { id, va } = made.ioas(0n, 1);
  made.bind('0000:00:02.0').attach(id);
  const { result } = made.machine.walk('0000:00:02.0', 0n);
  return { made, va, hpa: BigInt((result as { hpa: string }).hpa) };
}

describe('an address space from outside', () => {
  test('answers a page request, and the device retries', () => {
    const { made, hpa, va } = world();
    const { machine } = made;
    const provider = new OnePage();
    const faults: ProvidedFault[] = [];
    const space = machine.provide('0000:00:01.0', provider, { onFault: (fault) => faults.push(fault) });
    const { dma } = machine.device('0000:00:01.0');
    const data = new Uint8Array([1, 2, 3]);
    const job = dma.submit({ kind: 'write', iova: 0x7000n, length: 3, data, ats: true, pri: true });
    expect(job.state).toBe('pending');
    expect(faults).toMatchObject([{ device: '0000:00:01.0', pasid: null, requests: [{ addr: 0x7000n }] }]);
    expect(machine.leaks()).toMatchObject({ operations: 1, providers: 1, attachments: 2 });
    provider.hpa = hpa;
    faults[0]!.respond('success');
    expect(job.state).toBe('done');
    expect(machine.memory.load(va, 3)).toEqual(data);
    expect(machine.walk('0000:00:01.0', 0x7000n).result).toMatchObject({
      kind: 'page',
      hpa: `0x${hpa.toString(16)}`,
    });
    provider.onInvalidate!(0x7000n, 0x7fffn);
    provider.hpa = null;
    expect(dma.submit({ kind: 'read', iova: 0x7000n, length: 1 }).state).toBe('faulted');
    space.detach();
    expect(machine.leaks()).toMatchObject({ operations: 0, providers: 0, attachments: 1 });
  });

  test.each([13, 16, 18, 21])(
    'in blocks of 2^%i bytes: what is invalidated in the middle of one is asked for again',
    (lg2) => {
      const made = scene({ topology: topologyOf('vtd') });
      const { machine } = made;
      made.bind('0000:00:02.0').attach(made.ioas(0n, 32).id);
      const { result } = machine.walk('0000:00:02.0', 0n);
      const hpa = BigInt((result as { hpa: string }).hpa);
      // Two pages in one block, whichever size, at an address that agrees with where they are.
      const start = (hpa + 0xffffn) & -0x10000n & 0x3fffffffn;
      const next = Number(start >> 12n) + 1;
      let moved = false;
      const provider: AddressSpaceProvider = {
        name: 'blocks',
        onInvalidate: null,
        translate(_hi, lo, _access, page) {
          page.hpaHi = Number(hpa >> 32n);
          page.hpaLo = Number(BigInt.asIntN(32, hpa & -0x40000000n)) | lo;
          page.sizeLg2 = moved ? 12 : lg2;
          page.permitted = 3;
          return !moved || lo >>> 12 !== next;
        },
      };
      machine.provide('0000:00:01.0', provider);
      const { dma } = machine.device('0000:00:01.0');
      const read = (iova: bigint, length: number): string => dma.submit({ kind: 'read', iova, length }).state;
      expect([read(start, 1), read(start + 0xff8n, 16)]).toEqual(['done', 'done']);
      moved = true;
      provider.onInvalidate!(start + 0x1000n, start + 0x1fffn);
      expect([read(start, 1), read(start + 0xff8n, 16)]).toEqual(['done', 'faulted']);
    },
  );

  test('of a PASID is that PASID alone; what is refused says why', () => {
    const { made, hpa } = world();
    const { machine } = made;
    const provider = new OnePage();
    provider.hpa = hpa;
    const space = machine.provide('0000:00:01.0', provider, { pasid: 5 });
    const { dma } = machine.device('0000:00:01.0');
    const read = (pasid?: number): string =>
      dma.submit({ kind: 'read', iova: 0x7000n, length: 1, ...(pasid === undefined ? {} : { pasid }) }).state;
    expect([read(5), read(6), read()]).toEqual(['done', 'faulted', 'faulted']);
    expect(machine.walk('0000:00:01.0', 0x7000n, 5).result.kind).toBe('page');
    expect(machine.walk('0000:00:01.0', 0x7000n, 6).result.kind).toBe('fault');
    expect(() => machine.provide('0000:00:01.0', new OnePage(), { pasid: 0 })).toThrow(/provide_pasid/);
    expect(() => machine.provide('0000:00:01.0', new OnePage())).toThrow(/group_other_owner/);
    space.detach();
    expect(read(5)).toBe('faulted');
  });

  test('that goes away answers what it still owes', () => {
    const { machine } = world().made;
    const space = machine.provide('0000:00:01.0', new OnePage(), { onFault: () => {} });
    const { dma } = machine.device('0000:00:01.0');
    const job = dma.submit({ kind: 'read', iova: 0x7000n, length: 1, ats: true, pri: true });
    expect(job.state).toBe('pending');
    space.detach();
    expect(job).toMatchObject({ state: 'failed', reason: 'page-invalid' });
  });
});
