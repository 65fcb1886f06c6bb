/** Containers and groups: the way in, the devices that come out, and the orders in which everything can be closed. */
import { describe, expect, test } from 'vitest';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf } from '../refusal.js';
import { LOW, PAGE } from '../iommufd/world.js';
import { ContainerWorld, V1, V2 } from './container-world.js';

const FILL = { op: d.IOASIS_DMA_OP_FILL, iova: LOW, length: 8n, value: 0x5an };

describe('the container', () => {
  test('says what it can, before and after an IOMMU is set', () => {
    const w = new ContainerWorld();
    const { containerFd: fd } = w.inContainer(null);
    const can = (extension: number): number => w.client.ioctl(fd, v.VFIO_CHECK_EXTENSION, BigInt(extension));
    expect(w.client.ioctl(fd, v.VFIO_GET_API_VERSION, 0n)).toBe(0);
    const extensions = [V1, V2, v.VFIO_UNMAP_ALL, v.VFIO_UPDATE_VADDR, v.VFIO_DMA_CC_IOMMU];
    expect(extensions.map(can)).toEqual([1, 1, 1, 0, 0]);
    expect(can(v.__VFIO_RESERVED_TYPE1_NESTING_IOMMU)).toBe(0);
    w.setIommu(fd);
    expect(extensions.map(can)).toEqual([1, 1, 1, 1, 0]);
    expect(can(v.VFIO_NOIOMMU_IOMMU)).toBe(0);
    w.end();
  });

  test('without a group has no IOMMU, and loses it with the last one', () => {
    const w = new ContainerWorld();
    const fd = w.openContainer();
    expect(errnoOf(() => w.setIommu(fd))).toBe('EINVAL');
    const { group } = w.newDevice();
    const groupFd = w.openGroup(group);
    w.setContainer(groupFd, fd);
    expect(errnoOf(() => w.setIommu(fd, v.__VFIO_RESERVED_TYPE1_NESTING_IOMMU))).toBe('ENODEV');
    w.setIommu(fd);
    w.mapDma(fd);
    w.client.ioctl(groupFd, v.VFIO_GROUP_UNSET_CONTAINER, 0n);
    expect(errnoOf(() => w.unmapDma(fd))).toBe('EINVAL');
    expect(w.env.pins.pinnedPages).toBe(0);
    w.end();
  });

  test('is shared by groups: what is mapped before one comes is there for it', () => {
    const w = new ContainerWorld();
    const first = w.inContainer();
    const vaddr = w.mapDma(first.containerFd);
    const second = w.join(first.containerFd);
    for (const { groupFd, device } of [first, second]) {
      const fd = w.deviceFd(groupFd, device.name);
      expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
      w.client.close(fd);
    }
    expect(w.client.memory.load(vaddr, 1)).toEqual(Uint8Array.of(0x5a));
    w.client.close(first.groupFd);
    const fd = w.deviceFd(second.groupFd, second.device.name);
    expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
    w.end();
  });
});

describe('the group', () => {
  test('is viable until somebody else has its DMA', () => {
    const w = new ContainerWorld();
    const made = w.newDevice();
    const groupFd = w.openGroup(made.group);
    expect(w.status(groupFd)).toBe(v.VFIO_GROUP_FLAGS_VIABLE);
    w.setContainer(groupFd, w.openContainer());
    expect(w.status(groupFd)).toBe(v.VFIO_GROUP_FLAGS_VIABLE | v.VFIO_GROUP_FLAGS_CONTAINER_SET);
    w.client.ioctl(groupFd, v.VFIO_GROUP_UNSET_CONTAINER, 0n);
    const other = {};
    made.device.group.claimDmaOwner(other);
    expect(w.status(groupFd)).toBe(0);
    expect(errnoOf(() => w.setContainer(groupFd, w.openContainer()))).toBe('EPERM');
    made.device.group.releaseDmaOwner();
    w.end();
  });

  test('opens once, and not beside a file of one of its devices', () => {
    const w = new ContainerWorld();
    const { group, vfio } = w.newDevice();
    const groupFd = w.openGroup(group);
    expect(errnoOf(() => w.openGroup(group))).toBe('EBUSY');
    const fd = w.openDevice(vfio);
    expect(errnoOf(() => w.bindFile(fd))).toBe('EBUSY');
    w.client.close(groupFd);
    w.bindFile(fd);
    expect(errnoOf(() => w.openGroup(group))).toBe('EBUSY');
    w.client.close(fd);
    w.openGroup(group);
    w.end();
  });

  test('gives a device out more than once; only the last close closes it', () => {
    const w = new ContainerWorld();
    const { groupFd, containerFd, device, vfio } = w.inContainer();
    w.mapDma(containerFd);
    const fds = [0, 1, 2].map(() => w.deviceFd(groupFd, device.name));
    expect(vfio.isOpen).toBe(true);
    for (const fd of fds) {
      expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
      expect(errnoOf(() => w.client.ioctl(groupFd, v.VFIO_GROUP_UNSET_CONTAINER, 0n))).toBe('EBUSY');
      w.client.close(fd);
    }
    expect(vfio.isOpen).toBe(false);
    w.client.ioctl(groupFd, v.VFIO_GROUP_UNSET_CONTAINER, 0n);
    w.end();
  });

  test('through it, attaching and detaching are not known to the device', () => {
    const w = new ContainerWorld();
    const { groupFd, device } = w.inContainer();
    const fd = w.deviceFd(groupFd, device.name);
    expect(errnoOf(() => w.attach(fd, 1))).toBe('ENOTTY');
    expect(errnoOf(() => w.detach(fd))).toBe('ENOTTY');
    expect(errnoOf(() => w.bindFile(fd))).toBe('EINVAL');
    w.end();
  });
});

describe('an iommufd in place of a container', () => {
  test('gets an IOAS, into which the container ioctls map', () => {
    const w = new ContainerWorld();
    const { group, device } = w.newDevice();
    const groupFd = w.openGroup(group);
    w.setContainer(groupFd, w.fd);
    expect(w.status(groupFd)).toBe(v.VFIO_GROUP_FLAGS_VIABLE | v.VFIO_GROUP_FLAGS_CONTAINER_SET);
    w.setIommu(w.fd);
    const vaddr = w.mapDma(w.fd);
    const fd = w.deviceFd(groupFd, device.name);
    expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
    expect(w.client.memory.load(vaddr, 1)).toEqual(Uint8Array.of(0x5a));
    // The group may go first here: the device holds the context, not the group.
    w.client.close(groupFd);
    w.client.close(w.fd);
    expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
    w.client.close(fd);
    w.end();
  });

  test('keeps the IOAS that it has', () => {
    const w = new ContainerWorld();
    const ioas_id = w.ioas();
    w.call(u.IOMMU_VFIO_IOAS, { ioas_id, op: u.IOMMU_VFIO_IOAS_SET });
    const { group, device } = w.newDevice();
    const groupFd = w.openGroup(group);
    w.setContainer(groupFd, w.fd);
    w.map(ioas_id);
    const fd = w.deviceFd(groupFd, device.name);
    expect(w.dma(fd, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
    w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_CLEAR });
    w.client.close(fd);
    expect(errnoOf(() => w.deviceFd(groupFd, device.name))).toBe('ENODEV');
    w.end();
  });
});

describe('closing, in every order', () => {
  const orders = (of: readonly string[]): string[][] =>
    of.length < 2
      ? [[...of]]
      : of.flatMap((one) => orders(of.filter((each) => each !== one)).map((rest) => [one, ...rest]));

  test.for(orders(['container', 'group', 'device']))('%s', (order) => {
    const w = new ContainerWorld();
    const { containerFd, groupFd, device, group } = w.inContainer();
    w.mapDma(containerFd);
    const fds: Record<string, number> = {
      container: containerFd,
      group: groupFd,
      device: w.deviceFd(groupFd, device.name),
    };
    for (const [index, what] of order.entries()) {
      w.client.close(fds[what]!);
      const left = order.slice(index + 1);
      if (!left.includes('device')) continue;
      expect(w.dma(fds['device']!, FILL).out_state).toBe(d.IOASIS_DMA_DONE);
      expect(errnoOf(() => w.openGroup(group))).toBe('EBUSY');
    }
    expect(w.env.pins.pinnedPages).toBe(0);
    expect(device.group.isOwned).toBe(false);
    w.client.close(w.openGroup(group));
    w.end();
  });

  test('binding, then closing everything, leaves the device for its group', () => {
    const w = new ContainerWorld();
    const { fd, group, device } = w.bound();
    w.client.close(fd);
    const groupFd = w.openGroup(group);
    const containerFd = w.openContainer();
    w.setContainer(groupFd, containerFd);
    w.setIommu(containerFd);
    w.deviceFd(groupFd, device.name);
    w.end();
  });

  test('what is mapped ends with the last group, and no DMA reaches it', () => {
    const w = new ContainerWorld();
    const { containerFd, groupFd, engine } = w.inContainer();
    const vaddr = w.mapDma(containerFd);
    w.client.close(groupFd);
    const job = engine.submit({ kind: 'fill', iova: LOW, length: 8, value: 0x77n });
    expect(job.state).toBe('faulted');
    expect(w.client.memory.load(vaddr, Number(PAGE)).every((byte) => byte === 0)).toBe(true);
    w.end();
  });
});
