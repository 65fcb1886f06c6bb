/** `npm run schema`: writes docs/topology.schema.json, the published shape of topology files, from the schema in src/. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jsonSchema } from '#ioasis/topology/schema.js';
import { repoRoot } from './lib/repo.js';

writeFileSync(join(repoRoot, 'docs/topology.schema.json'), jsonSchema());
