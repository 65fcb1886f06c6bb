/** One line of the doctor: what was looked at, what was seen, and what to do about it. */

export interface Finding {
  /** 'fail' means that it cannot work, and the exit status is 1. 'note' is a fact to know. */
  readonly level: 'ok' | 'note' | 'warn' | 'fail';
  /** A few words, the same on every machine. */
  readonly subject: string;
  readonly text: string;
}

type Make = (subject: string, text: string) => Finding;
const make =
  (level: Finding['level']): Make =>
  (subject, text) => ({ level, subject, text });

export const ok = make('ok');
export const note = make('note');
export const warn = make('warn');
export const fail = make('fail');
