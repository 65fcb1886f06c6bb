/**
 * One ioctl on its way through the object model (struct iommufd_ucmd): who calls, with which argument, what it makes,
 * and the ways to answer. Each copy and each allocation is a point that can be made to fail.
 */
import { refuse } from '../base/errno.js';
import type { Struct } from '../wire/struct.js';
import type { Task } from '../mem/task.js';
import type { UserData, UserDataArray } from '../hw/unit.js';
import type { Context } from './context.js';
import type { IommufdObject, Unmade } from './object.js';
import { Transaction } from './transaction.js';
import { roomFor, UserMemory } from './user-memory.js';
import { rules } from './rules.js';

export class Call extends UserMemory {
  readonly tx = new Transaction();
  /** Objects of this call that nobody else sees yet; null: none so far. */
  #made: IommufdObject[] | null = null;
  /** What {@link reserveUnmade} has reserved, and its id. */
  #unmade: Unmade | null = null;
  #unmadeId = 0;

  constructor(
    readonly context: Context,
    task: Task,
    /** The ioctl's third argument. */
    readonly arg: bigint,
    /** What the caller says is the size of the struct there. */
    readonly userSize: number,
  ) {
    super(context.env, task);
  }

  /** Takes an id for `object`, which everybody sees once the call succeeds; until then it can be undone. */
  reserve<T extends IommufdObject>(object: T): T {
    const { objects } = this.context;
    objects.reserve(this, object);
    if (this.#made === null) this.#made = [object];
    else this.#made.push(object);
    this.tx.onAbort(() => {
      if (object.published) return;
      this.#forget(object);
      objects.abort(object.id);
    });
    return object;
  }

  /** {@link reserve} for an object that is made when somebody asks for it: its id. One a call. */
  reserveUnmade(object: Unmade): number {
    const { objects } = this.context;
    const id = objects.reserveId(this, object.type);
    this.#unmade = object;
    this.#unmadeId = id;
    this.tx.onAbort(() => objects.abort(id));
    return id;
  }

  /**
   * Lets everybody see a new object while the call still runs, as Linux does with a device that a driver binds:
   * its own id is then found, and refused for what it is.
   */
  publishEarly(object: IommufdObject): void {
    const { objects } = this.context;
    objects.publish(object);
    this.#forget(object);
    this.tx.onAbort(() => objects.retract(object));
  }

  /** What was done so far stays, whatever happens next, and new objects are seen by everybody. */
  commit(): void {
    this.tx.commit();
    if (this.#unmade !== null) this.context.objects.publishAs(this.#unmadeId, this.#unmade);
    this.#unmade = null;
    if (this.#made === null) return;
    for (const object of this.#made) this.context.objects.publish(object);
    this.#made = null;
  }

  #forget(object: IommufdObject): void {
    this.#made?.splice(this.#made.indexOf(object), 1);
  }

  /**
   * iommufd_ucmd_respond: writes the struct back, as much of it as the caller has. Calls that made an object need
   * to know at once whether that worked (`now`), because they must not leave the object behind when it did not.
   */
  respond<T>(struct: Struct<T>, value: T, now = false): void {
    const bytes = roomFor(struct.size);
    if (struct.padded) bytes.fill(0);
    struct.encode(value, bytes);
    this.respondBytes(bytes, now);
  }

  /** {@link respond} for a struct that is bytes already. */
  respondBytes(bytes: Uint8Array, now: boolean): void {
    const answer = this.userSize < bytes.length ? bytes.subarray(0, this.userSize) : bytes;
    const failed = this.env.injector.point('fail_usercopy', rules.answer_unwritable.id);
    const written =
      !failed && (now ? this.task.mm.write(this.arg, answer) : this.task.reply(this.arg, answer));
    if (!written) refuse(rules.answer_unwritable, { at: this.arg, length: answer.length });
  }

  userData(type: number, at: bigint, length: number): UserData {
    return new CallUserData(this, type, at, length);
  }

  userDataArray(type: number, at: bigint, entryLength: number, entryCount: number): UserDataArray {
    return new CallUserDataArray(this, type, at, entryLength, entryCount);
  }
}

class CallUserData implements UserData {
  constructor(
    readonly call: Call,
    readonly type: number,
    readonly at: bigint,
    readonly length: number,
  ) {}

  read<T>(struct: Struct<T>, type: number, last: keyof T & string): T {
    if (this.type !== type)
      refuse(rules.user_data_type, { type: this.type, expected: type, struct: struct.name });
    const least = struct.endOf(last);
    if (this.length < least || this.length > struct.size) {
      refuse(rules.user_data_length, { length: this.length, least, most: struct.size, struct: struct.name });
    }
    return this.call.copyStructIn(struct, this.at, this.length);
  }

  write<T>(struct: Struct<T>, value: T, type: number, last: keyof T & string): void {
    if (this.type !== type)
      refuse(rules.user_data_out_type, { type: this.type, expected: type, struct: struct.name });
    const least = struct.endOf(last);
    if (this.length < least || this.length > struct.size) {
      refuse(rules.user_data_out_length, {
        length: this.length,
        least,
        most: struct.size,
        struct: struct.name,
      });
    }
    const bytes = new Uint8Array(struct.size);
    struct.encode(value, bytes);
    this.call.copyOut(this.at, bytes.subarray(0, this.length), rules.user_data_unwritable);
  }
}

class CallUserDataArray implements UserDataArray {
  done = 0;

  constructor(
    readonly call: Call,
    readonly type: number,
    readonly at: bigint,
    readonly entryLength: number,
    readonly entryCount: number,
  ) {}

  #entryAt(index: number): bigint {
    return this.at + BigInt(index) * BigInt(this.entryLength);
  }

  readEntry<T>(index: number, struct: Struct<T>, type: number, last: keyof T & string): T {
    return this.call.userData(this.type, this.#entryAt(index), this.entryLength).read(struct, type, last);
  }

  readGrowing<T>(index: number, struct: Struct<T>, last: keyof T & string): T {
    const least = struct.endOf(last);
    if (this.entryLength < least) {
      refuse(rules.user_array_entry_length, { length: this.entryLength, least, struct: struct.name });
    }
    return this.call.copyStructIn(struct, this.#entryAt(index), this.entryLength);
  }

  readAll<T>(struct: Struct<T>, type: number): T[] {
    if (this.type !== type)
      refuse(rules.user_array_type, { type: this.type, expected: type, struct: struct.name });
    if (this.entryCount === 0) refuse(rules.user_array_empty, { struct: struct.name });
    const entries: T[] = [];
    if (this.entryLength === struct.size) {
      const all = this.call.copyIn(this.at, this.entryCount * struct.size, rules.user_array_unreadable);
      for (let index = 0; index < this.entryCount; index++)
        entries.push(struct.decode(all, index * struct.size));
      return entries;
    }
    for (let index = 0; index < this.entryCount; index++) {
      entries.push(this.call.copyStructIn(struct, this.#entryAt(index), this.entryLength));
    }
    return entries;
  }
}
