/** Colour for people: only on a terminal, and never where NO_COLOR is set. */
import { styleText } from 'node:util';

export type Style = Parameters<typeof styleText>[0];
/** Returns `text`, perhaps coloured. */
export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_, text) => text;

/** The way to paint what goes to `stream`. */
export function painter(stream: { readonly isTTY?: boolean }): Paint {
  const wanted = stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
  return wanted ? (style, text) => styleText(style, text) : plain;
}
