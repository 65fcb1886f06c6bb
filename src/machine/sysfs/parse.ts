/** What programs write into attributes, as Linux reads it (kstrtoul with base 0, sysfs_streq). */
import { refuse } from '../../base/errno.js';
import { rules } from './rules.js';

/** An unsigned number in decimal, octal (0) or hexadecimal (0x). EINVAL for anything else. */
export function parseNumber(file: string, text: string): number {
  const digits = text.replace(/^\+/, '');
  const isNumber = /^(?:0x[0-9a-f]+|[1-9][0-9]*|0[0-7]*)$/i.test(digits);
  if (!isNumber) refuse(rules.sysfs_number, { file, text });
  const isOctal = /^0[0-7]+$/.test(digits);
  return isOctal ? parseInt(digits, 8) : Number(digits);
}

/** One of a few words. */
export function parseChoice(file: string, text: string, choices: readonly string[]): string {
  if (!choices.includes(text)) refuse(rules.sysfs_choice, { file, text, choices: choices.join(', ') });
  return text;
}

/** A number, of which only counts whether it is 0. */
export const flag =
  (file: string) =>
  (text: string): string =>
    parseNumber(file, text) === 0 ? '0' : '1';
