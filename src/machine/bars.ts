/** Where firmware puts BARs: addresses that say which is which, each a multiple of its size. Nothing is reached by them. */
import type { DeviceModel } from '../bus/model.js';
import { placeVirtualBar } from '../bus/pci-extended.js';
import { PciDevice } from '../dev/pci-device.js';

const START_32 = 0xc000_0000n;
const START_64 = 0x3800_0000_0000n;

export class BarSpace {
  #next32 = START_32;
  #next64 = START_64;

  /** Gives every BAR of `model` its address, and those of its virtual functions. Returns the first, by index. */
  place(model: DeviceModel): readonly (bigint | null)[] {
    if (!(model instanceof PciDevice)) return [];
    const { config, description, place } = model;
    if (place.isVirtual) return [];
    const own = description.bars.map((bar, index) => {
      if (bar === null) return null;
      const address = this.#take(bar.size, bar.size, bar.kind.is64);
      config.placeBar(index, address);
      return address;
    });
    for (const [index, bar] of description.bars.entries()) {
      if (bar === null || place.sriov === null) continue;
      placeVirtualBar(config, index, this.#take(bar.size, bar.size * place.sriov.total, bar.kind.is64));
    }
    return own;
  }

  #take(alignment: number, bytes: number, is64: boolean): bigint {
    const size = BigInt(alignment);
    const from = is64 ? this.#next64 : this.#next32;
    const address = ((from + size - 1n) / size) * size;
    if (is64) this.#next64 = address + BigInt(bytes);
    else this.#next32 = address + BigInt(bytes);
    return address;
  }
}
