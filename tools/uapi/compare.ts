/** Compares what ioasis declares with what the compiler said, in both directions. */
import type { Field, Struct } from '#ioasis/wire/struct.js';
import { fieldBytes, scalarBytes } from '#ioasis/wire/struct.js';
import { declared as iommufd } from '#ioasis/wire/uapi/iommufd.gen.js';
import { declared as iommufdTest } from '#ioasis/wire/uapi/iommufd_test.gen.js';
import { declared as vfio } from '#ioasis/wire/uapi/vfio.gen.js';
import type { Answers, Place } from './probe.js';
import type { Chapter } from './shapes.js';

/** What a generated file declares. */
export interface Declared {
  readonly structs: readonly Struct<any>[];
  readonly constants: Readonly<Record<string, number | bigint>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number | bigint>>>>;
}

export interface StructRow {
  readonly name: string;
  readonly fields: number;
  /** One sentence each. */
  readonly differences: readonly string[];
}

export interface Comparison {
  readonly rows: readonly StructRow[];
  readonly constants: number;
  readonly constantDifferences: readonly string[];
}

const declarations: Readonly<Record<string, Declared>> = { iommufd, vfio, iommufd_test: iommufdTest };

/** Every struct, field, constant and enum of `chapters` and of the declarations. */
export function compare(chapters: readonly Chapter[], answers: Answers): Comparison {
  const rows: StructRow[] = [];
  const constantDifferences: string[] = [];
  let constants = 0;
  for (const chapter of chapters) {
    const declared = declarations[chapter.part.file] as Declared;
    rows.push(...compareStructs(chapter, declared.structs, answers));
    const names = new Set([...Object.keys(declared.constants), ...chapter.constants]);
    constants += names.size;
    for (const name of names) {
      const ours = declared.constants[name];
      const theirs = chapter.constants.includes(name) ? answers.constants[name] : undefined;
      if (String(ours) !== String(theirs)) {
        constantDifferences.push(`${name} is ${said(theirs)} in Linux, ${said(ours)} here`);
      }
    }
    constantDifferences.push(...compareEnums(chapter, declared));
  }
  return { rows, constants, constantDifferences };
}

function said(value: unknown): string {
  return value === undefined ? 'not there' : String(value);
}

function compareEnums(chapter: Chapter, declared: Declared): string[] {
  const tags = new Set([...chapter.enums.keys(), ...Object.keys(declared.enums)]);
  return [...tags].flatMap((tag) => {
    const ours = Object.keys(declared.enums[tag] ?? {}).join(', ');
    const theirs = (chapter.enums.get(tag) ?? []).join(', ');
    return ours === theirs ? [] : [`enum ${tag} is {${theirs}} in Linux, {${ours}} here`];
  });
}

function compareStructs(chapter: Chapter, structs: readonly Struct<any>[], answers: Answers): StructRow[] {
  const ours = new Map(structs.map((struct) => [struct.name, struct]));
  const theirs = new Map(chapter.shapes.map((shape) => [shape.name, answers.structs[shape.name]]));
  return [...new Set([...theirs.keys(), ...ours.keys()])].map((name) => {
    const struct = ours.get(name);
    const answer = theirs.get(name);
    if (struct === undefined) return { name, fields: 0, differences: ['not declared here'] };
    if (answer === undefined) return { name, fields: 0, differences: ['not in Linux'] };
    const differences: string[] = [];
    if (struct.size !== answer.size)
      differences.push(`sizeof is ${answer.size} in Linux, ${struct.size} here`);
    const places = placesOf(struct);
    const fields = [...new Set([...Object.keys(places), ...Object.keys(answer.fields)])];
    for (const field of fields) {
      const linux = print(answer.fields[field]);
      const here = print(places[field]);
      if (linux !== here) differences.push(`field ${field} is ${linux} in Linux, ${here} here`);
    }
    return { name, fields: fields.length, differences };
  });
}

function placesOf(struct: Struct<any>): Record<string, Place> {
  const places: Record<string, Place> = {};
  for (const [name, field] of Object.entries(struct.fields) as [string, Field<unknown>][]) {
    const element = field.scalar === null ? 0 : scalarBytes[field.scalar];
    places[name] = [field.offset, fieldBytes(field), element, field.scalar === 's32' ? 1 : 0];
  }
  if (struct.tail !== null) {
    const { name, offset, element } = struct.tail;
    places[name] = [offset, 0, typeof element === 'string' ? scalarBytes[element] : element.size, 0];
  }
  return places;
}

function print(at: Place | undefined): string {
  if (at === undefined) return 'not there';
  const [offset, size, element, signed] = at;
  return `at ${offset}, ${size} bytes${element === 0 ? '' : ` of ${signed === 1 ? 's' : 'u'}${element * 8}`}`;
}
