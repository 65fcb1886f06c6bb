/* What copy-server and copy-client say to each other. */
#ifndef COPY_H
#define COPY_H

#include <stdint.h>

#include "batch.h"

#define DISK (256ul << 20)
#define BUFFERS (8ul << 20)
#define MOST 32

struct piece {
	uint64_t from;
	uint32_t to, length;
};

#endif
