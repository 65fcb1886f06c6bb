/**
 * Decoders and encoders made to measure for structs that are in heavy use. A loop over fields has to look up each
 * name in each object; code in which the names stand written out does the same five times as fast. Such code is made
 * from the declaration, once a struct has been used often enough to be worth it.
 */
import { scalarReaders, scalarWriters, type Scalar } from './scalar.js';

type Plain = Record<string, unknown>;

interface TailoredCodec {
  readonly decode: (from: Uint8Array, at: number) => Plain;
  readonly encode: (value: Plain, into: Uint8Array, at: number) => void;
}

interface ScalarField {
  readonly scalar: Scalar | null;
  readonly offset: number;
  readonly count: number;
}

/** Most structs are used a few times in a process; making the code costs as much as some hundred uses. */
const WORTH_IT = 200;

/** The code for one struct, once it is worth it. Structs with arrays or structs in them have none. */
export class Tailor {
  #uses = 0;
  #codec: TailoredCodec | null = null;

  constructor(readonly fields: Readonly<Record<string, ScalarField>>) {}

  /** To be asked at each use. Null: use the loop. */
  codec(): TailoredCodec | null {
    if (this.#uses < WORTH_IT) {
      this.#uses += 1;
      if (this.#uses === WORTH_IT) this.#codec = tailored(this.fields);
    }
    return this.#codec;
  }
}

/** Names come from declarations of this program alone, never from a client. */
function tailored(fields: Readonly<Record<string, ScalarField>>): TailoredCodec | null {
  const list = Object.entries(fields);
  if (list.some(([, { scalar, count }]) => scalar === null || count > 0)) return null;
  const reads = list.map(([name, { scalar, offset }]) => `${name}: read.${scalar}(from, at + ${offset})`);
  const writes = list.map(
    ([name, { scalar, offset }]) => `write.${scalar}(value.${name}, into, at + ${offset});`,
  );
  const code = `
    const decode = (from, at) => ({ ${reads.join(', ')} });
    const encode = (value, into, at) => { ${writes.join(' ')} };
    return { decode, encode };`;
  try {
    return new Function('read', 'write', code)(scalarReaders, scalarWriters) as TailoredCodec;
  } catch (error) {
    // A host may forbid code from strings; then the loop does it.
    if (error instanceof EvalError) return null;
    throw error;
  }
}
