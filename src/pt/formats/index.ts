/** Every page-table format. A new one is a file here and a line in this list; the conformance suite runs by itself. */
import type { PageTableFormat } from '../format.js';
import { amdv1, amdv1Mock } from './amdv1.js';
import { vtdss } from './vtdss.js';
import { x86 } from './x86.js';

export const formats: readonly PageTableFormat[] = [amdv1, amdv1Mock, vtdss, x86];
