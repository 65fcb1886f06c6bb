/**
 * The uAPI as a C header, made from the same declarations that the engine decodes with: for programs on a machine
 * whose own <linux/iommufd.h> is older. Offsets in it are explicit: every gap is a named padding field.
 */
import { deviceIoctlTable } from './device-ioctls.js';
import type { IoctlInfo } from './ioctl-rows.js';
import { ioasidIoctlTable, nestingIoctlTable } from './ioasid-ioctls.js';
import { ioctlTable } from './ioctls.js';
import { fieldBytes, type Field, type Scalar, type Struct } from './struct.js';
import { declared as ioasis } from './uapi/ioasis.js';
import { declared as ioasid } from './uapi/ioasid.js';
import { declared as ioasisDma } from './uapi/ioasis-dma.js';
import { declared as iommu } from './uapi/iommu.js';
import { declared as iommufd } from './uapi/iommufd.gen.js';
import { declared as iommufdTest } from './uapi/iommufd_test.gen.js';
import { declared as nesting } from './uapi/vfio-nesting.js';
import { declared as vfio } from './uapi/vfio.gen.js';

interface Declared {
  readonly structs: readonly Struct<any>[];
  readonly constants: Readonly<Record<string, number>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

interface Section {
  readonly title: string;
  /** Linux' own include guard. */
  readonly guard: string;
  /** Defines the guard too, so that Linux' header may also come later: only where nothing of it is missing here. */
  readonly whole: boolean;
  readonly declared: Declared;
}

const sections: readonly Section[] = [
  { title: 'all of <linux/iommufd.h>', guard: '_IOMMUFD_H', whole: true, declared: iommufd },
  {
    title:
      "of <linux/vfio.h> what /dev/iommu and a device file answer; include Linux' own first if you need more of it",
    guard: 'VFIO_H',
    whole: false,
    declared: vfio,
  },
  { title: 'the selftest ioctl', guard: '_UAPI_IOMMUFD_TEST_H', whole: true, declared: iommufdTest },
  {
    title: "ioasis' own types, which go where Linux' go",
    guard: 'IOASIS_TYPES_H',
    whole: true,
    declared: ioasis,
  },
  {
    title: "faults and page responses as Linux' <linux/iommu.h> had them, and the rings of /dev/ioasid",
    guard: '_UAPI_IOMMU_H',
    whole: true,
    declared: iommu,
  },
  {
    title: "VFIO's calls of 2019 to 2021 that bind a guest's page tables",
    guard: 'IOASIS_VFIO_NESTING_H',
    whole: true,
    declared: nesting,
  },
  {
    title: '/dev/ioasid, and the calls of a VFIO device file that belong to it',
    guard: 'IOASID_H',
    whole: true,
    declared: ioasid,
  },
  {
    title: "ioasis' own ioctl of a DMA test device's file",
    guard: 'IOASIS_DMA_H',
    whole: true,
    declared: ioasisDma,
  },
];

/** The text of the header, for C and C++. */
export function printHeader(): string {
  const body = sections.map(printSection).join('\n');
  return `/*
 * /dev/iommu as of Linux 7.2. Made by ioasis from its own declarations; do not edit.
 * A section is left out where Linux' header of that name has been included before.
 */
#ifndef IOASIS_UAPI_H
#define IOASIS_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

${body}
#endif /* IOASIS_UAPI_H */
`;
}

function printSection({ title, guard, whole, declared }: Section): string {
  const inEnums = new Set(Object.values(declared.enums).flatMap((members) => Object.keys(members)));
  const defines = Object.entries(declared.constants).filter(([name]) => !inEnums.has(name));
  const enums = Object.entries(declared.enums).map(([tag, members]) => printEnum(tag, members));
  const structs = declared.structs.filter((struct) => struct.view === null);
  return `/* ---- ${title} ---- */
#ifndef ${guard}
${whole ? `#define ${guard}\n` : ''}
${defines.map(([name, value]) => `#define ${name} ${literal(name, value)}\n`).join('')}
${enums.join('\n')}
${structs.map((struct) => printStruct(struct, declared.structs)).join('\n')}
#endif /* ${guard} */
`;
}

function printEnum(tag: string, members: Readonly<Record<string, number>>): string {
  const lines = Object.entries(members).map(([name, value]) => `\t${name} = ${value},\n`);
  return `enum ${tag} {\n${lines.join('')}};\n`;
}

/** An ioctl's number is built by _IO, since its upper bits differ from one processor to another. */
function literal(name: string, value: number): string {
  const tables = [ioctlTable, deviceIoctlTable, ioasidIoctlTable, nestingIoctlTable];
  const isCall = tables.some((table) => table.get(value)?.name === name);
  if (isCall) return `_IO(0x${(value >> 8).toString(16)}, ${value & 0xff})`;
  if (value <= 0xff) return String(value);
  return `0x${value.toString(16)}${value > 0x7fffffff ? 'U' : ''}`;
}

const ioctls = [ioctlTable, deviceIoctlTable, ioasidIoctlTable, nestingIoctlTable].flatMap((table) => [
  ...table.values(),
]);

function printStruct(struct: Struct<any>, all: readonly Struct<any>[]): string {
  const ioctl = ioctls.find((info) => info.struct === struct);
  const arms = all.filter((each) => each.view?.of === struct.name);
  const members = arms.length === 0 ? fill(placesOf(struct), 0, struct.size) : withUnion(struct, arms);
  return `${ioctl === undefined ? '' : comment(ioctl, struct)}struct ${struct.name} {\n${indent(members)}\n};\n`;
}

function comment(ioctl: IoctlInfo, struct: Struct<any>): string {
  const names = Object.keys(struct.fields);
  const optional = names.slice(names.indexOf(ioctl.lastMandatory) + 1);
  const more = optional.length === 0 ? '' : `; a caller may leave out what follows ${ioctl.lastMandatory}`;
  return `/* ${ioctl.name}${more} */\n`;
}

/** A member of a C struct: bytes `offset` up to `offset + size`. */
interface Member {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly lines: readonly string[];
}

function placesOf(struct: Struct<any>): Member[] {
  const members = Object.entries<Field<unknown>>(struct.fields).map(([name, field]) => {
    const array = field.count > 0 ? `[${field.count}]` : '';
    const size = fieldBytes(field);
    return {
      name,
      offset: field.offset,
      size,
      lines: [`${typeName(field.inner ?? field.scalar)} ${name}${array};`],
    };
  });
  if (struct.tail === null) return members;
  const { name, offset, element } = struct.tail;
  return [...members, { name, offset, size: 0, lines: [`${typeName(element)} ${name}[];`] }];
}

const scalarTypes: Readonly<Record<Scalar, string>> = {
  u8: '__u8',
  u16: '__u16',
  u32: '__u32',
  s32: '__s32',
  u64: '__aligned_u64',
};

function typeName(of: Scalar | Struct<any> | null): string {
  if (of === null) throw new Error('a field is neither a number nor a struct');
  return typeof of === 'string' ? scalarTypes[of] : `struct ${of.name}`;
}

/** The lines of `members` from byte `start` to `end`, with padding in the gaps and a union where they overlap. */
function fill(members: readonly Member[], start: number, end: number): string[] {
  const lines: string[] = [];
  let at = start;
  for (const offset of [...new Set(members.map((member) => member.offset))].toSorted((a, b) => a - b)) {
    if (offset > at) lines.push(padding(at, offset));
    const here = members.filter((member) => member.offset === offset);
    const printed = here.flatMap((member) => member.lines);
    lines.push(...(here.length === 1 ? printed : ['union {', ...printed.map((line) => `\t${line}`), '};']));
    at = offset + Math.max(...here.map((member) => member.size));
  }
  if (end > at) lines.push(padding(at, end));
  return lines;
}

function padding(from: number, to: number): string {
  return `__u8 __pad${from}[${to - from}];`;
}

/** The members of `struct`, and in its gap an anonymous union of what each view adds. */
function withUnion(struct: Struct<any>, arms: readonly Struct<any>[]): string[] {
  const common = placesOf(struct);
  const names = new Set(common.map((member) => member.name));
  const own = arms.map((arm) => placesOf(arm).filter((member) => !names.has(member.name)));
  const start = Math.min(...own.flat().map((member) => member.offset));
  const end = Math.min(...common.map((member) => member.offset).filter((offset) => offset > start));
  const lines = arms.flatMap((arm, i) => {
    const name = arm.view?.arm ?? '';
    const members = (own[i] as Member[]).map((member) => inArm(member, `${name}_`, names));
    const last = members.at(-1) as Member;
    return [
      'struct {',
      ...fill(members, start, last.offset + last.size).map((line) => `\t${line}`),
      `} ${name};`,
    ];
  });
  const union: Member = {
    name: '',
    offset: start,
    size: end - start,
    lines: ['union {', ...lines.map((line) => `\t${line}`), '};'],
  };
  return fill([...common, union], 0, struct.size);
}

/** A name that is also in the common head carries the arm's name in the view, but not in C. */
function inArm(member: Member, prefix: string, head: ReadonlySet<string>): Member {
  if (!member.name.startsWith(prefix) || !head.has(member.name.slice(prefix.length))) return member;
  return { ...member, lines: member.lines.map((line) => line.replace(` ${prefix}`, ' ')) };
}

function indent(lines: readonly string[]): string {
  return lines.map((line) => `\t${line}`).join('\n');
}
