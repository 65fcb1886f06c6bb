/**
 * Random calls on a PCI device's file: every answer is a defined errno or a success, whatever the bytes, and in the end
 * nothing is left. Sizes are bounded by what the device has, never by what the caller says.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Errno, errnoNumbers } from '../../src/base/errno.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { CONFIG, PciWorld } from './pci-world.js';

const cmds = Object.entries(v.declared.constants)
  .filter(([name, value]) => /^VFIO_(DEVICE|MIG)_[A-Z_]+$/.test(name) && (value & 0xff00) === 0x3b00)
  .map(([, value]) => value);

const word = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 64 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0xffff_ffff, 0xffff_fffe, 0x8000_0000, 0x1_0000, 0x2_0000, 0x4_0000),
  },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff_ffff }) },
);
const position = fc.oneof(
  fc
    .record({ index: fc.integer({ min: 0, max: 10 }), offset: fc.integer({ min: 0, max: 0x4100 }) })
    .map(({ index, offset }) => (BigInt(index) << 40n) + BigInt(offset)),
  fc.integer({ min: 0, max: 4100 }).map((offset) => CONFIG + BigInt(offset)),
  fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
);

type Step = (w: PciWorld, fd: number, fds: readonly number[]) => void;

/** Words of a struct, whose first says how many bytes there are unless chance has it otherwise. */
const call: fc.Arbitrary<Step> = fc
  .record({
    cmd: fc.constantFrom(...cmds),
    words: fc.array(word, { minLength: 1, maxLength: 16 }),
    honest: fc.boolean(),
  })
  .map(({ cmd, words, honest }) => (w, fd) => {
    const all = new Uint32Array(words);
    if (honest) all[0] = all.byteLength;
    w.client.ioctl(fd, cmd, w.client.memory.store(new Uint8Array(all.buffer)));
  });

const interrupts: fc.Arbitrary<Step> = fc
  .record({
    kind: fc.constantFrom(1, 2, 4),
    action: fc.constantFrom(8, 16, 32),
    index: fc.integer({ min: 0, max: 5 }),
    start: fc.integer({ min: 0, max: 8 }),
    picks: fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 4 }),
  })
  .map(({ kind, action, index, start, picks }) => (w, fd, fds) => {
    const data =
      kind === 4 ? picks.map((pick) => fds[pick] ?? -1) : kind === 2 ? picks.map((pick) => pick & 1) : [];
    w.setIrqs(fd, kind | action, index, data, { start, count: picks.length });
  });

const transfer: fc.Arbitrary<Step> = fc
  .record({ at: position, bytes: fc.uint8Array({ minLength: 0, maxLength: 24 }), isWrite: fc.boolean() })
  .map(({ at, bytes, isWrite }) => (w, fd) => {
    if (isWrite) w.client.pwrite(fd, bytes, at);
    else w.client.pread(fd, bytes.length, at);
  });

/** A device that has raised something, and a user who signals. */
const noise: fc.Arbitrary<Step> = fc
  .record({
    vector: fc.integer({ min: 0, max: 9 }),
    line: fc.boolean(),
    event: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ vector, line, event }) => (w, fd, fds) => {
    w.writeBar(fd, 0, 8, vector);
    w.writeBar(fd, 0, 16, line ? 1 : 0);
    (w.client.fileOf(fds[event]!) as unknown as { add(count: bigint): void }).add(1n);
  });

const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: call },
    { weight: 3, arbitrary: interrupts },
    { weight: 3, arbitrary: transfer },
    { weight: 1, arbitrary: noise },
  ),
  { maxLength: 40 },
);

test(
  'whatever is asked of a device is answered, and nothing stays when it is closed',
  { timeout: 120_000 },
  () => {
    fc.assert(
      fc.property(steps, (all) => {
        const w = new PciWorld();
        const { fd, model } = w.openPci();
        const { fds, events } = w.eventfds(4);
        for (const step of all) {
          try {
            step(w, fd, fds);
          } catch (error) {
            expect(error).toBeInstanceOf(Errno);
            expect(Object.keys(errnoNumbers)).toContain((error as Errno).code);
          }
        }
        w.client.close(fd);
        expect(events.map(({ holders }) => holders)).toEqual([0, 0, 0, 0]);
        expect(model.interrupts.sink).toBeNull();
        w.end();
      }),
      { numRuns: 150 },
    );
  },
);
