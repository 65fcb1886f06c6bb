/**
 * Asks a C compiler: writes a program that prints sizeof, offsetof and values, compiles it against Linux' own
 * headers and runs it. Nothing of the answer is computed here.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Chapter } from './shapes.js';

/**
 * Offset, size, size of one element, and 1 if the element is signed, in bytes. Element size 0 is a struct, size 0 a
 * flexible array.
 */
export type Place = readonly [offset: number, size: number, element: number, signed: number];

export interface StructAnswer {
  readonly size: number;
  /** By name in the declaration. */
  readonly fields: Readonly<Record<string, Place>>;
}

export interface Answers {
  /** Version of the headers: `7.2.13`. */
  readonly linux: string;
  readonly structs: Readonly<Record<string, StructAnswer>>;
  /** Decimal, in a string where it is above 2^53. */
  readonly constants: Readonly<Record<string, number | string>>;
}

export interface ProbeOptions {
  /** Include folders, searched as system headers in this order. */
  readonly include: readonly string[];
  /** Root of Linux' source, for headers that are not installed. */
  readonly source: string;
  /** Where the program is written. */
  readonly folder: string;
}

/** What the C compiler says of all chapters. Throws if it refuses the program. */
export function ask(chapters: readonly Chapter[], options: ProbeOptions): Answers {
  mkdirSync(options.folder, { recursive: true });
  const source = join(options.folder, 'probe.c');
  const program = join(options.folder, 'probe');
  writeFileSync(source, probeProgram(chapters));
  const include = options.include.flatMap((folder) => ['-isystem', folder]);
  const compiler = process.env['CC'] ?? 'cc';
  execFileSync(compiler, ['-w', ...include, '-I', options.source, '-o', program, source], {
    stdio: 'inherit',
  });
  return JSON.parse(execFileSync(program, { encoding: 'utf8' })) as Answers;
}

function probeProgram(chapters: readonly Chapter[]): string {
  const includes = chapters.map(({ part }) => `#include <${part.include}>`);
  const structs = chapters.flatMap(({ shapes }) =>
    shapes.map((shape) => {
      const fields = shape.fields.map((field) => {
        const at = `struct ${shape.tag}, ${field.path}`;
        if (field.array === 'flexible') return `TAIL("${field.name}", ${at});`;
        if (field.inner !== null) return `INNER("${field.name}", ${at});`;
        return `${field.array === 'fixed' ? 'ARRAY' : 'FIELD'}("${field.name}", ${at});`;
      });
      return `  BEGIN("${shape.name}", struct ${shape.tag});\n  ${fields.join('\n  ')}\n  END;`;
    }),
  );
  const constants = [...new Set(chapters.flatMap((each) => each.constants))].map(
    (name) => `  VALUE(${name});`,
  );
  return `${[prologue, ...includes].join('\n')}
int main(void)
{
  printf("{\\"linux\\":\\"%d.%d.%d\\",\\"structs\\":{", LINUX_VERSION_MAJOR, LINUX_VERSION_PATCHLEVEL, LINUX_VERSION_SUBLEVEL);
${structs.join('\n')}
  printf("},\\"constants\\":{");
  comma = "";
${constants.join('\n')}
  printf("}}\\n");
  return 0;
}
`;
}

const prologue = `#include <stdio.h>
#include <stddef.h>
#include <linux/version.h>
static const char *comma = "", *inner = "";
#define BEGIN(name, type) printf("%s\\"" name "\\":{\\"size\\":%zu,\\"fields\\":{", comma, sizeof(type)); inner = ""
#define END printf("}}"); comma = ","
#define LVALUE(type, path) (((type *)0)->path)
#define PLACE(name, type, path, size, element, sign) \\
  printf("%s\\"" name "\\":[%zu,%zu,%zu,%d]", inner, offsetof(type, path), (size_t)(size), (size_t)(element), \\
         (int)(sign)); inner = ","
#define SIZE(type, path) sizeof(LVALUE(type, path))
#define SIGNED(x) ((__typeof__(x))-1 < (__typeof__(x))0)
#define FIELD(name, type, path) PLACE(name, type, path, SIZE(type, path), SIZE(type, path), SIGNED(LVALUE(type, path)))
#define ARRAY(name, type, path) \\
  PLACE(name, type, path, SIZE(type, path), SIZE(type, path[0]), SIGNED(LVALUE(type, path)[0]))
#define INNER(name, type, path) PLACE(name, type, path, SIZE(type, path), 0, 0)
#define TAIL(name, type, path) PLACE(name, type, path, 0, SIZE(type, path[0]), 0)
#define VALUE(name) \\
  printf((name) < 0 || (unsigned long long)(name) < (1ULL << 53) ? "%s\\"" #name "\\":%lld" : "%s\\"" #name "\\":\\"%llu\\"", \\
         comma, (long long)(name)); comma = ","
`;
