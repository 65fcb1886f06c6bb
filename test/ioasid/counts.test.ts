/** R12: what a device asks of a process, what it is answered, and that it tries again: in order, and counted. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import { IoasidScene } from './scene.js';

const PASID = 7;

let s: IoasidScene;
let device: number;
/** `try` is a device that translates, however many pages; `ask N` a group of page requests; `answer CODE` its response. */
let story: string[];

beforeEach(() => {
  s = new IoasidScene();
  device = s.device(0);
  s.authorize(device, s.sva(), PASID);
  story = [];
  const { dma } = s.machine.device('0000:00:01.0');
  const cache = dma.cache!;
  const requests = dma.requests!;
  const translate = cache.translate.bind(cache);
  vi.spyOn(cache, 'translate').mockImplementation((request) => {
    if (story.at(-1) !== 'try') story.push('try');
    return translate(request);
  });
  const request = requests.request.bind(requests);
  vi.spyOn(requests, 'request').mockImplementation((pages, answered) => {
    story.push(`ask ${pages.count}`);
    return request(pages, answered);
  });
  const respond = requests.respond.bind(requests);
  vi.spyOn(requests, 'respond').mockImplementation((pasid, group, code) => {
    story.push(`answer ${code}`);
    respond(pasid, group, code);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  s.end();
});

const store = (at: bigint, length: bigint): d.IoasisDma =>
  s.call(device, d.IOASIS_DMA, d.ioasis_dma, {
    op: d.IOASIS_DMA_OP_FILL,
    iova: at,
    length,
    value: 5n,
    flags: d.IOASIS_DMA_PASID | d.IOASIS_DMA_ATS | d.IOASIS_DMA_PRI,
    pasid: PASID,
  });

test('12 pages that nobody has touched: two groups of requests, a response and a retry each', () => {
  const va = s.memory.alloc(12 * 4096, { lazy: true });
  expect(store(va, 12n * 4096n).out_state).toBe(d.IOASIS_DMA_DONE);
  expect(story).toEqual(['try', 'ask 8', 'answer 0', 'try', 'ask 4', 'answer 0', 'try']);
  // They are there now.
  story = [];
  expect(store(va, 12n * 4096n).out_state).toBe(d.IOASIS_DMA_DONE);
  expect(story).toEqual(['try']);
});

test('a page that the process may not store to: a request, a response, no retry', () => {
  const va = s.memory.alloc(4096, { writable: false });
  expect(store(va, 8n).out_fault_reason).toBe(d.IOASIS_DMA_PAGE_INVALID);
  expect(story).toEqual(['try', 'ask 1', 'answer 1']);
});
