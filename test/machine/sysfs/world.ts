/** A machine in this process, its /sys, and a program that has devices of it through VFIO. */
import { createMachine, type Machine, type Topology } from '../../../src/index.js';
import type { SysFile, SysNode } from '../../../src/machine/sysfs/tree.js';
import type { Struct } from '../../../src/wire/struct.js';
import * as v from '../../../src/wire/uapi/vfio.gen.js';

export class Sys {
  readonly machine: Machine;

  constructor(topology: Topology) {
    this.machine = createMachine({ topology });
  }

  get nodes(): ReadonlyMap<string, SysNode> {
    return this.machine.engine.sysfs!.nodes;
  }

  /** Files below /dev. */
  get devices(): string[] {
    return this.machine.engine.devices.map(({ path }) => path);
  }

  #file(path: string): SysFile {
    const file = this.machine.engine.sysfs!.file(path);
    if (file === null) throw new RangeError(`no file at ${path}`);
    return file;
  }

  bytes(path: string): Uint8Array {
    return this.#file(path).read!();
  }

  read(path: string): string {
    return new TextDecoder().decode(this.bytes(path));
  }

  /** As a shell's echo. */
  write(path: string, text: string): void {
    this.poke(path, new TextEncoder().encode(`${text}\n`));
  }

  poke(path: string, bytes: Uint8Array, offset = 0): void {
    const { sysfs } = this.machine.engine;
    try {
      this.#file(path).write!(bytes, offset);
    } finally {
      sysfs!.refresh();
    }
  }

  /** Where a link leads to. */
  link(path: string): string | null {
    const node = this.nodes.get(path);
    return node?.kind === 'link' ? node.target : null;
  }

  /** Everything that can be read, by path, but registers; and what there is in /dev. */
  everything(): readonly string[] {
    const files = [...this.nodes].map(([path, node]) => {
      if (node.kind === 'link') return `${path} -> ${node.target}`;
      if (node.kind === 'text') return `${path}: ${node.text}`;
      const changes = /\/resource\d|\/iommu_regset$/.test(path);
      return node.kind === 'file' && node.read !== undefined && !changes
        ? `${path}: ${String(node.read())}`
        : path;
    });
    return [...this.devices, ...files];
  }

  /** A program opens the device and binds it to an iommufd. Returns its descriptor. */
  bindDevice(name: string): number {
    const { client } = this.machine;
    const fd = client.open(this.machine.device(name).vfio.path);
    const values = { iommufd: client.open('/dev/iommu') };
    this.#call(fd, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, values);
    return fd;
  }

  #call<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T>): void {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create({ argsz: struct.size, ...values } as Partial<T>), bytes);
    this.machine.client.ioctl(fd, cmd, this.machine.client.memory.store(bytes));
  }
}
