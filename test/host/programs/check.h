/* Checks of the C test programs that say which one failed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			printf("%s:%d: %s (errno %s)\n", __FILE__, __LINE__, #condition, strerror(errno));   \
			fflush(stdout);                                                                      \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)
#define REFUSED(call, number) CHECK((errno = 0, (long)(call) == -1 && errno == (number)))
