/** Every declaration, for tests that go through all of them. */
import type { Field, Struct } from '../../src/wire/struct.js';
import { declared as iommufd } from '../../src/wire/uapi/iommufd.gen.js';
import { declared as iommufdTest } from '../../src/wire/uapi/iommufd_test.gen.js';
import { declared as vfio } from '../../src/wire/uapi/vfio.gen.js';

export const allStructs: readonly Struct<any>[] = [
  ...iommufd.structs,
  ...vfio.structs,
  ...iommufdTest.structs,
];

export const allConstants: Readonly<Record<string, number>> = {
  ...iommufd.constants,
  ...vfio.constants,
  ...iommufdTest.constants,
};

export const allEnums: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ...iommufd.enums,
  ...vfio.enums,
  ...iommufdTest.enums,
};

export function fieldsOf(struct: Struct<any>): [string, Field<unknown>][] {
  return Object.entries(struct.fields);
}
