/**
 * Registers and descriptors of Intel's DMA engine, version 3.3 (QuickData, CBDMA), by the names and numbers of Linux'
 * drivers/dma/ioat/registers.h and hw.h.
 */

/** Of the device. */
export const CHANCNT = 0x00;
export const XFERCAP = 0x01;
export const INTRCTRL = 0x03;
export const ATTNSTATUS = 0x04;
export const VERSION = 0x08;
export const PERPORTOFFSET = 0x0a;

export const INTRCTRL_MASTER_INT_EN = 0x01;
export const INTRCTRL_INT_STATUS = 0x02;
export const INTRCTRL_INT = 0x04;
export const INTRCTRL_MSIX_VECTOR_CONTROL = 0x08;

export const VERSION_3_3 = 0x33;
/** Lg2 of the longest transfer. */
export const XFERCAP_1M = 20;

/** Of the channel, whose block is the second of this size. */
export const CHANNEL = 0x80;
export const CHANCTRL = 0x00;
export const DMA_COMP = 0x02;
export const CHANCMD = 0x04;
export const DMACOUNT = 0x06;
export const CHANSTS = 0x08;
export const CHAINADDR = 0x10;
export const CHANCMP = 0x18;
export const CDAR = 0x20;
export const CHANERR = 0x28;
export const CHANERR_MASK = 0x2c;
export const DCACTRL = 0x30;

export const CHANCTRL_INT_REARM = 0x0001;
export const CHANCTRL_ERR_COMPLETION_EN = 0x0004;
export const CHANCTRL_ERR_INT_EN = 0x0010;
/** Priority, DCA, in use, snooping and the above: they are kept, and the rest is reserved. */
export const CHANCTRL_WRITABLE = 0xf33c;

export const DMA_COMP_V2 = 0x0002;

export const CHANCMD_RESET = 0x20;
export const CHANCMD_RESUME = 0x10;
export const CHANCMD_SUSPEND = 0x04;

/** Of CHANSTS, and of what is written to CHANCMP. */
export const CHANSTS_ACTIVE = 0;
export const CHANSTS_DONE = 1;
export const CHANSTS_SUSPENDED = 2;
export const CHANSTS_HALTED = 3;

export const CHANERR_NEXT_ADDR_ERR = 0x0004;
export const CHANERR_NEXT_DESC_ALIGN_ERR = 0x0008;
export const CHANERR_CHAIN_ADDR_VALUE_ERR = 0x0010;
export const CHANERR_READ_DATA_ERR = 0x0100;
export const CHANERR_WRITE_DATA_ERR = 0x0200;
export const CHANERR_CONTROL_ERR = 0x0400;
export const CHANERR_LENGTH_ERR = 0x0800;
export const CHANERR_COMPLETION_ADDR_ERR = 0x1000;
/** All errors that there are. */
export const CHANERR_ALL = 0x7_ffff;

/** Of configuration space: errors once more, for whoever reads them there. */
export const PCI_DMAUNCERRSTS = 0x148;
export const PCI_CHANERR_INT = 0x180;
export const PCI_CHANERRMASK_INT = 0x184;

export const DESC_BYTES = 64;
/** Offsets in it. */
export const DESC_SIZE = 0;
export const DESC_CTL = 4;
export const DESC_SRC = 8;
export const DESC_DST = 16;
export const DESC_NEXT = 24;

export const CTL_INT_EN = 1 << 0;
export const CTL_COMPL_WRITE = 1 << 3;
export const CTL_NULL = 1 << 5;
export const CTL_OP_SHIFT = 24;
export const OP_COPY = 0;
