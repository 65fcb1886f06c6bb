/** What the file of a virtual machine knows beside KVM's calls: ALLOC_IOASID_KVM, with the descriptor of a /dev/ioasid. */
import { refuse } from '../base/errno.js';
import { Call } from '../iommufd/call.js';
import { finish } from '../iommufd/dispatch.js';
import { UserMemory } from '../iommufd/user-memory.js';
import type { Task } from '../mem/task.js';
import { ALLOC_IOASID_KVM, alloc_ioasid_kvm } from '../wire/uapi/ioasid.js';
import { allocIoasidOfMachine } from './alloc.js';
import { IoasidFile } from './ioctls.js';
import type { VirtualMachine } from './kvm.js';
import { rules as kvmRules } from './kvm-rules.js';
import { rules } from './rules.js';

export function machineIoctl(machine: VirtualMachine, cmd: number, arg: bigint, task: Task): number {
  if (cmd !== ALLOC_IOASID_KVM) refuse(kvmRules.kvm_machine_ioctl, { cmd: BigInt(cmd >>> 0) });
  const user = new UserMemory(machine.env, task);
  const size = user.copyU32(arg, rules.kvm_alloc_unreadable);
  if (size < alloc_ioasid_kvm.size) refuse(rules.kvm_alloc_size, { size, least: alloc_ioasid_kvm.size });
  const request = user.copyStructIn(alloc_ioasid_kvm, arg, size);
  const file = ioasidFile(task, request.fd);
  return finish(new Call(file, task, arg, size), (call) => {
    allocIoasidOfMachine(call, request, () => machine.addressSpace(task)!);
    return 0;
  });
}

function ioasidFile(task: Task, fd: number): IoasidFile {
  const file = task.fileOf(fd);
  if (file === null) refuse(rules.kvm_alloc_fd, { fd });
  if (file instanceof IoasidFile) return file;
  if (!file.isEngineFile) file.release();
  refuse(rules.kvm_alloc_file, { fd });
}
