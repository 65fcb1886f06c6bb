/** The objects of a context, each with what it refers to, by id. */
import { Access } from '../../iommufd/access.js';
import type { Context } from '../../iommufd/context.js';
import { Device } from '../../iommufd/device.js';
import { HwptNested, HwptOwned, HwptPaging, type Hwpt } from '../../iommufd/hwpt.js';
import { Ioas } from '../../iommufd/ioas.js';
import type { IommufdObject } from '../../iommufd/object.js';
import { Vdevice, ViommuObject } from '../../iommufd/viommu.js';
import { VeventQueue } from '../../iommufd/veventq.js';
import { hex } from './report.js';

type Detail = string | number | boolean | readonly (string | number)[];

export interface ObjectReport {
  readonly id: number;
  readonly type: string;
  /** Those beside the table itself. */
  readonly users: number;
  readonly [detail: string]: Detail;
}

export interface ContextObjects {
  readonly context: number;
  readonly objects: readonly ObjectReport[];
}

const MAX_OBJECTS = 10_000;

export function objectsOf(context: Context, number: number): ContextObjects {
  const objects: ObjectReport[] = [];
  for (const object of context.objects.objects()) {
    if (objects.length === MAX_OBJECTS) break;
    objects.push({ id: object.id, type: object.type, users: object.users - 1, ...detailsOf(object) });
  }
  return { context: number, objects };
}

function detailsOf(object: IommufdObject): Record<string, Detail> {
  if (object instanceof Ioas) return ioas(object);
  if (object instanceof HwptPaging) return paging(object);
  if (object instanceof HwptNested) {
    const viommu: Record<string, Detail> = object.viommu === null ? {} : { viommu: object.viommu.id };
    return { parent: object.parent.id, ...viommu, ...fault(object) };
  }
  if (object instanceof HwptOwned) return { owner: object.space.name, ...fault(object) };
  if (object instanceof Device) return device(object);
  if (object instanceof Access) return object.ioas === null ? {} : { ioas: object.ioas.id };
  if (object instanceof ViommuObject) return { unit: object.unit.name, hwpt: object.hwpt.id };
  if (object instanceof Vdevice) {
    return { viommu: object.viommu.id, device: object.device.id, virtId: hex(object.virtId) };
  }
  if (object instanceof VeventQueue) {
    return { viommu: object.viommu.id, eventType: hex(object.eventType), depth: object.depth };
  }
  return {};
}

function ioas({ table, hwpts }: Ioas): Record<string, Detail> {
  return { areas: table.areaCount, hwpts: hwpts.map(({ id }) => id), accesses: table.accesses.size };
}

const fault = (hwpt: Hwpt): Record<string, Detail> => (hwpt.fault === null ? {} : { fault: hwpt.fault.id });

function paging(hwpt: HwptPaging): Record<string, Detail> {
  const { ioas: owner, domain, automatic, nestParent } = hwpt;
  const range = `${hex(domain.apertureStart)}..${hex(domain.apertureLast)}`;
  return {
    ioas: owner.id,
    unit: domain.unit.name,
    aperture: range,
    ...(automatic ? { automatic } : {}),
    ...(nestParent ? { nestParent } : {}),
    ...fault(hwpt),
  };
}

function device(bound: Device): Record<string, Detail> {
  const attached = [...bound.group.attachments.entries()]
    .filter(([, { devices }]) => devices.includes(bound))
    .map(([pasid, { hwpt }]) => (pasid === 0 ? `hwpt ${hwpt.id}` : `PASID ${pasid}: hwpt ${hwpt.id}`));
  return { device: bound.device.name, group: bound.device.group.id, attached };
}
