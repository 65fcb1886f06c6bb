/**
 * The system calls that the doctor tries: on itself and on its own children only.
 * A check must not fall over what it looks for, so every answer is a value.
 */
import { readFileSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { HeldBuffers } from '../../host/held-buffers.js';
import * as sys from '../../host/sys.js';
import { closeEnd, openTerminal } from '../../host/token-ends.js';

export interface Probe {
  /** Null: works; else what was wrong. */
  readsOwnMemory(): string | null;
  /** The same for the first mapping of another process: an ELF file, as every program has. */
  readsMemoryOf(pid: number): string | null;
  hasProcmapQuery(): boolean;
  /** Whether pages can be held for devices by io_uring. */
  holdsPins(): boolean;
  /** Null: a pseudo-terminal can be had for a token; else what was wrong. */
  opensTerminal(): string | null;
  /** Null where the file system or the kernel does not say. */
  hasFileCapabilities(path: string): boolean | null;
}

const PROCMAP_QUERY = 0xc0686611;
/** sizeof(struct procmap_query); its first field says so. */
const procmapQueryBytes = 104;
const PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10n;
const ENODATA = 61;
const EOPNOTSUPP = 95;
const probeBytes = 4;

export function makeProbe(): Probe {
  const vectors = sys.allocate(32);
  const readAt = (pid: number, at: bigint, into: sys.Block): string | null => {
    vectors.view.setBigUint64(0, BigInt(into.address), true);
    vectors.view.setBigUint64(8, BigInt(probeBytes), true);
    vectors.view.setBigUint64(16, at, true);
    vectors.view.setBigUint64(24, BigInt(probeBytes), true);
    const got = sys.vmRead(pid, vectors.address, 1, vectors.address + 16, 1, 0);
    if (got === probeBytes) return null;
    return got < 0 ? getSystemErrorName(got) : 'fewer bytes than asked for';
  };
  return {
    readsOwnMemory() {
      const [from, into] = [sys.allocate(probeBytes), sys.allocate(probeBytes)];
      from.bytes.set([1, 2, 3, 4]);
      const error = readAt(process.pid, BigInt(from.address), into);
      if (error !== null) return error;
      return into.bytes.join() === from.bytes.join() ? null : 'other bytes came back';
    },
    readsMemoryOf(pid) {
      const start = readFileSync(`/proc/${pid}/maps`, 'latin1').split('-', 1)[0] ?? '';
      if (start === '') return 'its mappings are not shown';
      return readAt(pid, BigInt(`0x${start}`), sys.allocate(probeBytes));
    },
    hasProcmapQuery() {
      const query = sys.allocate(procmapQueryBytes);
      query.bytes.fill(0);
      query.view.setBigUint64(0, BigInt(procmapQueryBytes), true);
      query.view.setBigUint64(8, PROCMAP_QUERY_COVERING_OR_NEXT_VMA, true);
      const fd = sys.open('/proc/self/maps', sys.O_RDONLY | sys.O_CLOEXEC, 0);
      if (fd < 0) return false;
      const result = sys.ioctl(fd, PROCMAP_QUERY, query.address);
      sys.close(fd);
      return result === 0;
    },
    holdsPins() {
      const buffers = HeldBuffers.open();
      buffers?.close();
      const pidfd = sys.pidfdOpen(process.pid);
      const taken = sys.pidfdGetfd(pidfd, 0);
      if (taken >= 0) sys.close(taken);
      if (pidfd >= 0) sys.close(pidfd);
      return buffers !== null && taken >= 0;
    },
    opensTerminal() {
      const made = openTerminal(sys.O_RDWR);
      if (typeof made === 'number') return getSystemErrorName(made);
      sys.close(made.client);
      closeEnd(made.end);
      return null;
    },
    hasFileCapabilities(path) {
      const bytes = sys.getxattr(path, 'security.capability', 0, 0);
      if (bytes > 0) return true;
      return bytes === -ENODATA || bytes === -EOPNOTSUPP ? false : null;
    },
  };
}
