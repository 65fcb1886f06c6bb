/**
 * Programs that open, bind, attach, map, store, close and end in any order, with files of their own and of each other's
 * devices, while /sys takes devices away and brings them back. Every answer is a success or a rule; nobody's memory is
 * touched but by whom it belongs to; in the end nothing is left, and every device can be had again.
 */
import { expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import { createMachine, uapi, type LocalClient, type Machine } from '../../src/index.js';
import type { SharedPages } from '../../src/mem/task.js';
import type { Struct } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { dice } from '../dice.js';

const PF = '0000:00:04.0';
const topology = {
  devices: {
    '0000:00:01.0': { group: 'pair' },
    '0000:00:02.0': { group: 'pair' },
    '0000:00:03.0': { model: 'nvme' },
    [PF]: { model: 'ioat', virtualFunctions: 2 },
    uart0: {},
  },
} as const;
const NAMES = [...Object.keys(topology.devices), '0000:00:05.0', '0000:00:05.1'];
const BUFFER = 4 * 4096;
const STEPS = 400;
const MAGIC = 0x5a;

type Pick = (below: number) => number;

/** A program: what it has open, and mapped. */
class Program {
  readonly client: LocalClient;
  readonly buffer: bigint;
  readonly fds: number[] = [];
  readonly mappings: SharedPages[] = [];

  constructor(machine: Machine) {
    this.client = machine.newClient();
    this.buffer = this.client.memory.alloc(BUFFER);
  }

  keep(fd: number): void {
    this.fds.push(fd);
  }

  call<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T>): number {
    const { memory } = this.client;
    return this.client.ioctl(fd, cmd, memory.store(bytesOf(struct, values)));
  }

  close(fd: number): void {
    this.client.close(fd);
    this.fds.splice(this.fds.indexOf(fd), 1);
  }
}

function bytesOf<T>(struct: Struct<T>, values: Partial<T>): Uint8Array {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create({ argsz: struct.size, size: struct.size, ...values } as Partial<T>), bytes);
  return bytes;
}

/** Words of a call that may be anything. */
const words = (...values: number[]): Uint8Array => new Uint8Array(new Int32Array(values).buffer);

type Step = (program: Program, pick: Pick, machine: Machine) => void;
const among = <T>(list: readonly T[], pick: Pick): T => list[pick(list.length)]!;
const DEVICE = /devices|device\]/;
const GROUP = /vfio\/\d/;
const CONTAINER = /vfio\/vfio$|iommu$/;
const IOMMUFD = /iommu$/;

/** A descriptor of that kind, mostly; or any, or one that is not open. */
function fdOf({ client, fds }: Program, pick: Pick, kind: RegExp): number {
  const fitting = fds.filter((fd) => kind.test((client.fileOf(fd) as { readonly name: string }).name));
  if (fitting.length > 0 && pick(10) > 0) return among(fitting, pick);
  return fds.length === 0 ? pick(9) : among(fds, pick);
}
const iova = (pick: Pick): bigint => BigInt(pick(8)) * 4096n;

const onDevice: readonly [weight: number, step: Step][] = [
  [
    6,
    (p, pick) =>
      p.call(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, {
        iommufd: fdOf(p, pick, IOMMUFD),
      }),
  ],
  [
    6,
    (p, pick) =>
      p.call(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, v.vfio_device_attach_iommufd_pt, {
        flags: pick(2),
        pasid: pick(3),
        pt_id: 1 + pick(6),
      }),
  ],
  [
    2,
    (p, pick) =>
      p.call(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_DETACH_IOMMUFD_PT, v.vfio_device_detach_iommufd_pt, {
        flags: pick(2),
        pasid: pick(3),
      }),
  ],
  [1, (p, pick) => p.client.ioctl(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_RESET, 0n)],
  [
    1,
    (p, pick) => {
      const fds = [fdOf(p, pick, GROUP), fdOf(p, pick, GROUP)];
      const bytes = words(20, 0, pick(3), ...fds);
      p.client.ioctl(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_PCI_HOT_RESET, p.client.memory.store(bytes));
    },
  ],
  [
    2,
    (p, pick) => {
      const eventfd = p.client.eventfd().fd;
      const bytes = words(24, 4 | (8 << pick(3)), pick(5), pick(3), pick(2), eventfd);
      try {
        p.client.ioctl(fdOf(p, pick, DEVICE), v.VFIO_DEVICE_SET_IRQS, p.client.memory.store(bytes));
      } finally {
        p.client.close(eventfd);
      }
    },
  ],
  [3, (p, pick) => void p.client.pwrite(fdOf(p, pick, DEVICE), Uint8Array.of(pick(8), 0), (7n << 40n) + 4n)],
  [
    3,
    (p, pick) => {
      const request = { offset: BigInt(pick(6)) << 40n, length: 4096n, shared: true, exec: false };
      p.mappings.push(p.client.mmap(fdOf(p, pick, DEVICE), request));
    },
  ],
  [6, (p, pick) => p.mappings[pick(8)]?.store?.(4 * pick(64), 4, pick(1 << 16), 0)],
  [
    8,
    (p, pick) =>
      p.call(fdOf(p, pick, DEVICE), d.IOASIS_DMA, d.ioasis_dma, {
        op: d.IOASIS_DMA_OP_FILL,
        flags: pick(3),
        pasid: pick(3),
        iova: iova(pick),
        length: 64n,
        value: 1n,
      }),
  ],
];

const onGroup: readonly [weight: number, step: Step][] = [
  [
    6,
    (p, pick) => {
      const at = p.client.memory.store(words(fdOf(p, pick, CONTAINER)));
      p.client.ioctl(fdOf(p, pick, GROUP), v.VFIO_GROUP_SET_CONTAINER, at);
    },
  ],
  [1, (p, pick) => p.client.ioctl(fdOf(p, pick, GROUP), v.VFIO_GROUP_UNSET_CONTAINER, 0n)],
  [
    4,
    (p, pick) => p.client.ioctl(fdOf(p, pick, CONTAINER), v.VFIO_SET_IOMMU, BigInt(among([1, 3, 9], pick))),
  ],
  [
    6,
    (p, pick) => {
      const name = p.client.memory.store(new TextEncoder().encode(`${among(NAMES, pick)}\0`));
      p.keep(p.client.ioctl(fdOf(p, pick, GROUP), v.VFIO_GROUP_GET_DEVICE_FD, name));
    },
  ],
  [
    4,
    (p, pick) =>
      p.call(fdOf(p, pick, CONTAINER), v.VFIO_IOMMU_MAP_DMA, v.vfio_iommu_type1_dma_map, {
        flags: 3,
        vaddr: p.buffer,
        iova: iova(pick),
        size: BigInt(BUFFER),
      }),
  ],
  [
    1,
    (p, pick) =>
      p.call(fdOf(p, pick, CONTAINER), v.VFIO_IOMMU_UNMAP_DMA, v.vfio_iommu_type1_dma_unmap, {
        flags: 2,
        iova: 0n,
        size: 0n,
      }),
  ],
];

const onIommufd: readonly [weight: number, step: Step][] = [
  [3, (p, pick) => p.call(fdOf(p, pick, IOMMUFD), uapi.IOMMU_IOAS_ALLOC, uapi.iommu_ioas_alloc, {})],
  [
    4,
    (p, pick) =>
      p.call(fdOf(p, pick, IOMMUFD), uapi.IOMMU_IOAS_MAP, uapi.iommu_ioas_map, {
        flags: 7,
        ioas_id: 1 + pick(4),
        user_va: p.buffer,
        length: BigInt(BUFFER),
        iova: iova(pick),
      }),
  ],
  [
    1,
    (p, pick) => p.call(fdOf(p, pick, IOMMUFD), uapi.IOMMU_DESTROY, uapi.iommu_destroy, { id: 1 + pick(6) }),
  ],
];

const onFiles: readonly [weight: number, step: Step][] = [
  [16, (p, pick, m) => p.keep(p.client.open(among(m.engine.devices, pick).path))],
  [4, (p, pick) => p.close(fdOf(p, pick, /./))],
];

/** What root does meanwhile. */
function writeSys({ engine }: Machine, path: string, text: string): void {
  const sysfs = engine.sysfs!;
  try {
    sysfs.file(path)?.write?.(new TextEncoder().encode(text), 0);
  } finally {
    sysfs.refresh();
  }
}
const driver = '/sys/bus/pci/drivers/vfio-pci';
const onSystem: readonly [weight: number, step: Step][] = [
  [1, (_, pick, m) => writeSys(m, `${driver}/unbind`, among(NAMES, pick))],
  [4, (_, pick, m) => writeSys(m, `${driver}/bind`, among(NAMES, pick))],
  [1, (_, pick, m) => m.setNumVfs(PF, pick(3))],
  [1, (_, pick, m) => writeSys(m, `/sys/devices/pci0000:00/${among(NAMES, pick)}/remove`, '1')],
  [2, (_, _pick, m) => writeSys(m, '/sys/bus/pci/rescan', '1')],
];

const steps = [...onFiles, ...onDevice, ...onGroup, ...onIommufd, ...onSystem].flatMap(([weight, step]) =>
  Array.from({ length: weight }, () => step),
);

/** Errors that are a program's own. */
function attempt(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(Errno);
    return false;
  }
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])('whatever programs do in whatever order, seed %i', (seed) => {
  const pick = dice(seed * 7919);
  const machine = createMachine({ topology });
  const before = machine.leaks();
  const bystander = new Program(machine);
  bystander.client.memory.write(bystander.buffer, new Uint8Array(BUFFER).fill(MAGIC));
  const iommufd = bystander.client.open('/dev/iommu');
  bystander.call(iommufd, uapi.IOMMU_IOAS_ALLOC, uapi.iommu_ioas_alloc, {});
  const map = { flags: 7, ioas_id: 1, user_va: bystander.buffer, length: BigInt(BUFFER), iova: 0n };
  bystander.call(iommufd, uapi.IOMMU_IOAS_MAP, uapi.iommu_ioas_map, map);
  const programs = [0, 1, 2].map(() => new Program(machine));
  let done = 0;
  for (let i = 0; i < STEPS; i++) {
    const which = pick(programs.length);
    if (pick(150) === 0) {
      programs[which]!.client.exit();
      programs[which] = new Program(machine);
      continue;
    }
    if (attempt(() => among(steps, pick)(programs[which]!, pick, machine))) done += 1;
  }
  expect(done).toBeGreaterThan(STEPS / 4);
  expect(bystander.client.memory.load(bystander.buffer, BUFFER).every((byte) => byte === MAGIC)).toBe(true);
  for (const { client } of [...programs, bystander]) client.exit();
  machine.setNumVfs(PF, 0);
  expect(machine.leaks()).toEqual(before);
  writeSys(machine, '/sys/bus/pci/rescan', '1');
  for (const name of Object.keys(topology.devices)) {
    attempt(() => writeSys(machine, `${driver}/bind`, name));
    const program = new Program(machine);
    const fd = program.client.open(machine.device(name).vfio.path);
    const own = program.client.open('/dev/iommu');
    program.call(fd, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, { iommufd: own });
    program.client.exit();
  }
  expect(machine.leaks()).toEqual(before);
});
