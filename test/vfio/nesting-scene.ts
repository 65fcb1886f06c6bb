/** A device in a nesting container (VFIO_TYPE1_NESTING_IOMMU), and a guest whose memory and page table are there. */
import type { EngineConfig } from '../../src/machine/engine.js';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { Topology } from '../../src/machine/topology.js';
import type { Infer, Struct } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as n from '../../src/wire/uapi/vfio-nesting.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';

export const PAGE = 4096n;
/** Where the container maps the guest's memory: pages 0 to 3 are its table, which leads from IOVA to page 8. */
export const GUEST = 0x10_0000n;
export const IOVA = 0x7f00_0000_0000n;

export type BindData = Infer<typeof n.iommu_gpasid_bind_data>;
export type Invalidate = Infer<typeof n.iommu_cache_invalidate_info>;

export const encode = <T>(struct: Struct<T>, values: Partial<T>): Uint8Array => {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create(values), bytes);
  return bytes;
};

/** What binds the guest's table to `pasid`. */
export const table = (pasid: number, values: Partial<BindData> = {}): Partial<BindData> => ({
  argsz: 72,
  version: 1,
  format: n.IOMMU_PASID_FORMAT_INTEL_VTD,
  addr_width: 48,
  flags: 1n,
  gpgd: GUEST,
  hpasid: BigInt(pasid),
  gpasid: BigInt(pasid),
  ...values,
});

const TWO_DEVICES: Topology = { devices: { '0000:00:01.0': {}, '0000:00:02.0': {} } };

export class NestingScene {
  readonly machine: Machine;
  readonly container: number;
  readonly group: number;
  readonly device: number;
  readonly memory: bigint;

  constructor(
    readonly name = '0000:00:01.0',
    topology: Topology = TWO_DEVICES,
    number = 0,
    config: Partial<EngineConfig> = {},
  ) {
    this.machine = createMachine({ ...config, topology: { vfioNesting: true, ...topology } });
    const { client } = this.machine;
    this.container = client.open('/dev/vfio/vfio');
    this.group = this.join(number);
    client.ioctl(this.container, v.VFIO_SET_IOMMU, BigInt(n.VFIO_TYPE1_NESTING_IOMMU));
    this.device = this.open(name);
    this.memory = this.machine.memory.alloc(16 * 4096);
    const map = { argsz: 32, flags: 3, vaddr: this.memory, iova: GUEST, size: 16n * PAGE };
    client.ioctl(this.container, v.VFIO_IOMMU_MAP_DMA, this.store(encode(v.vfio_iommu_type1_dma_map, map)));
    for (let level = 0n; level < 4n; level += 1n) {
      const next = level === 3n ? GUEST + 8n * PAGE : GUEST + (level + 1n) * PAGE;
      this.setEntry(level, next | 7n);
    }
  }

  store(bytes: Uint8Array): bigint {
    return this.machine.memory.store(bytes);
  }

  /** Puts a group into the container. */
  join(number: number): number {
    const { client } = this.machine;
    const group = client.open(`/dev/vfio/${number}`);
    const fd = this.store(new Uint8Array(new Int32Array([this.container]).buffer));
    client.ioctl(group, v.VFIO_GROUP_SET_CONTAINER, fd);
    return group;
  }

  /** Opens a device of the group; if it is on PCI it may master the bus. */
  open(name: string): number {
    const { client } = this.machine;
    const at = this.store(new TextEncoder().encode(`${name}\0`));
    const device = client.ioctl(this.group, v.VFIO_GROUP_GET_DEVICE_FD, at);
    const config = BigInt(v.VFIO_PCI_CONFIG_REGION_INDEX) << 40n;
    if (name.includes(':')) client.pwrite(device, Uint8Array.of(6, 0), config + 4n);
    return device;
  }

  /** The guest's entry for IOVA at `level` of its table, or for so many pages behind it. */
  setEntry(level: bigint, entry: bigint, pages = 0n): void {
    const index = (((IOVA >> (39n - 9n * level)) & 511n) + pages) * 8n;
    const bytes = new Uint8Array(new BigUint64Array([entry]).buffer);
    this.machine.memory.write(this.memory + level * PAGE + index, bytes);
  }

  request(flags: number, min: number, max: number): number {
    const bytes = encode(n.vfio_iommu_type1_pasid_request, { argsz: 16, flags, min, max });
    return this.machine.client.ioctl(this.container, n.VFIO_IOMMU_PASID_REQUEST, this.store(bytes));
  }

  /** A call with a payload behind argsz and flags. */
  withPayload(cmd: number, flags: number, payload: Uint8Array, argsz = 8 + payload.length): number {
    const bytes = new Uint8Array(8 + payload.length);
    bytes.set(encode(n.vfio_iommu_type1_bind, { argsz, flags }));
    bytes.set(payload, 8);
    return this.machine.client.ioctl(this.container, cmd, this.store(bytes));
  }

  bind(values: Partial<BindData>, flags: number = n.VFIO_IOMMU_BIND_GUEST_PGTBL): number {
    return this.withPayload(n.VFIO_IOMMU_BIND, flags, encode(n.iommu_gpasid_bind_data, values));
  }

  unbind(pasid: number): number {
    return this.bind(table(pasid), n.VFIO_IOMMU_UNBIND_GUEST_PGTBL);
  }

  invalidate(values: Partial<Invalidate>): number {
    const whole = {
      argsz: 56,
      version: 1,
      cache: n.IOMMU_CACHE_INV_TYPE_IOTLB,
      granularity: n.IOMMU_INV_GRANU_ADDR,
      addr: IOVA,
      granule_size: PAGE,
      nb_granules: 1n,
      ...values,
    };
    const bytes = encode(n.iommu_cache_invalidate_info, whole);
    return this.withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 0, bytes);
  }

  /** The device stores 8 bytes of 5 at `iova`; `pasid` 0: without one. */
  dma(pasid: number, iova = IOVA, flags = 0, device = this.device): d.IoasisDma {
    const values = {
      size: d.ioasis_dma.size,
      op: d.IOASIS_DMA_OP_FILL,
      flags: flags | (pasid === 0 ? 0 : d.IOASIS_DMA_PASID),
      pasid,
      iova,
      length: 8n,
      value: 5n,
    };
    const at = this.store(encode(d.ioasis_dma, values));
    this.machine.client.ioctl(device, d.IOASIS_DMA, at);
    return d.ioasis_dma.decode(this.machine.memory.load(at, d.ioasis_dma.size));
  }

  /** What became of {@link dma}. */
  fill(pasid: number): number {
    return this.dma(pasid).out_state;
  }

  /** The record of an operation that was pending, once it is over. */
  completion(): d.IoasisDmaCompletion | null {
    const bytes = this.machine.client.read(this.device, d.ioasis_dma_completion.size);
    return bytes.length === 0 ? null : d.ioasis_dma_completion.decode(bytes);
  }

  byteOf(page: bigint): number {
    return this.machine.memory.load(this.memory + page * PAGE, 1)[0]!;
  }

  /** Closes everything; what is left, by kind. */
  end(): Record<string, number> {
    this.machine.client.exit();
    return { ...this.machine.leaks() };
  }
}
