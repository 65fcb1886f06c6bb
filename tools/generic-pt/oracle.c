/*
 * Linux' own page tables as a program: commands on stdin, an answer a line on stdout, all numbers hexadecimal.
 * Compiled once a format, with FORMAT_FILE, PREFIX, and CONFIG, the fields of its cfg struct.
 */
#include FORMAT_FILE

#define NAME2(prefix, rest) pt_iommu_##prefix##_##rest
#define NAME1(prefix, rest) NAME2(prefix, rest)
#define init NAME1(PREFIX, init)
#define iova_to_phys NAME1(PREFIX, iova_to_phys)
#define read_and_clear_dirty NAME1(PREFIX, read_and_clear_dirty)

static spinlock_t top_lock;

static void change_top(struct pt_iommu *table, phys_addr_t top, unsigned int level)
{
	(void)table, (void)top, (void)level;
}

static spinlock_t *get_top_lock(struct pt_iommu *table)
{
	(void)table;
	return &top_lock;
}

static const struct pt_iommu_driver_ops driver_ops = { .change_top = change_top, .get_top_lock = get_top_lock };
static struct pt_iommu_table table = { .iommu.driver_ops = &driver_ops };

void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length)
{
	(void)bitmap;
	printf(" %lx+%lx", iova, length);
}

/* Every entry, in order: level, address of its first byte, and its bits; a pointer without the address. */
static void dump(struct pt_range *range, unsigned int level, struct pt_table_p *lower, u64 va)
{
	struct pt_state pts = pt_init(range, level, lower);
	unsigned int items = 1u << pt_num_items_lg2(&pts);

	for (unsigned int index = 0; index < items; index++) {
		u64 at = va + ((u64)index << pt_table_item_lg2sz(&pts));

		pts.index = index;
		pts.type = pt_load_entry_raw(&pts);
		if (pts.type == PT_ENTRY_OA)
			printf(" %u:%lx=%lx", level, at, pts.entry);
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		printf(" %u:%lx>%lx", level, at, pts.entry & ~GENMASK_ULL(51, 12));
		dump(range, level - 1, pt_table_ptr(&pts), at);
	}
}

static void run(char command, u64 a, u64 b, u64 c, u64 d)
{
	struct pt_iommu *iommu = &table.iommu;
	struct pt_common *common = common_from_iommu(iommu);
	struct iommu_iotlb_gather gather = { 0 };
	struct iommu_dirty_bitmap dirty = { .bitmap = (void *)&gather, .gather = &gather };
	struct pt_range range = pt_top_range(common);
	size_t mapped = 0;
	int ret;

	switch (command) {
	case 'i':
		printf("%lx %lx", iommu->domain.pgsize_bitmap, iommu->domain.geometry.aperture_end);
		break;
	case 'm':
		ret = iommu->ops->map_range(iommu, a, b, c, d, GFP_KERNEL, &mapped);
		/* As iommu_map() does. */
		if (ret && mapped)
			iommu->ops->unmap_range(iommu, a, mapped, &gather);
		printf("%d", -ret);
		break;
	case 'u':
		printf("%lx", iommu->ops->unmap_range(iommu, a, b, &gather));
		break;
	case 'p':
		printf("%lx", iova_to_phys(&iommu->domain, a));
		break;
	case 's':
		printf("%d", iommu->ops->set_dirty && iommu->ops->set_dirty(iommu, a) == 0);
		break;
	case 'r':
		ret = read_and_clear_dirty(&iommu->domain, a, b, 0, &dirty);
		printf(" %d", -ret);
		break;
	case 'd':
		printf("%u", range.top_level);
		dump(&range, range.top_level, range.top_table, 0);
		break;
	}
	printf("\n");
	fflush(stdout);
}

int main(void)
{
	static const struct pt_iommu_table_cfg cfg = { CONFIG };
	char line[256], command;
	unsigned long a, b, c, d;

	if (init(&table, &cfg, GFP_KERNEL))
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		a = b = c = d = 0;
		if (sscanf(line, "%c %lx %lx %lx %lx", &command, &a, &b, &c, &d) >= 1)
			run(command, a, b, c, d);
	}
	return 0;
}
