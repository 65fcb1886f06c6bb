/** A dump as an outline: objects, devices, and each unit with registers, tables and caches. */
import type { Dump } from '../index.js';
import { fieldsText, pageSize } from './walk-text.js';

type Context = Dump['contexts'][number];
type Device = Dump['devices'][number];
type Unit = Dump['units'][number];
type CachedPasid = Unit['caches']['pasids'][number];
type DeviceContext = Unit['contexts'][number];
type Pasid = DeviceContext['pasids'][number];
type Range = NonNullable<Pasid['firstStage']>[number];

/** Lines, without the last line end. */
export function dumpText({ contexts, devices, units }: Dump): string {
  const lines = [
    ...(contexts.length === 0 ? ['no open /dev/iommu'] : contexts.flatMap(contextLines)),
    ...(devices.length === 0 ? [] : ['', 'devices', ...devices.map(deviceLine)]),
    ...units.flatMap((unit) => ['', ...unitLines(unit, devices)]),
  ];
  return lines.join('\n');
}

function contextLines({ context, objects }: Context): string[] {
  return [`/dev/iommu, context ${context}`, ...objects.map(objectLine)];
}

function objectLine({ id, type, users, ...details }: Context['objects'][number]): string {
  const parts = Object.entries(details).map(([name, value]) => {
    const text = Array.isArray(value) ? `[${value.join(', ')}]` : String(value);
    return value === true ? name : `${name}=${text}`;
  });
  return `  ${[`${id} ${type}`, ...parts, `users=${users}`].join(' ')}`;
}

function deviceLine(device: Device): string {
  const { name, bus, unit, sourceId, group, maxPasids, cached, pending } = device;
  const parts = [`${name} on ${bus} behind ${unit}`, `source ${sourceId}`, `group ${group}`];
  if (device.ats) parts.push(`ATS, ${cached ?? 0} cached`);
  if (device.pri) parts.push('PRI');
  if (maxPasids > 0) parts.push(`PASIDs below ${maxPasids}`);
  if (pending > 0) parts.push(`${pending} operations pending`);
  return `  ${parts.join('; ')}`;
}

function unitLines(
  { name, registers, contexts, caches, faultsLost }: Unit,
  devices: readonly Device[],
): string[] {
  const lines = [`unit ${name}`, '  registers'];
  for (const [register, value] of Object.entries(registers)) {
    lines.push(`    ${register.padEnd(11)} ${typeof value === 'string' ? value : fieldsText(value)}`);
  }
  if (faultsLost > 0) lines.push(`  ${faultsLost} faults lost: there was no free record`);
  lines.push('  tables');
  for (const context of contexts) lines.push(...contextEntryLines(context, name, devices));
  lines.push(...cacheLines(caches));
  return lines;
}

const tag = (domain: number, pasid?: number): string =>
  pasid === undefined ? `domain ${domain}` : `domain ${domain} PASID ${pasid}`;

function cacheLines({ iotlb, pagingStructures, pasids }: Unit['caches']): string[] {
  return [
    `  IOTLB: ${iotlb.length} entries`,
    ...iotlb.map(
      ({ domain, kind, pasid, iova, hpa, size }) =>
        `    ${tag(domain, pasid)} ${kind}: ${iova} -> ${hpa}, ${pageSize(size)}`,
    ),
    `  paging structures: ${pagingStructures.length} entries`,
    ...pagingStructures.map(
      ({ domain, kind, pasid, iova, hpa, size }) =>
        `    ${tag(domain, pasid)} ${kind}: ${iova}, ${pageSize(size).replace(' page', '')} -> table at ${hpa}`,
    ),
    `  PASID cache: ${pasids.length} entries`,
    ...pasids.map(pasidCacheLine),
  ];
}

function pasidCacheLine({ sourceId, pasid, domain, type, firstStage, secondStage }: CachedPasid): string {
  const who = pasid === undefined ? `source ${sourceId}` : `source ${sourceId} PASID ${pasid}`;
  const roots = [
    ...(firstStage === undefined ? [] : [`FSPTPTR=${firstStage}`]),
    ...(secondStage === undefined ? [] : [`SSPTPTR=${secondStage}`]),
  ];
  return `    ${[`${who}: domain ${domain}, ${type}`, ...roots].join(' ')}`;
}

function contextEntryLines(context: DeviceContext, unit: string, devices: readonly Device[]): string[] {
  const { sourceId, fields, pasids, isCut } = context;
  const owner = devices.find((device) => device.unit === unit && device.sourceId === sourceId);
  const lines = [`    ${owner?.name ?? `source ${sourceId}`}: ${fieldsText(fields)}`];
  for (const pasid of pasids) lines.push(...pasidLines(pasid));
  if (isCut === true) lines.push('      and more PASIDs');
  return lines;
}

function pasidLines({ pasid, type, fields, firstStage, secondStage, isCut }: Pasid): string[] {
  return [
    `      PASID ${pasid}, ${type}: ${fieldsText(fields)}`,
    ...rangeLines('first stage', firstStage),
    ...rangeLines('second stage', secondStage),
    ...(isCut === true ? ['        and more'] : []),
  ];
}

function rangeLines(stage: string, ranges: readonly Range[] | undefined): string[] {
  if (ranges === undefined) return [];
  if (ranges.length === 0) return [`        ${stage}: nothing`];
  return ranges.map(
    ({ start, last, target, permits, pageSize: size }) =>
      `        ${stage}: ${start}..${last} -> ${target} ${permits}, ${pageSize(size)}s`,
  );
}
