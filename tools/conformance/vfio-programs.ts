/** The VFIO test programs and their scripts: compiled from Linux' sources as they are, like those of iommufd. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cc, type Sources } from './programs.js';

export interface VfioPrograms {
  /** Program -> its executable. */
  readonly paths: ReadonlyMap<string, string>;
  readonly scripts: readonly string[];
}

/** Throws when the compiler is not content. */
export function compileVfio(sources: Sources): VfioPrograms {
  const tests = join(sources.selftests, 'vfio');
  const flags = [
    // A helper that the tree of 7.2.13 uses and does not have.
    '-Dcalloc_assert=calloc',
    `-I${join(tests, 'lib/include')}`,
  ];
  const library = ['lib', 'lib/drivers/ioat', 'lib/drivers/dsa'].flatMap((part) =>
    sourcesIn(join(tests, part)),
  );
  const objects = library.map((file) => {
    const object = join(sources.out, `libvfio-${nameOf(file)}.o`);
    cc(sources, ...flags, '-c', file, '-o', object);
    return object;
  });
  const paths = new Map<string, string>();
  for (const file of sourcesIn(tests)) {
    const name = nameOf(file);
    const out = join(sources.out, name);
    cc(sources, ...flags, file, ...objects, '-o', out, '-pthread', '-luuid');
    paths.set(name, out);
  }
  const scripts = ['setup.sh', 'run.sh', 'cleanup.sh', 'lib.sh'].map((name) => join(tests, 'scripts', name));
  return { paths, scripts };
}

const sourcesIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.c'))
    .toSorted()
    .map((name) => join(folder, name));

const nameOf = (file: string): string => file.slice(file.lastIndexOf('/') + 1, -'.c'.length);
