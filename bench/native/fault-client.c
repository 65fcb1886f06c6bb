/*
 * fault-client DEVICE ring|file: one operation is a store of the device's that meets a missing page, the page request as
 * this program gets it, the response, and the completion.
 */
#define _GNU_SOURCE
#include <poll.h>

#include "device.h"

#define ADDRESS 0x400000000000ull
#define PASID 5

static int fault_file, fault_event, response_event;
static struct ioasid_fault_header *faults;
static struct ioasid_response_header *responses;

static void start_store(void)
{
	struct ioasis_dma dma = {
		.size = sizeof(dma),
		.op = IOASIS_DMA_OP_FILL,
		.flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
		.pasid = PASID,
		.iova = ADDRESS,
		.length = 8,
	};

	ask(device, IOASIS_DMA, &dma, "IOASIS_DMA");
	if (dma.out_state != IOASIS_DMA_PENDING)
		die("a store that waits");
}

static void end_store(void)
{
	struct pollfd ready = { .fd = device, .events = POLLIN };
	struct ioasis_dma_completion over;

	if (poll(&ready, 1, -1) != 1 || read(device, &over, sizeof(over)) != sizeof(over) ||
	    over.fault_reason != IOASIS_DMA_PAGE_INVALID)
		die("the completion");
}

static void by_ring(void)
{
	struct iommu_fault_prm *fault;
	struct ioasid_page_response *response;
	uint32_t head;
	eventfd_t count;

	start_store();
	if (eventfd_read(fault_event, &count) != 0 || faults->tail == __atomic_load_n(&faults->head, __ATOMIC_ACQUIRE))
		die("a fault");
	fault = (void *)((char *)faults + faults->offset + faults->tail * faults->entry_size);
	head = responses->head;
	response = (void *)((char *)responses + responses->offset + head * responses->entry_size);
	*response = (struct ioasid_page_response){
		.argsz = sizeof(*response),
		.version = IOMMU_PAGE_RESP_VERSION_1,
		.flags = IOMMU_PAGE_RESP_PASID_VALID,
		.pasid = fault->pasid,
		.grpid = fault->grpid,
		.code = IOMMU_PAGE_RESP_INVALID,
		.dev_id = fault->dev_id,
	};
	faults->tail = (faults->tail + 1) % faults->nb_entries;
	__atomic_store_n(&responses->head, (head + 1) % responses->nb_entries, __ATOMIC_RELEASE);
	eventfd_write(response_event, 1);
	end_store();
}

static void by_file(void)
{
	struct pollfd ready = { .fd = fault_file, .events = POLLIN };
	struct iommu_hwpt_pgfault fault;
	struct iommu_hwpt_page_response response = { .code = IOMMUFD_PAGE_RESP_INVALID };

	start_store();
	if (poll(&ready, 1, -1) != 1 || read(fault_file, &fault, sizeof(fault)) != sizeof(fault))
		die("a fault");
	response.cookie = fault.cookie;
	if (write(fault_file, &response, sizeof(response)) != sizeof(response))
		die("a response");
	end_store();
}

int main(int argc, char **argv)
{
	int ioasids = open("/dev/ioasid", O_RDWR), use_ring = argc == 3 && strcmp(argv[2], "ring") == 0;
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = ioasids };
	struct fault_ioasid fault = { .size = sizeof(fault), .flags = use_ring ? IOASID_FAULT_RING : 0 };
	char *table = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iommu_hwpt_vtd_s1 where = { .pgtbl_addr = (uintptr_t)table, .addr_width = 48 };
	struct alloc_ioasid_user_page_table alloc = {
		.size = sizeof(alloc),
		.flags = IOASID_FAULT,
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(where),
		.data_uptr = (uintptr_t)&where,
	};
	struct authorize_ioasid authorize = { .argsz = sizeof(authorize), .flags = IOASID_PASID, .pasid = PASID };

	if (argc != 3)
		return 2;
	memset(table, 0, PAGE);
	device = open(argv[1], O_RDWR);
	ask(device, VFIO_DEVICE_BIND_IOMMUFD, &bind, "VFIO_DEVICE_BIND_IOMMUFD");
	fault.fault_eventfd = fault_event = eventfd(0, 0);
	fault.response_eventfd = response_event = eventfd(0, 0);
	ask(ioasids, FAULT_IOASID, &fault, "FAULT_IOASID");
	fault_file = fault.out_fault_fd;
	if (use_ring) {
		faults = mmap(NULL, fault.out_length, PROT_READ | PROT_WRITE, MAP_SHARED, fault_file, 0);
		if (faults == MAP_FAILED)
			die("the rings");
		responses = (void *)((char *)faults + PAGE + faults->nb_entries * faults->entry_size);
	}
	alloc.fault_id = fault.out_fault_id;
	ask(ioasids, ALLOC_IOASID_USER_PAGE_TABLE, &alloc, "ALLOC_IOASID_USER_PAGE_TABLE");
	authorize.ioasid = alloc.out_ioasid;
	ask(device, AUTHORIZE_IOASID, &authorize, "AUTHORIZE_IOASID");
	serve_batches(use_ring ? by_ring : by_file);
	return 0;
}
