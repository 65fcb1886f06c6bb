/**
 * How a command ends: the status field of a completion, without its phase. NVM Express Base 1.4, 4.6.1: status code in
 * bits 7:0, its type in 10:8, do not retry in 14.
 */
const COMMAND_SPECIFIC = 1 << 8;
const MEDIA = 2 << 8;
const DO_NOT_RETRY = 1 << 14;

export const SUCCESS = 0;
/** Not over: the completion comes later. */
export const LATER = -1;

export const INVALID_OPCODE = 0x01 | DO_NOT_RETRY;
export const INVALID_FIELD = 0x02 | DO_NOT_RETRY;
/** A request was refused, or what is mapped is no memory. */
export const DATA_TRANSFER_ERROR = 0x04;
export const ABORT_REQUESTED = 0x07;
export const INVALID_NAMESPACE = 0x0b | DO_NOT_RETRY;
export const COMMAND_SEQUENCE_ERROR = 0x0c | DO_NOT_RETRY;
export const SGL_SEGMENT_INVALID = 0x0d | DO_NOT_RETRY;
export const SGL_COUNT_INVALID = 0x0e | DO_NOT_RETRY;
export const SGL_LENGTH_INVALID = 0x0f | DO_NOT_RETRY;
export const SGL_TYPE_INVALID = 0x11 | DO_NOT_RETRY;
export const PRP_OFFSET_INVALID = 0x13 | DO_NOT_RETRY;
export const LBA_OUT_OF_RANGE = 0x80 | DO_NOT_RETRY;

export const COMPLETION_QUEUE_INVALID = 0x00 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const INVALID_QUEUE_ID = 0x01 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const INVALID_QUEUE_SIZE = 0x02 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const TOO_MANY_EVENT_REQUESTS = 0x05 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const INVALID_VECTOR = 0x08 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const INVALID_LOG_PAGE = 0x09 | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const INVALID_QUEUE_DELETION = 0x0c | COMMAND_SPECIFIC | DO_NOT_RETRY;
export const FEATURE_NOT_SAVEABLE = 0x0d | COMMAND_SPECIFIC | DO_NOT_RETRY;

export const WRITE_FAULT = 0x80 | MEDIA;
export const UNRECOVERED_READ = 0x81 | MEDIA;
export const COMPARE_FAILURE = 0x85 | MEDIA | DO_NOT_RETRY;
