/** stand-in */
export interface TraceRecord {
  readonly pid: number;
  readonly tid: number;
  readonly call: 'open' | 'ioctl' | 'read' | 'write' | 'mmap' | 'close';
  readonly fd: number;
  readonly file: string;
  readonly cmd: number;
  readonly arg: bigint;
  readonly count: number;
  readonly before: Uint8Array | null;
  readonly after: Uint8Array | null;
  readonly result: number;
  readonly errno: number;
  readonly rule: string;
  readonly reason: string;
}
