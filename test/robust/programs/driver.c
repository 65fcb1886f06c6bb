/*
 * A driver of a PCI device that is killed, again and again, at a moment of chance: while it has eventfds for its
 * interrupts, eventfds that store, and its registers mapped. The next finds the device as if nobody had had it.
 */
#include "robust.h"
#include <sys/eventfd.h>

#define ROUNDS 40

static int device, iommu;

static int set_irq(uint32_t index, uint32_t action, int event)
{
	union {
		struct vfio_irq_set set;
		char room[sizeof(struct vfio_irq_set) + sizeof(int)];
	} arg = { .set = { .argsz = sizeof(arg.set) + sizeof(int),
			   .flags = VFIO_IRQ_SET_DATA_EVENTFD | action,
			   .index = index,
			   .count = 1 } };

	memcpy(arg.room + sizeof(arg.set), &event, sizeof(event));
	return ioctl(device, VFIO_DEVICE_SET_IRQS, &arg);
}

static void open_device(void)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	uint16_t command;

	iommu = iommu_open();
	device = open("/dev/vfio/devices/vfio0", O_RDWR);
	bind.iommufd = iommu;
	CHECK(device >= 0 && ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0);
	CHECK(pread(device, &command, 2, (7LL << 40) + 4) == 2 && command == 2);
}

static void drive(int ready)
{
	uint16_t command = 6;

	open_device();
	CHECK(pwrite(device, &command, 2, (7LL << 40) + 4) == 2);
	CHECK(mmap(NULL, 0x4000, PROT_READ, MAP_SHARED, device, 0) != MAP_FAILED);
	CHECK(write(ready, "", 1) == 1);
	for (;;) {
		int event = eventfd(0, 0);
		struct vfio_device_ioeventfd stores = {
			.argsz = sizeof(stores), .flags = 4, .offset = 0xa8, .fd = event
		};
		uint64_t one = 1;

		CHECK(set_irq(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, event) == 0);
		CHECK(set_irq(VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, event) == 0);
		CHECK(ioctl(device, VFIO_DEVICE_IOEVENTFD, &stores) == 0);
		CHECK(write(event, &one, 8) == 8);
		stores.fd = -1;
		CHECK(ioctl(device, VFIO_DEVICE_IOEVENTFD, &stores) == 0);
		close(event);
	}
}

int main(void)
{
	for (int round = 0; round < ROUNDS; round++) {
		int ready[2];
		char byte;
		pid_t pid;
		int status;

		CHECK(pipe(ready) == 0);
		pid = fork();
		if (pid == 0)
			drive(ready[1]);
		close(ready[1]);
		CHECK(read(ready[0], &byte, 1) == 1);
		usleep((useconds_t)(rand() % 3000));
		CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		close(ready[0]);
	}
	open_device();
	return 0;
}
