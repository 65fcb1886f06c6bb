/**
 * `npm run uapi`: compares every struct, field and constant that ioasis declares with what a C compiler says of
 * Linux' own headers; exit code 1 on any difference, 2 if the headers cannot be had.
 * `npm run uapi -- --write` makes the declarations and the recorded answers anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parts } from './parts.js';
import { chapter } from './shapes.js';
import { ask } from './probe.js';
import { generate } from './generate.js';

const headers = process.env['IOASIS_LINUX_HEADERS'] as string;
const source = process.env['IOASIS_LINUX_SOURCE'] as string;
const chapters = parts.map((part) =>
  chapter(part, readFileSync(join(part.from === 'headers' ? headers : source, part.include), 'utf8')),
);
const answers = ask(chapters, {
  include: [headers, join(headers, 'x86_64-linux-gnu')],
  source,
  folder: '.cache/uapi',
});
for (const each of chapters) {
  writeFileSync(`src/wire/uapi/${each.part.file}.gen.ts`, generate(each, answers));
}
