/*
 * Machines of the system's own KVM. Their calls are the kernel's; the daemon is told of those that change which memory a
 * guest-physical address is, once they are done. Only the daemon looks whether a descriptor is a machine at all.
 */
#include "shim.h"
#include "wrappers.h"

#define KVM_CREATE_VM 0xae01
#define KVM_SET_USER_MEMORY_REGION 0x4020ae46
#define KVM_SET_USER_MEMORY_REGION2 0x40a0ae49
#define ALLOC_IOASID_KVM 0xd282

static long tell(int fd, unsigned long cmd, void *arg)
{
	shim_start();
	return shim.tree_length == 0 ? -IOASIS_NOT_SPECIAL : ask_ioctl(IOASIS_OP_KVM, fd, 0, cmd, arg);
}

/* A call of a machine's descriptor that the kernel does not know. */
bool kvm_takes(int fd, unsigned long cmd, void *arg, long *result)
{
	if ((uint32_t)cmd != ALLOC_IOASID_KVM)
		return false;
	*result = tell(fd, cmd, arg);
	return *result != -IOASIS_NOT_SPECIAL;
}

/* What the kernel has refused changes nothing. The program's call is over when the daemon has heard of it. */
void kvm_follow(int fd, unsigned long cmd, void *arg, long result)
{
	if (result < 0)
		return;
	if ((uint32_t)cmd == KVM_CREATE_VM)
		tell((int)result, cmd, NULL);
	else if ((uint32_t)cmd == KVM_SET_USER_MEMORY_REGION || (uint32_t)cmd == KVM_SET_USER_MEMORY_REGION2)
		tell(fd, cmd, arg);
}
