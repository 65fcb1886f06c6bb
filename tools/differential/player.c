/*
 * Plays programs of operations against /dev/iommu and prints what each one answered. One source, two worlds:
 * static inside the guest of the real kernel, dynamic under ioasis' shim. generate.ts writes the programs,
 * program.ts describes the format. Every sequence runs in its own forked process, so sequences are independent:
 * any one of them can be taken out, cut down and played again.
 *
 * usage: player brief|full PROGRAM [FIRST [COUNT]]
 *
 * Invariant: all that is printed is a function of the program, never of addresses, times or process ids.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

/* libc has it, but no header of libc says so. */
extern int capset(cap_user_header_t, const cap_user_data_t);
extern int capget(cap_user_header_t, cap_user_data_t);

#define PAGE 4096ul
#define MAX_OPS 512
#define OUT_BYTES 128
#define MAX_ARGS 6
#define REF_RESULT 0xffff
#define REF_BYTES 0xff
#define FLAG_CHILD 1 /* in a child process that shares the descriptors but not the memory */
#define FLAG_FORCE 2 /* store the struct even though the page is read-only */
#define SECONDS_PER_SEQUENCE 20
#define SECONDS_TO_DIE 5 /* an operation that never comes back keeps its process from dying */

enum kind {
	OP_NONE, OP_IOCTL, OP_POKE, OP_READ, OP_WRITE, OP_POLL, OP_OPEN, OP_CLOSE, OP_DUP, OP_MMAP, OP_MUNMAP,
	OP_MPROTECT, OP_FILL, OP_HASH, OP_STATUS, OP_RLIMIT, OP_DROPCAPS, OP_FTRUNCATE, OP_LSEEK,
};

struct op_header {
	uint8_t kind, flags, nargs, nrefs;
	uint16_t nbytes, span;
};

/* A value that an earlier operation answered, put into an argument or into the struct. */
struct ref {
	uint8_t where, width; /* argument index or REF_BYTES; 4 or 8 bytes */
	uint16_t at;          /* offset in the struct */
	uint16_t op, offset;  /* whose answer, and where in its struct; REF_RESULT: the returned value */
	int16_t add_pages, add_bytes;
};

struct answer {
	int64_t result;
	int32_t error;
	uint32_t nout;
	uint64_t watch;
	uint8_t out[OUT_BYTES];
};

struct results {
	uint32_t count;
	uint32_t done;
	uint64_t memory[8];
	struct answer answers[MAX_OPS];
};

/* The fixed pieces of memory that programs use; program.ts has the same table. */
static const struct region {
	uintptr_t at;
	size_t pages;
	enum { PRIVATE, READONLY, NOACCESS, SHARED, FILE_SHARED, FILE_PRIVATE } type;
} regions[] = {
	{ 0x10000000, 24, PRIVATE },     /* data; the page after it is not mapped */
	{ 0x10100000, 4, READONLY },
	{ 0x10200000, 2, NOACCESS },
	{ 0x10300000, 8, SHARED },
	{ 0x10400000, 8, FILE_SHARED },  /* memfd 0 */
	{ 0x10480000, 4, FILE_PRIVATE }, /* memfd 0, page 8 on */
	{ 0x10500000, 4, PRIVATE },      /* ioctl structs; the page after it is not mapped */
	{ 0x10600000, 4, PRIVATE },      /* arrays, bitmaps and what is read; the page after it is not mapped */
};
#define NREGIONS (sizeof(regions) / sizeof(regions[0]))

static struct results *results;
static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_armed;

static void on_fault(int signal)
{
	(void)signal;
	if (fault_armed)
		siglongjmp(fault_jump, 1);
	_exit(99);
}

/* Copies inside one page; false where the page cannot be reached. */
static int copy_in_page(void *to, const void *from, size_t n)
{
	fault_armed = 1;
	if (sigsetjmp(fault_jump, 0)) {
		fault_armed = 0;
		return 0;
	}
	memcpy(to, from, n);
	fault_armed = 0;
	return 1;
}

static size_t in_page(uint64_t at, uint64_t left)
{
	size_t n = PAGE - (at & (PAGE - 1));

	return left < n ? left : n;
}

static void poke(uint64_t at, const uint8_t *bytes, size_t n, size_t span, int force)
{
	static const uint8_t zeros[PAGE];
	size_t done = 0;

	if (span < n)
		span = n;
	while (done < span) {
		size_t part = in_page(at + done, span - done);
		void *page = (void *)((at + done) & ~(PAGE - 1));

		if (done < n && part > n - done)
			part = n - done;
		if (force)
			mprotect(page, PAGE, PROT_READ | PROT_WRITE);
		copy_in_page((void *)(at + done), done < n ? bytes + done : zeros, part);
		if (force)
			mprotect(page, PAGE, PROT_READ);
		done += part;
	}
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 29);
}

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t n)
{
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		memcpy(&word, bytes + i, 8);
		hash = mix(hash, word);
	}
	word = 0;
	memcpy(&word, bytes + i, n - i);
	return mix(hash, word ^ ((uint64_t)n << 56));
}

static uint64_t hash_memory(uint64_t at, uint64_t n)
{
	uint8_t page[PAGE];
	uint64_t hash = 1, done = 0;

	while (done < n) {
		size_t part = in_page(at + done, n - done);

		if (copy_in_page(page, (void *)(at + done), part))
			hash = hash_bytes(hash, page, part);
		else
			hash = mix(hash, 0xdead);
		done += part;
	}
	return hash;
}

static void fill(uint64_t at, uint64_t n, uint64_t seed)
{
	uint64_t words[PAGE / 8];
	uint64_t done = 0;

	while (done < n) {
		size_t part = in_page(at + done, n - done);

		for (size_t i = 0; i < PAGE / 8; i++)
			words[i] = seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		copy_in_page((void *)(at + done), words, part);
		done += part;
	}
}

/* Descriptors 3 to 8 of every sequence. */
static int make_files(void)
{
	static const struct {
		size_t size;
		int seals;
	} files[] = {
		{ 64 * PAGE, 0 },
		{ 16 * PAGE, F_SEAL_SHRINK | F_SEAL_GROW },
		{ 0, 0 },
		{ PAGE + 2000, 0 },
		{ 8 * PAGE, F_SEAL_SEAL },
	};

	for (int i = 0; i < 5; i++) {
		int fd = memfd_create("player", MFD_ALLOW_SEALING);
		uint64_t word = 0x1111111111111111ull * (i + 1);

		if (fd != 3 + i || ftruncate(fd, files[i].size))
			return -1;
		/* The rest of the big one stays a hole. */
		for (size_t at = 0; at + 8 <= files[i].size && at < 16 * PAGE; at += PAGE)
			if (pwrite(fd, &word, 8, at) != 8)
				return -1;
		if (fcntl(fd, F_ADD_SEALS, files[i].seals))
			return -1;
	}
	return open("/proc/version", O_RDONLY) == 8 ? 0 : -1;
}

static int make_regions(void)
{
	for (size_t i = 0; i < NREGIONS; i++) {
		const struct region *r = &regions[i];
		int file = r->type == FILE_SHARED || r->type == FILE_PRIVATE;
		int share = r->type == SHARED || r->type == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE;
		void *at = mmap((void *)r->at, r->pages * PAGE, PROT_READ | PROT_WRITE,
				share | MAP_FIXED_NOREPLACE | (file ? 0 : MAP_ANONYMOUS), file ? 3 : -1,
				r->type == FILE_PRIVATE ? 8 * PAGE : 0);

		if (at != (void *)r->at)
			return -1;
		if (i < 6)
			fill(r->at, r->pages * PAGE, i + 1);
		if (r->type == READONLY)
			mprotect(at, r->pages * PAGE, PROT_READ);
		if (r->type == NOACCESS)
			mprotect(at, r->pages * PAGE, PROT_NONE);
	}
	return 0;
}

/*
 * Linux 7.2's mock device leaks a freed device when it goes while a PASID is attached: a defect of the test code
 * that nobody should copy. So whoever destroys a mock device, or its context, first detaches, in both worlds.
 * The other process-wide state, the memory limit, goes back to what it was.
 */
#define TEST_CMD 0x3ba0
enum { TEST_SET_TEMP_MEMORY_LIMIT = 9, TEST_PASID_ATTACH = 18, TEST_PASID_REPLACE, TEST_PASID_DETACH };
struct test_cmd {
	uint32_t size, op, id, reserved, pasid, pt_id, rest[12];
};
static struct {
	int fd;
	uint32_t id, pasid;
} attached[MAX_OPS];
static unsigned nattached;
static int limit_changed;

static void note_test_cmd(int fd, const struct answer *a)
{
	struct test_cmd cmd;

	memcpy(&cmd, a->out, sizeof(cmd));
	if (cmd.op == TEST_SET_TEMP_MEMORY_LIMIT)
		limit_changed = 1;
	if ((cmd.op == TEST_PASID_ATTACH || cmd.op == TEST_PASID_REPLACE) && cmd.pasid && nattached < MAX_OPS) {
		attached[nattached].fd = fd;
		attached[nattached].id = cmd.id;
		attached[nattached++].pasid = cmd.pasid;
	}
}

/* fd or id of -1: any. */
static void detach_pasids(int64_t fd, int64_t id)
{
	for (unsigned i = 0; i < nattached; i++) {
		struct test_cmd cmd = { .size = sizeof(cmd), .op = TEST_PASID_DETACH, .id = attached[i].id,
					.pasid = attached[i].pasid };

		if ((fd >= 0 && attached[i].fd != fd) || (id >= 0 && attached[i].id != id))
			continue;
		ioctl(attached[i].fd, TEST_CMD, &cmd);
		attached[i--] = attached[--nattached];
	}
}

static void restore_limit(void)
{
	struct test_cmd cmd = { .size = sizeof(cmd), .op = TEST_SET_TEMP_MEMORY_LIMIT, .pasid = 65536 };
	int fd;

	if (!limit_changed)
		return;
	fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ioctl(fd, TEST_CMD, &cmd);
	close(fd);
}

/* VmLck and VmPin of this process, in kB. */
static void read_status(struct answer *a)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");
	uint64_t value;

	if (!f) {
		a->error = errno;
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmLck: %lu", &value) == 1)
			memcpy(a->out, &value, 8);
		if (sscanf(line, "VmPin: %lu", &value) == 1)
			memcpy(a->out + 8, &value, 8);
	}
	fclose(f);
	a->nout = 16;
}

static int drop_caps(uint64_t mask)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (capget(&header, data))
		return -1;
	for (int i = 0; i < 2; i++)
		data[i].effective &= ~(uint32_t)(mask >> (32 * i));
	return capset(&header, data);
}

static int64_t limit_resource(int which, uint64_t value)
{
	struct rlimit limit;

	if (getrlimit(which, &limit))
		return -1;
	limit.rlim_cur = value;
	return setrlimit(which, &limit);
}

static int64_t call(enum kind kind, const uint64_t *a, struct answer *answer)
{
	struct pollfd p = { .fd = a[0], .events = a[1] };
	int64_t rc = 0;

	switch (kind) {
	case OP_IOCTL:
		if ((uint32_t)a[1] == 0x3b80) {
			uint32_t id = 0;

			copy_in_page(&id, (void *)(a[2] + 4), 4);
			detach_pasids(-1, id);
		}
		return ioctl(a[0], a[1], a[2]);
	case OP_READ:
		return a[3] == ~0ull ? read(a[0], (void *)a[1], a[2]) : pread(a[0], (void *)a[1], a[2], a[3]);
	case OP_WRITE:
		return a[3] == ~0ull ? write(a[0], (void *)a[1], a[2]) : pwrite(a[0], (void *)a[1], a[2], a[3]);
	case OP_POLL:
		rc = poll(&p, 1, 0);
		memcpy(answer->out, &p.revents, 2);
		answer->nout = 2;
		return rc;
	case OP_OPEN:
		return open("/dev/iommu", a[0]);
	case OP_CLOSE:
		detach_pasids(a[0], -1);
		return close(a[0]);
	case OP_DUP:
		return dup(a[0]);
	case OP_MMAP:
		rc = (int64_t)mmap((void *)a[0], a[1], a[2], a[3] | MAP_FIXED_NOREPLACE, a[4], a[5]);
		return rc;
	case OP_MUNMAP:
		return munmap((void *)a[0], a[1]);
	case OP_MPROTECT:
		return mprotect((void *)a[0], a[1], a[2]);
	case OP_FILL:
		fill(a[0], a[1], a[2]);
		return 0;
	case OP_HASH:
		answer->watch = hash_memory(a[0], a[1]);
		return 0;
	case OP_STATUS:
		read_status(answer);
		return 0;
	case OP_RLIMIT:
		return limit_resource(a[0], a[1]);
	case OP_DROPCAPS:
		return drop_caps(a[0]);
	case OP_FTRUNCATE:
		return ftruncate(a[0], a[1]);
	case OP_LSEEK:
		return lseek(a[0], a[1], a[2]);
	default:
		return 0;
	}
}

/* The nout bytes at `at`; 0xee where they cannot be read. */
static void copy_out(struct answer *a, uint64_t at)
{
	for (uint64_t done = 0; done < a->nout;) {
		size_t part = in_page(at + done, a->nout - done);

		if (!copy_in_page(a->out + done, (void *)(at + done), part))
			memset(a->out + done, 0xee, part);
		done += part;
	}
}

static void perform(const struct op_header *op, const uint64_t *args, const uint8_t *bytes, struct answer *a)
{
	uint64_t at = op->kind == OP_IOCTL ? args[2] : args[0];

	if (op->span || op->nbytes)
		poke(at, bytes, op->nbytes, op->span, op->flags & FLAG_FORCE);
	errno = 0;
	a->result = call(op->kind, args, a);
	if (a->result == -1)
		a->error = errno;
	if (op->kind == OP_IOCTL && op->span) {
		a->nout = op->span < OUT_BYTES ? op->span : OUT_BYTES;
		copy_out(a, at);
		if (op->span > OUT_BYTES)
			a->watch = hash_memory(at + OUT_BYTES, op->span - OUT_BYTES);
	}
	if (op->kind == OP_IOCTL && op->nargs >= 5)
		a->watch = mix(a->watch, hash_memory(args[3], args[4]));
	if (op->kind == OP_READ && a->result > 0) {
		a->nout = a->result < OUT_BYTES ? a->result : OUT_BYTES;
		copy_out(a, args[1]);
		a->watch = hash_memory(args[1], a->result);
	}
	if (op->kind == OP_IOCTL && (uint32_t)args[1] == TEST_CMD && !a->error)
		note_test_cmd(args[0], a);
}

static void perform_in_child(const struct op_header *op, const uint64_t *args, const uint8_t *bytes,
			     struct answer *a)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		perform(op, args, bytes, a);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (status)
		a->error = 1000 + status;
	/* What the child attached, the parent has to detach. */
	if (op->kind == OP_IOCTL && (uint32_t)args[1] == TEST_CMD && !a->error)
		note_test_cmd(args[0], a);
}

static uint64_t resolve(const struct ref *ref)
{
	const struct answer *a = &results->answers[ref->op];
	uint64_t value = 0;

	if (ref->offset == REF_RESULT)
		value = a->result;
	else if (ref->offset + ref->width <= OUT_BYTES)
		memcpy(&value, a->out + ref->offset, ref->width);
	return value + ref->add_pages * (int64_t)PAGE + ref->add_bytes;
}

static const uint8_t *play_op(const uint8_t *p, struct answer *a)
{
	struct op_header op;
	struct ref ref;
	uint64_t args[MAX_ARGS] = { 0 }, value;
	uint8_t bytes[65536];

	memcpy(&op, p, sizeof(op));
	p += sizeof(op);
	memcpy(args, p, op.nargs * 8);
	p += op.nargs * 8;
	memcpy(bytes, p + op.nrefs * sizeof(ref), op.nbytes);
	for (int i = 0; i < op.nrefs; i++) {
		memcpy(&ref, p + i * sizeof(ref), sizeof(ref));
		value = resolve(&ref);
		if (ref.where == REF_BYTES)
			memcpy(bytes + ref.at, &value, ref.width);
		else
			args[ref.where] = ref.width == 4 ? (uint32_t)value : value;
	}
	p += op.nrefs * sizeof(ref) + ((op.nbytes + 3) & ~3u);
	if (op.flags & FLAG_CHILD)
		perform_in_child(&op, args, bytes, a);
	else
		perform(&op, args, bytes, a);
	return p;
}

static void play_sequence(const uint8_t *p, unsigned count)
{
	int null = open("/dev/null", O_RDWR);
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	signal(SIGALRM, SIG_DFL);
	alarm(SECONDS_PER_SEQUENCE);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close(null);
	if (make_files() || make_regions())
		_exit(98);
	results->count = count;
	for (unsigned i = 0; i < count; i++) {
		p = play_op(p, &results->answers[i]);
		results->done = i + 1;
	}
	detach_pasids(-1, -1);
	restore_limit();
	for (size_t i = 0; i < NREGIONS; i++)
		results->memory[i] = hash_memory(regions[i].at, regions[i].pages * PAGE);
	_exit(0);
}

static void print_full(unsigned sequence, const struct results *results)
{
	for (unsigned i = 0; i < results->done; i++) {
		const struct answer *a = &results->answers[i];
		unsigned n = a->nout;

		while (n && !a->out[n - 1])
			n--;
		printf("F %u %u %ld %d ", sequence, i, a->error ? -1l : (long)a->result, a->error);
		for (unsigned j = 0; j < n; j++)
			printf("%02x", a->out[j]);
		printf(n ? " %lx\n" : "- %lx\n", a->watch);
	}
	printf("E %u", sequence);
	for (size_t i = 0; i < NREGIONS; i++)
		printf(" %lx", results->memory[i]);
	printf("\n");
}

/* Four bytes an operation: errno, and 24 bits over all it answered. */
static void print_brief(unsigned sequence, const struct results *results)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	int nbits = 0;

	printf("B %u ", sequence);
	for (unsigned i = 0; i <= results->done; i++) {
		const struct answer *a = &results->answers[i];
		uint64_t hash;
		uint8_t byte;

		if (i < results->done) {
			hash = hash_bytes(mix(a->watch, a->error ? -1 : a->result), a->out, a->nout);
		} else {
			hash = hash_bytes(1, (const uint8_t *)results->memory, sizeof(results->memory));
		}
		for (int j = 0; j < 4; j++) {
			byte = j ? hash >> (8 * j) : i < results->done ? (uint8_t)a->error : 0;
			bits = bits << 8 | byte;
			for (nbits += 8; nbits >= 6; nbits -= 6)
				putchar(digits[bits >> (nbits - 6) & 63]);
		}
	}
	if (nbits)
		putchar(digits[bits << (6 - nbits) & 63]);
	putchar('\n');
}

static void on_alarm(int signal)
{
	(void)signal;
}

static struct results *make_results(void)
{
	void *at = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		exit(2);
	return at;
}

/* Plays one sequence in a child; false when the child can be neither waited for nor killed. */
static int play_in_child(const uint8_t *p, const uint32_t *header)
{
	int status = 0;
	pid_t pid;

	memset(results, 0, offsetof(struct results, answers) + header[2] * sizeof(struct answer));
	fflush(stdout);
	pid = fork();
	if (!pid)
		play_sequence(p, header[2]);
	alarm(SECONDS_PER_SEQUENCE + SECONDS_TO_DIE);
	if (waitpid(pid, &status, 0) != pid)
		status = -1;
	alarm(0);
	if (status)
		printf("X %u %x %u\n", header[1], status, results->done);
	return status != -1;
}

/* Header of the file: magic, number of sequences; of a sequence: bytes that follow, its number, operations. */
int main(int argc, char **argv)
{
	struct stat st;
	uint32_t header[3];
	int brief, fd;
	const uint8_t *p, *end;
	struct sigaction alarmed = { .sa_handler = on_alarm };
	unsigned first = argc > 3 ? strtoul(argv[3], NULL, 0) : 0, count = argc > 4 ? strtoul(argv[4], NULL, 0) : ~0u;

	if (argc < 3)
		return 2;
	brief = !strcmp(argv[1], "brief");
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return 2;
	p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	results = make_results();
	close(fd);
	if (p == MAP_FAILED)
		return 2;
	/* Without SA_RESTART, so that waiting ends. */
	sigaction(SIGALRM, &alarmed, NULL);
	end = p + st.st_size;
	for (p += 8; p < end; p += header[0]) {
		struct results *old = results;

		memcpy(header, p, 12);
		p += 12;
		if (first) {
			first--;
			continue;
		}
		if (!count--)
			break;
		if (!play_in_child(p, header))
			results = make_results();
		else
			old = NULL;
		if (brief)
			print_brief(header[1], old ? old : results);
		else
			print_full(header[1], old ? old : results);
	}
	printf("end\n");
	return 0;
}
