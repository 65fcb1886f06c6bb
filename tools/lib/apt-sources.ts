/**
 * Where this machine gets Debian packages from, read from its own apt configuration: the same hosts, asked for
 * another suite. Text in, text out; no host is named here.
 */

interface Entry {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly signedBy: string;
}

/** A one-line-style source list of `suite` on every host that serves whole releases; '' if there is none. */
export function sourcesForSuite(files: readonly { path: string; text: string }[], suite: string): string {
  const entries = files.flatMap(({ path, text }) =>
    path.endsWith('.sources') ? deb822(text) : oneLine(text),
  );
  const lines = entries
    .filter(
      (entry) =>
        entry.components.includes('main') && entry.suites.some((name) => !name.endsWith('-security')),
    )
    .flatMap((entry) => entry.uris.map((uri) => `deb ${entry.signedBy}${uri} ${suite} main`));
  return [...new Set(lines)].map((line) => `${line}\n`).join('');
}

/** `deb [options] uri suite component...`, one a line. */
function oneLine(text: string): Entry[] {
  const entries: Entry[] = [];
  for (const match of text.matchAll(
    /^[ \t]*deb[ \t]+(?:\[([^\]]*)\][ \t]*)?(\S+)[ \t]+(\S+)[ \t]*([^#\n]*)/gm,
  )) {
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const key = /signed-by=(\S+)/.exec(options)?.[1];
    entries.push({ uris: [uri], suites: [suite], components: words(components), signedBy: option(key) });
  }
  return entries;
}

/** Stanzas of `Key: value`, apart by empty lines. */
function deb822(text: string): Entry[] {
  return text
    .replace(/^#.*\n?/gm, '')
    .split(/\n[ \t]*\n/)
    .map(
      (stanza) =>
        new Map([...stanza.matchAll(/^([\w-]+):[ \t]*(.*)$/gm)].map((m) => [m[1] ?? '', m[2] ?? ''])),
    )
    .filter((keys) => words(keys.get('Types') ?? '').includes('deb') && keys.get('Enabled') !== 'no')
    .map((keys) => ({
      uris: words(keys.get('URIs') ?? ''),
      suites: words(keys.get('Suites') ?? ''),
      components: words(keys.get('Components') ?? ''),
      // A key given inline, not as a file, cannot be said in one line; then apt's own trusted keys must do.
      signedBy: option(/^\/\S+$/.exec((keys.get('Signed-By') ?? '').trim())?.[0]),
    }));
}

function option(key: string | undefined): string {
  return key === undefined ? '' : `[signed-by=${key}] `;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
