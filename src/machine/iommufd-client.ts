/**
 * `/dev/iommu` for TypeScript: every ioctl takes and returns the kernel's struct as a plain object.
 * Invariant: what is called is exactly what a C program would call; nothing is checked here first.
 */
import type { Infer, Struct } from '../wire/struct.js';
import * as uapi from '../wire/uapi/iommufd.gen.js';
import type { LocalClient } from './local-client.js';

/** Which struct each ioctl takes, by its number. */
const structs = {
  [uapi.IOMMU_DESTROY]: uapi.iommu_destroy,
  [uapi.IOMMU_IOAS_ALLOC]: uapi.iommu_ioas_alloc,
  [uapi.IOMMU_IOAS_ALLOW_IOVAS]: uapi.iommu_ioas_allow_iovas,
  [uapi.IOMMU_IOAS_COPY]: uapi.iommu_ioas_copy,
  [uapi.IOMMU_IOAS_IOVA_RANGES]: uapi.iommu_ioas_iova_ranges,
  [uapi.IOMMU_IOAS_MAP]: uapi.iommu_ioas_map,
  [uapi.IOMMU_IOAS_MAP_FILE]: uapi.iommu_ioas_map_file,
  [uapi.IOMMU_IOAS_UNMAP]: uapi.iommu_ioas_unmap,
  [uapi.IOMMU_IOAS_CHANGE_PROCESS]: uapi.iommu_ioas_change_process,
  [uapi.IOMMU_OPTION]: uapi.iommu_option,
  [uapi.IOMMU_VFIO_IOAS]: uapi.iommu_vfio_ioas,
  [uapi.IOMMU_HWPT_ALLOC]: uapi.iommu_hwpt_alloc,
  [uapi.IOMMU_GET_HW_INFO]: uapi.iommu_hw_info,
  [uapi.IOMMU_HWPT_SET_DIRTY_TRACKING]: uapi.iommu_hwpt_set_dirty_tracking,
  [uapi.IOMMU_HWPT_GET_DIRTY_BITMAP]: uapi.iommu_hwpt_get_dirty_bitmap,
  [uapi.IOMMU_HWPT_INVALIDATE]: uapi.iommu_hwpt_invalidate,
  [uapi.IOMMU_FAULT_QUEUE_ALLOC]: uapi.iommu_fault_alloc,
  [uapi.IOMMU_VIOMMU_ALLOC]: uapi.iommu_viommu_alloc,
  [uapi.IOMMU_VDEVICE_ALLOC]: uapi.iommu_vdevice_alloc,
  [uapi.IOMMU_VEVENTQ_ALLOC]: uapi.iommu_veventq_alloc,
  [uapi.IOMMU_HW_QUEUE_ALLOC]: uapi.iommu_hw_queue_alloc,
} as const;

/** An ioctl of iommufd, by its number. */
export type IommufdRequest = keyof typeof structs;
/** The struct of ioctl `R`: u64 fields are bigint, all others number. */
export type IommufdArgument<R extends IommufdRequest> = Infer<(typeof structs)[R]>;

/** An open `/dev/iommu`. */
export class IommufdClient {
  readonly fd: number;
  readonly client: LocalClient;

  constructor(client: LocalClient, path = '/dev/iommu') {
    this.client = client;
    this.fd = client.open(path);
  }

  /**
   * Makes ioctl `request`. Fields that are not given are 0, `size` is that of the struct. Returns the struct as the
   * call left it. Throws Errno, whose `errno`, `rule` and `reason` say why it was refused.
   */
  call<R extends IommufdRequest>(request: R, values: Partial<IommufdArgument<R>> = {}): IommufdArgument<R> {
    return this.callWith(request, structs[request] as Struct<IommufdArgument<R>>, values);
  }

  /** The same with a struct of the caller's choice: for the arms of IOMMU_TEST_CMD. */
  callWith<T>(request: number, struct: Struct<T>, values: Partial<T>): T {
    const { memory } = this.client;
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create({ size: struct.size, ...values } as Partial<T>), bytes);
    const at = memory.store(bytes);
    try {
      this.client.ioctl(this.fd, request, at);
      return struct.decode(memory.load(at, struct.size));
    } finally {
      memory.free(at);
    }
  }

  close(): void {
    this.client.close(this.fd);
  }
}
