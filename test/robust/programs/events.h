/* Mock devices whose page requests and events a queue gets. */
#include "robust.h"

struct faulting {
	int fd, queue;
	uint32_t ioas, device, mock;
};

static inline uint32_t test_cmd(int fd, struct iommu_test_cmd *command, uint32_t op)
{
	command->size = sizeof(*command);
	command->op = op;
	CHECK(ioctl(fd, IOMMU_TEST_CMD, command) == 0);
	return command->id;
}

static inline int fault_queue(int fd, uint32_t *id)
{
	struct iommu_fault_alloc alloc = { .size = sizeof(alloc) };

	CHECK(ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &alloc) == 0);
	*id = alloc.out_fault_id;
	return (int)alloc.out_fault_fd;
}

static inline uint32_t page_table(int fd, uint32_t device, uint32_t ioas, uint32_t flags, uint32_t fault)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc), .flags = flags, .dev_id = device, .pt_id = ioas, .fault_id = fault,
	};

	CHECK(ioctl(fd, IOMMU_HWPT_ALLOC, &alloc) == 0);
	return alloc.out_hwpt_id;
}

static inline void attach(const struct faulting *at, uint32_t table)
{
	struct iommu_test_cmd command = { .id = at->mock };

	command.mock_domain_replace.pt_id = table;
	test_cmd(at->fd, &command, IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE);
}

static inline struct faulting mock_device(void)
{
	struct faulting made = { .fd = iommu_open(), .queue = -1 };
	struct iommu_test_cmd command = { .id = made.ioas = ioas_alloc(made.fd) };

	test_cmd(made.fd, &command, IOMMU_TEST_OP_MOCK_DOMAIN);
	made.mock = command.mock_domain.out_stdev_id;
	made.device = command.mock_domain.out_idev_id;
	return made;
}

/* A device whose page table delivers page requests to the queue. */
static inline struct faulting faulting_device(void)
{
	struct faulting made = mock_device();
	uint32_t fault;

	made.queue = fault_queue(made.fd, &fault);
	attach(&made, page_table(made.fd, made.device, made.ioas, IOMMU_HWPT_FAULT_ID_VALID, fault));
	return made;
}

static inline void page_request(const struct faulting *of, uint32_t group)
{
	struct iommu_test_cmd command = { 0 };

	command.trigger_iopf.dev_id = of->device;
	command.trigger_iopf.grpid = group;
	test_cmd(of->fd, &command, IOMMU_TEST_OP_TRIGGER_IOPF);
}

/* A device in a virtual IOMMU; the queue gets its events. */
static inline struct faulting guest_device(void)
{
	struct faulting made = mock_device();
	struct iommu_viommu_alloc viommu = {
		.size = sizeof(viommu),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = made.device,
		.hwpt_id = page_table(made.fd, made.device, made.ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, 0),
	};
	struct iommu_veventq_alloc queue = {
		.size = sizeof(queue), .type = IOMMU_VEVENTQ_TYPE_SELFTEST, .veventq_depth = 4,
	};

	CHECK(ioctl(made.fd, IOMMU_VIOMMU_ALLOC, &viommu) == 0);
	queue.viommu_id = viommu.out_viommu_id;
	CHECK(ioctl(made.fd, IOMMU_VEVENTQ_ALLOC, &queue) == 0);
	made.queue = (int)queue.out_veventq_fd;
	return made;
}
