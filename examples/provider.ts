/*
 * A kind of page table of one's own, without a line changed in ioasis: the device's addresses are offsets of an image whose
 * blocks come into memory when a device asks for them. What is not there is a page request, which goes to this file's own
 * handler: it brings the block in, or refuses what lies behind the end. Then the device tries again.
 *
 *     npm run build && npx tsc -p examples && node .cache/examples/provider.js
 */
import {
  createMachine,
  uapi,
  type AddressSpaceProvider,
  type ProvidedFault,
  type ProvidedPage,
} from 'ioasis';

const BLOCK = 4096;
const READ = 1;
/** VFIO_DEVICE_BIND_IOMMUFD and VFIO_DEVICE_ATTACH_IOMMUFD_PT */
const [BIND, ATTACH] = [0x3b76, 0x3b77];

/** An address space whose owner is asked. What it answers is true until it says otherwise, by `onInvalidate`. */
class Image implements AddressSpaceProvider {
  readonly name = 'image';
  onInvalidate: AddressSpaceProvider['onInvalidate'] = null;
  /** Host-physical addresses, by block. */
  readonly #blocks = new Map<number, bigint>();

  translate(hi: number, lo: number, access: number, page: ProvidedPage): boolean {
    const hpa = hi === 0 ? this.#blocks.get(lo >>> 12) : undefined;
    if (hpa === undefined || (access & ~READ) !== 0) return false;
    page.hpaHi = Number(hpa >> 32n);
    page.hpaLo = Number(BigInt.asIntN(32, hpa));
    page.sizeLg2 = 12;
    page.permitted = READ;
    return true;
  }

  put(block: number, hpa: bigint): void {
    this.#blocks.set(block, hpa);
  }

  /** Caches first: nobody may use a frame that is somebody else's by then. */
  drop(block: number): void {
    this.onInvalidate?.(BigInt(block * BLOCK), BigInt(block * BLOCK + BLOCK - 1));
    this.#blocks.delete(block);
  }
}

const machine = createMachine({ topology: { devices: { '0000:00:01.0': {}, '0000:00:02.0': {} } } });
const { memory, client } = machine;

/** Host memory: one page of this program, which stays where it is while another device has it mapped. */
function pinnedPage(): { va: bigint; hpa: bigint } {
  const words = (...values: number[]): bigint => memory.store(new Uint8Array(new Int32Array(values).buffer));
  const iommufd = machine.open('/dev/iommu');
  const device = client.open('/dev/vfio/devices/vfio1');
  client.ioctl(device, BIND, words(16, 0, iommufd.fd, 0));
  const { out_ioas_id: ioas_id } = iommufd.call(uapi.IOMMU_IOAS_ALLOC);
  client.ioctl(device, ATTACH, words(12, 0, ioas_id));
  const user_va = memory.alloc(BLOCK);
  const flags = uapi.IOMMU_IOAS_MAP_READABLE | uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_FIXED_IOVA;
  iommufd.call(uapi.IOMMU_IOAS_MAP, { flags, ioas_id, user_va, length: BigInt(BLOCK), iova: 0n });
  const { result } = machine.walk('0000:00:02.0', 0n);
  if (result.kind !== 'page') throw new Error('what was mapped is not there');
  return { va: user_va, hpa: BigInt(result.hpa) };
}

const page = pinnedPage();
const image = new Image();
const blocks = ['the first block', 'the second block'];
let inMemory = -1;

/** There is room for one block: it takes the place of the one before. */
function onFault({ requests, respond }: ProvidedFault): void {
  const block = Number(requests[0]!.addr / BigInt(BLOCK));
  const text = blocks[block];
  console.log(`  a page request for block ${block}: ${text === undefined ? 'refused' : 'brought in'}`);
  if (text === undefined) return respond('invalid');
  if (inMemory >= 0) image.drop(inMemory);
  memory.write(page.va, new TextEncoder().encode(text.padEnd(32, '\0')));
  image.put(block, page.hpa);
  inMemory = block;
  respond('success');
}

const space = machine.provide('0000:00:01.0', image, { pasid: 5, onFault });
for (const block of [0, 0, 1, 0, 2]) {
  console.log(`The device reads block ${block}.`);
  const iova = BigInt(block * BLOCK);
  const job = machine.device('0000:00:01.0').dma.submit({
    kind: 'read',
    iova,
    length: 32,
    pasid: 5,
    ats: true,
    pri: true,
  });
  const text = job.state === 'done' ? new TextDecoder().decode(job.data).replace(/\0.*/, '') : job.reason;
  console.log(`  ${job.state}: ${text}`);
}
space.detach();
client.exit();
