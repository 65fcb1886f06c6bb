/** Rules of software that pins or copies, and of VFIO's container ioctls. */
import { SparsePages } from '../../../src/machine/local-memory.js';
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import { FIXED, LOW, MAX, PAGE, READ, RW, WRITE, type World } from '../world.js';
import { failingAt, refused, type Cases, type Prepare } from './case.js';

const SLOW = t.MOCK_ACCESS_RW_SLOW_PATH;
const PUT = t.MOCK_ACCESS_RW_WRITE;

/** Pins in an IOAS that has four pages at LOW with permissions `prot`. */
const pin =
  (iova: bigint, length: bigint, flags = 0, prot: number = RW): Prepare =>
  (w) => {
    const ioas = w.ioas();
    w.map(ioas, LOW, 4, prot);
    const fd = w.access(ioas);
    return () => w.pin(fd, iova, length, flags);
  };

interface Copied {
  readonly w: World;
  /** The memory behind LOW. */
  readonly at: bigint;
  readonly fd: number;
  readonly uptr: bigint;
}

/** Copies `length` bytes from LOW on, after `before` has spoilt something. */
const rw =
  (
    length: bigint,
    flags = 0,
    before: (made: Copied) => void = () => {},
    prot: number = RW,
    iova: bigint = LOW,
  ): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const at = w.map(ioas, LOW, 4, prot);
    const fd = w.access(ioas, 0);
    const uptr = w.buffer();
    before({ w, at, fd, uptr });
    return () => w.rw(fd, iova, length, uptr, flags);
  };

/** The mapped memory is no longer at its address. */
const freed = ({ w, at }: Copied): void => w.client.memory.free(at);

/** As {@link rw} over memory that is there for its owner, and whose bytes are gone. */
const rwGone =
  (length: bigint): Prepare =>
  (w) => {
    const ioas_id = w.ioas();
    const pages = new SparsePages(4 * Number(PAGE));
    const user_va = w.client.memory.alloc(pages.size, { pages });
    w.call(u.IOMMU_IOAS_MAP, { flags: RW | FIXED, ioas_id, user_va, length: 4n * PAGE, iova: LOW });
    const fd = w.access(ioas_id, 0);
    const uptr = w.buffer();
    pages.view = () => null;
    pages.read = () => false;
    return () => w.rw(fd, LOW, length, uptr, SLOW);
  };

/** A page of a dma-buf at LOW. */
const onDmaBuf =
  (act: (w: World, fd: number) => unknown): Prepare =>
  (w) => {
    const ioas = w.ioas();
    w.mapFile(ioas, w.dmaBuf());
    const fd = w.access(ioas);
    return () => act(w, fd);
  };

export const accessCases: Cases = {
  access_pin_length: refused('EINVAL', pin(LOW, 0n)),
  access_pin_wraps: refused('EOVERFLOW', pin(MAX, PAGE)),
  access_pin_alignment: refused('EINVAL', pin(LOW + 1n, 1n)),
  access_pin_permission: refused('EPERM', pin(LOW, PAGE, t.MOCK_FLAGS_ACCESS_WRITE, READ)),
  access_pin_dma_buf: refused(
    'EINVAL',
    onDmaBuf((w, fd) => w.pin(fd, LOW, PAGE)),
  ),
  access_pin_gap: refused('ENOENT', pin(LOW, 5n * PAGE)),
  pfn_store_failed: refused('EINVAL', (w) => failingAt(w, 'pinned_pfns', pin(LOW, PAGE)(w))),
  access_rw_length: refused('EINVAL', rw(0n)),
  access_rw_wraps: refused(
    'EOVERFLOW',
    rw(5n, 0, () => {}, RW, MAX),
  ),
  access_rw_permission: refused(
    'EPERM',
    rw(5n, 0, () => {}, WRITE),
  ),
  access_rw_dma_buf: refused(
    'EINVAL',
    onDmaBuf((w, fd) => w.rw(fd, LOW, 5n, w.buffer())),
  ),
  access_rw_unreadable: refused('EFAULT', rw(5n, 0, freed)),
  access_rw_unwritable: refused('EFAULT', rw(5n, PUT, freed)),
  access_rw_page_failed: refused('EINVAL', (w) => failingAt(w, 'access one page', rw(5n, SLOW)(w))),
  access_rw_page_fault: refused('EFAULT', rw(5n, SLOW, freed)),
  access_rw_page_gone: refused('EFAULT', rwGone(5n)),
  access_rw_frame_gone: refused('EFAULT', rwGone(5000n)),
  access_rw_gap: refused('ENOENT', rw(4n * PAGE + 1n)),
};
