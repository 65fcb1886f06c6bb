/*
 * A small vIOMMU: a guest's page table is bound through a VFIO container, and the device of the group, named by the
 * arguments, reads where it has a hole. The fault comes by the device's fault region and an eventfd, the guest fills the
 * hole, and the answer goes through the response region. Without a PASID, and with one.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define CHECK(what)                                                          \
	do {                                                                 \
		if (!(what)) {                                               \
			fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
			return 1;                                            \
		}                                                            \
	} while (0)

#define PAGE 4096UL
#define GUEST 0x100000UL
#define IOVA 0x7f0000000000UL

static int device;

/* A region of the type NESTED: where it begins in the file, and its entries. */
struct region {
	off_t at;
	char *entries;
};

/* Whether the chain at `at` says that this is the one of `type` with `subtype`. */
static int is_type(const char *info, unsigned at, unsigned id, unsigned type, unsigned subtype)
{
	while (at) {
		const struct vfio_info_cap_header *cap = (const void *)(info + at);
		const uint32_t *words = (const void *)(cap + 1);

		if (cap->id == id && words[0] == type && words[1] == subtype)
			return 1;
		at = cap->next;
	}
	return 0;
}

static int find_region(unsigned count, unsigned subtype, struct region *found)
{
	for (unsigned index = 0; index < count; index++) {
		char bytes[512] = "";
		struct vfio_region_info *info = (void *)bytes;

		info->argsz = sizeof(bytes);
		info->index = index;
		if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, info) || !(info->flags & VFIO_REGION_INFO_FLAG_CAPS) ||
		    !is_type(bytes, info->cap_offset, VFIO_REGION_INFO_CAP_TYPE, VFIO_REGION_TYPE_NESTED, subtype))
			continue;
		found->at = info->offset;
		found->entries = mmap(0, info->size - PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
				      info->offset + PAGE);
		return found->entries != MAP_FAILED;
	}
	return 0;
}

static int listen_to(unsigned count, int event)
{
	for (unsigned index = 0; index < count; index++) {
		char bytes[64] = "";
		struct vfio_irq_info_caps *info = (void *)bytes;
		struct {
			struct vfio_irq_set set;
			int fd;
		} __attribute__((packed)) set = {
			.set = { .argsz = sizeof(set),
				 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				 .index = index,
				 .count = 1 },
			.fd = event,
		};

		info->argsz = sizeof(bytes);
		info->index = index;
		if (ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, info) || !(info->flags & VFIO_IRQ_INFO_FLAG_CAPS) ||
		    !is_type(bytes, info->cap_offset, VFIO_IRQ_INFO_CAP_TYPE, VFIO_IRQ_TYPE_NESTED,
			     VFIO_IRQ_SUBTYPE_DMA_FAULT))
			continue;
		return !ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
	}
	return 0;
}

static void set_entry(char *guest, unsigned level, unsigned page, uint64_t entry)
{
	unsigned index = ((IOVA >> (39 - 9 * level)) & 511) + page;

	((volatile uint64_t *)(guest + level * PAGE))[index] = entry;
}

/* The device reads page `page` behind IOVA, which is missing; afterwards it has read what the guest put there. */
static int fault(char *guest, struct region *faults, struct region *responses, int event, unsigned pasid,
		 unsigned page)
{
	char got[32] = "";
	struct ioasis_dma dma = { .size = sizeof(dma),
				  .op = IOASIS_DMA_OP_READ,
				  .flags = IOASIS_DMA_ATS | IOASIS_DMA_PRI | (pasid ? IOASIS_DMA_PASID : 0),
				  .pasid = pasid,
				  .iova = IOVA + page * PAGE,
				  .length = sizeof(got),
				  .data_uptr = (unsigned long)got };
	struct ioasis_dma_completion record;
	struct vfio_region_dma_fault header;
	struct vfio_region_dma_fault_response answers;
	struct iommu_fault_prm *request;
	struct iommu_page_response *response;
	struct pollfd wait = { .fd = event, .events = POLLIN };
	uint64_t count;

	CHECK(!ioctl(device, IOASIS_DMA, &dma));
	CHECK(dma.out_state == IOASIS_DMA_PENDING);
	CHECK(poll(&wait, 1, 5000) == 1 && read(event, &count, sizeof(count)) == sizeof(count) && count == 1);
	CHECK(pread(device, &header, sizeof(header), faults->at) == sizeof(header));
	CHECK(header.head == (header.tail + 1) % header.nb_entries && header.lost == 0);
	request = (void *)(faults->entries + header.tail * header.entry_size);
	CHECK(request->type == IOMMU_FAULT_PAGE_REQ && request->addr == dma.iova && request->pasid == pasid);
	CHECK(request->perm == IOMMU_FAULT_PERM_READ);
	header.tail = header.head;
	CHECK(pwrite(device, &header.tail, 4, faults->at) == 4);

	snprintf(guest + (8 + page) * PAGE, PAGE, "page %u came in time", page);
	set_entry(guest, 3, page, (GUEST + (8 + page) * PAGE) | 7);

	CHECK(pread(device, &answers, sizeof(answers), responses->at) == sizeof(answers));
	response = (void *)(responses->entries + answers.head * answers.entry_size);
	*response = (struct iommu_page_response){ .argsz = sizeof(*response),
						  .version = IOMMU_PAGE_RESP_VERSION_1,
						  .flags = pasid ? IOMMU_PAGE_RESP_PASID_VALID : 0,
						  .pasid = pasid,
						  .grpid = request->grpid,
						  .code = IOMMU_PAGE_RESP_SUCCESS };
	answers.head = (answers.head + 1) % answers.nb_entries;
	CHECK(pwrite(device, &answers.head, 4, responses->at) == 4);
	CHECK(read(device, &record, sizeof(record)) == sizeof(record) && record.state == IOASIS_DMA_DONE);
	printf("%s\n", got);
	return 0;
}

int main(int argc, char **argv)
{
	int container = open("/dev/vfio/vfio", O_RDWR), group = argc < 3 ? -1 : open(argv[1], O_RDWR);
	int event = eventfd(0, EFD_CLOEXEC);
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map), .flags = 3, .iova = GUEST, .size = 16 * PAGE };
	struct vfio_iommu_type1_pasid_request pasid = { .argsz = sizeof(pasid),
							.flags = VFIO_IOMMU_PASID_ALLOC,
							.min = 1,
							.max = 100 };
	struct {
		struct vfio_iommu_type1_bind head;
		struct iommu_gpasid_bind_data data;
	} bind = { .head = { .argsz = sizeof(bind), .flags = VFIO_IOMMU_BIND_GUEST_PGTBL },
		   .data = { .argsz = sizeof(bind.data),
			     .version = 1,
			     .format = IOMMU_PASID_FORMAT_INTEL_VTD,
			     .addr_width = 48,
			     .gpgd = GUEST } };
	struct region faults, responses;
	char *guest = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint16_t command = 6;

	CHECK(container >= 0 && group >= 0 && event >= 0 && guest != MAP_FAILED);
	CHECK(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
	CHECK(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_NESTING_IOMMU));
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[2]);
	CHECK(device >= 0 && !ioctl(device, VFIO_DEVICE_GET_INFO, &info));
	if (info.flags & VFIO_DEVICE_FLAGS_PCI)
		CHECK(pwrite(device, &command, 2, ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + 4) == 2);
	map.vaddr = (unsigned long)guest;
	CHECK(!ioctl(container, VFIO_IOMMU_MAP_DMA, &map));
	for (unsigned level = 0; level < 3; level++)
		set_entry(guest, level, 0, (GUEST + (level + 1) * PAGE) | 7);

	CHECK(find_region(info.num_regions, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT, &faults));
	CHECK(find_region(info.num_regions, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE, &responses));
	CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, device, faults.at) == MAP_FAILED);
	CHECK(listen_to(info.num_irqs, event));

	CHECK(!ioctl(container, VFIO_IOMMU_BIND, &bind));
	if (fault(guest, &faults, &responses, event, 0, 0))
		return 1;
	bind.data.hpasid = ioctl(container, VFIO_IOMMU_PASID_REQUEST, &pasid);
	CHECK(bind.data.hpasid == 1 && !ioctl(container, VFIO_IOMMU_BIND, &bind));
	return fault(guest, &faults, &responses, event, 1, 1);
}
