/**
 * Random programs that Linux 7.2 has played once (`npm run differential -- --record`), played again under the daemon
 * and the shim: every result, errno, written-back struct and byte of memory has to be the same.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { readFull, type FullAnswer } from '../../tools/differential/answers.js';
import { differences } from '../../tools/differential/compare.js';
import { buildDynamicPlayer, playOnIoasis } from '../../tools/differential/ioasis.js';
import { encodeProgram } from '../../tools/differential/program.js';
import { readRecording } from '../../tools/differential/record.js';

const tenMinutes = 600_000;
const recording = readRecording(dirname(fileURLToPath(import.meta.url)));

describe('programs that Linux 7.2 has played', () => {
  let answers = new Map<number, FullAnswer>();

  beforeAll(async () => {
    const player = buildDynamicPlayer();
    answers = readFull(await playOnIoasis(player, encodeProgram(recording.sequences), 'full', tenMinutes));
  }, tenMinutes);

  test('the recording has at least 20,000 operations', () => {
    const ops = recording.sequences.reduce((sum, sequence) => sum + sequence.ops.length, 0);
    expect(ops).toBeGreaterThanOrEqual(20_000);
    expect(recording.answers.size).toBe(recording.sequences.length);
  });

  test('every sequence is answered as Linux answered it', () => {
    const found = recording.sequences.flatMap((sequence) => {
      const [linux, ours] = [recording.answers.get(sequence.number), answers.get(sequence.number)];
      if (linux === undefined || ours === undefined) return [`sequence ${sequence.number}: no answer`];
      return differences(sequence, linux, ours).map((d) => `sequence ${d.sequence} op ${d.index}: ${d.text}`);
    });
    expect(found).toEqual([]);
  });
});
