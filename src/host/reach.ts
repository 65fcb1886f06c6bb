/**
 * Whether a process may have the memory of another: what Linux asks before process_vm_writev(2), of its own tables.
 * A descriptor of a process (pidfd) is no such permission, since anybody can open one.
 */
import { readFileSync, statSync } from 'node:fs';

const CAP_SYS_PTRACE = 1n << 19n;

interface Credentials {
  /** Real, effective, saved. */
  readonly users: readonly string[];
  readonly groups: readonly string[];
  readonly effective: bigint;
  readonly permitted: bigint;
}

/** Ids of processes; false where either is gone. */
export function mayReach(caller: number, target: number): boolean {
  if (caller === target) return true;
  try {
    return permits(credentialsOf(caller), credentialsOf(target), target);
  } catch {
    return false;
  }
}

function permits(caller: Credentials, target: Credentials, pid: number): boolean {
  if ((caller.effective & CAP_SYS_PTRACE) !== 0n) return true;
  const isSame =
    target.users.every((id) => id === caller.users[0]) &&
    target.groups.every((id) => id === caller.groups[0]);
  const isWithin = (target.permitted & ~caller.permitted) === 0n;
  return isSame && isWithin && isDumpable(target, pid);
}

/** Of a process that is not (PR_SET_DUMPABLE), all files in /proc are root's. */
const isDumpable = ({ users }: Credentials, pid: number): boolean =>
  String(statSync(`/proc/${pid}/mem`).uid) === users[1];

function credentialsOf(pid: number): Credentials {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const words = (name: string): string[] =>
    new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]?.split('\t') ?? [];
  return {
    users: words('Uid').slice(0, 3),
    groups: words('Gid').slice(0, 3),
    effective: BigInt(`0x${words('CapEff')[0] ?? '0'}`),
    permitted: BigInt(`0x${words('CapPrm')[0] ?? '0'}`),
  };
}
