/** The tables that are compared: each of ours, and Linux' with the same format, width and starting level. */
import type { PageTableFormat } from '#ioasis/pt/format.js';
import { amdv1, amdv1Mock } from '#ioasis/pt/formats/amdv1.js';
import { vtdss } from '#ioasis/pt/formats/vtdss.js';
import { x86 } from '#ioasis/pt/formats/x86.js';

export interface TableKind {
  readonly name: string;
  readonly format: PageTableFormat;
  readonly maxVaLg2: number;
  readonly startingLevel: number;
  /** Linux' `fmt/iommu_FILE.c`, the prefix of its functions, and more fields of its cfg struct. */
  readonly file: string;
  readonly prefix: string;
  readonly config: string;
  /** Whether Linux makes devices snoop. */
  readonly isCoherent: boolean;
  /** Whether Linux reads dirty bits of this format. */
  readonly hasDirty: boolean;
}

function amd(name: string, format: PageTableFormat, file: string, features: string): TableKind {
  const maxVaLg2 = format.maxVaLg2;
  const config = `.starting_level=2,.common.features=${features}`;
  return {
    name,
    format,
    maxVaLg2,
    startingLevel: 2,
    file,
    prefix: name,
    config,
    isCoherent: format === amdv1,
    hasDirty: true,
  };
}

function second(level: number, isCoherent = false): TableKind {
  const shape = { format: vtdss, maxVaLg2: 12 + 9 * (level + 1), startingLevel: level };
  const config = `.top_level=${level},.common.features=${isCoherent ? 'BIT(PT_FEAT_VTDSS_FORCE_COHERENCE)' : '0'}`;
  const name = `vtdss-${level + 1}${isCoherent ? '-coherent' : ''}`;
  return { ...shape, name, file: 'vtdss', prefix: 'vtdss', config, isCoherent, hasDirty: true };
}

function first(level: number): TableKind {
  const shape = { format: x86, maxVaLg2: 12 + 9 * (level + 1), startingLevel: level };
  const config = `.top_level=${level},.common.features=BIT(PT_FEAT_SIGN_EXTEND)`;
  return {
    ...shape,
    name: `x86-${level + 1}`,
    file: 'x86_64',
    prefix: 'x86_64',
    config,
    isCoherent: false,
    hasDirty: false,
  };
}

export const tables: readonly TableKind[] = [
  amd('amdv1', amdv1, 'amdv1', 'PT_FORCE_ENABLED_FEATURES'),
  amd('amdv1_mock', amdv1Mock, 'mock', '0'),
  ...[2, 3, 4].map((level) => second(level)),
  second(3, true),
  ...[3, 4].map(first),
];
