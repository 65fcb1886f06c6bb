/**
 * Migration, second version (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), of a device that can be stopped, saved and restored,
 * and nothing beyond: VFIO_MIGRATION_STOP_COPY. Between any two of its states the way is by STOP, so a state that is
 * asked for is reached in one step or two, and each step is taken or not as a whole.
 */
import { refuse } from '../base/errno.js';
import type { MovableState } from '../bus/model.js';
import { O_CLOEXEC } from '../mem/task.js';
import * as v from '../wire/uapi/vfio.gen.js';
import type { FeatureRequest } from './driver.js';
import { checkFeature } from './feature-check.js';
import { StateFile } from './migration-file.js';
import { rules } from './migration-rules.js';

const STATE = v.vfio_device_feature_mig_state;
const GET = v.VFIO_DEVICE_FEATURE_GET;
const O_WRONLY = 1;

const states: ReadonlySet<number> = new Set([
  v.VFIO_DEVICE_STATE_STOP,
  v.VFIO_DEVICE_STATE_RUNNING,
  v.VFIO_DEVICE_STATE_STOP_COPY,
  v.VFIO_DEVICE_STATE_RESUMING,
]);

export class Migration {
  readonly #device: MovableState;
  #state: number = v.VFIO_DEVICE_STATE_RUNNING;
  #file: StateFile | null = null;

  constructor(device: MovableState) {
    this.#device = device;
  }

  /** The device was opened, closed or reset: it runs, whatever it was in. */
  reset(): void {
    this.#endFile();
    if (this.#state !== v.VFIO_DEVICE_STATE_RUNNING) this.#device.start();
    this.#state = v.VFIO_DEVICE_STATE_RUNNING;
  }

  feature(request: FeatureRequest): number {
    const { user, feature, at } = request;
    if (feature === v.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) return this.#stateFeature(request);
    const isSize = feature === v.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
    const struct = isSize ? v.vfio_device_feature_mig_data_size : v.vfio_device_feature_migration;
    if (!checkFeature(request, GET, struct.size)) return 0;
    // Both are one number of 64 bits.
    const value = isSize ? BigInt(this.#device.most) : BigInt(v.VFIO_MIGRATION_STOP_COPY);
    const bytes = new Uint8Array(new BigUint64Array([value]).buffer);
    if (isSize) user.copyOut(at, bytes, rules.migration_size_unwritable);
    else user.copyOut(at, bytes, rules.migration_unwritable);
    return 0;
  }

  #stateFeature(request: FeatureRequest): number {
    const { user, at, flags } = request;
    if (!checkFeature(request, GET | v.VFIO_DEVICE_FEATURE_SET, STATE.size)) return 0;
    const { device_state } = STATE.decode(user.copyIn(at, STATE.size, rules.state_unreadable));
    if ((flags & GET) !== 0) return this.#answer(request, this.#state, -1);
    let file: StateFile | null = null;
    try {
      file = this.#reach(device_state);
    } catch (error) {
      this.#answer(request, device_state, -1);
      throw error;
    }
    if (file === null) return this.#answer(request, device_state, -1);
    const access = file.isForReading ? 0 : O_WRONLY;
    const fd = user.task.installFd(file, access | O_CLOEXEC) ?? refuse(rules.state_descriptors, {});
    try {
      return this.#answer(request, device_state, fd);
    } catch (error) {
      user.task.removeFd(fd);
      throw error;
    }
  }

  #answer({ user, at }: FeatureRequest, device_state: number, data_fd: number): number {
    const bytes = new Uint8Array(STATE.size);
    STATE.encode({ device_state, data_fd }, bytes);
    user.copyOut(at, bytes, rules.state_unwritable);
    return 0;
  }

  /** Step by step to `wanted` (vfio_mig_get_next_state); the file that belongs to that state, if one does. */
  #reach(wanted: number): StateFile | null {
    if (!states.has(wanted)) refuse(rules.state_unknown, { state: wanted });
    while (this.#state !== wanted) {
      const next = this.#state === v.VFIO_DEVICE_STATE_STOP ? wanted : v.VFIO_DEVICE_STATE_STOP;
      this.#step(next);
      this.#state = next;
      if (next === wanted && this.#file !== null) return this.#file;
    }
    return null;
  }

  #step(next: number): void {
    const device = this.#device;
    if (this.#state === v.VFIO_DEVICE_STATE_RUNNING) return device.stop();
    if (this.#state === v.VFIO_DEVICE_STATE_RESUMING) this.#restore();
    this.#endFile();
    if (next === v.VFIO_DEVICE_STATE_RUNNING) device.start();
    else if (next === v.VFIO_DEVICE_STATE_STOP_COPY) this.#file = StateFile.ofSaved(device.save());
    else if (next === v.VFIO_DEVICE_STATE_RESUMING) this.#file = StateFile.forRestoring(device.most);
  }

  #restore(): void {
    const bytes = this.#file!.bytes;
    if (!this.#device.load(bytes)) refuse(rules.state_bytes, { length: bytes.length });
  }

  #endFile(): void {
    this.#file?.end();
    this.#file = null;
  }
}
