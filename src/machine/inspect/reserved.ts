/**
 * Reserved bits of VT-d's structures, as a unit with these registers sees them: what is set there makes the entry fault.
 */
import type { Mmio } from '../../bus/mmio.js';
import * as reg from '../../hw/vtd/registers.js';
import * as st from '../../hw/vtd/structures.js';

const ALL = (1n << 64n) - 1n;
const PS = 0x80n;
const SNP = 1n << 11n;
const XD = 1n << 63n;
/** Once the transient mapping. */
const TRANSIENT = 1n << 62n;
/** PAT, of a large first-stage leaf. */
const PAT = 1n << 12n;
const ADDRESS_TOP = 52;

export class ReservedBits {
  readonly rootHalf: bigint;
  readonly context: readonly bigint[];
  readonly directory: bigint;
  /** Bits of a second stage's input, and one above the largest PASID, whatever the tables are. */
  readonly mgaw: number;
  readonly pasids: number;
  readonly #haw: number;
  readonly #cap: bigint;
  readonly #ecap: bigint;

  constructor(mmio: Mmio, hostAddressWidth: number) {
    this.#haw = hostAddressWidth;
    this.#cap = mmio.read64(reg.CAP_REG);
    this.#ecap = mmio.read64(reg.ECAP_REG);
    this.mgaw = reg.registerField(this.#cap, reg.CAP.MGAW) + 1;
    this.pasids = 2 ** (reg.registerField(this.#ecap, reg.ECAP.PSS) + 1);
    const beyond = ALL & ~((1n << BigInt(hostAddressWidth)) - 1n);
    this.rootHalf = 0xffen | beyond;
    const withoutDte = this.#unless(reg.ECAP.DT, st.SM_CTX_DTE);
    const withoutPasid = this.#unless(reg.ECAP.PASID, st.SM_CTX_PASIDE);
    const withoutPri = this.#unless(reg.ECAP.PRS, st.SM_CTX_PRE);
    const ridPasid = this.#unless(reg.ECAP.RPS, st.SM_CTX_RID_PASID_MASK);
    this.context = [
      0x1e0n | beyond | withoutDte | withoutPasid | withoutPri,
      ((ALL << 21n) & ALL) | ridPasid,
      ALL,
      ALL,
    ];
    this.directory = 0xffcn | beyond;
  }

  /** Words of a PASID entry; which pointers count depends on the kind of translation in it. */
  pasid(entry: bigint): readonly bigint[] {
    const kind = Number((entry >> BigInt(st.PE_PGTT_SHIFT)) & BigInt(st.PE_PGTT_MASK));
    const hasFirst = kind === st.PGTT_FIRST_STAGE || kind === st.PGTT_NESTED;
    const hasSecond = kind === st.PGTT_SECOND_STAGE || kind === st.PGTT_NESTED;
    const beyond = ALL & ~((1n << BigInt(this.#haw)) - 1n);
    const ssade = this.#unless(reg.ECAP.SSADS, st.PE_SSADE);
    const sre = this.#unless(reg.ECAP.SRS, st.PE_SRE);
    const ere = this.#unless(reg.ECAP.ERS, st.PE_ERE);
    const eafe = this.#unless(reg.ECAP.EAFS, st.PE_EAFE);
    const first = hasFirst && kind !== st.PGTT_NESTED ? beyond : 0n;
    return [
      0xc20n | ssade | (hasSecond ? beyond : 0n),
      0n,
      0xf00n | sre | ere | eafe | first,
      ALL,
      ALL,
      ALL,
      ALL,
      ALL,
    ];
  }

  /** Whether an address of host memory has more bits than the unit can emit. */
  isBeyond(address: bigint): boolean {
    return address >> BigInt(this.#haw) !== 0n;
  }

  /** Of a first-stage entry at `level` (1: 4 KiB); `nxe` is the PASID entry's. A nested one leads into the second stage. */
  firstStage(pte: bigint, level: number, nxe: boolean, isNested: boolean): bigint {
    const largest = reg.registerField(this.#cap, reg.CAP.FS1GP) !== 0 ? 3 : 2;
    const address = isNested ? 0n : this.#address();
    return address | this.#large(pte, level, largest, PAT) | (nxe ? 0n : XD);
  }

  secondStage(pte: bigint, level: number): bigint {
    const sizes = reg.registerField(this.#cap, reg.CAP.SSLPS);
    const largest = (sizes & 2) !== 0 ? 3 : (sizes & 1) !== 0 ? 2 : 1;
    const snoop = reg.registerField(this.#ecap, reg.ECAP.SC) !== 0 ? 0n : SNP;
    return this.#address() | this.#large(pte, level, largest, 0n) | snoop | TRANSIENT;
  }

  /** What an address of `haw` bits leaves of the 52 that there are. */
  #address(): bigint {
    return ((1n << BigInt(ADDRESS_TOP)) - 1n) & ~((1n << BigInt(this.#haw)) - 1n);
  }

  #large(pte: bigint, level: number, largest: number, allowed: bigint): bigint {
    if (level === 1 || (pte & PS) === 0n) return 0n;
    if (level > largest) return PS;
    return ((1n << BigInt(12 + (level - 1) * 9)) - 1n) & ~0xfffn & ~allowed;
  }

  #unless(field: readonly [number, number], bits: number): bigint {
    return this.#has(field) ? 0n : BigInt(bits);
  }

  /** Whether the unit has what the PASID entry asks for; else the entry is invalid. */
  isSupported(entry: readonly bigint[]): boolean {
    const kind = Number((entry[0]! >> BigInt(st.PE_PGTT_SHIFT)) & BigInt(st.PE_PGTT_MASK));
    if (kind === st.PGTT_PASS_THROUGH) return this.#has(reg.ECAP.PT);
    const isNested = kind === st.PGTT_NESTED;
    const hasFirst = kind === st.PGTT_FIRST_STAGE || isNested;
    const hasSecond = kind === st.PGTT_SECOND_STAGE || isNested;
    if (!hasFirst && !hasSecond) return false;
    if (isNested && !this.#has(reg.ECAP.NEST)) return false;
    const mode = Number((entry[2]! >> BigInt(st.PE_FSPM_SHIFT)) & BigInt(st.PE_FSPM_MASK));
    const fiveLevels = reg.registerField(this.#cap, reg.CAP.FS5LP) !== 0;
    if (hasFirst && (!this.#has(reg.ECAP.FSTS) || mode > (fiveLevels ? 1 : 0))) return false;
    const aw = Number((entry[0]! >> BigInt(st.PE_AW_SHIFT)) & BigInt(st.PE_AW_MASK));
    const widths = reg.registerField(this.#cap, reg.CAP.SAGAW) & 0b1110;
    return !hasSecond || (this.#has(reg.ECAP.SSTS) && ((widths >> aw) & 1) !== 0);
  }

  #has(field: readonly [number, number]): boolean {
    return reg.registerField(this.#ecap, field) !== 0;
  }
}
