/**
 * Configuration space as the user of a device sees it (vfio_pci_config.c): some bits are the device's, some are kept
 * here, and some writes act: on interrupts, on power, as a reset. Every access is cut into aligned pieces of one
 * capability, each at most four bytes.
 */
import { get16, loadBytes, put16, storeBytes, widthAt } from '../../base/bytes.js';
import { refuse } from '../../base/errno.js';
import type { ConfigSpace } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import { CAP_BASIC, CAP_NONE, mapCapabilities, mapConfig, mapExtendedCapabilities } from './config-map.js';
import { msiLength } from './config-lengths.js';
import {
  basicPermissions,
  capabilityPermissions,
  extendedPermissions,
  msiPermissions,
  unassignedPermissions,
  type Permissions,
} from './config-perms.js';
import { rules } from './rules.js';

/** What writes to configuration space act on. */
export interface ConfigActions {
  /** The device has no memory enable of its own: a virtual function. */
  readonly noCommandMemory: boolean;
  readonly usesMsi: boolean;
  /** INTX_DISABLE as the user has it. */
  setIntxDisabled(disabled: boolean): void;
  setPowerState(state: number): void;
  resetFunction(): void;
  /** Makes of what the user wrote to the BARs what a device of this size would say. */
  fixBars(virtual: Uint8Array): void;
}

/** One piece of an access. */
interface Piece {
  readonly at: number;
  readonly count: number;
  readonly cap: number;
  /** In its capability. */
  readonly offset: number;
  readonly permissions: Permissions;
}

const maskOf = (count: number): number => (count === 4 ? -1 : (1 << (8 * count)) - 1);

const isBar = (offset: number): boolean =>
  (offset >= r.PCI_BASE_ADDRESS_0 && offset < r.PCI_BASE_ADDRESS_0 + 24) ||
  (offset >= r.PCI_ROM_ADDRESS && offset < r.PCI_ROM_ADDRESS + 4);

export class VirtualConfig {
  readonly #owner: Uint8Array;
  readonly #virtual: Uint8Array;
  readonly #msi: Permissions;
  #areBarsDirty = true;

  constructor(
    readonly config: ConfigSpace,
    readonly actions: ConfigActions,
    hasIntx: boolean,
  ) {
    const map = mapConfig(config);
    this.#owner = map.owner;
    this.#virtual = map.virtual;
    if (actions.noCommandMemory) put16(map.virtual, r.PCI_COMMAND, this.command | r.PCI_COMMAND_MEMORY);
    if (!hasIntx) map.virtual[r.PCI_INTERRUPT_PIN] = 0;
    mapCapabilities(map, config);
    if (this.#hasExtended()) mapExtendedCapabilities(map, config);
    const msi = config.capability(r.PCI_CAP_ID_MSI);
    const flags = msi === 0 ? 0 : config.read(msi + r.PCI_MSI_FLAGS, 2);
    this.#msi = msiPermissions(msiLength(flags), flags);
  }

  get command(): number {
    return get16(this.#virtual, r.PCI_COMMAND);
  }

  get interruptPin(): number {
    return this.#virtual[r.PCI_INTERRUPT_PIN]!;
  }

  #hasExtended(): boolean {
    const { config } = this;
    if (config.size <= r.PCI_CFG_SPACE_SIZE || config.read(r.PCI_CFG_SPACE_SIZE, 4) === 0) return false;
    if (config.capability(r.PCI_CAP_ID_EXP) !== 0) return true;
    const pcix = config.capability(r.PCI_CAP_ID_PCIX);
    return pcix !== 0 && (config.read(pcix + r.PCI_X_CMD, 2) & 0x3000) !== 0;
  }

  /** vfio_pci_config_rw */
  access(user: UserMemory, from: number, at: bigint, length: number, isWrite: boolean): number {
    const { size } = this.config;
    if (from + length > size) refuse(rules.config_range, { offset: from, length, size });
    for (let done = 0; done < length;) {
      const piece = this.#pieceAt(from + done, length - done);
      const address = at + BigInt(done);
      if (isWrite) this.#writePiece(user, piece, address);
      else {
        const bytes = new Uint8Array(piece.count);
        storeBytes(bytes, 0, piece.count, this.#read(piece));
        user.copyOut(address, bytes, rules.config_unwritable);
      }
      done += piece.count;
    }
    return length;
  }

  #writePiece(user: UserMemory, piece: Piece, address: bigint): void {
    if (piece.permissions.access === 'direct') return;
    const bytes = user.copyIn(address, piece.count, rules.config_unreadable);
    this.#write(piece, loadBytes(bytes, 0, piece.count));
  }

  #pieceAt(at: number, length: number): Piece {
    const owner = this.#owner;
    const cap = owner[at]!;
    let left = 1;
    while ((at + left) % 4 !== 0 && owner[at + left] === cap) left += 1;
    left = Math.min(left, length);
    const count = widthAt(at, left, 4);
    if (cap === CAP_NONE) return { at, count, cap, offset: 0, permissions: unassignedPermissions };
    const offset = at - this.#startOf(at, cap);
    return { at, count, cap, offset, permissions: this.#permissionsOf(at, cap) };
  }

  /** vfio_find_cap_start */
  #startOf(at: number, cap: number): number {
    if (at < r.PCI_STD_HEADER_SIZEOF) return 0;
    const base = at >= r.PCI_CFG_SPACE_SIZE ? r.PCI_CFG_SPACE_SIZE : r.PCI_STD_HEADER_SIZEOF;
    let start = at;
    while (start - 1 >= base && this.#owner[start - 1] === cap) start -= 1;
    return start;
  }

  #permissionsOf(at: number, cap: number): Permissions {
    if (at >= r.PCI_CFG_SPACE_SIZE) return extendedPermissions(cap);
    if (cap === CAP_BASIC) return basicPermissions;
    return cap === r.PCI_CAP_ID_MSI ? this.#msi : capabilityPermissions(cap);
  }

  #read(piece: Piece): number {
    const { at, count, cap, offset, permissions } = piece;
    const isHeader = cap === CAP_BASIC && at < r.PCI_STD_HEADER_SIZEOF;
    if (isHeader && isBar(offset) && this.#areBarsDirty) {
      this.actions.fixBars(this.#virtual);
      this.#areBarsDirty = false;
    }
    if (permissions.access === 'raw') return this.config.read(at, count) | 0;
    if (permissions.access !== 'bits') return this.#readDirect(piece);
    const virt = loadBytes(permissions.virt, offset, count);
    let value = loadBytes(this.#virtual, at, count) & virt;
    if (virt !== maskOf(count)) value |= this.config.read(at, count) & ~virt;
    if (isHeader && offset === r.PCI_COMMAND && this.actions.noCommandMemory) {
      value |= this.command & r.PCI_COMMAND_MEMORY;
    }
    return value;
  }

  /** vfio_direct_config_read: the device's, but for the links of the chain. */
  #readDirect({ at, count, offset }: Piece): number {
    const value = this.config.read(at, count) | 0;
    let virtual = 0;
    if (at >= r.PCI_CFG_SPACE_SIZE) virtual = offset < 4 ? count : 0;
    else if (offset === 0 && count > 1) virtual = Math.min(r.PCI_CAP_FLAGS, count);
    else if (offset === r.PCI_CAP_LIST_NEXT) virtual = 1;
    if (virtual === 0) return value;
    const mask = maskOf(virtual);
    return (value & ~mask) | (loadBytes(this.#virtual, at, virtual) & mask);
  }

  #write(piece: Piece, value: number): void {
    const { at, cap, offset, count, permissions } = piece;
    if (permissions.access !== 'bits') return this.config.write(at, count, value >>> 0);
    if (at >= r.PCI_CFG_SPACE_SIZE) return this.#writeBits(piece, value);
    switch (cap) {
      case CAP_BASIC:
        return this.#writeHeader(piece, value);
      case r.PCI_CAP_ID_PM:
        this.#writeBits(piece, value);
        if (offset === r.PCI_PM_CTRL) this.actions.setPowerState(value & r.PCI_PM_CTRL_STATE_MASK);
        return;
      case r.PCI_CAP_ID_VPD:
        return this.#writeVpd(piece, value);
      case r.PCI_CAP_ID_EXP:
        return this.#writeExpress(piece, value);
      case r.PCI_CAP_ID_AF:
        return this.#writeAdvanced(piece, value);
      case r.PCI_CAP_ID_MSI:
        this.#writeBits(piece, value);
        if (offset <= r.PCI_MSI_FLAGS && offset + count >= r.PCI_MSI_FLAGS)
          this.#msiFlagsWritten(at - offset);
        return;
      default:
        this.#writeBits(piece, value);
    }
  }

  /** vfio_default_config_write */
  #writeBits({ at, count, offset, permissions }: Piece, value: number): void {
    const write = loadBytes(permissions.write, offset, count);
    const virt = loadBytes(permissions.virt, offset, count);
    const kept = write & virt;
    if (kept !== 0)
      storeBytes(this.#virtual, at, count, (loadBytes(this.#virtual, at, count) & ~kept) | (value & kept));
    const passed = write & ~virt;
    if (passed === 0) return;
    const old = this.config.read(at, count);
    this.config.write(at, count, ((old & ~passed) | (value & passed)) >>> 0);
  }

  /** vfio_basic_config_write */
  #writeHeader(piece: Piece, value: number): void {
    const { offset } = piece;
    this.#writeBits(piece, value);
    if (offset === r.PCI_COMMAND) {
      const mask = r.PCI_COMMAND_MEMORY | r.PCI_COMMAND_IO;
      put16(this.#virtual, r.PCI_COMMAND, (this.command & ~mask) | (value & mask));
    }
    if (offset >= r.PCI_COMMAND && offset <= r.PCI_COMMAND + 1) {
      this.actions.setIntxDisabled((this.command & r.PCI_COMMAND_INTX_DISABLE) !== 0);
    }
    if (isBar(offset)) this.#areBarsDirty = true;
  }

  /** vfio_vpd_config_write: the flag in the address is what completes, and it completes at once. */
  #writeVpd(piece: Piece, value: number): void {
    this.#writeBits(piece, value);
    const { at, offset, count } = piece;
    if (offset > r.PCI_VPD_ADDR + 1 || offset + count <= r.PCI_VPD_ADDR + 1) return;
    const start = at - offset;
    const address = get16(this.#virtual, start + r.PCI_VPD_ADDR);
    const { config } = this;
    if ((address & r.PCI_VPD_ADDR_F) !== 0) {
      config.write(start + r.PCI_VPD_DATA, 4, loadBytes(this.#virtual, start + r.PCI_VPD_DATA, 4) >>> 0);
      config.write(start + r.PCI_VPD_ADDR, 2, address);
    } else {
      config.write(start + r.PCI_VPD_ADDR, 2, address);
      storeBytes(this.#virtual, start + r.PCI_VPD_DATA, 4, config.read(start + r.PCI_VPD_DATA, 4));
    }
    put16(this.#virtual, start + r.PCI_VPD_ADDR, address ^ r.PCI_VPD_ADDR_F);
  }

  /** vfio_exp_config_write: the bit that resets reads as zero, and the request size reaches the device. */
  #writeExpress(piece: Piece, value: number): void {
    const start = piece.at - piece.offset;
    const control = start + r.PCI_EXP_DEVCTL;
    const before = get16(this.#virtual, control) & r.PCI_EXP_DEVCTL_READRQ;
    this.#writeBits(piece, value);
    if ((get16(this.#virtual, control) & r.PCI_EXP_DEVCTL_BCR_FLR) !== 0) {
      put16(this.#virtual, control, get16(this.#virtual, control) & ~r.PCI_EXP_DEVCTL_BCR_FLR);
      if ((this.config.read(start + r.PCI_EXP_DEVCAP, 4) & r.PCI_EXP_DEVCAP_FLR) !== 0)
        this.actions.resetFunction();
    }
    const wanted = get16(this.#virtual, control) & r.PCI_EXP_DEVCTL_READRQ;
    if (wanted === before) return;
    const now = this.config.read(control, 2);
    // Not below the payload size, and not what is no size at all.
    const least = (now & r.PCI_EXP_DEVCTL_PAYLOAD) << 7;
    const request = Math.max(wanted, least);
    if (request > 0x5000) return;
    this.config.write(control, 2, (now & ~r.PCI_EXP_DEVCTL_READRQ) | request);
  }

  /** vfio_af_config_write */
  #writeAdvanced(piece: Piece, value: number): void {
    this.#writeBits(piece, value);
    const start = piece.at - piece.offset;
    const control = this.#virtual[start + r.PCI_AF_CTRL]!;
    if ((control & r.PCI_AF_CTRL_FLR) === 0) return;
    this.#virtual[start + r.PCI_AF_CTRL] = control & ~r.PCI_AF_CTRL_FLR;
    const needed = r.PCI_AF_CAP_FLR | r.PCI_AF_CAP_TP;
    if ((this.config.read(start + r.PCI_AF_CAP, 1) & needed) === needed) this.actions.resetFunction();
  }

  /** What was allocated: log2 of the most messages that the user may choose. */
  msiQueueMax = 0;

  /** vfio_msi_config_write: MSI is enabled by SET_IRQS, and never with more than was allocated there. */
  #msiFlagsWritten(start: number): void {
    let flags = get16(this.#virtual, start + r.PCI_MSI_FLAGS);
    if (!this.actions.usesMsi) flags &= ~r.PCI_MSI_FLAGS_ENABLE;
    if ((flags & r.PCI_MSI_FLAGS_QSIZE) >> 4 > this.msiQueueMax) {
      flags = (flags & ~r.PCI_MSI_FLAGS_QSIZE) | (this.msiQueueMax << 4);
    }
    put16(this.#virtual, start + r.PCI_MSI_FLAGS, flags);
    this.config.write(start + r.PCI_MSI_FLAGS, 2, flags);
  }
}
