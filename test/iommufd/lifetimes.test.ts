/** Who keeps whom: what is in use cannot be destroyed, and can be as soon as its last user is gone. */
import { describe, expect, test } from 'vitest';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';
import { LOW, PAGE, World } from './world.js';

const destroy = (w: World, id: number): unknown => w.call(u.IOMMU_DESTROY, { id });

/** A thing, and how to end what uses it. */
interface Kept {
  readonly held: number;
  readonly release: () => unknown;
}

const cases: Readonly<Record<string, (w: World) => Kept>> = {
  'an attached device, its IOAS': (w) => {
    const held = w.ioas();
    const { stdev } = w.device(held);
    return { held, release: () => destroy(w, stdev) };
  },
  'an attached device, its page table': (w) => {
    const ioas = w.ioas();
    const { dev, stdev } = w.device(ioas);
    const held = w.hwpt(dev, ioas);
    w.replace(stdev, held);
    return { held, release: () => w.replace(stdev, ioas) };
  },
  'a PASID, its page table': (w) => {
    const ioas = w.ioas();
    const { dev, stdev } = w.device(ioas, t.MOCK_FLAGS_DEVICE_PASID);
    const flags = u.IOMMU_HWPT_ALLOC_PASID;
    const held = w.hwpt(dev, ioas, { flags });
    w.replace(stdev, w.hwpt(dev, ioas, { flags }));
    w.pasidAttach(stdev, 5, held);
    return { held, release: () => w.pasidDetach(stdev, 5) };
  },
  'a mock device, what it is bound as': (w) => {
    const { stdev, dev } = w.device(w.ioas());
    const other = w.ioas();
    w.replace(stdev, other);
    return { held: other, release: () => expect(destroy(w, stdev) && w.object(dev)).toBeUndefined() };
  },
  'a page table, its IOAS': (w) => {
    const held = w.ioas();
    const { dev } = w.device(w.ioas());
    const hwpt = w.hwpt(dev, held);
    return { held, release: () => destroy(w, hwpt) };
  },
  'a page table, its fault queue': (w) => {
    const ioas = w.ioas();
    const { dev } = w.device(ioas);
    const { id: held, fd } = w.fault();
    const hwpt = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: held });
    w.client.close(fd);
    return { held, release: () => destroy(w, hwpt) };
  },
  'a descriptor, its fault queue': (w) => {
    const { id: held, fd } = w.fault();
    return { held, release: () => w.client.close(fd) };
  },
  'a nested page table, its parent': (w) => {
    const ioas = w.ioas();
    const { dev } = w.device(ioas);
    const held = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT });
    const nested = w.nested(dev, held);
    return { held, release: () => destroy(w, nested) };
  },
  'a nested page table, its vIOMMU': (w) => {
    const { dev, viommu: held } = w.guest();
    const nested = w.nested(dev, held);
    return { held, release: () => destroy(w, nested) };
  },
  'a vIOMMU, its nesting parent': (w) => {
    const { parent: held, viommu } = w.guest();
    return { held, release: () => destroy(w, viommu) };
  },
  'a vDEVICE, its vIOMMU': (w) => {
    const { dev, viommu: held } = w.guest();
    const vdevice = w.vdevice(held, dev, 0x99n);
    return { held, release: () => destroy(w, vdevice) };
  },
  'a vEVENTQ, its vIOMMU': (w) => {
    const { viommu: held } = w.guest();
    const { id, fd } = w.veventq(held);
    w.client.close(fd);
    return { held, release: () => destroy(w, id) };
  },
  'a descriptor, its vEVENTQ': (w) => {
    const { id: held, fd } = w.veventq(w.guest().viommu);
    return { held, release: () => w.client.close(fd) };
  },
  'a hardware queue, its vIOMMU': (w) => {
    const { ioas, viommu: held } = w.guest();
    w.map(ioas);
    const queue = w.hwQueue(held, 0);
    return { held, release: () => destroy(w, queue) };
  },
  'a hardware queue, the one before it': (w) => {
    const { ioas, viommu } = w.guest();
    w.map(ioas);
    const held = w.hwQueue(viommu, 0);
    const second = w.hwQueue(viommu, 1);
    return { held, release: () => destroy(w, second) };
  },
  'an access, its IOAS': (w) => {
    const held = w.ioas();
    const fd = w.access(held);
    return { held, release: () => w.client.close(fd) };
  },
  'a mapping of a vIOMMU, that vIOMMU': (w) => {
    const { dev, parent } = w.guest();
    const data_uptr = w.put(t.iommu_viommu_selftest, { in_data: 5 });
    const held = w.viommu(dev, parent, { data_uptr, data_len: t.iommu_viommu_selftest.size });
    const answer = t.iommu_viommu_selftest.decode(w.client.memory.load(data_uptr, 24));
    const request = { offset: answer.out_mmap_offset, length: 2n * PAGE, shared: true, exec: false };
    const pages = w.client.mmap(w.fd, request);
    return { held, release: () => pages.closed() };
  },
};

describe('keeps', () => {
  test.each(Object.entries(cases))('%s', (_name, prepare) => {
    const w = new World();
    const { held, release } = prepare(w);
    expect(() => destroy(w, held)).toThrow('destroy_in_use');
    release();
    destroy(w, held);
    expect(() => destroy(w, held)).toThrow('destroy_id');
    w.end();
  });
});

test('a device that goes takes its vDEVICE along, whose id is never given again', () => {
  const w = new World();
  const { stdev, dev, ioas, viommu } = w.guest();
  const vdevice = w.vdevice(viommu, dev, 0x99n);
  destroy(w, stdev);
  for (const id of [vdevice, dev]) expect(() => destroy(w, id)).toThrow('destroy_id');
  destroy(w, viommu);
  const later = Array.from({ length: 12 }, () => w.ioas());
  expect(later).toContain(dev);
  expect(later).not.toContain(vdevice);
  expect(ioas).toBeLessThan(vdevice);
  w.end();
});

test('a vDEVICE that goes leaves its device free for another, and to be destroyed', () => {
  const w = new World();
  const { stdev, dev, viommu } = w.guest();
  destroy(w, w.vdevice(viommu, dev, 0x99n));
  destroy(w, w.vdevice(viommu, dev, 0x99n));
  destroy(w, stdev);
  expect(() => destroy(w, dev)).toThrow('destroy_id');
  w.end();
});

test('an automatic page table goes with the last device, and its IOAS is free', () => {
  const w = new World();
  const ioas = w.ioas();
  const [one, two] = [w.device(ioas), w.device(ioas)];
  expect(one.hwpt).toBe(two.hwpt);
  destroy(w, one.stdev);
  expect(() => destroy(w, one.hwpt)).toThrow('destroy_in_use');
  destroy(w, two.stdev);
  expect(() => destroy(w, one.hwpt)).toThrow('destroy_id');
  destroy(w, ioas);
  w.end();
});

test('a pinned item is exactly the pages that were asked for, compared one by one', () => {
  const w = new World();
  const ioas = w.ioas();
  const at = w.map(ioas);
  const fd = w.access(ioas);
  w.pin(fd, LOW, 4n * PAGE, 0, at);
  w.pin(fd, LOW + PAGE, PAGE, 0, at + PAGE);
  expect(() => w.pin(fd, LOW, 4n * PAGE, 0, at + PAGE)).toThrow('test_access_pages_other');
  w.checkRefs(at, 4n * PAGE, 1);
  w.end();
});
