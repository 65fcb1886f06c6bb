/** `ioasis version`: what a bug report needs. */
import { release } from 'node:os';
import { packageVersion } from './package.js';

export async function version(): Promise<number> {
  process.stdout.write(
    [
      `ioasis    ${packageVersion()}`,
      'interface Linux 7.2 (iommufd)',
      `Node      ${process.version} ${process.arch}`,
      `kernel    ${release()}`,
      '',
    ].join('\n'),
  );
  return 0;
}
