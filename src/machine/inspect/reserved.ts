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
    const ridPriv = this.#unless(reg.ECAP.RPRIVS, st.SM_CTX_RID_PRIV);
    this.context = [
      0x1e0n | beyond | withoutDte | withoutPasid | withoutPri,
      ((ALL << 21n) & ALL) | ridPasid | ridPriv,
      ALL,
      ALL,
    ];
    this.directory = 0xffcn | beyond;
  }

  /** Words of a PASID entry (section 9.6). */
  get pasid(): readonly bigint[] {
    const beyond = ALL & ~((1n << BigInt(this.#haw)) - 1n);
    const { ECAP } = reg;
    const domainIds = Math.min(16, 4 + 2 * reg.registerField(this.#cap, reg.CAP.ND));
    const second = this.#has(ECAP.SSTS) ? 0n : ~0xfffn | 0x200n;
    const first = this.#has(ECAP.FSTS) ? 0n : ~0xfffn | 0x1cn;
    const tags =
      (0xffffn & ~((1n << BigInt(domainIds)) - 1n)) |
      this.#unless(ECAP.SMPWCS, st.PE_PWSNP) |
      this.#unless(ECAP.SC, st.PE_PGSNP) |
      (this.#has(ECAP.MTS) ? 0n : (ALL << 32n) | BigInt(st.PE_CD | st.PE_EMTE));
    const sre = this.#unless(ECAP.SRS, st.PE_SRE);
    const ere = this.#unless(ECAP.ERS, st.PE_ERE);
    const eafe = this.#unless(ECAP.EAFS, st.PE_EAFE);
    const words = [
      0xc20n | beyond | second | this.#unless(ECAP.SSADS, st.PE_SSADE),
      0xf87f_0000n | tags,
      0xf00n | beyond | first | sre | ere | eafe,
    ];
    return [...words, ALL, ALL, ALL, ALL, ALL].map((word) => word & ALL);
  }

  /** Whether an address of host memory has more bits than the unit can emit. */
  isBeyond(address: bigint): boolean {
    return address >> BigInt(this.#haw) !== 0n;
  }

  /** Of a first-stage entry at `level` (1: 4 KiB); `nxe` is the PASID entry's, where execution is asked for at all. */
  firstStage(pte: bigint, level: number, nxe: boolean): bigint {
    const largest = reg.registerField(this.#cap, reg.CAP.FS1GP) !== 0 ? 3 : 2;
    const isXdIgnored = nxe || !this.#has(reg.ECAP.ERS);
    return this.#address() | this.#large(pte, level, largest, PAT) | (isXdIgnored ? 0n : XD);
  }

  secondStage(pte: bigint, level: number): bigint {
    const sizes = reg.registerField(this.#cap, reg.CAP.SSLPS);
    const largest = (sizes & 2) !== 0 ? 3 : (sizes & 1) !== 0 ? 2 : 1;
    const isLeaf = level === 1 || (pte & PS) !== 0n;
    const snoop = isLeaf && this.#has(reg.ECAP.SC) ? 0n : SNP;
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
    if (hasSecond && (!this.#has(reg.ECAP.SSTS) || ((widths >> aw) & 1) === 0)) return false;
    // The root of a nested first stage is an address of the guest.
    return !isNested || (entry[2]! & ~0xfffn) >> BigInt(Math.min(30 + 9 * aw, this.mgaw)) === 0n;
  }

  #has(field: readonly [number, number]): boolean {
    return reg.registerField(this.#ecap, field) !== 0;
  }
}
