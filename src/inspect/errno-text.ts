/** What the C library says for each errno that the engine answers: strace prints it, and people search for it. */
import { errnoNumbers, type ErrnoName } from '../base/errno.js';

const texts: Readonly<Record<ErrnoName, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  ENXIO: 'No such device or address',
  E2BIG: 'Argument list too long',
  EBADF: 'Bad file descriptor',
  EACCES: 'Permission denied',
  ENOMEM: 'Cannot allocate memory',
  EFAULT: 'Bad address',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  EINVAL: 'Invalid argument',
  EMFILE: 'Too many open files',
  ENOTTY: 'Inappropriate ioctl for device',
  ENOSPC: 'No space left on device',
  ESPIPE: 'Illegal seek',
  ERANGE: 'Numerical result out of range',
  EDEADLK: 'Resource deadlock avoided',
  EBADE: 'Invalid exchange',
  EOVERFLOW: 'Value too large for defined data type',
  EBADFD: 'File descriptor in bad state',
  EMSGSIZE: 'Message too long',
  EOPNOTSUPP: 'Operation not supported',
  EADDRINUSE: 'Address already in use',
};

const names = new Map<number, ErrnoName>(
  Object.entries(errnoNumbers).map(([name, number]) => [number, name as ErrnoName]),
);

/** `EINVAL`, or the number for an errno that the engine does not know. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? String(errno);
}

/** `EINVAL (Invalid argument)`. */
export function errnoText(errno: number): string {
  const name = names.get(errno);
  return name === undefined ? `errno ${errno}` : `${name} (${texts[name]})`;
}
