/*
 * As much of a kernel as Linux' generic page tables need, in one process with one thread: every header that they
 * include is this one. Tables lie in one arena, whose offset is the physical address.
 */
#ifndef IOASIS_KERNEL_H
#define IOASIS_KERNEL_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef u64 dma_addr_t;
typedef u64 phys_addr_t;
typedef unsigned int gfp_t;
typedef int spinlock_t;

#define U32_MAX UINT32_MAX
#define U64_MAX UINT64_MAX
#define PAGE_SHIFT 12
#define PAGE_SIZE (1ul << PAGE_SHIFT)
#define SZ_4K 0x1000ul
#define SZ_512G (1ull << 39)
#define GFP_KERNEL 0

/* What is configured. */
#define IS_ENABLED(option) option
#define CONFIG_DEBUG_GENERIC_PT 0
#define CONFIG_GENERIC_ATOMIC64 0
#define CONFIG_SMP 1
#define CONFIG_IOMMU_PT 1
#define CONFIG_IOMMUFD_DRIVER 1
#define CONFIG_IOMMUFD_TEST 1

/* The compiler's. */
#define __always_inline inline __attribute__((always_inline))
#define __maybe_unused __attribute__((unused))
#define likely(x) (x)
#define unlikely(x) (x)
#define BUILD_BUG() abort()
#define WARN_ON(condition) ({ bool seen_ = (condition); assert(!seen_); seen_; })
#define pr_err_ratelimited(...) ((void)0)
#define EXPORT_SYMBOL_NS_GPL(name, space)
#define MODULE_LICENSE(x)
#define MODULE_DESCRIPTION(x)
#define MODULE_IMPORT_NS(x)
#define __stringify_1(x...) #x
#define __stringify(x...) __stringify_1(x)
#define __CONCAT_(a, b) a##b
#define CONCATENATE(a, b) __CONCAT_(a, b)
#define __cleanup(x) __attribute__((cleanup(x)))

/* Bits. */
#define BIT(n) (1ul << (n))
#define BIT_ULL(n) (1ull << (n))
#define GENMASK(h, l) (((~0ul) << (l)) & (~0ul >> (63 - (h))))
#define GENMASK_ULL(h, l) (((~0ull) << (l)) & (~0ull >> (63 - (h))))
#define __bf_shf(mask) (__builtin_ffsll(mask) - 1)
#define FIELD_GET(mask, value) (((u64)(value) & (mask)) >> __bf_shf(mask))
#define FIELD_PREP(mask, value) (((u64)(value) << __bf_shf(mask)) & (mask))
#define ilog2(n) (63 - __builtin_clzll(n))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define check_add_overflow(a, b, out) __builtin_add_overflow(a, b, out)
static inline unsigned int fls(u32 x) { return x ? 32 - __builtin_clz(x) : 0; }
static inline unsigned int fls64(u64 x) { return x ? 64 - __builtin_clzll(x) : 0; }
static inline unsigned int __ffs(u64 x) { return __builtin_ctzll(x); }
static inline unsigned int __ffs64(u64 x) { return __builtin_ctzll(x); }
static inline unsigned int ffz(u64 x) { return __builtin_ctzll(~x); }

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define container_of_const container_of
#define memset_after(obj, v, member) \
	memset((char *)(obj) + offsetof(typeof(*(obj)), member) + sizeof((obj)->member), v, \
	       sizeof(*(obj)) - offsetof(typeof(*(obj)), member) - sizeof((obj)->member))
static inline void memset64(u64 *at, u64 value, size_t count)
{
	while (count--)
		*at++ = value;
}

/* One thread. */
#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, value) ((x) = (value))
#define smp_mb() ((void)0)
#define dma_wmb() ((void)0)
#define cmpxchg_(at, old, new) (*(at) == *(old) ? (*(at) = (new), true) : (*(old) = *(at), false))
#define try_cmpxchg64 cmpxchg_
#define try_cmpxchg64_release cmpxchg_
#define try_cmpxchg_release cmpxchg_
#define spin_lock_irqsave(lock, flags) ((void)(lock), (flags) = 0)
#define spin_unlock_irqrestore(lock, flags) ((void)(lock), (void)(flags))

#define ERR_PTR(error) ((void *)(long)(error))
#define PTR_ERR(ptr) ((int)(long)(ptr))
#define IS_ERR(ptr) ((unsigned long)(ptr) >= (unsigned long)-4095)

/* Memory of tables. */
#define ARENA_BYTES (256ul << 20)
static char arena[ARENA_BYTES] __attribute__((aligned(4096)));
static size_t arena_used = PAGE_SIZE;
#define virt_to_phys(p) ((phys_addr_t)((char *)(p)-arena))
#define phys_to_virt(pa) ((void *)(arena + (pa)))
#define __va phys_to_virt
#define __sme_set(x) (x)
#define __sme_clr(x) (x)

struct device;
struct page_list_node {
	struct page_list_node *next;
};
/** What was freed stays as it was, and is not used again. */
struct iommu_pages_list {
	struct {
		struct page_list_node *first;
	} pages;
	bool is_used;
};
#define IOMMU_PAGES_LIST_INIT(name) ((struct iommu_pages_list){ 0 })
#define INIT_LIST_HEAD(list) ((list)->first = NULL)
#define iommu_pages_list_add(list, page) ((void)(page), (list)->is_used = true)
#define iommu_pages_list_empty(list) (!(list)->is_used)
#define iommu_pages_list_splice(from, to) ((void)(from), (void)(to))
#define iommu_put_pages_list(list) ((void)(list))
#define iommu_free_pages(page) ((void)(page))
#define iommu_pages_free_incoherent(page, device) ((void)(page))
#define iommu_pages_start_incoherent(page, device) 0
#define iommu_pages_start_incoherent_list(list, device) 0
#define iommu_pages_stop_incoherent_list(list, device) ((void)(list))
#define iommu_pages_flush_incoherent(device, at, offset, length) ((void)(at))
static inline void *iommu_alloc_pages_node_sz(int nid, gfp_t gfp, size_t size)
{
	void *at = arena + arena_used;
	(void)nid, (void)gfp;
	size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	if (arena_used + size > ARENA_BYTES)
		return NULL;
	arena_used += size;
	return at;
}

/* <linux/iommu.h> */
enum { IOMMU_READ = 1, IOMMU_WRITE = 2, IOMMU_CACHE = 4, IOMMU_NOEXEC = 8, IOMMU_MMIO = 16 };
enum { IOMMU_DIRTY_NO_CLEAR = 1, __IOMMU_DOMAIN_PAGING = 1 };
struct iommu_domain {
	unsigned int type;
	u64 pgsize_bitmap;
	bool is_iommupt;
	struct {
		u64 aperture_start, aperture_end;
		bool force_aperture;
	} geometry;
};
struct iova_bitmap;
struct iommu_iotlb_gather {
	struct iommu_pages_list freelist;
	struct {
		u8 leaf_levels_bitmap, table_levels_bitmap;
	} pt;
};
struct iommu_dirty_bitmap {
	struct iova_bitmap *bitmap;
	struct iommu_iotlb_gather *gather;
};
void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length);
#define iommu_iotlb_gather_init(gather) memset(gather, 0, sizeof(*(gather)))
#define iommu_iotlb_gather_queued(gather) false
#define iommu_iotlb_gather_is_disjoint(gather, iova, length) false
#define iommu_iotlb_gather_add_range(gather, iova, length) ((void)(gather))
#define iommu_iotlb_sync(domain, gather) ((void)(gather))

#endif
