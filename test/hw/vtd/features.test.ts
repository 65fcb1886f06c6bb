/** CAP_REG and ECAP_REG as a topology's words say them, read back as software reads them (sections 11.4.2 and 11.4.3). */
import { describe, expect, test } from 'vitest';
import { Abilities } from '../../../src/hw/vtd/capabilities.js';
import { capabilityRegisters, type VtdFeatures, vtdDefaults } from '../../../src/hw/vtd/features.js';
import { CAP, ECAP, registerField } from '../../../src/hw/vtd/registers.js';

const said = (words: Partial<VtdFeatures>) => {
  const { cap, ecap } = capabilityRegisters({ ...vtdDefaults, ...words });
  return {
    cap: (name: keyof typeof CAP) => registerField(cap, CAP[name]),
    ecap: (name: keyof typeof ECAP) => registerField(ecap, ECAP[name]),
    can: new Abilities({ cap, ecap, haw: 52 }),
  };
};

describe('widths', () => {
  test.each([
    { addressWidth: 39, SAGAW: 0b0010, largest: 39 },
    { addressWidth: 48, SAGAW: 0b0110, largest: 48 },
    { addressWidth: 57, SAGAW: 0b1110, largest: 57 },
  ] as const)('$addressWidth bits', ({ addressWidth, SAGAW, largest }) => {
    const unit = said({ addressWidth });
    expect([unit.cap('SAGAW'), unit.cap('MGAW'), unit.can.largestWidth]).toEqual([
      SAGAW,
      addressWidth - 1,
      largest,
    ]);
  });

  test.each([
    { addressWidth: 48, largest: 48 },
    { addressWidth: 57, largest: 57 },
  ] as const)(
    'without a second stage no AGAW is there, and $addressWidth bits are the first stage’s',
    ({ addressWidth, largest }) => {
      const unit = said({ addressWidth, secondStage: false, nesting: false });
      expect([unit.cap('SAGAW'), unit.ecap('SSTS'), unit.can.largestWidth]).toEqual([0, 0, largest]);
    },
  );
});

test('EAFS needs a first stage and walks that see the caches of the CPU', () => {
  expect(said({}).ecap('EAFS')).toBe(1);
  expect(said({ coherentWalks: false }).ecap('EAFS')).toBe(0);
  expect(said({ firstStage: false, nesting: false }).ecap('EAFS')).toBe(0);
});
