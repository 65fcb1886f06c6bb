/**
 * DMA by page tables of others, beside what a C program does with the same memory: a process's own table beside
 * process_vm_readv and process_vm_writev, that of a virtual machine with a memfd in its slot beside memcpy; and page
 * requests through rings beside the fault file. In turns; ratios are of times, so 1.25x is 0.8 of the speed.
 */
import { highWord, lowWord } from '#ioasis/base/words.js';
import type { DmaPort } from '#ioasis/bus/dma-port.js';
import { ProcessSpace } from '#ioasis/host/address-space.js';
import { FileBackings } from '#ioasis/host/backing.js';
import { pidfdOpen } from '#ioasis/host/sys.js';
import { ProcessPages } from '#ioasis/host/live-pages.js';
import { GuestPages, MemorySlots } from '#ioasis/ioasid/slots.js';
import { createMachine } from '#ioasis/machine/machine.js';
import { LiveSpace, type LivePages } from '#ioasis/mem/live-space.js';
import {
  inTurns,
  onOneCpu,
  startDaemon,
  startMemcpy,
  startProcessVm,
  startTarget,
  type BatchClient,
  type Target,
} from './programs.js';
import { asMicroseconds, asRatio, figure, limited, quiet, title } from './report.js';

const KIB = 1024;
const MIB = KIB * KIB;
/** Of memory that operations go over, from place to place. */
const BYTES = 64 * MIB;
const ROUNDS = 101;
const WARM_UP = 20;
/** A round is shorter than a time slice, so that the quiet ones are free of other programs. */
const ROUND_BYTES = 2 * MIB;
const PASID = 1;
const DEVICE = '0000:00:01.0';
const GUEST_ADDRESS = 0x1_0000_0000n;

/** A device whose PASID is the address space of `pages`. */
function portOf(pages: LivePages): DmaPort {
  const machine = createMachine({ topology: { devices: { [DEVICE]: {} } } });
  machine.provide(DEVICE, new LiveSpace(pages, machine.engine.physical), { pasid: PASID });
  const [port] = machine.device(DEVICE).dma.ports;
  port!.pasid = PASID;
  return port!;
}

function processPages({ pid }: Target): ProcessPages {
  const policy = { buffers: null, lost: () => {} };
  const space = new ProcessSpace(pid, 'direct', new FileBackings(), policy);
  space.pidfd = pidfdOpen(pid);
  return new ProcessPages(pid, space);
}

/** The target's memory in the one slot of a machine. */
function guestPages(target: Target): GuestPages {
  const slots = new MemorySlots();
  slots.set({
    slot: 0,
    flags: 0,
    guest_phys_addr: GUEST_ADDRESS,
    memory_size: BigInt(BYTES),
    userspace_addr: target.address,
  });
  return new GuestPages('a machine', slots, processPages(target));
}

/** Ns for one operation of a device and of its peer. */
async function beside(step: () => boolean, peer: BatchClient, count: number): Promise<[number, number]> {
  const own: number[] = [];
  const peers: number[] = [];
  for (let round = 0; round < ROUNDS + WARM_UP; round += 1) {
    const { begun, ended } = await peer.batch(count);
    const from = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) if (!step()) throw new Error('a transfer failed');
    const time = Number(process.hrtime.bigint() - from);
    if (round < WARM_UP) continue;
    own.push(time / count);
    peers.push((ended - begun) / count);
  }
  await peer.stop();
  return [quiet(own), quiet(peers)];
}

/** Moves `size` bytes at each call, from place to place. */
function stepper(port: DmaPort, kind: 'read' | 'write', base: bigint, size: number): () => boolean {
  const held = new Uint8Array(size).fill(3);
  // Elsewhere than the C program, whose last bytes may be in a cache.
  let at = BYTES / 2;
  return () => {
    const address = base + BigInt(at);
    at = at + size < BYTES ? at + size : 0;
    const hi = highWord(address);
    const lo = lowWord(address);
    return kind === 'read' ? port.read(hi, lo, held) : port.write(hi, lo, held);
  };
}

const sizes = [4 * KIB, MIB];
const nameOf = (size: number): string => (size < MIB ? `${size / KIB} KiB` : `${size / MIB} MiB`);

async function sva(): Promise<void> {
  title("DMA by a process's own table, beside process_vm_readv and process_vm_writev");
  const target = await startTarget('private', BYTES);
  const port = portOf(processPages(target));
  for (const [kind, most] of [
    ['read', 1.25],
    ['write', 2.5],
  ] as const) {
    for (const size of sizes) {
      const peer = await startProcessVm(kind, size, BYTES, target);
      const step = stepper(port, kind, target.address, size);
      const [own, other] = await beside(step, peer, ROUND_BYTES / size);
      const name = `${kind} of ${nameOf(size)}, ${asMicroseconds(own)}`;
      if (size === MIB) limited(name, own / other, most, asRatio);
      else figure(name, asRatio(own / other));
    }
  }
  await target.stop();
}

async function kvm(): Promise<void> {
  title('DMA by the table of a virtual machine with a memfd in its slot, beside memcpy');
  const target = await startTarget('shared', BYTES);
  const port = portOf(guestPages(target));
  for (const size of sizes) {
    const peer = await startMemcpy('write', size, BYTES, 2 * BYTES);
    const step = stepper(port, 'write', GUEST_ADDRESS, size);
    const [own, other] = await beside(step, peer, ROUND_BYTES / size);
    figure(`write of ${nameOf(size)}, ${asMicroseconds(own)}`, asRatio(own / other));
  }
  await target.stop();
}

async function throughShim(): Promise<void> {
  title('the same through the shim: what IOASIS_DMA takes as a whole');
  const daemon = await startDaemon(null, ['--profile', 'vtd']);
  for (const size of sizes) {
    for (const owner of ['sva', 'kvm'] as const) {
      const client = await daemon.program('owner-client', '/dev/vfio/devices/vfio0', owner, size, BYTES);
      const [own] = await inTurns([client], Math.ceil(MIB / size / 4), ROUNDS, WARM_UP);
      figure(`${owner}, store of ${nameOf(size)}`, asMicroseconds(own!));
    }
  }
  title('a page request: store, fault, response, completion, through the shim');
  const [ring, file] = await inTurns(
    [
      await daemon.program('fault-client', '/dev/vfio/devices/vfio0', 'ring'),
      await daemon.program('fault-client', '/dev/vfio/devices/vfio1', 'file'),
    ],
    50,
    ROUNDS,
    WARM_UP,
  );
  figure('by the fault file', asMicroseconds(file!));
  figure(`by the rings, ${asMicroseconds(ring!)}, beside the file`, asRatio(ring! / file!));
  await daemon.stop();
}

export async function run(): Promise<void> {
  await onOneCpu(async () => {
    await sva();
    await kvm();
  });
  await throughShim();
}
