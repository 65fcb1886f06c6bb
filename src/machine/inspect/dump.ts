/** Everything of a machine at one moment: objects, devices, units with registers, tables and caches. */
import type { CachedTranslation as IotlbEntry } from '../../hw/vtd/cached.js';
import type { BuiltDevice, BuiltUnit } from '../build.js';
import type { Engine } from '../engine.js';
import { objectsOf, type ContextObjects } from './objects.js';
import { hex, type WalkReport } from './report.js';
import { VtdTables, registersOf, type ContextReport } from './vtd-tables.js';
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

export interface UnitReport {
  readonly name: string;
  readonly type: 'vtd';
  readonly registers: ReturnType<typeof registersOf>;
  readonly contexts: readonly ContextReport[];
  readonly caches: {
    readonly iotlb: readonly CachedTranslation[];
    readonly pagingEntries: number;
    readonly pasidEntries: number;
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
  const { pagingEntries, pasidEntries, faultsLost } = hardware.statistics;
  return {
    name,
    type: 'vtd',
    registers: registersOf(hardware),
    contexts: tables.contexts(),
    caches: { iotlb: [...hardware.cachedTranslations()].map(translation), pagingEntries, pasidEntries },
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
