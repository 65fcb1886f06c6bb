import { describe } from 'vitest';
import { formats } from '../../src/pt/formats/index.js';
import { conformance } from './conformance.js';

for (const format of formats) describe(format.name, () => conformance(format));
