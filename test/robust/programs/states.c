/* Processes in odd states, one a run: what works on Linux with a descriptor works here too. */
#include "robust.h"
#include <grp.h>
#include <semaphore.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

static const char *self;

static void *in_thread(void *fd)
{
	CHECK(works((int)(intptr_t)fd));
	return NULL;
}

static void thread_works(int fd)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, in_thread, (void *)(intptr_t)fd) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

static void child_works(int fd)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(!works(fd));
	await(pid);
}

static void *vforks(void *fd)
{
	pid_t pid = vfork();

	/* The first call of this thread is the child's, in memory that is the parent's. */
	if (pid == 0)
		_exit(!works((int)(intptr_t)fd) || !works((int)(intptr_t)fd));
	await(pid);
	CHECK(works((int)(intptr_t)fd));
	return NULL;
}

static void vforked(void)
{
	int fd = iommu_open();
	pthread_t thread;
	char memory[8192];
	uint64_t iova;
	uint32_t ioas = ioas_alloc(fd);

	CHECK(map(fd, ioas, memory, 1, &iova) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_create(&thread, NULL, vforks, (void *)(intptr_t)fd) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		thread_works(fd);
		CHECK(map(fd, ioas, memory, 1, &iova) == 0);
	}
}

static void full_table(void)
{
	struct rlimit limit = { 200, 200 };
	int fd;

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	fd = iommu_open();
	while (dup(0) >= 0)
		;
	CHECK(works(fd));
	thread_works(fd);
	child_works(fd);
	REFUSED(open("/dev/iommu", O_RDWR), EMFILE);
	CHECK(works(fd));
}

static void no_privileges(void)
{
	int fd = iommu_open();

	if (geteuid() == 0) {
		CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	}
	CHECK(works(fd));
	thread_works(fd);
	child_works(fd);
}

static void rooted(void)
{
	char dir[] = "/tmp/robust-root-XXXXXX";
	int fd = iommu_open();
	struct stat status;

	if (geteuid() != 0)
		return;
	CHECK(mkdtemp(dir) && chroot(dir) == 0 && chdir("/") == 0);
	CHECK(works(fd));
	thread_works(fd);
	child_works(fd);
	CHECK(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode));
	REFUSED(open("/dev/iommu", O_RDWR), ENOENT);
}

static void daemonized(void)
{
	int fd = iommu_open(), ends[2];
	char byte = 0;

	CHECK(pipe(ends) == 0);
	if (fork() == 0) {
		setsid();
		if (fork() == 0) {
			dup2(fd, 0);
			dup2(ends[1], 1);
			closefrom(2);
			CHECK(chdir("/") == 0);
			byte = works(0) ? 'y' : 'n';
			_exit(write(1, &byte, 1) != 1);
		}
		_exit(0);
	}
	close(ends[1]);
	wait(NULL);
	CHECK(read(ends[0], &byte, 1) == 1 && byte == 'y');
}

/* The only descriptors of the next image that are ours have high numbers. */
static void high_descriptor(void)
{
	struct iommu_fault_alloc alloc = { .size = sizeof(alloc) };
	int fd = iommu_open();
	pid_t pid;

	CHECK(ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &alloc) == 0);
	CHECK(dup2(alloc.out_fault_fd, 200) == 200);
	if ((pid = fork()) == 0) {
		close_range(3, 199, 0);
		execl(self, self, "started", "200", (char *)NULL);
	}
	await(pid);
}

/* The image that high_descriptor starts: a queue with nothing in it is not a pipe with nothing in it. */
static void started(int queue)
{
	struct iommu_hwpt_page_response response = { .cookie = 5 };
	struct stat status;
	char buf[256];

	CHECK(read(queue, buf, 0) == 0);
	REFUSED(read(queue, buf, 1), ESPIPE);
	REFUSED(write(queue, &response, sizeof(response)), EINVAL);
	CHECK(fstat(queue, &status) == 0 && !S_ISFIFO(status.st_mode));
}

/* The next image has no pipe, and takes the queue of its parent, which it may unless Yama says no. */
static void handed(void)
{
	struct iommu_fault_alloc alloc = { .size = sizeof(alloc) };
	int fd = iommu_open(), null = open("/dev/null", O_RDWR);
	char queue[16], parent[16];
	pid_t pid;

	CHECK(ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &alloc) == 0);
	snprintf(queue, sizeof(queue), "%u", alloc.out_fault_fd);
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	if ((pid = fork()) == 0) {
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		close_range(3, ~0u, 0);
		execl(self, self, "started", queue, parent, (char *)NULL);
	}
	await(pid);
}

static int taken(pid_t parent, int fd)
{
	int process = (int)syscall(SYS_pidfd_open, parent, 0), got = pidfd_getfd(process, fd, 0);

	if (got < 0 && errno == EPERM)
		_exit(0);
	return got;
}

/* A child of vfork redirects its standard output; its parent's stream is not meant. */
static void redirected(void)
{
	int fd = iommu_open();
	FILE *before = stdout;
	pid_t pid = vfork();

	if (pid == 0) {
		dup2(fd, 1);
		_exit(0);
	}
	await(pid);
	CHECK(stdout == before);
	CHECK(dup2(fd, 1) == 1 && fputs("x", stdout) >= 0);
	REFUSED(fflush(stdout), EINVAL);
}

enum { THOUSANDS = 4200 };
static sem_t all_have_called;

static void *stays(void *fd)
{
	CHECK(works((int)(intptr_t)fd));
	CHECK(sem_wait(&all_have_called) == 0);
	return NULL;
}

/* More threads than there are connections for. */
static void thousands(void)
{
	static pthread_t threads[THOUSANDS];
	int fd = iommu_open(), count = 0;
	pthread_attr_t small;

	CHECK(sem_init(&all_have_called, 0, 0) == 0);
	CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 16384) == 0);
	while (count < THOUSANDS && pthread_create(&threads[count], &small, stays, (void *)(intptr_t)fd) == 0)
		count++;
	CHECK(works(fd));
	for (int i = 0; i < count; i++)
		CHECK(sem_post(&all_have_called) == 0);
	for (int i = 0; i < count; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(works(fd));
}

static void over_everything(void)
{
	int fd = iommu_open();

	CHECK(works(fd));
	for (int to = 3; to < 1024; to++)
		if (to != fd)
			CHECK(dup2(0, to) == to);
	CHECK(works(fd));
	closefrom(fd + 1);
	thread_works(fd);
	close_range(0, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, ~0u, 0);
	thread_works(fd);
	child_works(fd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} states[] = {
		{ "vforked", vforked },	      { "full-table", full_table }, { "no-privileges", no_privileges },
		{ "rooted", rooted },	      { "daemonized", daemonized }, { "high-descriptor", high_descriptor },
		{ "over-everything", over_everything }, { "handed", handed }, { "redirected", redirected },
		{ "thousands", thousands },
	};

	self = argv[0];
	if (argc > 2)
		return started(argc > 3 ? taken(atoi(argv[3]), atoi(argv[2])) : atoi(argv[2])), 0;
	for (size_t i = 0; argc > 1 && i < sizeof(states) / sizeof(states[0]); i++)
		if (strcmp(argv[1], states[i].name) == 0)
			return states[i].run(), 0;
	return 2;
}
