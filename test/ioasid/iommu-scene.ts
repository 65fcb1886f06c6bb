/** The same machine as that of `IoasidScene`, by way of /dev/iommu: one device, and what is attached to it. */
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { IommufdClient } from '../../src/machine/iommufd-client.js';
import type { Topology } from '../../src/machine/topology.js';
import * as k from '../../src/wire/uapi/kvm.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { encode } from '../vfio/nesting-scene.js';

export class IommuScene {
  readonly machine: Machine;
  readonly iommufd: IommufdClient;
  readonly device: number;
  readonly #devId: number;

  constructor(topology: Topology, machine = createMachine({ topology }), index = 0) {
    this.machine = machine;
    this.iommufd = machine.open('/dev/iommu');
    this.device = machine.client.open(`/dev/vfio/devices/vfio${index}`);
    const bind = { argsz: 24, iommufd: this.iommufd.fd };
    const at = this.memory.store(encode(v.vfio_device_bind_iommufd, bind));
    machine.client.ioctl(this.device, v.VFIO_DEVICE_BIND_IOMMUFD, at);
    const { size } = v.vfio_device_bind_iommufd;
    this.#devId = v.vfio_device_bind_iommufd.decode(this.memory.load(at, size)).out_devid;
  }

  get memory(): Machine['memory'] {
    return this.machine.memory;
  }

  ioas(): number {
    return this.iommufd.call(u.IOMMU_IOAS_ALLOC).out_ioas_id;
  }

  map(ioas_id: number, iova: bigint, user_va: bigint, length: bigint, flags: number): void {
    const access =
      u.IOMMU_IOAS_MAP_FIXED_IOVA |
      ((flags & 1) !== 0 ? u.IOMMU_IOAS_MAP_READABLE : 0) |
      ((flags & 2) !== 0 ? u.IOMMU_IOAS_MAP_WRITEABLE : 0);
    this.iommufd.call(u.IOMMU_IOAS_MAP, { flags: access, ioas_id, user_va, length, iova });
  }

  hwpt(
    pt_id: number,
    values: Partial<u.IommuHwptAlloc>,
    data_type = 0,
    data: Uint8Array = new Uint8Array(0),
  ): number {
    const data_uptr = data.length === 0 ? 0n : this.memory.store(data);
    const all = { dev_id: this.#devId, pt_id, data_type, data_len: data.length, data_uptr, ...values };
    return this.iommufd.call(u.IOMMU_HWPT_ALLOC, all).out_hwpt_id;
  }

  /** Attaches or replaces; `pasid` 0: the requester id. */
  attach(pt_id: number, pasid = 0): void {
    const flags = pasid === 0 ? 0 : v.VFIO_DEVICE_ATTACH_PASID;
    const bytes = encode(v.vfio_device_attach_iommufd_pt, { argsz: 16, flags, pt_id, pasid });
    this.machine.client.ioctl(this.device, v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, this.memory.store(bytes));
  }

  detach(pasid = 0): void {
    const flags = pasid === 0 ? 0 : v.VFIO_DEVICE_DETACH_PASID;
    const bytes = encode(v.vfio_device_detach_iommufd_pt, { argsz: 12, flags, pasid });
    this.machine.client.ioctl(this.device, v.VFIO_DEVICE_DETACH_IOMMUFD_PT, this.memory.store(bytes));
  }

  /** A virtual machine without memory: its descriptor. */
  vm(): number {
    const kvm = this.machine.client.open('/dev/kvm');
    return this.machine.client.ioctl(kvm, k.KVM_CREATE_VM, 0n);
  }
}
