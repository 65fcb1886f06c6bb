/**
 * The examples of /dev/ioasid, as programs that a user compiles and runs: each plays its scenario against what it knows
 * to be right and says so, or ends with what was unexpected. Processes, threads, and the shim are real.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { printHeader } from '../../src/wire/header.js';
import { runCli } from './run-cli.js';

const compiler = process.env['CC'] ?? 'cc';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;
/** 1,000,000 take some minutes: IOASIS_TRANSFERS=1000000. */
const TRANSFERS = Number(process.env['IOASIS_TRANSFERS'] ?? 30_000);

describe.runIf(hasCompiler)('/dev/ioasid from C', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ioasid-'));
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function compile(name: string): string {
    const program = join(folder, name);
    const source = join(repoRoot, `examples/${name}.c`);
    const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-pthread', '-I', folder, '-o', program, source];
    expect(spawnSync(compiler, args, { encoding: 'utf8' }).stderr).toBe('');
    return program;
  }

  /** What an example prints, once all of it was as expected. */
  function play(name: string, ...args: readonly string[]): string {
    const { status, stdout, stderr } = runCli(['run', '--profile', 'vtd', '--', compile(name), ...args]);
    expect(stdout).not.toContain('unexpected');
    expect(stderr).not.toMatch(/stale|bug/);
    expect(status).toBe(0);
    return stdout;
  }

  test('R3, R45: a live process that maps, protects, unmaps and forks under DMA', () => {
    const said = play('sva');
    expect(said).toContain('a page shared with a child: the device stored 4096 bytes');
    expect(said).toContain('the child still has its own bytes');
    expect(said).toContain('the page made read-only: the page request was answered INVALID');
    expect(said).toContain('another page at the same address: the device stored 4096 bytes');
    expect(said).toMatch(
      /5000 reads while a thread maps and unmaps, \d+ of them across a change: no wrong word/,
    );
  });

  test('R3: a process that changes at random, and every byte that a device reads or stores there', () => {
    const said = play('sva-storm', String(TRANSFERS));
    const [, transfers, refused, , forks] =
      /^(\d+) transfers and (\d+) that were refused, during (\d+) changes and (\d+) forks: no wrong byte/
        .exec(said)!
        .map(Number);
    expect(transfers).toBeGreaterThanOrEqual(TRANSFERS);
    expect(refused).toBeGreaterThan(0);
    expect(forks).toBeGreaterThan(0);
    expect(said).toContain('The process was killed: nothing is left.');
  });

  test('R45: many processes on a device, many devices on a process; exit, exec, and a pid used again', () => {
    const said = play('processes');
    expect(said).toContain('One process, two devices: both store at its addresses');
    expect(said).toContain('One device, 4 processes: under each PASID it meets that process.');
    expect(said).toContain('One has exited: nothing is there for its PASID');
    expect(said).toContain(
      'One runs another program now, with its pid and a page at that address: not in reach',
    );
    expect(said).toContain('killed while the device stored 256 MiB: the rest of the transfer has failed');
    // Who may choose pids sees that one that is used again is not in reach either.
    const reuse = process.getuid!() === 0 ? 'another process has its pid' : 'One was killed';
    expect(said).toContain(reuse);
  });

  test("R4, R13: a machine's slots, added, moved, deleted and read-only under DMA", () => {
    const said = play('machine');
    expect(said).toContain('The slot moved to 0x100030000: there, and no longer where it was.');
    expect(said).toContain('Read-only: it can be read, and a store is refused.');
    expect(said).toContain('Deleted: nothing is there.');
    expect(said).toMatch(
      /Reads meanwhile: \d+ from slots, \d+ where none was, \d+ across a change; no wrong word/,
    );
  });

  test('R38: two machines that share nothing', () => {
    const said = play('two-machines');
    expect(said).toContain('2000 stores and reads of each, at the same time: each found its own bytes');
    expect(said).toMatch(/Its address space, number \d+: no such thing here/);
    expect(said).toContain('Its device: it has a user already');
    expect(said).toContain('Its machine, by a descriptor that it has sent: Input/output error');
    expect(said).toContain('only the other has: the page request was answered INVALID');
    expect(said).toContain('The second was killed; the first goes on');
  });

  test('R14, R16: faults through the ring, injected into a guest, answered by it, and tried again', () => {
    const said = play('viommu');
    const numbers = said.match(/\d+/g)!.map(Number);
    const [transfers, atOnce, waited, failed, requests, groups, responses, invalid] = numbers as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    expect(atOnce + waited).toBe(transfers);
    expect(responses).toBe(groups);
    expect(requests).toBeGreaterThanOrEqual(groups);
    expect(groups).toBeGreaterThanOrEqual(waited);
    expect(invalid).toBe(failed);
    expect(failed).toBeGreaterThan(0);
    expect(waited).toBeGreaterThan(failed);
  });

  test('R42, R43: the life of an address space in every order, while devices do DMA', () => {
    const said = play('life-cycle');
    expect(said).toMatch(/^191 ways, 1800 steps; 6339 others were tried on the way, and refused/);
    expect(said).toContain('Nothing is left');
  });

  test('R6, R8: which operation is for which kind is what the page says, cell by cell', () => {
    const page = readFileSync(join(repoRoot, 'docs/ioasid.md'), 'utf8');
    const table = page.split('<!-- legality -->')[1]!.trim().split('\n');
    // Without the line under the head, and without what is said of each kind for people.
    const rows = table
      .filter((row) => !row.includes('---'))
      .map((row) => row.replace(/^(\| \w+ \|)[^|]*\|/, '$1'));
    expect(play('matrix').trim().split('\n')).toEqual(rows);
  });
});
