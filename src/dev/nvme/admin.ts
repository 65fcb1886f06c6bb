/** Admin commands, one function each. NVM Express Base 1.4, chapter 5. */
import { DATA_POINTER, PSDT_PRP, type Command } from './command.js';
import type { FeatureHost, Features } from './features.js';
import {
  identifyController,
  IDENTIFY_BYTES,
  identifyNamespace,
  MOST_EVENT_REQUESTS,
  namespaceDescriptors,
  namespaceList,
  type ControllerFacts,
} from './identify.js';
import { logPart, type Logs } from './logs.js';
import type { Namespace } from './namespace.js';
import { CompletionQueue, SubmissionQueue } from './queue.js';
import { ALL_NAMESPACES, IO_QUEUES, MOST_ENTRIES, PAGE, VECTORS } from './registers.js';
import * as status from './status.js';
import type { Transfer } from './transfer.js';

/** What admin commands work on. */
export interface AdminHost {
  readonly facts: ControllerFacts;
  readonly features: Features;
  readonly logs: Logs;
  readonly transfer: Transfer;
  /** By number; 0 are the admin queues. */
  readonly submissions: (SubmissionQueue | null)[];
  readonly completions: (CompletionQueue | null)[];
  /** Asynchronous event requests that are not over. */
  readonly eventRequests: number[];
  /** What {@link facts} know by that number. */
  namespace(id: number): Namespace | null;
  /** Ends an asynchronous event request. */
  endRequest(id: number, result: number, code: number): void;
}

type Handler = (command: Command, host: AdminHost) => number;

/** Of a queue that is made: contiguous; of a completion queue: with interrupt. */
const CONTIGUOUS = 1;
const INTERRUPTS = 2;

const handlers: Readonly<Record<number, Handler>> = {
  0x00: deleteSubmissionQueue,
  0x01: createSubmissionQueue,
  0x02: getLogPage,
  0x04: deleteCompletionQueue,
  0x05: createCompletionQueue,
  0x06: identify,
  0x08: abort,
  0x09: (command, host) => host.features.set(command, featureHost(host)),
  0x0a: (command, host) => host.features.get(command, featureHost(host)),
  0x0c: asyncEventRequest,
};

/** How it ended, or {@link status.LATER}. */
export function runAdmin(command: Command, host: AdminHost): number {
  const handler = handlers[command.opcode];
  if (handler === undefined) return status.INVALID_OPCODE;
  // On PCI, admin commands have no SGLs.
  if (command.isFused || command.psdt !== PSDT_PRP) return status.INVALID_FIELD;
  return handler(command, host);
}

function featureHost({ completions, transfer }: AdminHost): FeatureHost {
  return { hasQueues: completions.some((queue, id) => id > 0 && queue !== null), transfer };
}

function identify(command: Command, host: AdminHost): number {
  const { facts } = host;
  const id = command.namespace;
  const namespace = host.namespace(id);
  const kind = command.dword(10) & 0xff;
  switch (kind) {
    case 0x00:
      if (id === 0 || (id > facts.namespaces.length && id !== ALL_NAMESPACES))
        return status.INVALID_NAMESPACE;
      if (namespace === null) return host.transfer.give(command, commonNamespace(facts));
      return host.transfer.give(command, identifyNamespace(namespace, facts.isShared));
    case 0x01:
      return host.transfer.give(command, identifyController(facts));
    case 0x02:
      if (id >= ALL_NAMESPACES - 1) return status.INVALID_NAMESPACE;
      return host.transfer.give(command, namespaceList(facts.namespaces, id));
    case 0x03:
      if (namespace === null) return status.INVALID_NAMESPACE;
      return host.transfer.give(command, namespaceDescriptors(namespace));
    default:
      return status.INVALID_FIELD;
  }
}

/** What all namespaces have in common: their format. */
function commonNamespace({ namespaces, isShared }: ControllerFacts): Uint8Array {
  const [first] = namespaces;
  if (first === undefined) return new Uint8Array(IDENTIFY_BYTES);
  const bytes = identifyNamespace(first, isShared);
  return bytes.fill(0, 0, 24).fill(0, 48, 64).fill(0, 104, 128);
}

function getLogPage(command: Command, host: AdminHost): number {
  const part = logPart(command, host.logs);
  return typeof part === 'number' ? part : host.transfer.give(command, part);
}

/** Commands are over as soon as they are begun; only requests for events are ever out. */
function abort(command: Command, host: AdminHost): number {
  const asked = command.dword(10);
  const id = asked >>> 16;
  // Two completions come of it.
  const hasRoom = host.completions[0]!.room > 1;
  const isOut = (asked & 0xffff) === 0 && hasRoom && host.eventRequests.includes(id);
  command.result = isOut ? 0 : 1;
  if (isOut) host.endRequest(id, 0, status.ABORT_REQUESTED);
  return status.SUCCESS;
}

function asyncEventRequest(command: Command, host: AdminHost): number {
  if (host.eventRequests.length === MOST_EVENT_REQUESTS) return status.TOO_MANY_EVENT_REQUESTS;
  host.eventRequests.push(command.id);
  return status.LATER;
}

/** Number and size of a queue that is to be made. */
function checkQueue(command: Command, queues: readonly (object | null)[]): number {
  const id = command.dword(10) & 0xffff;
  const size = (command.dword(10) >>> 16) + 1;
  if (id === 0 || id > IO_QUEUES || queues[id] !== null) return status.INVALID_QUEUE_ID;
  if (size < 2 || size > MOST_ENTRIES) return status.INVALID_QUEUE_SIZE;
  if ((command.dword(11) & CONTIGUOUS) === 0) return status.INVALID_FIELD;
  return (command.view.getUint32(DATA_POINTER, true) & (PAGE - 1)) === 0
    ? status.SUCCESS
    : status.PRP_OFFSET_INVALID;
}

function createCompletionQueue(command: Command, { completions }: AdminHost): number {
  const failure = checkQueue(command, completions);
  if (failure !== status.SUCCESS) return failure;
  const flags = command.dword(11);
  const vector = flags >>> 16;
  if (vector >= VECTORS) return status.INVALID_VECTOR;
  const id = command.dword(10) & 0xffff;
  const { view } = command;
  completions[id] = new CompletionQueue(
    id,
    view.getInt32(DATA_POINTER + 4, true),
    view.getInt32(DATA_POINTER, true),
    (command.dword(10) >>> 16) + 1,
    vector,
    (flags & INTERRUPTS) !== 0,
  );
  return status.SUCCESS;
}

function createSubmissionQueue(command: Command, { submissions, completions }: AdminHost): number {
  const failure = checkQueue(command, submissions);
  if (failure !== status.SUCCESS) return failure;
  const partner = command.dword(11) >>> 16;
  const completion = partner === 0 ? null : (completions[partner] ?? null);
  if (completion === null) return status.COMPLETION_QUEUE_INVALID;
  const id = command.dword(10) & 0xffff;
  const { view } = command;
  const hi = view.getInt32(DATA_POINTER + 4, true);
  const lo = view.getInt32(DATA_POINTER, true);
  submissions[id] = new SubmissionQueue(id, hi, lo, (command.dword(10) >>> 16) + 1, completion);
  completion.users += 1;
  return status.SUCCESS;
}

function deleteSubmissionQueue(command: Command, { submissions }: AdminHost): number {
  const id = command.dword(10) & 0xffff;
  const queue = id === 0 ? null : (submissions[id] ?? null);
  if (queue === null) return status.INVALID_QUEUE_ID;
  queue.completions.users -= 1;
  submissions[id] = null;
  return status.SUCCESS;
}

function deleteCompletionQueue(command: Command, { completions }: AdminHost): number {
  const id = command.dword(10) & 0xffff;
  const queue = id === 0 ? null : (completions[id] ?? null);
  if (queue === null) return status.INVALID_QUEUE_ID;
  if (queue.users > 0) return status.INVALID_QUEUE_DELETION;
  completions[id] = null;
  return status.SUCCESS;
}
