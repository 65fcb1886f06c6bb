/** The two halves of the protocol, shim/src/protocol.h and src/host/protocol.ts, as a C compiler sees the first. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as protocol from '../../src/host/protocol.js';

const header = fileURLToPath(new URL('../../shim/src/protocol.h', import.meta.url));

/** The values of C expressions. */
function evaluate(expressions: readonly string[]): number[] {
  const dir = mkdtempSync(join(tmpdir(), 'ioasis-protocol-'));
  const lines = expressions.map((expression) => `printf("%lld\\n", (long long)(${expression}));`);
  const source = `#include <stddef.h>\n#include <stdio.h>\n#include "${header}"\nint main(void) { ${lines.join('\n')} return 0; }\n`;
  writeFileSync(join(dir, 'p.c'), source);
  execFileSync('gcc', ['-o', join(dir, 'p'), join(dir, 'p.c')]);
  const values = execFileSync(join(dir, 'p')).toString().trim().split('\n').map(Number);
  rmSync(dir, { recursive: true });
  return values;
}

const named: Record<string, number> = {
  IOASIS_PROTOCOL_VERSION: protocol.PROTOCOL_VERSION,
  IOASIS_CARRIED: protocol.CARRIED,
  IOASIS_CHUNK: protocol.CHUNK,
  IOASIS_FIRST_TERMINAL: protocol.FIRST_TERMINAL,
  IOASIS_NOT_SPECIAL: protocol.NOT_SPECIAL,
  IOASIS_LIVE_NSEC: protocol.LIVE_NSEC,
};
for (const [name, value] of Object.entries(protocol.TreeMode)) named[`IOASIS_TREE_${name}`] = value;
for (const [name, value] of Object.entries(protocol.Op)) named[`IOASIS_OP_${name}`] = value;
for (const [name, value] of Object.entries(protocol.Verb)) named[`IOASIS_VERB_${name}`] = value;
for (const [name, value] of Object.entries(protocol.Flag)) named[`IOASIS_${name}`] = value;
for (const [name, value] of Object.entries(protocol.TokenKind)) named[`IOASIS_${name}`] = value;
for (const kind of ['request', 'answer'] as const) {
  const { size, ...fields } = protocol[kind];
  named[`sizeof(struct ioasis_${kind})`] = size;
  for (const [field, offset] of Object.entries(fields))
    named[`offsetof(struct ioasis_${kind}, ${field})`] = offset;
}

test('every number of the protocol is the same on both sides', () => {
  const values = evaluate(Object.keys(named));
  expect(Object.fromEntries(Object.keys(named).map((name, i) => [name, values[i]]))).toEqual(named);
});

test('every string of the protocol is the same on both sides', () => {
  const strings = {
    IOASIS_TREE_SUFFIX: protocol.TREE_SUFFIX,
    IOASIS_MARK_DEVICE: protocol.MARK_DEVICE,
    IOASIS_MARK_ASK: protocol.MARK_ASK,
  };
  const expressions = Object.entries(strings).map(([name, text]) => `!__builtin_strcmp(${name}, "${text}")`);
  expect(evaluate(expressions)).toEqual(expressions.map(() => 1));
});
