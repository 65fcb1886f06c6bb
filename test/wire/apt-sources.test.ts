import { describe, expect, test } from 'vitest';
import { sourcesForSuite } from '../../tools/lib/apt-sources.js';

const ask = (path: string, text: string): string => sourcesForSuite([{ path, text }], 'sid');
const stanza = (more: string): string => `Types: deb\nURIs: http://a.example/x\n${more}\n`;

describe('the package sources of a machine, for another suite', () => {
  test('come from one-line entries, with the key that signs them', () => {
    const text = `# deb http://commented.example/debian stable main
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian bookworm main contrib # ours
deb-src http://source.example/debian bookworm main
`;
    expect(ask('/etc/apt/sources.list', text)).toBe(
      'deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian sid main\n',
    );
  });

  test('come from stanzas, one line a host', () => {
    const text = `Types: deb deb-src
# a comment inside
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
`;
    expect(ask('debian.sources', text)).toBe(
      'deb [signed-by=/usr/share/keyrings/debian.gpg] http://one.example/debian sid main\n' +
        'deb [signed-by=/usr/share/keyrings/debian.gpg] http://two.example/debian sid main\n',
    );
  });

  test('are not those that hold security fixes only, other components, or nothing by choice', () => {
    expect(ask('a.sources', stanza('Suites: bookworm-security\nComponents: main'))).toBe('');
    expect(ask('a.sources', stanza('Suites: stable\nComponents: cloud'))).toBe('');
    expect(ask('a.sources', stanza('Suites: stable\nComponents: main\nEnabled: no'))).toBe('');
    expect(ask('a.list', 'deb http://a.example/x bookworm-security main\n')).toBe('');
  });

  test('are named once, however often they are configured', () => {
    const line = 'deb http://a.example/debian bookworm main\n';
    const twice = sourcesForSuite(
      [
        { path: 'sources.list', text: line + line.replace('bookworm', 'bookworm-updates') },
        { path: 'b.list', text: line },
      ],
      'sid',
    );
    expect(twice).toBe('deb http://a.example/debian sid main\n');
  });
});
