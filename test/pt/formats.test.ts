import { describe } from 'vitest';
import { formats } from '../../src/pt/formats/index.js';
import { bitsOf } from './bits/index.js';
import { conformance } from './conformance.js';

for (const format of formats) describe(format.name, () => conformance(format, bitsOf(format.name)));
