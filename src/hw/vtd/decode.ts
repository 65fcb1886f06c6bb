/** Entries in words, for people: the fields that are set, by their names in chapter 9. */

type Field = readonly [name: string, lowest: number, width: number];

const ADDRESS_MASK = 0xf_ffff_ffff_f000n;

/** Flags by name, wider fields as `NAME=value`; what is 0 is left out. */
function fields(word: bigint, table: readonly Field[]): string[] {
  return table.flatMap(([name, lowest, width]) => {
    const value = (word >> BigInt(lowest)) & ((1n << BigInt(width)) - 1n);
    if (value === 0n) return [];
    return [width === 1 ? name : `${name}=${value}`];
  });
}

function pointer(name: string, word: bigint): string[] {
  return [`${name}=0x${(word & ADDRESS_MASK).toString(16)}`];
}

const P: Field = ['P', 0, 1];
const FPD: Field = ['FPD', 1, 1];

export function rootBits([word = 0n]: readonly bigint[]): string[] {
  return [...fields(word, [P]), ...pointer('CTP', word)];
}

export function legacyContextBits([low = 0n, high = 0n]: readonly bigint[]): string[] {
  const lowFields = fields(low, [P, FPD, ['TT', 2, 2]]);
  return [
    ...lowFields,
    ...pointer('SSPTPTR', low),
    ...fields(high, [
      ['AW', 0, 3],
      ['DID', 8, 16],
    ]),
  ];
}

export function contextBits([low = 0n, second = 0n]: readonly bigint[]): string[] {
  const flags: Field[] = [P, FPD, ['DTE', 2, 1], ['PASIDE', 3, 1], ['PRE', 4, 1], ['PDTS', 9, 3]];
  const rid: Field[] = [
    ['RID_PASID', 0, 20],
    ['RID_PRIV', 20, 1],
  ];
  return [...fields(low, flags), ...pointer('PASIDDIRPTR', low), ...fields(second, rid)];
}

export function directoryBits([word = 0n]: readonly bigint[]): string[] {
  return [...fields(word, [P, FPD]), ...pointer('SMPTBLPTR', word)];
}

const translationTypes = ['', 'first stage', 'second stage', 'nested', 'pass-through', '', '', ''];

export function pasidBits([low = 0n, second = 0n, first = 0n]: readonly bigint[]): string[] {
  const kind = Number((low >> 6n) & 7n);
  const firstFlags: Field[] = [
    ['SRE', 0, 1],
    ['ERE', 1, 1],
    ['FSPM', 2, 2],
    ['WPE', 4, 1],
    ['NXE', 5, 1],
    ['SMEP', 6, 1],
    ['EAFE', 7, 1],
  ];
  return [
    ...fields(low, [P, FPD, ['AW', 2, 3]]),
    `PGTT=${kind}${translationTypes[kind] === '' ? '' : ` (${translationTypes[kind]})`}`,
    ...fields(low, [['SSADE', 9, 1]]),
    ...(kind === 2 || kind === 3 ? pointer('SSPTPTR', low) : []),
    ...fields(second, [
      ['DID', 0, 16],
      ['PWSNP', 23, 1],
      ['PGSNP', 24, 1],
    ]),
    ...fields(first, firstFlags),
    ...(kind === 1 || kind === 3 ? pointer('FSPTPTR', first) : []),
  ];
}

export function firstStageBits(word: bigint): string[] {
  const flags: Field[] = [
    P,
    ['RW', 1, 1],
    ['US', 2, 1],
    ['A', 5, 1],
    ['D', 6, 1],
    ['PS', 7, 1],
    ['G', 8, 1],
    ['EA', 10, 1],
  ];
  return [...fields(word, flags), ...pointer('ADDR', word), ...fields(word, [['XD', 63, 1]])];
}

export function secondStageBits(word: bigint): string[] {
  const flags: Field[] = [
    ['R', 0, 1],
    ['W', 1, 1],
    ['X', 2, 1],
    ['PS', 7, 1],
    ['A', 8, 1],
    ['D', 9, 1],
    ['SNP', 11, 1],
  ];
  return [...fields(word, flags), ...pointer('ADDR', word)];
}
