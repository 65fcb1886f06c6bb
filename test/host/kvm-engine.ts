/**
 * The engine beside a KVM that is played by programs/kvm-kernel.c: /dev/kvm is the system's, whose machines are what
 * that makes of them, eventfds.
 */
import { createEngine as create, type Services } from '#ioasis/machine/load.js';
import type { Engine, EngineConfig } from '#ioasis/machine/engine.js';

export async function createEngine(config: EngineConfig, services: Services): Promise<Engine> {
  const engine = await create(config, services);
  const { devices, systemMachines } = engine;
  return Object.defineProperties(engine, {
    devices: { value: devices.filter(({ isStandIn }) => isStandIn !== true) },
    systemMachines: { value: { ...systemMachines, name: 'anon_inode:[eventfd]' } },
  });
}
