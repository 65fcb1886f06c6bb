/** Page requests wait for the last of their group, and are answered once. */
import { expect, test } from 'vitest';
import { IommuGroup } from '../../src/hw/group.js';
import {
  addFaultDevice,
  removeFaultDevice,
  reportDeviceFault,
  respondGroup,
  type PageFaultGroup,
  type PageRequest,
} from '../../src/hw/iopf.js';
import type { DmaDevice, Domain, PageResponse, Unit } from '../../src/hw/unit.js';

const PASID_VALID = 1;
const LAST = 2;

function setUp(kind: Domain['kind'] = 'paging'): {
  device: DmaDevice;
  groups: PageFaultGroup[];
  answers: PageResponse[];
  domain: Domain;
} {
  const answers: PageResponse[] = [];
  const groups: PageFaultGroup[] = [];
  const unit = {
    userPasidTable: true,
    attach: () => {},
    setDevPasid: () => {},
    pageResponse: (_device: DmaDevice, response: PageResponse) => answers.push(response),
  } as unknown as Unit;
  const domain = {
    kind,
    unit,
    iopfHandler: (group: PageFaultGroup) => groups.push(group),
  } as unknown as Domain;
  Object.assign(unit, { blockedDomain: { kind: 'blocked', unit, iopfHandler: null } });
  const group = new IommuGroup();
  const device = { name: 'a', unit, group, maxPasids: 8, faultParam: null } as unknown as DmaDevice;
  group.devices.push(device);
  addFaultDevice(device);
  return { device, groups, answers, domain };
}

const request = (grpid: number, flags: number, pasid = 0): PageRequest => ({
  flags,
  pasid,
  grpid,
  perm: 1,
  addr: BigInt(grpid) << 12n,
});

test('requests of one group are delivered together, in order, when the last has come', () => {
  const { device, groups, answers, domain } = setUp();
  device.group.attach(domain, { domain });
  const sent = [request(1, 0), request(2, 0), request(1, 0), request(1, LAST)];
  for (const each of sent) reportDeviceFault(device, each);
  expect(groups.map((group) => group.faults)).toEqual([[sent[0], sent[2], sent[3]]]);
  reportDeviceFault(device, request(2, LAST));
  expect(groups[1]?.faults).toHaveLength(2);
  expect(answers).toEqual([]);
  respondGroup(groups[0]!, 0);
  expect(answers).toEqual([{ hasPasid: false, pasid: 0, grpid: 1, code: 0 }]);
});

test('a request that nobody handles is answered INVALID at once', () => {
  const { device, groups, answers, domain } = setUp();
  reportDeviceFault(device, request(1, LAST));
  device.group.attach(domain, { domain });
  reportDeviceFault(device, request(2, LAST | PASID_VALID, 5));
  removeFaultDevice(device);
  reportDeviceFault(device, request(3, LAST));
  expect(groups).toEqual([]);
  expect(answers).toEqual([
    { hasPasid: false, pasid: 0, grpid: 1, code: 1 },
    { hasPasid: true, pasid: 5, grpid: 2, code: 1 },
    { hasPasid: false, pasid: 0, grpid: 3, code: 1 },
  ]);
});

test('a PASID that only the guest knows goes to the nested table of the device itself', () => {
  const { device, groups, answers, domain } = setUp('nested');
  device.group.attach(domain, { domain });
  reportDeviceFault(device, request(2, LAST | PASID_VALID, 5));
  expect(groups[0]?.handle.domain).toBe(domain);
  expect(answers).toEqual([]);
});

test('a PASID with a page table of its own is answered by that one', () => {
  const { device, groups, domain } = setUp();
  const own = { ...domain } as Domain;
  device.group.attach(domain, { domain });
  device.group.attachPasid(own, device, 5, { domain: own });
  reportDeviceFault(device, request(2, LAST | PASID_VALID, 5));
  expect(groups[0]?.handle.domain).toBe(own);
});

test('requests that wait for their last are forgotten when reporting ends', () => {
  const { device, groups, domain } = setUp();
  device.group.attach(domain, { domain });
  reportDeviceFault(device, request(1, 0));
  removeFaultDevice(device);
  addFaultDevice(device);
  reportDeviceFault(device, request(1, LAST));
  expect(groups[0]?.faults).toHaveLength(1);
});
