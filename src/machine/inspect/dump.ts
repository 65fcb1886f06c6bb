/** Everything of a machine at one moment: objects, devices, units with registers, tables and caches. */
import type { CachedSpace, CachedStep, CachedTranslation as IotlbEntry } from '../../hw/vtd/cached.js';
import * as st from '../../hw/vtd/structures.js';
import type { BuiltDevice, BuiltUnit } from '../build.js';
import type { Engine } from '../engine.js';
import { objectsOf, type ContextObjects } from './objects.js';
import { hex, type WalkReport } from './report.js';
import { VtdTables, registersOf, translationTypes, type ContextReport } from './vtd-tables.js';
import { VtdWalk } from './vtd-walk.js';

export interface DeviceReport {
  readonly name: string;
  readonly bus: string;
  readonly unit: string;
  readonly sourceId: string;
  readonly group: number;
  readonly ats: boolean;
  readonly pri: boolean;
  readonly maxPasids: number;
  /** Translations that its own cache holds; absent without ATS. */
  readonly cached?: number;
  /** Operations that are not over. */
  readonly pending: number;
}

export interface CachedTranslation {
  readonly domain: number;
  readonly kind: string;
  /** Absent: of second-stage tables, which know no PASID. */
  readonly pasid?: number;
  readonly iova: string;
  readonly hpa: string;
  readonly size: string;
}

/** A decoded PASID entry; of a unit in legacy mode a context entry, without PASID. */
export interface CachedPasid {
  readonly sourceId: string;
  readonly pasid?: number;
  readonly domain: number;
  readonly type: string;
  /** Roots; absent where it has no such stage. */
  readonly firstStage?: string;
  readonly secondStage?: string;
}

/** Below an address a walk goes on at a table; of kind `table`, that is where a guest's table lies. */
export interface CachedStructure {
  readonly domain: number;
  readonly kind: string;
  readonly pasid?: number;
  readonly iova: string;
  readonly size: string;
  readonly hpa: string;
}

export interface UnitReport {
  readonly name: string;
  readonly type: 'vtd';
  readonly registers: ReturnType<typeof registersOf>;
  readonly contexts: readonly ContextReport[];
  readonly caches: {
    readonly iotlb: readonly CachedTranslation[];
    readonly pagingStructures: readonly CachedStructure[];
    readonly pasids: readonly CachedPasid[];
  };
  readonly faultsLost: number;
}

export interface Dump {
  readonly v: 1;
  readonly contexts: readonly ContextObjects[];
  readonly devices: readonly DeviceReport[];
  readonly units: readonly UnitReport[];
}

export function dumpOf({ contexts, built, physical }: Engine): Dump {
  return {
    v: 1,
    contexts: [...contexts].map(([number, context]) => objectsOf(context, number)),
    devices: [...built.devices.values()].map(deviceReport),
    units: built.units.map((unit) => unitReport(unit, new VtdTables(physical, unit.hardware))),
  };
}

function deviceReport({ plan, iommu, dma }: BuiltDevice): DeviceReport {
  return {
    name: plan.name,
    bus: plan.bus.name,
    unit: plan.bus.unit.name,
    sourceId: hex(plan.sourceId),
    group: iommu.group.id,
    ats: iommu.atsEnabled,
    pri: iommu.priEnabled,
    maxPasids: iommu.maxPasids,
    ...(dma.cache === null ? {} : { cached: dma.cache.size }),
    pending: dma.pending,
  };
}

function unitReport({ name, hardware }: BuiltUnit, tables: VtdTables): UnitReport {
  const { faultsLost } = hardware.statistics;
  return {
    name,
    type: 'vtd',
    registers: registersOf(hardware),
    contexts: tables.contexts(),
    caches: {
      iotlb: [...hardware.cachedTranslations()].map(translation),
      pagingStructures: [...hardware.cachedSteps()].map(structure),
      pasids: [...hardware.cachedSpaces()].map(cachedPasid),
    },
    faultsLost,
  };
}

const kinds = { first: 'first stage', second: 'second stage', nested: 'nested' };

function translation({ did, kind, pasid, iova, hpa, sizeLg2 }: IotlbEntry): CachedTranslation {
  const tag = kind === 'second' ? {} : { pasid };
  return {
    domain: did,
    kind: kinds[kind],
    ...tag,
    iova: hex(iova),
    hpa: hex(hpa),
    size: hex(2n ** BigInt(sizeLg2)),
  };
}

const stepKinds = { first: 'first stage', second: 'second stage', page: 'table' };

function structure({ did, kind, pasid, iova, sizeLg2, hpa }: CachedStep): CachedStructure {
  const tag = kind === 'first' ? { pasid } : {};
  const size = hex(2n ** BigInt(sizeLg2));
  return { domain: did, kind: stepKinds[kind], ...tag, iova: hex(iova), size, hpa: hex(hpa) };
}

function cachedPasid({ source, pasid, did, pgtt, firstRoot, secondRoot }: CachedSpace): CachedPasid {
  const hasFirst = pgtt === st.PGTT_FIRST_STAGE || pgtt === st.PGTT_NESTED;
  const hasSecond = pgtt === st.PGTT_SECOND_STAGE || pgtt === st.PGTT_NESTED;
  return {
    sourceId: hex(source),
    ...(pasid < 0 ? {} : { pasid }),
    domain: did,
    type: translationTypes[pgtt]!,
    ...(hasFirst ? { firstStage: hex(firstRoot) } : {}),
    ...(hasSecond ? { secondStage: hex(secondRoot) } : {}),
  };
}

/** The way of `iova` of a device; null: there is no such device. `pasid` null: by requester id alone. */
export function walkOf(
  { built, physical }: Engine,
  device: string,
  pasid: number | null,
  iova: bigint,
): WalkReport | null {
  const found = built.devices.get(device);
  if (found === undefined) return null;
  const { unit, plan } = found;
  const walk = new VtdWalk(physical, unit.hardware, {
    sourceId: plan.sourceId,
    pasid,
    iova,
    hostAddressWidth: plan.bus.unit.features.hostAddressWidth,
  });
  const result = walk.run();
  return { device, unit: unit.name, pasid, iova: hex(iova), steps: walk.steps, result };
}
