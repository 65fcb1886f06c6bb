/**
 * From parsed headers to the list of structs that ioasis declares: members of anonymous unions and structs are
 * members of the whole, as in C; a union of named arms becomes one view an arm, all with the common head.
 */
import type { Part } from './parts.js';
import { parseHeader, type Header, type Member } from './parse.js';

export interface ShapeField {
  /** Name in the declaration. */
  readonly name: string;
  /** Name in C, from the struct's start: `check_iotlb.id`. */
  readonly path: string;
  /** Tag of the struct that lies here, or null. */
  readonly inner: string | null;
  readonly array: Member['array'];
}

export interface Shape {
  readonly name: string;
  /** The tag in C; differs from `name` in a view. */
  readonly tag: string;
  readonly arm: string | null;
  readonly fields: readonly ShapeField[];
}

/** One header with what is taken from it. */
export interface Chapter {
  readonly part: Part;
  readonly shapes: readonly Shape[];
  readonly enums: ReadonlyMap<string, readonly string[]>;
  readonly constants: readonly string[];
}

/** Reads `text`, the header of `part`. */
export function chapter(part: Part, text: string): Chapter {
  const header: Header = parseHeader(text, part.takesStruct);
  const shapes = [...header.structs].flatMap(([tag, members]) => shapesOf(tag, members));
  const constants = header.constants.filter((name) => part.takesConstant(name));
  const taken = new Set(constants);
  const enums = new Map([...header.enums].filter(([, names]) => names.every((name) => taken.has(name))));
  return { part, shapes, enums, constants };
}

function shapesOf(tag: string, members: readonly Member[]): Shape[] {
  const common = fieldsOf(members, '');
  const whole: Shape = { name: tag, tag, arm: null, fields: common };
  const unions = members.filter((member) => member.union && member.name === '');
  const arms = unions.flatMap((union) => union.members.filter((member) => member.members.length > 0));
  const unionAt = members.findIndex((member) => member.union);
  const head = fieldsOf(members.slice(0, unionAt), '');
  const tail = fieldsOf(members.slice(unionAt + 1), '');
  const views = arms.map((arm): Shape => {
    const taken = new Set([...head, ...tail].map((field) => field.name));
    const own = fieldsOf(arm.members, `${arm.name}.`).map((field) =>
      taken.has(field.name) ? { ...field, name: `${arm.name}_${field.name}` } : field,
    );
    return { name: `${tag}_${arm.name}`, tag, arm: arm.name, fields: [...head, ...own, ...tail] };
  });
  return [whole, ...views];
}

/** Leaves out named arms, which only views have. */
function fieldsOf(members: readonly Member[], prefix: string): ShapeField[] {
  return members.flatMap((member): ShapeField[] => {
    if (member.type === '') return member.name === '' ? fieldsOf(member.members, prefix) : [];
    const inner = member.pointer || !member.type.startsWith('struct ') ? null : member.type.slice(7);
    return [{ name: member.name, path: prefix + member.name, inner, array: member.array }];
  });
}
