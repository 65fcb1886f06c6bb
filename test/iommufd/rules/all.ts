/** Every case of every rule table. */
import type { Cases } from './case.js';
import { accessCases } from './access.cases.js';
import { deviceCases } from './device.cases.js';
import { driverCases } from './driver.cases.js';
import { frameCases } from './frame.cases.js';
import { ioasCases } from './ioas.cases.js';
import { selftestCases } from './selftest.cases.js';
import { vfioCases } from './vfio.cases.js';
import { viommuCases } from './viommu.cases.js';

export const groups: Readonly<Record<string, Cases>> = {
  frame: frameCases,
  IOAS: ioasCases,
  devices: deviceCases,
  vIOMMU: viommuCases,
  access: accessCases,
  VFIO: vfioCases,
  selftest: selftestCases,
  'units and drivers': driverCases,
};
