/** Numbers in hexadecimal, as the kernel prints them. */

/** At least `digits` digits. */
export const hex = (value: bigint | number, digits: number): string =>
  value.toString(16).padStart(digits, '0');

/** `0x` and at least `digits` digits; those of 64 bits where nothing else is said. */
export const prefixedHex = (value: bigint | number, digits = 16): string => `0x${hex(value, digits)}`;
