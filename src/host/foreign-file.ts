/** A client's descriptor that is no file of the engine's: what kind it is, and its bytes if it can be mapped. */
import type { ForeignFile } from '../mem/task.js';
import type { FileBackings } from './backing.js';
import { type CounterWatcher, eventFile } from './event-counter.js';
import * as sys from './sys.js';

const F_GET_SEALS = 1034;
const LINK_SIZE = 256;
const link = sys.allocate(LINK_SIZE);
const decoder = new TextDecoder();

/** What /proc/PID/fd calls the file behind one of our descriptors. */
export function fileName(fd: number): string {
  const length = sys.readlink(`/proc/self/fd/${fd}`, link.address, LINK_SIZE);
  return decoder.decode(link.bytes.subarray(0, Math.max(0, length)));
}

/** What to call it. */
function kindOf(fd: number, status: sys.Status): ForeignFile['kind'] {
  // Seals exist on shmem and hugetlbfs files, and on nothing else.
  if (sys.fileType(status) === sys.S_IFREG && sys.fcntl(fd, F_GET_SEALS, 0) >= 0) return 'memfd';
  const name = fileName(fd);
  if (name === 'anon_inode:[eventfd]') return 'eventfd';
  return name.startsWith('/dmabuf:') || name === 'anon_inode:dmabuf' ? 'dma-buf' : 'other';
}

/** Takes `fd` over. */
export function foreignFile(
  fd: number,
  status: sys.Status,
  files: FileBackings,
  watcher: CounterWatcher,
): ForeignFile {
  const kind = kindOf(fd, status);
  if (kind === 'eventfd') return eventFile(fd, watcher);
  const backing = files.ofDescriptor(fd, status);
  return {
    isEngineFile: false,
    kind,
    backing,
    size: () => backing.size() ?? status.size,
    release: () => files.put(backing),
  };
}
