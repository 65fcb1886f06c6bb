/**
 * `npm run support`: writes docs/support.md, what of each specification is there and where, from the sections that
 * comments cite and from docs/specs.json, which names them and says what is not there.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repoRoot } from './lib/repo.js';
import { supportPage } from './lib/support.js';

writeFileSync(join(repoRoot, 'docs/support.md'), supportPage());
