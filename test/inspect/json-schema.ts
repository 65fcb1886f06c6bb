/**
 * As much of JSON Schema 2020-12 as docs/trace.schema.json uses; a keyword it does not know is an error, so that the
 * schema cannot say something that no test looks at.
 */
type Schema = Readonly<Record<string, unknown>>;
type Check = (value: unknown, argument: never, schema: Schema, root: Schema) => boolean;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const always = (): boolean => true;

const types: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  integer: Number.isInteger,
};

const checks: Readonly<Record<string, Check>> = {
  $schema: always,
  $defs: always,
  title: always,
  description: always,
  type: (value, type: string) => types[type]?.(value) ?? false,
  const: (value, expected) => value === expected,
  enum: (value, choices: unknown[]) => choices.includes(value),
  pattern: (value, pattern: string) => typeof value !== 'string' || new RegExp(pattern).test(value),
  minimum: (value, least: number) => typeof value !== 'number' || value >= least,
  maximum: (value, most: number) => typeof value !== 'number' || value <= most,
  required: (value, names: string[]) => isObject(value) && names.every((name) => name in value),
  dependentRequired: (value, table: Record<string, string[]>) =>
    isObject(value) &&
    Object.entries(table).every(
      ([name, needed]) => !(name in value) || needed.every((other) => other in value),
    ),
  properties: (value, table: Record<string, Schema>, _, root) =>
    isObject(value) &&
    Object.entries(table).every(([name, schema]) => !(name in value) || accepts(schema, value[name], root)),
  additionalProperties: (value, rest: Schema | false, schema, root) => {
    const known = Object.keys((schema['properties'] as object | undefined) ?? {});
    const others = Object.entries(value as object).filter(([name]) => !known.includes(name));
    return others.every(([, other]) => rest !== false && accepts(rest, other, root));
  },
  items: (value, schema: Schema, _, root) =>
    !Array.isArray(value) || value.every((item) => accepts(schema, item, root)),
  anyOf: (value, schemas: Schema[], _, root) => schemas.some((schema) => accepts(schema, value, root)),
  $ref: (value, path: string, _, root) => {
    const steps = path.replace(/^#\//, '').split('/');
    const target = steps.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], root);
    return accepts(target as Schema, value, root);
  },
};

/** True if `value` is what `schema` describes. */
export function accepts(schema: Schema, value: unknown, root: Schema = schema): boolean {
  return Object.entries(schema).every(([keyword, argument]) => {
    const check = checks[keyword];
    if (check === undefined) throw new Error(`this test does not know the keyword ${keyword}`);
    return check(value, argument as never, schema, root);
  });
}
