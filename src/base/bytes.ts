/** Numbers of 1 to 4 bytes among bytes, the lowest first, at any alignment; and how a range falls into aligned pieces. */

/** As int32 if there are 4. Bytes beyond the end are 0. */
export function loadBytes(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = 0; i < count; i++) value |= (bytes[at + i] ?? 0) << (8 * i);
  return value;
}

/** Bytes beyond the end are lost. */
export function storeBytes(bytes: Uint8Array, at: number, count: number, value: number): void {
  for (let i = 0; i < count; i++) bytes[at + i] = value >>> (8 * i);
}

/** The largest aligned piece at `offset`, of at most `most` bytes, with so many left. */
export function widthAt(offset: number, left: number, most: 4): 1 | 2 | 4;
export function widthAt(offset: number, left: number, most: 4 | 8): 1 | 2 | 4 | 8;
export function widthAt(offset: number, left: number, most: 4 | 8): 1 | 2 | 4 | 8 {
  if (most === 8 && offset % 8 === 0 && left >= 8) return 8;
  if (offset % 4 === 0 && left >= 4) return 4;
  return offset % 2 === 0 && left >= 2 ? 2 : 1;
}

export const get16 = (bytes: Uint8Array, at: number): number => loadBytes(bytes, at, 2);
export const put16 = (bytes: Uint8Array, at: number, value: number): void => storeBytes(bytes, at, 2, value);
/** As int32. */
export const get32 = (bytes: Uint8Array, at: number): number => loadBytes(bytes, at, 4);
export const put32 = (bytes: Uint8Array, at: number, value: number): void => storeBytes(bytes, at, 4, value);
