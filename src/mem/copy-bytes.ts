/** Moves bytes from one array to another, or upwards or downwards within one, whichever way costs least. */

/** Below this many bytes a loop is faster than making a view. */
const FEW = 48;

/** Copies `length` bytes from index `at` of `from` to index `to` of `into`. */
export function copyBytes(from: Uint8Array, at: number, into: Uint8Array, to: number, length: number): void {
  if (from === into) into.copyWithin(to, at, at + length);
  else if (length === from.length) into.set(from, to);
  else if (length > FEW) into.set(from.subarray(at, at + length), to);
  else for (let i = 0; i < length; i++) into[to + i] = from[at + i]!;
}
