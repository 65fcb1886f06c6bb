/** The conformance tool on canned output: what it counts, what it refuses to count, and the README's table. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { count, judge, judgeEnding, type Expectation } from '../../tools/conformance/judge.js';
import { versionOf } from '../../tools/conformance/programs.js';
import { judgeSweeps, sitesByProcess, sweepsOf } from '../../tools/conformance/sweep.js';
import { countsIn, isCurrent, markdown, replaceTable, type SuiteRun } from '../../tools/conformance/table.js';
import { countModes, judgeVfio } from '../../tools/conformance/vfio-judge.js';
import { repoRoot } from '../../tools/lib/repo.js';
import { parseTap } from '../../tools/lib/tap.js';

const canned = [
  'TAP version 13',
  '1..4',
  '# Starting 4 tests from 2 test cases.',
  '#  RUN           ioas.plain ...',
  '#            OK  ioas.plain',
  'ok 1 ioas.plain',
  '#  RUN           ioas.odd ...',
  '#      SKIP      no_viommu',
  'ok 2 ioas.odd # SKIP no_viommu',
  '# ioas.c:7:huge:Expected 0 (0) == rc (-1)',
  'not ok 3 ioas.huge',
  'ok 4 ioas.last',
  '# FAILED: 3 / 4 tests passed.',
].join('\n');

const linux: Expectation = {
  tests: ['ioas.plain', 'ioas.odd', 'ioas.huge', 'ioas.last'],
  skips: { 'ioas.odd': 'no_viommu' },
  needsHugePages: ['ioas.huge'],
};
const here = { hugePages: true, sameLinux: true };
const run = (text: string, circumstances = here): Record<string, string> =>
  Object.fromEntries(judge(parseTap(text), linux, circumstances).map((v) => [v.name, v.verdict]));

describe('TAP of the kernel harness', () => {
  test('has a plan, a result a test, the reason of a skip, and what was printed before a failure', () => {
    const tap = parseTap(canned);
    expect(tap.planned).toBe(4);
    expect(tap.tests.map((t) => `${t.name} ${t.outcome} ${t.reason}`)).toEqual([
      'ioas.plain pass ',
      'ioas.odd skip no_viommu',
      'ioas.huge fail ',
      'ioas.last pass ',
    ]);
    expect(tap.tests[2]?.output).toEqual(['# ioas.c:7:huge:Expected 0 (0) == rc (-1)']);
    expect(tap.rest).toEqual(['# FAILED: 3 / 4 tests passed.']);
  });

  test('from a serial console, with carriage returns, reads the same', () => {
    expect(parseTap(canned.replaceAll('\n', '\r\n'))).toEqual(parseTap(canned));
  });

  test('that never came has no plan and no tests', () => {
    expect(parseTap('ioasis: cannot start\n')).toEqual({
      planned: null,
      tests: [],
      rest: ['ioasis: cannot start'],
    });
  });
});

describe('a test is judged by what Linux does', () => {
  test('a skip that Linux makes too is a skip, a failure is a failure', () => {
    expect(run(canned)).toEqual({
      'ioas.plain': 'passed',
      'ioas.odd': 'skipped',
      'ioas.huge': 'failed',
      'ioas.last': 'passed',
    });
  });

  test('a test that needs huge pages may fail only where there are none', () => {
    expect(run(canned, { ...here, hugePages: false })['ioas.huge']).toBe('skipped');
    expect(run(canned.replace('ok 1', 'not ok 1'), { ...here, hugePages: false })['ioas.plain']).toBe(
      'failed',
    );
  });

  test('a skip that Linux does not make has failed', () => {
    expect(run(canned.replace('ok 1 ioas.plain', 'ok 1 ioas.plain # SKIP no_viommu'))['ioas.plain']).toBe(
      'failed',
    );
    expect(run(canned.replace('# SKIP no_viommu', '# SKIP no fault injection'))['ioas.odd']).toBe('failed');
  });

  test('tests that never ran have failed, by name where the list is known', () => {
    const cut = canned.slice(0, canned.indexOf('not ok 3'));
    expect(run(cut)['ioas.huge']).toBe('failed');
    expect(run(cut)['ioas.last']).toBe('failed');
    expect(run('')['ioas.plain']).toBe('failed');
    expect(run(cut, { ...here, sameLinux: false })).toEqual({
      'ioas.plain': 'passed',
      'ioas.odd': 'skipped',
      'test 3 of 4': 'failed',
      'test 4 of 4': 'failed',
    });
  });

  test('another release may bring tests of its own, which have to pass', () => {
    const more = canned
      .replace('1..4', '1..5')
      .replace('not ok 3 ioas.huge', 'ok 3 ioas.huge\nnot ok 5 ioas.new');
    expect(run(more, { ...here, sameLinux: false })['ioas.new']).toBe('failed');
  });
});

describe('the end of a run', () => {
  const failing = judge(parseTap(canned), linux, here);
  const fine = judge(parseTap(canned.replace('not ok 3', 'ok 3')), linux, here);
  const poor = judge(parseTap(canned), linux, { ...here, hugePages: false });

  test('has the status that the results ask for', () => {
    expect(judgeEnding(fine, 'status 0')).toEqual(fine);
    expect(judgeEnding(failing, 'status 1')).toEqual(failing);
    expect(judgeEnding(poor, 'status 1')).toEqual(poor);
  });

  test('is a failure of its own when it does not', () => {
    for (const ending of ['a time-out', 'status 1', 'status SIGSEGV', 'status 125']) {
      expect(judgeEnding(fine, ending).at(-1)).toMatchObject({ name: 'the end', verdict: 'failed' });
    }
  });
});

describe('the recorded answers of Linux', () => {
  const recorded = JSON.parse(readFileSync(join(repoRoot, 'tools/conformance/expected.json'), 'utf8')) as {
    suites: Record<string, Expectation>;
  };
  test('are 246 tests, five of them skipped, and 8', () => {
    const { iommufd, iommufd_fail_nth } = recorded.suites as { [name: string]: Expectation };
    expect(new Set(iommufd?.tests).size).toBe(246);
    expect(
      Object.keys(iommufd?.skips ?? {}).every((name) => name.startsWith('iommufd_viommu.no_viommu.')),
    ).toBe(true);
    expect(Object.keys(iommufd?.skips ?? {})).toHaveLength(5);
    expect(new Set(iommufd_fail_nth?.tests).size).toBe(8);
    expect(iommufd?.needsHugePages.every((name) => iommufd.tests.includes(name))).toBe(true);
  });
});

const site = (pid: number, name: string): string => JSON.stringify({ pid, injected: name });

describe('a sweep of failure points', () => {
  const trace = [
    JSON.stringify({ pid: 10, call: 'open' }),
    ...Array.from({ length: 15 }, (_, n) => site(10, `ioas.alloc.${n}`)),
    ...Array.from({ length: 14 }, (_, n) => site(11, `hwpt.alloc.${n}`)),
  ].join('\n');

  test('belongs to the test that ran at that time, and is too short below fifteen points', () => {
    const sweeps = sweepsOf(['nth.basic', 'nth.device', 'nth.gone'], sitesByProcess(trace));
    expect(sweeps.map((sweep) => sweep.sites.length)).toEqual([15, 14, 0]);
    const passed = sweeps.map((sweep) => ({
      name: sweep.test,
      verdict: 'passed' as const,
      why: '',
      output: [],
    }));
    expect(judgeSweeps(passed, sweeps).map((v) => `${v.verdict} ${v.why}`)).toEqual([
      'passed ',
      'failed only 14 points swept, at least 15 expected',
      'failed only 0 points swept, at least 15 expected',
    ]);
  });
});

const suite = (circumstances = here): SuiteRun => ({
  suite: 'iommufd',
  user: 'ordinary user',
  verdicts: judge(parseTap(canned), linux, circumstances),
  sweeps: [{ test: 'nth.basic', sites: ['a', 'b', 'a'] }],
});

describe('the table', () => {
  test('has a row a suite and user, the reasons of its skips, and the points swept', () => {
    expect(markdown([suite()], '7.2.13').split('\n')).toEqual([
      'Test programs of Linux 7.2.13, unmodified:',
      '',
      '| suite | user | tests | passed | failed | skipped |',
      '|---|---|---|---|---|---|',
      '| iommufd | ordinary user | 4 | 2 | 1 | 1 (1: Linux too: no_viommu) |',
      '',
      'What `iommufd_fail_nth` swept: every point made one named site fail.',
      '',
      '| test | ordinary user |',
      '|---|---|',
      '| nth.basic | 3 points, 2 sites |',
    ]);
  });

  test('says where the machine has no huge pages', () => {
    expect(markdown([suite({ ...here, hugePages: false })], '7.2.13')).toContain(
      '1: no huge pages on this machine',
    );
  });

  test('replaces the old one between its markers, and is stale when a count differs', () => {
    const readme = 'before\n<!-- conformance: begin -->\nold\n<!-- conformance: end -->\nafter\n';
    const table = markdown([suite()], '7.2.13');
    const written = replaceTable(readme, table);
    expect(written).toBe(`before\n<!-- conformance: begin -->\n${table}\n<!-- conformance: end -->\nafter\n`);
    expect(isCurrent(readme, table)).toBe(false);
    expect(isCurrent(written, table)).toBe(true);
    expect(isCurrent(written, table.replaceAll('7.2.13', '7.2.14'))).toBe(true);
    expect(isCurrent(written, table.replace('| 2 | 1 |', '| 3 | 0 |'))).toBe(false);
    expect(countsIn(table)).toEqual(['iommufd ordinary user 4 2 1']);
    expect(() => replaceTable('nothing', table)).toThrow('markers');
  });

  test('counts every verdict once', () => {
    expect(count(suite().verdicts)).toEqual({ passed: 2, failed: 1, skipped: 1 });
  });
});

test('the version of a source tree is read from its Makefile', () => {
  expect(versionOf('# SPDX\nVERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 13\nEXTRAVERSION =\n')).toBe('7.2.13');
});

describe('a VFIO program', () => {
  const printed = [
    '1..4',
    'ok 1 vfio_dma_mapping_test.iommufd_anonymous.dma_map_unmap',
    'ok 2 vfio_dma_mapping_test.iommufd_compat_type1v2_anonymous_hugetlb_1gb.dma_map_unmap # SKIP mmap() failed: Invalid argument (22)',
    'Kicking off 3 memcpys of size 0x100000',
    'ok 3 vfio_pci_driver_test.vfio_type1_iommu.memcpy_storm',
    'ok 4 vfio_pci_device_test.reset',
  ];

  test('has verdicts by mode; only a want of huge pages is a reason to skip', () => {
    const tap = parseTap(printed.join('\n'));
    expect(countModes(judgeVfio(tap, 'status 0'), tap.tests)).toEqual([
      { mode: 'vfio_type1_iommu', tests: 1, passed: 1, bytes: 3 * 2 ** 20 },
      { mode: 'iommufd_compat_type1v2', tests: 1, passed: 0, bytes: 0 },
      { mode: 'iommufd', tests: 1, passed: 1, bytes: 0 },
      { mode: '', tests: 1, passed: 1, bytes: 0 },
    ]);
    const other = 'ok 4 vfio_pci_device_test.reset # SKIP Device does not support reset';
    const verdicts = judgeVfio(parseTap([...printed.slice(0, -1), other].join('\n')), 'status 0');
    expect(verdicts.filter((v) => v.verdict === 'failed').map((v) => v.name)).toEqual([
      'vfio_pci_device_test.reset',
      'the end',
    ]);
  });

  test('that ends early has failed in all that it announced, and one that never began in one thing', () => {
    const early = judgeVfio(parseTap(printed.slice(0, 2).join('\n')), 'status null');
    expect(early.map((v) => v.verdict)).toEqual(['passed', 'failed', 'failed', 'failed', 'failed']);
    expect(judgeVfio(parseTap('No devices found'), 'status 1').map((v) => v.why)).toEqual(['did not run']);
  });

  test('has moved the bytes of storms that passed, and of no others', () => {
    const { tests } = parseTap(printed.join('\n').replace('ok 3', 'not ok 3'));
    const verdicts = judgeVfio({ planned: 4, tests, rest: [] }, 'status 1');
    expect(countModes(verdicts, tests)[0]).toEqual({
      mode: 'vfio_type1_iommu',
      tests: 1,
      passed: 0,
      bytes: 0,
    });
  });

  test('has its modes in a table of their own, over all programs, a column a user', () => {
    const row = { verdicts: [], sweeps: [] };
    const one = { mode: 'iommufd', tests: 2, passed: 1, bytes: 0 };
    const runs: SuiteRun[] = [
      { ...row, suite: 'a', user: 'root', modes: [{ ...one, mode: '' }, one] },
      { ...row, suite: 'b', user: 'root', modes: [{ ...one, bytes: 3 * 2 ** 30 }] },
      { ...row, suite: 'b', user: 'ordinary user', modes: [one] },
    ];
    expect(markdown(runs, '7.2.13').split('\n').slice(-5)).toEqual([
      '',
      '| mode | root | ordinary user |',
      '|---|---|---|',
      '| iommufd | 2 of 4, 3.000 GiB | 1 of 2 |',
      '| none | 1 of 2 | 0 of 0 |',
    ]);
  });
});
