/**
 * From what people wrote to what is built: every default filled in, every name resolved, every contradiction found.
 * Light, because it says which device files there are before an engine is loaded.
 */
import { CXL_GRANULE } from '../bus/cxl.js';
import { vtdDefaults, type VtdFeatures } from '../hw/vtd/features.js';
import type { ResvRegion } from '../hw/unit.js';
import { registerProblems } from './plan-registers.js';
import type {
  BusDescription,
  DeviceDescription,
  DeviceModelName,
  NamespaceDescription,
  ReservedDescription,
  Topology,
  UnitDescription,
} from './topology.js';

export interface UnitPlan {
  readonly name: string;
  readonly features: VtdFeatures;
}

export interface BusPlan {
  readonly name: string;
  readonly type: 'pci' | 'platform';
  readonly segment: number;
  readonly unit: UnitPlan;
}

export interface DevicePlan {
  readonly name: string;
  readonly bus: BusPlan;
  readonly sourceId: number;
  /** Null: alone. */
  readonly group: string | null;
  /** Of its IOMMU group: `/dev/vfio/N` and `/sys/kernel/iommu_groups/N`. In the order of the groups' first devices. */
  readonly groupNumber: number;
  readonly pasidBits: number;
  readonly ats: boolean;
  readonly pri: boolean;
  readonly coherent: boolean;
  readonly virtualFunction: boolean;
  readonly reserved: readonly ResvRegion[];
  readonly model: DeviceModelName;
  readonly namespaces: readonly NamespacePlan[];
  /** Bytes; null: it is no CXL device. */
  readonly cxlMemory: number | null;
  /** Virtual functions that it can have: their requester ids are free. */
  readonly virtualFunctions: VirtualFunctionsPlan | null;
}

/** Storage: `size` null is that of the file. */
export interface NamespacePlan {
  readonly size: number | null;
  readonly file: string | null;
}

export interface VirtualFunctionsPlan {
  readonly total: number;
  /** From the requester id of the physical function to that of the first. */
  readonly offset: number;
}

export interface MachinePlan {
  readonly selftest: boolean;
  readonly vfioNesting: boolean;
  readonly units: readonly UnitPlan[];
  readonly buses: readonly BusPlan[];
  readonly devices: readonly DevicePlan[];
}

/** What is wrong, and where: the keys that lead there. */
export interface Problem {
  readonly path: readonly (string | number)[];
  readonly text: string;
  /** The key itself is wrong, not its value. */
  readonly atKey?: boolean;
}

/** Thrown for a topology that cannot be built. */
export class TopologyError extends Error {
  override readonly name = 'TopologyError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(({ path, text }) => `${path.join('.') || 'topology'}: ${text}`).join('\n'));
    this.problems = problems;
  }
}

/** The machine of an empty document. */
const DEFAULT_DEVICE = '0000:00:01.0';
const DEFAULT_UNIT = 'vtd0';
const PCI_ADDRESS = /^([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/;
/** What people write who mean one: without its segment, or with a number that is too large. */
const ALMOST_PCI = /^([0-9a-f]{1,8}:)?[0-9a-f]{1,4}:[0-9a-f]{1,2}\.[0-9a-f]{1,2}$/i;
/** What devices of a kind that exists have in silicon. */
const noServices = { ats: false, pri: false, pasidBits: 0 } as const;
const MAX_SOURCE_ID = 0xffff;
const BLOCK = 512;
const DEFAULT_NAMESPACE = '64M';
/** Virtual functions begin at another device number than their physical one. */
const VIRTUAL_AWAY = 8;
const U64_MAX = (1n << 64n) - 1n;

/** The plan, or a {@link TopologyError} with everything that is wrong. */
export function planMachine(topology: Topology): MachinePlan {
  const { plan, problems } = tryPlan(topology);
  if (problems.length > 0) throw new TopologyError(problems);
  return plan;
}

/** The plan, as far as it goes, and what is wrong with it. */
export function tryPlan(topology: Topology): { plan: MachinePlan; problems: readonly Problem[] } {
  const planner = new Planner();
  return { plan: planner.plan(topology), problems: planner.problems };
}

/** The unit sees requester ids only: of two PCI segments or buses one would be taken for the other. */
const sourceKey = (unit: UnitPlan, id: number): string => `${unit.name} ${id}`;

class Planner {
  readonly problems: Problem[] = [];
  readonly #units = new Map<string, UnitPlan>();
  readonly #buses = new Map<string, BusPlan>();
  /** Who has a requester id, by {@link sourceKey}. */
  readonly #sources = new Map<string, string>();
  /** Where the search for a free one goes on. */
  readonly #freeSources = new Map<UnitPlan, number>();
  readonly #groups = new Map<string, DevicePlan>();
  #groupNumbers = 0;
  #selftest = false;

  plan({ vfioNesting = false, units, buses, devices }: Topology): MachinePlan {
    for (const [name, unit] of Object.entries(units ?? {})) this.#unit(name, unit);
    const onlySelftest = this.#selftest && this.#units.size === 0;
    const wantsUnit = !onlySelftest || buses !== undefined || devices !== undefined;
    if (this.#units.size === 0 && wantsUnit) this.#unit(DEFAULT_UNIT, {});
    for (const [name, bus] of Object.entries(buses ?? {})) this.#bus(name, bus);
    const defaults = wantsUnit && this.#units.size === 1 ? { [DEFAULT_DEVICE]: {} } : {};
    const described: Readonly<Record<string, DeviceDescription>> = devices ?? defaults;
    const plans = Object.entries(described)
      .flatMap(([name, device]) => this.#device(name, device) ?? [])
      .map((plan) => this.#withVirtualFunctions(plan, described[plan.name]?.virtualFunctions ?? 0));
    return {
      selftest: this.#selftest,
      vfioNesting,
      units: [...this.#units.values()],
      buses: [...this.#buses.values()],
      devices: plans,
    };
  }

  #problem(path: Problem['path'], text: string, atKey = false): void {
    this.problems.push({ path, text, atKey });
  }

  #unit(name: string, unit: UnitDescription): void {
    if (unit.type === 'selftest') {
      if (this.#selftest)
        this.#problem(['units', name], 'expected one selftest at most, and this is another', true);
      this.#selftest = true;
      return;
    }
    const { type: _, ...given } = unit;
    const features = dropUndefined({ ...vtdDefaults, ...given });
    const plan = { name, features: withoutImpossible(features, given) };
    this.#checkUnit(plan);
    this.#units.set(name, plan);
  }

  #checkUnit({ name, features: can }: UnitPlan): void {
    const need = (key: keyof VtdFeatures, fine: boolean, text: string): void => {
      if (!fine) this.#problem(['units', name, key], text);
    };
    need(
      'secondStage',
      can.firstStage || can.secondStage,
      'expected at least one of firstStage and secondStage',
    );
    need('firstStage', !can.firstStage || can.addressWidth !== 39, 'first-stage tables have 48 or 57 bits');
    need(
      'nesting',
      !can.nesting || (can.firstStage && can.secondStage),
      'nesting needs firstStage and secondStage',
    );
    need('pri', !can.pri || can.ats, 'page requests need ats: true');
    need('dirtyTracking', !can.dirtyTracking || can.secondStage, 'dirtyTracking needs secondStage');
    need('domainIdBits', can.domainIdBits % 2 === 0, 'expected an even number, as CAP_REG.ND can say');
    // What the names say is wrong makes wrong registers.
    if (this.problems.length > 0) return;
    for (const { field, text } of registerProblems(can))
      this.#problem(['units', name, 'registers', ...field], text);
  }

  #bus(name: string, { type, unit, segment = 0 }: BusDescription): void {
    const path = ['buses', name];
    const front = this.#pickUnit([...path, 'unit'], unit, path);
    if (front === null) return;
    const twin = [...this.#buses.values()].find(
      (bus) => type === 'pci' && bus.type === 'pci' && bus.segment === segment,
    );
    if (twin !== undefined) {
      return this.#problem(
        [...path, 'segment'],
        `expected another segment: ${twin.name} has segment ${segment}`,
      );
    }
    this.#buses.set(name, { name, type, segment, unit: front });
  }

  /** The unit that is named, or the only one. */
  #pickUnit(path: Problem['path'], name: string | undefined, owner: Problem['path']): UnitPlan | null {
    const names = [...this.#units.keys()];
    if (name !== undefined) {
      const found = this.#units.get(name);
      if (found !== undefined) return found;
      this.#problem(path, `expected the name of a unit: ${names.join(', ')}`);
      return null;
    }
    const [only] = this.#units.values();
    if (only !== undefined && names.length === 1) return only;
    this.#problem(owner, `expected unit: one of ${names.join(', ')}`, true);
    return null;
  }

  #device(name: string, device: DeviceDescription): DevicePlan | null {
    const path = ['devices', name];
    const address = PCI_ADDRESS.exec(name);
    if (address === null && device.bus === undefined && ALMOST_PCI.test(name)) {
      this.#problem(
        path,
        'expected an address from 0000:00:00.0 to ffff:ff:1f.7, or bus: with its name',
        true,
      );
      return null;
    }
    const bus = this.#pickBus(path, device.bus, address);
    if (bus === null) return null;
    const sourceId = this.#sourceId(path, device, bus, address);
    if (sourceId === null) return null;
    const model = device.model ?? 'dma-test';
    this.#checkModel(path, device, model, bus);
    const {
      ats: unitAts,
      pri: unitPri,
      pasidBits: unitPasidBits,
    } = model === 'dma-test' ? bus.unit.features : noServices;
    const ats = device.ats ?? unitAts;
    const group = device.group ?? null;
    const plan: DevicePlan = {
      name,
      bus,
      sourceId,
      group,
      groupNumber: this.#groupNumber(group),
      pasidBits: device.pasidBits ?? unitPasidBits,
      ats,
      pri: device.pri ?? (ats && unitPri),
      coherent: device.coherent ?? true,
      virtualFunction: device.virtualFunction ?? false,
      reserved: this.#reserved(path, device.reserved ?? []),
      model,
      namespaces: this.#namespaces(path, model, device.namespaces),
      cxlMemory: device.cxlMemory === undefined ? null : bytesOf(device.cxlMemory),
      virtualFunctions: null,
    };
    if (plan.pri && !plan.ats)
      this.#problem([...path, 'pri'], 'a device that asks for pages needs ats: true');
    this.#checkGroup(path, plan);
    return plan;
  }

  #pickBus(path: Problem['path'], name: string | undefined, address: RegExpExecArray | null): BusPlan | null {
    if (name !== undefined) {
      const named = this.#buses.get(name);
      if (named !== undefined) return this.#checkBus(path, named, address);
      const names = [...this.#buses.keys()].join(', ') || 'there are none';
      this.#problem([...path, 'bus'], `expected the name of a bus: ${names}`);
      return null;
    }
    const segment = address === null ? 0 : parseInt(address[1]!, 16);
    const type = address === null ? 'platform' : 'pci';
    const fitting = [...this.#buses.values()].filter(
      (bus) => bus.type === type && (type === 'platform' || bus.segment === segment),
    );
    if (fitting.length > 1) {
      this.#problem(path, `expected bus: one of ${fitting.map((bus) => bus.name).join(', ')}`, true);
      return null;
    }
    if (fitting[0] !== undefined) return fitting[0];
    const unit = this.#pickUnit(path, undefined, path);
    if (unit === null) return null;
    const made = { name: type === 'pci' ? `pci${address![1]!}` : 'platform', type, segment, unit } as const;
    this.#buses.set(made.name, made);
    return made;
  }

  #checkBus(path: Problem['path'], bus: BusPlan, address: RegExpExecArray | null): BusPlan | null {
    if (bus.type === 'platform') return bus;
    if (address !== null && parseInt(address[1]!, 16) === bus.segment) return bus;
    const segment = bus.segment.toString(16).padStart(4, '0');
    this.#problem(path, `expected an address on ${bus.name}, such as ${segment}:00:01.0`, true);
    return null;
  }

  #sourceId(
    path: Problem['path'],
    device: DeviceDescription,
    bus: BusPlan,
    address: RegExpExecArray | null,
  ): number | null {
    const isPci = bus.type === 'pci' && address !== null;
    if (isPci && device.sourceId !== undefined) {
      this.#problem([...path, 'sourceId'], 'a PCI address says the requester id already');
      return null;
    }
    let id = device.sourceId ?? 1;
    if (isPci)
      id = parseInt(address[2]!, 16) * 256 + parseInt(address[3]!, 16) * 8 + parseInt(address[4]!, 16);
    else if (device.sourceId === undefined) id = this.#freeSource(bus.unit);
    const other = this.#sources.get(sourceKey(bus.unit, id));
    if (other !== undefined) {
      const text = `requester id 0x${id.toString(16)} belongs to ${other}, behind the same unit`;
      const atKey = device.sourceId === undefined;
      this.#problem(atKey ? path : [...path, 'sourceId'], text, atKey);
      return null;
    }
    this.#sources.set(sourceKey(bus.unit, id), path[1] as string);
    return id;
  }

  /** The lowest requester id that nobody behind `unit` has had. */
  #freeSource(unit: UnitPlan): number {
    let id = this.#freeSources.get(unit) ?? 1;
    while (this.#sources.has(sourceKey(unit, id)) && id < MAX_SOURCE_ID) id += 1;
    this.#freeSources.set(unit, id);
    return id;
  }

  #reserved(path: Problem['path'], ranges: readonly ReservedDescription[]): ResvRegion[] {
    return ranges.flatMap(({ type, start, last }, index) => {
      const range = { type, start: BigInt(start), last: BigInt(last) };
      const at = [...path, 'reserved', index];
      const fine = range.start >= 0n && range.last <= U64_MAX && range.start <= range.last;
      if (!fine) this.#problem([...at, 'last'], 'expected an address that is not below start, of 64 bits');
      return fine ? [range] : [];
    });
  }

  #checkModel(path: Problem['path'], device: DeviceDescription, model: DeviceModelName, bus: BusPlan): void {
    const wrong = (key: keyof DeviceDescription, text: string): void =>
      this.#problem([...path, key], text, true);
    if (device.namespaces !== undefined && model !== 'nvme')
      wrong('namespaces', 'only an nvme has namespaces');
    if (device.cxlMemory !== undefined) {
      const isPlace = model === 'dma-test' && bus.type === 'pci' && device.virtualFunction !== true;
      if (!isPlace) wrong('cxlMemory', 'only a dma-test on PCI that is no virtual function has memory');
      if (bytesOf(device.cxlMemory) % CXL_GRANULE !== 0) wrong('cxlMemory', 'expected a multiple of 256M');
    }
    if (device.virtualFunctions !== undefined && device.virtualFunction === true)
      wrong('virtualFunctions', 'a virtual function has none');
    if (device.virtualFunctions !== undefined && bus.type !== 'pci')
      wrong('virtualFunctions', 'only a function on PCI has virtual functions');
    if (model === 'dma-test') return;
    if (bus.type !== 'pci') this.#problem([...path, 'model'], `expected a PCI address for ${model}`);
    if (device.ats === true) wrong('ats', `${model} has no device-TLB`);
    if (device.pri === true) wrong('pri', `${model} does not ask for pages`);
    if ((device.pasidBits ?? 0) > 0) wrong('pasidBits', `${model} sends no PASIDs`);
  }

  #namespaces(
    path: Problem['path'],
    model: DeviceModelName,
    given: readonly NamespaceDescription[] | undefined,
  ): NamespacePlan[] {
    if (model !== 'nvme') return [];
    return (given ?? [{ size: DEFAULT_NAMESPACE }]).map(({ size, file }, index) => {
      const at = [...path, 'namespaces', index];
      if (size === undefined && file === undefined) this.#problem(at, 'expected size, or file', true);
      const bytes = size === undefined ? null : bytesOf(size);
      const isWhole = bytes === null || (bytes > 0 && bytes % BLOCK === 0);
      if (!isWhole) this.#problem([...at, 'size'], `expected a multiple of ${BLOCK} bytes`);
      return { size: bytes, file: file ?? null };
    });
  }

  /** Finds requester ids for them, on the bus of the function, that no device of the topology has. */
  #withVirtualFunctions(plan: DevicePlan, total: number): DevicePlan {
    if (total === 0 || plan.bus.type !== 'pci') return plan;
    const { sourceId, bus, name } = plan;
    const isFree = (first: number): boolean => {
      for (let id = first; id < first + total; id++) {
        if (this.#sources.has(sourceKey(bus.unit, id))) return false;
      }
      return true;
    };
    let first = (sourceId & ~7) + VIRTUAL_AWAY;
    const last = (sourceId | 0xff) - total + 1;
    while (first <= last && !isFree(first)) first += 8;
    if (first > last) {
      this.#problem(['devices', name, 'virtualFunctions'], `expected room for ${total} on the bus`);
      return plan;
    }
    for (let id = first; id < first + total; id++)
      this.#sources.set(sourceKey(bus.unit, id), `a virtual function of ${name}`);
    return { ...plan, virtualFunctions: { total, offset: first - sourceId } };
  }

  /** Functions that stand alone are isolated from each other: a group has several devices only if somebody says so. */
  #groupNumber(name: string | null): number {
    const first = name === null ? undefined : this.#groups.get(name);
    return first?.groupNumber ?? this.#groupNumbers++;
  }

  /** What a group shares: the unit, and as the requester id is one for all of them, nothing else. */
  #checkGroup(path: Problem['path'], device: DevicePlan): void {
    if (device.group === null) return;
    const first = this.#groups.get(device.group);
    if (first === undefined) this.#groups.set(device.group, device);
    else if (first.bus.unit !== device.bus.unit) {
      const text = `expected a group behind ${device.bus.unit.name}: ${first.name} in it is behind ${first.bus.unit.name}`;
      this.#problem([...path, 'group'], text);
    }
  }
}

/** What follows from something that is switched off is off too, unless somebody says otherwise. */
function withoutImpossible(can: VtdFeatures, given: Partial<VtdFeatures>): VtdFeatures {
  const firstStage = given.firstStage ?? can.addressWidth !== 39;
  return {
    ...can,
    firstStage,
    nesting: given.nesting ?? (firstStage && can.secondStage),
    dirtyTracking: given.dirtyTracking ?? can.secondStage,
    pri: given.pri ?? can.ats,
  };
}

/** A member that is there but undefined is one that was left out. */
function dropUndefined(can: VtdFeatures): VtdFeatures {
  const given = Object.entries(can).filter(([, value]) => value !== undefined);
  return { ...vtdDefaults, ...(Object.fromEntries(given) as Partial<VtdFeatures>) };
}

/** `64M` and its like. */
function bytesOf(size: number | string): number {
  if (typeof size === 'number') return size;
  return parseInt(size, 10) * 2 ** (10 * ' KMGT'.indexOf(size.slice(-1)));
}
