/** The example of docs/add-a-device.md is what it says, and works. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { VtdHardware } from '../../src/hw/vtd/hardware.js';
import { scene } from '../machine/vtd-machine.js';
import { FillDevice } from './fill-device.js';

const START = 0x10_0000n;

test('the page has the whole of it', () => {
  const page = readFileSync(new URL('../../docs/add-a-device.md', import.meta.url), 'utf8');
  const code = readFileSync(new URL('./fill-device.ts', import.meta.url), 'utf8');
  expect(page).toContain(code.slice(code.indexOf('\n') + 1));
});

test('it fills memory through the unit, says when it cannot, and is silent after a reset', () => {
  const { machine, bind, ioas } = scene({ topology: { devices: { '0000:00:03.0': {} } } });
  const { id, va } = ioas(START, 64);
  bind('0000:00:03.0').attach(id);
  const device = new FillDevice(
    { name: 'fill', sourceId: 0x18, isVirtual: false, isMultiFunction: false, sriov: null },
    {
      translator: machine.device('0000:00:03.0').unit.hardware satisfies VtdHardware,
      memory: machine.engine.physical,
      work: machine.engine.work,
      sharedMemory: () => null,
    },
  );
  let messages = 0;
  device.interrupts.sink = { message: () => (messages += 1), line: () => {} };
  device.interrupts.mode = 'msix';
  const [bar] = device.regions;
  const settle = (): void => {
    while (machine.engine.work.step());
  };
  const start = (address: number, length: number): void => {
    bar.store(0x00, 8, address, 0);
    bar.store(0x08, 4, length, 0);
    bar.store(0x0c, 1, 0xa5, 0);
    bar.store(0x10, 4, 1, 0);
  };
  device.config.write(4, 2, 6);
  start(Number(START) + 100, 200_000);
  expect(bar.get(0x14, 4)).toBe(1);
  settle();
  expect([bar.get(0x14, 4), messages]).toEqual([0, 1]);
  const filled = machine.memory.load(va, 64 * 4096);
  expect([filled[99], filled[100], filled[200_099], filled[200_100]]).toEqual([0, 0xa5, 0xa5, 0]);
  start(0x7000_0000, 1);
  settle();
  expect([bar.get(0x14, 4), messages]).toEqual([2, 2]);
  start(Number(START), 100);
  device.reset();
  settle();
  expect([machine.memory.load(va, 1)[0], device.pending]).toEqual([0, 0]);
});
