/** AMD I/O Virtualization Technology (IOMMU) specification 48882, 2.2.3: I/O page directory and page table entries. */
import { bits, type FormatBits } from './judge.js';

/** `granuleLg2` is 12 in hardware, and 11 in the variant of iommufd's selftest, whose address field is the same. */
export function amdv1Bits(granuleLg2: number): FormatBits {
  const addressShift = 12 - granuleLg2;
  return {
    grants: (prot) => prot,
    addressShift,
    entry(level, sizeLg2) {
      const common = { present: bits('0'), accessed: bits('5'), read: bits('61'), write: bits('62') };
      if (sizeLg2 === null) {
        return {
          ...common,
          shape: bits('11:9'),
          address: bits('51:12'),
          reserved: bits('60:52'),
          ignored: bits('4:1', '8:6', '63'),
        };
      }
      // Where in the entry an address of a leaf of this size begins, and what lies below: nothing, or the size.
      const first = sizeLg2 + addressShift;
      const below = first > 12 ? bits(`${first - 1}:12`) : 0n;
      const isSized = sizeLg2 !== granuleLg2 + 9 * level;
      return {
        ...common,
        dirty: bits('6'),
        shape: bits('11:9') | (isSized ? below : 0n),
        address: bits(`51:${first}`),
        reserved: bits('58:52'),
        // U and FC among them: attributes of the request that is forwarded.
        ignored: bits('4:1', '8:7', '60:59', '63') | (isSized ? 0n : below),
      };
    },
  };
}
