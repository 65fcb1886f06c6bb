/** Registers of an NVMe controller on PCI, by the names of NVM Express Base 1.4, chapter 3. */

export const CAP = 0x00;
export const VS = 0x08;
export const INTMS = 0x0c;
export const INTMC = 0x10;
export const CC = 0x14;
export const CSTS = 0x1c;
export const AQA = 0x24;
export const ASQ = 0x28;
export const ACQ = 0x30;
/** Pairs of submission queue tail and completion queue head, one behind the other. */
export const DOORBELLS = 0x1000;

export const VERSION_1_4 = 0x0001_0400;

/** Entries of the largest queue. */
export const MOST_ENTRIES = 1024;
/** CAP, lower half: MQES, contiguous queues only, 10 s until it is ready or reset at the latest. */
export const CAP_LO = (MOST_ENTRIES - 1) | (1 << 16) | (20 << 24);
/** CAP, upper half: the NVM command set; doorbells side by side, pages of 4 KiB only. */
export const CAP_HI = 1 << 5;

export const CC_EN = 1;
export const CC_SHN = 3 << 14;
/** Everything that must be 0, as there is one command set, one page size and one kind of arbitration. */
export const CC_UNKNOWN = 0x3ff0;
export const CC_WRITABLE = 0x00ff_fff1;
/** Lg2 of the sizes of entries in I/O queues: 64 and 16 bytes. */
export const IOSQES = 6;
export const IOCQES = 4;

export const CSTS_RDY = 1;
export const CSTS_CFS = 1 << 1;
/** Shutdown is complete. */
export const CSTS_SHST_COMPLETE = 2 << 2;
export const CSTS_SHST = 3 << 2;

export const PAGE = 4096;
export const SQ_ENTRY = 64;
export const CQ_ENTRY = 16;

/** As the number of a namespace: all of them. */
export const ALL_NAMESPACES = 0xffff_ffff;
/** I/O queues of each kind; the admin queues come on top. */
export const IO_QUEUES = 64;
export const VECTORS = IO_QUEUES + 1;
/** Lg2 of pages that one command moves at most: 256 KiB. */
export const MDTS = 6;
export const MOST_DATA = PAGE << MDTS;
