/* The parts of the shim, as they see each other. Nothing here is visible outside of the library. */
#ifndef IOASIS_SHIM_H
#define IOASIS_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "protocol.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))
#define ALIAS(name) EXPORT __attribute__((alias(name)))

/* Ends a wrapper with a raw result, as a libc function does. */
#define RETURN(type, raw)                                                                                    \
	do {                                                                                                 \
		long raw_result = (raw);                                                                     \
		if (raw_result < 0 && raw_result >= -4095) {                                                 \
			errno = (int)-raw_result;                                                            \
			return (type)-1;                                                                     \
		}                                                                                            \
		return (type)raw_result;                                                                     \
	} while (0)

/* The next definition of a function after ours: `NEXT(fopen)(path, mode)`. */
#define NEXT(name)                                                                                           \
	({                                                                                                   \
		static void *next_##name;                                                                    \
		(__typeof__(&name))next_function(&next_##name, #name);                                       \
	})

/* sun_path, and the longest path that can be one of ours. */
#define SOCKET_MAX 108
#define PATH_ROOM 512

static inline bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* setup.c */
struct shim_setup {
	char socket[SOCKET_MAX];
	char tree[SOCKET_MAX + sizeof(IOASIS_TREE_SUFFIX)];
	size_t tree_length;	/* 0: no daemon, everything goes where it went */
	bool lends;
	bool traps;		/* registers can be mapped */
	bool shows_sys;		/* the tree has a /sys, or will have one */
	bool sys_pending;	/* and has not all of it yet */
};
extern struct shim_setup shim;
void shim_start(void);
void *next_function(void **cached, const char *name);

/* A call under way: what is asked, and where its answer goes. */
struct call {
	struct ioasis_request request;
	const void *carry;	/* request.carried bytes of it travel, as many of them as can be read */
	void *reply_at;		/* reply bytes land here; a bad address makes the call EFAULT */
	size_t reply_max;
	uint64_t count;		/* out: the count of the final answer, and its fd: HELLO's ring */
	int ring;
	unsigned long signals;	/* the mask to come back to, if blocks */
	bool registers;		/* out: what was mapped is registers */
	bool blocks;
};

/* hidden.c: what of descriptors is ours */
void hidden_mark(int fd, bool ours);
bool hidden_has(int fd);
int hidden_next(int fd);
int hidden_move(int fd);
long hidden_high(long fd);
int hidden_take(long fd);
bool lift_fd_limit(struct rlimit *before);
void restore_fd_limit(const struct rlimit *before);

/* connect.c */
long connect_daemon(void);
bool door_is(int fd);
void door_move(void);
void door_open(void);

/* transfer.c */
long message_send(int fd, const void *head, size_t head_size, const void *tail, size_t tail_size, int pass_fd);
long channel_transfer(int fd, struct call *call, bool asked);
void let_signals_in(const struct call *call);

/* channel.c: channel_call returns the result or -errno; -ENODEV when the daemon is gone. */
long channel_call(struct call *call);
bool channel_open(void);
void channel_may_be_interrupted(void);
bool channel_in_own_process(void);
void channel_move_away(int fd);

/* ring.c: short calls without the socket; a seat is what a thread's slot has of it. */
struct seat {
	int ring;		/* which of the image's, or -1 */
	_Atomic int ringing;	/* the bell's descriptor is in use */
	unsigned char vain, leave_out;
};
enum ring_outcome { RING_DONE, RING_SOCKET, RING_UNUSED };
void rings_fetch(int fd);
void rings_forget(void);
enum ring_outcome ring_call(struct seat *seat, int fd, struct call *call, long *result);
bool ring_bell_at(int fd);
void ring_bell_lift(void);
void ring_bell_put(int fd);

/* token.c */
extern bool tokens_possible;
int token_kind(int fd, uint64_t *inode);
bool is_token(int fd, uint64_t *inode);
bool is_token_still(int fd, uint64_t *inode);
void tokens_closed(void);
uint64_t token_named(const struct stat *status);
void token_learn(const struct stat *status, int kind);
long token_name(int fd, uint64_t inode, char *buf, size_t size, uint64_t *device);

/* path.c */
enum path_kind { PATH_PLAIN, PATH_DEVICE, PATH_TREE, PATH_ASK };
struct path_hit {
	enum path_kind kind;
	bool trailing_slash;	/* or something below it: it is no directory */
	bool below;
	bool from_tree;		/* ".." led through it */
	bool live;		/* of PATH_TREE: the daemon has its content */
	unsigned major, minor, mode;
	size_t length;
	char path[PATH_ROOM];	/* normalised; for PATH_TREE what to use instead: in the tree or not */
};
enum path_kind path_find(int dir, const char *path, struct path_hit *hit);
enum path_kind path_find_slowly(int dir, const char *path, struct path_hit *hit);
bool path_may_be_ours(long error);
void path_marker_stat(const struct path_hit *hit, struct stat *status);

/* tree.c */
bool name_of(int dir, char to[PATH_ROOM]);
bool tree_has(const char *path);
bool tree_place(const char *name, char where[PATH_ROOM]);
bool tree_complete(void);
void tree_strip(char *name);
long tree_strip_link(char *buf, long got);
bool tree_holds(int fd);
void tree_moved(void);
bool tree_absolute(int dir, const char *path, char to[PATH_ROOM], bool *inside);
bool tree_settle(char *path, size_t *length);
enum path_kind tree_find(struct path_hit *hit, long link);

/* files.c: a descriptor or -errno. */
bool open_by_name(int dir, const char *path, int flags, unsigned mode, long *fd);
long open_slowly(int dir, const char *path, int flags, unsigned mode, long error);
long open_at(int dir, const char *path, int flags, unsigned mode);
int token_of_path(const char *path, uint64_t *inode);

/* stream.c */
void stream_follow(int fd);

/* mapping.c: memory_epoch counts what may have made memory unwritable that was writable. */
extern _Atomic uint32_t memory_epoch;
/* The daemon holds pages of ours, and has to hear when others take their place. */
extern bool memory_is_held;
long map_token(int fd, uint64_t inode, void *at, size_t length, int prot, int flags, uint64_t offset);
void mapping_dropped(const void *at, size_t length);
void mapping_cut(const void *at, size_t length);
void mapping_forked(void);
struct trapped;
bool mapping_trapped(uintptr_t at, struct trapped *trapped);
long mapping_protect(void *at, size_t length, int prot);
long mapping_remap(void *from, size_t length, size_t new_length, int flags, void *to);

/* trap.c: false where stores cannot be caught. */
struct sigaction;
bool trap_start(void);
void trap_forked(void);
bool trap_has_action(int number);
int trap_sigaction(int number, const struct sigaction *now, struct sigaction *before);
struct raw_action;
long trap_raw_action(const struct raw_action *now, struct raw_action *before);
long trap_raw_mask(int how, const unsigned long *now, unsigned long *before);

/* credentials.c: what the daemon lends to a user without privileges, and what the program made of it. */
struct lent {
	uint64_t capabilities;
	uint64_t memlock;	/* soft RLIMIT_MEMLOCK, bytes */
	uint64_t memlock_max;
	bool changed;
};
extern struct lent lent;
void lent_start(const char *inherited);

#endif
