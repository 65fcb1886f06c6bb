import { describe, expect, test } from 'vitest';
import { bytesOf } from '../world.js';
import { at, NAME, NvmeWorld, ROOM, UNMAPPED, type Completion, type NvmeWorldOptions } from './world.js';

const WRITE = 1;
const READ = 2;
const DATA = at(ROOM);
const OTHER = at(ROOM + 128);
const LIST = at(24);

function started(options: NvmeWorldOptions = {}, size = 8): NvmeWorld {
  const w = new NvmeWorld(options);
  w.enable();
  w.makePair(1, size);
  w.messages.length = 0;
  return w;
}

interface Io {
  readonly start?: number;
  readonly blocks: number;
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  readonly namespace?: number;
  readonly flags?: number;
  readonly control?: number;
}

function io(w: NvmeWorld, opcode: number, what: Io): Completion {
  const { start = 0, blocks, prp1 = DATA, prp2 = 0n, namespace = 1, flags = 0, control = 0 } = what;
  const dwords = [start, 0, ((blocks - 1) | control) >>> 0];
  return w.run({ opcode, namespace, prp1, prp2, flags, dwords }, 1);
}

describe('reads and writes', () => {
  test('a block, and what was never written is 0', () => {
    const w = started();
    const data = bytesOf(512, 1);
    w.write(DATA, data);
    expect(io(w, WRITE, { start: 5, blocks: 1 })).toMatchObject({ status: 0, queue: 1, head: 1 });
    expect(w.messages).toEqual([1]);
    w.write(OTHER, new Uint8Array(1536).fill(0xee));
    expect(io(w, READ, { start: 4, blocks: 3, prp1: OTHER }).status).toBe(0);
    expect(w.read(OTHER, 512)).toEqual(new Uint8Array(512));
    expect(w.read(OTHER + 512n, 512)).toEqual(data);
  });

  test('by two pages, from inside of the first', () => {
    const w = started();
    const data = bytesOf(4096, 2);
    w.write(at(ROOM, 1000), data.subarray(0, 3096));
    w.write(at(ROOM + 7), data.subarray(3096));
    expect(io(w, WRITE, { blocks: 8, prp1: at(ROOM, 1000), prp2: at(ROOM + 7) }).status).toBe(0);
    expect(io(w, READ, { blocks: 8, prp1: OTHER }).status).toBe(0);
    expect(w.read(OTHER, 4096)).toEqual(data);
  });

  test('by a list of the most pages there can be, which goes on elsewhere', () => {
    const w = started();
    const data = bytesOf(256 * 1024, 3);
    const pages = Array.from({ length: 64 }, (_, i) => at(ROOM + ((i * 37) % 64)));
    // The first page from byte 512 on, so that there are 65 of them.
    w.write(pages[0]! + 512n, data.subarray(0, 3584));
    for (let i = 1; i < 64; i++) {
      w.write(pages[i]!, data.subarray(3584 + (i - 1) * 4096, 3584 + i * 4096));
    }
    w.write(OTHER, data.subarray(3584 + 63 * 4096));
    const rest = [...pages.slice(1), OTHER];
    // Eight entries are left of the page that the list begins in; the last of them leads on.
    const begin = LIST + 4096n - 64n;
    w.list(begin, [...rest.slice(0, 7), LIST + 0x1000n]);
    w.list(LIST + 0x1000n, rest.slice(7));
    const range = { blocks: 512, start: 100, prp1: pages[0]! + 512n, prp2: begin };
    expect(io(w, WRITE, range).status).toBe(0);
    for (const page of rest) w.write(page, new Uint8Array(4096));
    expect(io(w, READ, range).status).toBe(0);
    expect(w.read(pages[0]! + 512n, 3584)).toEqual(data.subarray(0, 3584));
    expect(w.read(pages[9]!, 4096)).toEqual(data.subarray(3584 + 8 * 4096, 3584 + 9 * 4096));
    expect(w.read(OTHER, 512)).toEqual(data.subarray(-512));
  });

  test('wrap around the queue, and the phase turns over', () => {
    const w = started({}, 4);
    for (let i = 0; i < 23; i++) {
      w.write(DATA, bytesOf(512, i));
      expect(io(w, WRITE, { start: i, blocks: 1 }).status).toBe(0);
    }
    expect(io(w, READ, { start: 0, blocks: 8, prp1: OTHER }).status).toBe(0);
    expect(w.read(OTHER, 512)).toEqual(bytesOf(512, 0));
    expect(w.read(OTHER + 3584n, 512)).toEqual(bytesOf(512, 7));
  });

  test('a full completion queue holds up the commands, not the device', () => {
    const w = started({}, 4);
    const ids = [0, 1, 2].map((start) =>
      w.submit({ opcode: READ, namespace: 1, prp1: DATA, dwords: [start] }, 1),
    );
    w.settle();
    ids.push(w.submit({ opcode: READ, namespace: 1, prp1: DATA, dwords: [3] }, 1));
    w.settle();
    expect(w.model.pending).toBe(1);
    // Another queue is served meanwhile.
    w.makePair(2);
    expect(w.reap(1).map(({ id }) => id)).toEqual(ids.slice(0, 3));
    w.settle();
    expect(w.reap(1).map(({ id }) => id)).toEqual(ids.slice(3));
    expect(w.model.pending).toBe(0);
  });

  test('a whole queue with one doorbell is one interrupt, and is done in pieces', () => {
    const w = started({}, 64);
    for (let i = 0; i < 40; i++) {
      w.submit({ opcode: READ, namespace: 1, prp1: DATA, dwords: [i] }, 1, false);
    }
    w.ring(1);
    expect(w.settle(1)).toBe(1);
    expect(w.messages).toEqual([1]);
    expect(w.reap(1, false).length).toBeLessThan(40);
    w.settle();
    expect(w.messages.length).toBeLessThan(6);
  });

  test('two queues whose commands fill a piece each are served in turns', () => {
    const w = started();
    w.makePair(2);
    w.list(
      LIST,
      Array.from({ length: 31 }, (_, page) => at(ROOM + 1 + page)),
    );
    const command = { opcode: READ, namespace: 1, prp1: DATA, prp2: LIST, dwords: [0, 0, 255] };
    for (let i = 0; i < 4; i++) for (const queue of [1, 2]) w.submit(command, queue);
    const order: number[] = [];
    while (w.settle(1) === 1) for (const queue of [1, 2]) order.push(...w.reap(queue).map((c) => c.queue));
    expect(order).toEqual([1, 2, 1, 2, 1, 2, 1, 2]);
  });

  test.each([
    ['beyond the end', { start: 2047, blocks: 2 }, 0x80],
    ['far beyond it', { start: 0xffff_ffff, blocks: 1 }, 0x80],
    ['more than MDTS', { blocks: 513 }, 0x02],
    ['another namespace', { blocks: 1, namespace: 2 }, 0x0b],
    ['all namespaces', { blocks: 1, namespace: 0xffff_ffff }, 0x0b],
    ['a crooked PRP', { blocks: 1, prp1: DATA + 2n }, 0x13],
    ['a second PRP inside a page', { blocks: 16, prp2: DATA + 8n }, 0x13],
    ['a list that is crooked', { blocks: 32, prp2: LIST + 4n }, 0x13],
    ['an SGL of a reserved kind', { blocks: 1, flags: 0xc0 }, 0x02],
    ['half of a fused command', { blocks: 1, flags: 1 }, 0x02],
    ['memory that is not mapped', { blocks: 1, prp1: UNMAPPED }, 0x04],
    ['a list that is not mapped', { blocks: 32, prp2: UNMAPPED }, 0x04],
  ] as const)('of %s are refused', (_, range, code) => {
    const w = started();
    expect(io(w, READ, range).status).toBe(code);
    expect(io(w, WRITE, range).status).toBe(code);
    expect(w.fatal).toBe(false);
    expect(io(w, READ, { blocks: 1 }).status).toBe(0);
  });

  test('what the unit refuses is logged by the unit, and the device goes on after a reset', () => {
    const w = started();
    const lines: string[] = [];
    w.scene.machine.events.listen((event) => {
      if (event.kind === 'log') lines.push(event.text);
    });
    expect(io(w, WRITE, { blocks: 1, prp1: UNMAPPED })).toMatchObject({ status: 4, doNotRetry: false });
    expect(lines.join('\n')).toMatch(/DMA Read.*00:05\.0.*fault addr 0x70000000/s);
    w.model.reset();
    expect(w.ready).toBe(false);
    w.model.config.write(4, 2, 0x0406);
    w.enable();
    w.makePair(1);
    expect(io(w, WRITE, { blocks: 1 }).status).toBe(0);
  });

  test('an I/O queue that cannot be fetched is fatal', () => {
    const w = started();
    w.bound.detach();
    w.submit({ opcode: READ, namespace: 1, prp1: DATA, dwords: [0] }, 1);
    w.settle();
    expect(w.fatal).toBe(true);
    w.bound.attach(w.ioas);
    w.disable();
    w.enable();
    w.makePair(1);
    expect(io(w, READ, { blocks: 1 }).status).toBe(0);
  });
});

describe('SGLs', () => {
  const BLOCK = 0x00;
  const BUCKET = 0x10;
  const SEGMENT = 0x20;
  const LAST = 0x30;
  type Descriptor = readonly [kind: number, address: bigint, length: number];

  const encode = (descriptors: readonly Descriptor[]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(16 * descriptors.length));
    for (const [index, [kind, address, length]] of descriptors.entries()) {
      view.setBigUint64(16 * index, address, true);
      view.setUint32(16 * index + 8, length, true);
      view.setUint8(16 * index + 15, kind);
    }
    return new Uint8Array(view.buffer);
  };
  /** The descriptor in the command, as its two PRPs. */
  const inCommand = ([kind, address, length]: Descriptor): { prp1: bigint; prp2: bigint; flags: number } => ({
    prp1: address,
    prp2: BigInt(length) | (BigInt(kind) << 56n),
    flags: 0x40,
  });

  test('of one block, and of segments with holes', () => {
    const w = started();
    const data = bytesOf(1024, 7);
    w.write(DATA + 3n, data);
    expect(io(w, WRITE, { blocks: 2, ...inCommand([BLOCK, DATA + 3n, 1024]) }).status).toBe(0);
    w.write(
      LIST,
      encode([
        [BLOCK, OTHER, 100],
        [BUCKET, 0n, 412],
        [BLOCK, OTHER, 0],
        [LAST, LIST + 0x1000n, 32],
      ]),
    );
    w.write(
      LIST + 0x1000n,
      encode([
        [BLOCK, OTHER + 4096n, 500],
        [BLOCK, OTHER + 8192n, 4096],
      ]),
    );
    expect(io(w, READ, { blocks: 2, ...inCommand([SEGMENT, LIST, 64]) }).status).toBe(0);
    expect(w.read(OTHER, 100)).toEqual(data.subarray(0, 100));
    expect(w.read(OTHER + 100n, 4)).toEqual(new Uint8Array(4));
    expect(w.read(OTHER + 4096n, 500)).toEqual(data.subarray(512, 1012));
    expect(w.read(OTHER + 8192n, 16)).toEqual(Uint8Array.from([...data.subarray(1012), 0, 0, 0, 0]));
  });

  const many = (count: number): Descriptor[] =>
    Array.from({ length: count }, (_, i) => [BLOCK, at(ROOM + ((i * 2) % 200)), 2] as const);
  test.each<[string, Descriptor, readonly Descriptor[], number]>([
    ['too short', [BLOCK, DATA, 511], [], 0x0f],
    ['of an unknown kind', [0x40, DATA, 512], [], 0x11],
    ['of an unknown subtype', [0x01, DATA, 512], [], 0x11],
    ['a segment of no length', [SEGMENT, LIST, 0], [], 0x0d],
    ['a segment that is no multiple of 16', [LAST, LIST, 24], [], 0x0d],
    ['a segment that leads nowhere', [SEGMENT, LIST, 16], [[BLOCK, DATA, 512]], 0x0d],
    ['a last segment that leads on', [LAST, LIST, 16], [[LAST, LIST, 16]], 0x0d],
    [
      'a segment with a way in its middle',
      [LAST, LIST, 32],
      [
        [SEGMENT, LIST, 16],
        [BLOCK, DATA, 512],
      ],
      0x0d,
    ],
    ['a segment that leads to itself', [SEGMENT, LIST, 16], [[SEGMENT, LIST, 16]], 0x0e],
    ['too many descriptors', [LAST, LIST, 16 * 256], many(256), 0x0e],
    ['a segment that is too long', [LAST, LIST, 16 * 257], [], 0x0e],
    ['a segment that is not mapped', [LAST, UNMAPPED, 16], [], 0x04],
  ])('%s', (_, first, list, code) => {
    const w = started();
    w.write(LIST, encode(list));
    expect(io(w, READ, { blocks: 1, ...inCommand(first) }).status).toBe(code);
    expect(io(w, READ, { blocks: 1 }).status).toBe(0);
  });
});

describe('other commands', () => {
  test('compare says whether they are the same', () => {
    const w = started();
    w.write(DATA, bytesOf(1024, 3));
    io(w, WRITE, { blocks: 2 });
    expect(io(w, 5, { blocks: 2 }).status).toBe(0);
    w.write(DATA + 1023n, Uint8Array.from([bytesOf(1024, 3)[1023]! ^ 1]));
    expect(io(w, 5, { blocks: 2 })).toMatchObject({ status: 0x285, doNotRetry: true });
    expect(io(w, 5, { blocks: 1 }).status).toBe(0);
  });

  test('write zeroes and deallocate make blocks read 0', () => {
    const w = started();
    const full = (): void => {
      w.write(DATA, new Uint8Array(8192).fill(0xff));
      expect(io(w, WRITE, { blocks: 16, prp2: DATA + 4096n }).status).toBe(0);
    };
    const zeros = (): number[] => {
      expect(io(w, READ, { blocks: 8, prp1: OTHER }).status).toBe(0);
      return [0, 1, 2, 3, 4, 5, 6, 7].filter((i) => w.read(OTHER + BigInt(512 * i), 1)[0] === 0);
    };
    full();
    expect(io(w, 8, { start: 2, blocks: 3 }).status).toBe(0);
    expect(zeros()).toEqual([2, 3, 4]);
    full();
    const ranges = new DataView(new ArrayBuffer(32));
    ranges.setUint32(4, 1, true);
    ranges.setUint32(16 + 4, 2, true);
    ranges.setUint32(16 + 8, 6, true);
    w.write(LIST, new Uint8Array(ranges.buffer));
    w.run({ opcode: 9, namespace: 1, prp1: LIST, dwords: [1, 0] }, 1);
    expect(zeros()).toEqual([]);
    expect(w.run({ opcode: 9, namespace: 1, prp1: LIST, dwords: [1, 4] }, 1).status).toBe(0);
    expect(zeros()).toEqual([0, 6, 7]);
    ranges.setUint32(16 + 8, 2047, true);
    w.write(LIST, new Uint8Array(ranges.buffer));
    expect(w.run({ opcode: 9, namespace: 1, prp1: LIST, dwords: [1, 4] }, 1).status).toBe(0x80);
    expect(io(w, 8, { start: 2040, blocks: 9 }).status).toBe(0x80);
  });

  test('flush, of one and of all; and what there is not', () => {
    const w = started({ namespaces: [{ size: '1M' }, { size: '1M' }] });
    const flush = (namespace: number): number => w.run({ opcode: 0, namespace }, 1).status;
    expect([flush(1), flush(2), flush(0xffff_ffff), flush(3)]).toEqual([0, 0, 0, 0x0b]);
    expect(w.run({ opcode: 0x0d, namespace: 1 }, 1).status).toBe(1);
  });

  test('namespaces do not share blocks', () => {
    const w = started({ namespaces: [{ size: '1M' }, { size: '1M' }] });
    w.write(DATA, bytesOf(512, 9));
    io(w, WRITE, { blocks: 1, namespace: 2 });
    io(w, READ, { blocks: 1, namespace: 1, prp1: OTHER });
    expect(w.read(OTHER, 512)).toEqual(new Uint8Array(512));
    io(w, READ, { blocks: 1, namespace: 2, prp1: OTHER });
    expect(w.read(OTHER, 512)).toEqual(bytesOf(512, 9));
  });
});

test('a virtual function is a controller of its own with the namespaces of the physical one', () => {
  const w = started({ virtual: '0000:00:06.1' });
  w.write(DATA, bytesOf(512, 4));
  expect(io(w, WRITE, { start: 3, blocks: 1 }).status).toBe(0);
  w.expect({ opcode: 6, prp1: OTHER, dwords: [1] });
  const virtual = w.read(OTHER, 4096);
  // Several controllers, a virtual function's, with a number of its own.
  expect([virtual[76], virtual[78]! | (virtual[79]! << 8)]).toEqual([6, 0x31]);
  expect(w.scene.machine.device(NAME).model.pending).toBe(0);
});

describe('without MSI-X', () => {
  test('the line is up while completions wait, unless their vector is masked', () => {
    const w = started({ mode: 'intx' });
    w.lines.length = 0;
    w.submit({ opcode: 0, namespace: 1 }, 1);
    w.settle();
    expect(w.lines).toEqual([true]);
    w.store32(0x0c, 1 << 1);
    expect(w.lines).toEqual([true, false]);
    w.store32(0x10, 1 << 1);
    expect(w.lines).toEqual([true, false, true]);
    w.reap(1);
    expect(w.lines).toEqual([true, false, true, false]);
    expect(w.messages).toEqual([]);
  });

  test('MSI has a vector for each queue, which INTMS masks', () => {
    const w = started({ mode: 'msi' });
    io(w, READ, { blocks: 1 });
    w.store32(0x0c, 1 << 1);
    io(w, READ, { blocks: 1 });
    expect(w.messages).toEqual([1]);
  });
});

test('while bus mastering is off nothing is fetched', () => {
  const w = started();
  w.model.config.write(4, 2, 0x0402);
  const id = w.submit({ opcode: READ, namespace: 1, prp1: DATA, dwords: [0] }, 1);
  w.settle();
  expect(w.reap(1)).toEqual([]);
  w.model.config.write(4, 2, 0x0406);
  w.settle();
  expect(w.reap(1)).toMatchObject([{ id, status: 0 }]);
});
