/** /sys of a machine through the shim: what C programs, shells, Python, lspci and udevadm make of it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readlinkSync, chmodSync, copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startEngine, type RunningEngine } from '#ioasis/host/engine.js';
import { repoRoot } from '../../tools/lib/repo.js';
import { withOrdinaryUser } from '../../tools/lib/users.js';
import { compile, run, success } from './world.js';

const A = '0000:00:01.0';
const PF = '0000:00:04.0';
const topology = {
  version: 1,
  devices: {
    [A]: { group: 'pair' },
    '0000:00:02.0': { group: 'pair', cxlMemory: '1G' },
    [PF]: { model: 'ioat', virtualFunctions: 4 },
    '0000:00:06.0': { model: 'ioat' },
    uart0: {},
  },
};

let engine: RunningEngine;
beforeAll(async () => {
  engine = await startEngine({ config: { selftest: false, topology } });
});
afterAll(async () => {
  const { bugs } = await engine.stop();
  expect(bugs).toEqual([]);
});

interface Said {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a program as a client of the engine. */
function say(program: string, args: readonly string[], options: object = {}): Said {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', ...engine.env },
    ...options,
  });
  return { status, out: stdout, err: stderr };
}

const bash = (script: string): Said => say('bash', ['-c', `cd /sys/bus/pci\n${script}`]);
const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

test('C programs find every file by every way, and what they write acts', async () => {
  expect(await run(engine, compile('sysfs'), [PF])).toEqual(success);
});

describe('a shell', () => {
  test('lists what is there without complaint, and nothing of where it really is', () => {
    const said =
      bash(`ls -la /sys /sys/bus /sys/class devices/ devices/${A}/ /dev/vfio/ /sys/kernel/iommu_groups/*
      find /sys/devices/pci0000:00 /sys/class/vfio-dev/ -ls; cd devices/${PF}; pwd -P; ls -la . ..; readlink -f driver`);
    expect(said).toMatchObject({ status: 0, err: '' });
    expect(said.out).not.toContain('.tree');
    expect(said.out).toContain(`\n/sys/devices/pci0000:00/${PF}\n`);
    expect(said.out).toMatch(/-rw-r--r-- 1 \S+ +\S+ +4096 .* config\n/);
  });

  test('writes by redirection, and hears why not', () => {
    const said = bash(`echo nothing > drivers/vfio-pci/unbind; echo $?
      echo nothing | tee drivers/vfio-pci/unbind; /bin/echo nothing > drivers/vfio-pci/bind
      { echo a; printf b; } 2>&1 > devices/${A}/driver_override; cat devices/${A}/driver_override
      echo > devices/${A}/driver_override; echo to the terminal`);
    expect(said.out).toBe('1\nnothing\nb\nto the terminal\n');
    expect(said.err.match(/No such device/g)).toHaveLength(3);
  });

  test('takes a device from its driver, and its file is gone; gives it back, and it is there', () => {
    const said =
      bash(`echo ${PF} > drivers/vfio-pci/unbind; ls /dev/vfio/devices; test -e devices/${PF}/driver; echo $?
      echo vfio-pci > devices/${PF}/driver_override; echo ${PF} > drivers_probe
      ls /dev/vfio/devices; readlink devices/${PF}/driver`);
    const files = ['vfio0', 'vfio1', 'vfio3', 'vfio4'].join('\n');
    const back = ['vfio0', 'vfio1', 'vfio2', 'vfio3', 'vfio4'].join('\n');
    expect(said).toEqual({
      status: 0,
      out: `${files}\n1\n${back}\n../../../bus/pci/drivers/vfio-pci\n`,
      err: '',
    });
  });

  test('makes virtual functions that another program sees at once, and takes them away', () => {
    expect(bash(`echo 2 > devices/${PF}/sriov_numvfs`)).toEqual({ status: 0, out: '', err: '' });
    const said = bash(`basename $(readlink devices/${PF}/virtfn1); ls devices | wc -l`);
    expect(said.out).toMatch(/^0000:00:0\S+\n6\n$/);
    expect(bash(`echo 3 > devices/${PF}/sriov_numvfs`).err).toContain('Device or resource busy');
    expect(bash(`echo 0 > devices/${PF}/sriov_numvfs; ls devices | wc -l`).out).toBe('4\n');
  });

  test('finds the rest of the machine where it was', () => {
    const script = 'cat /sys/class/net/lo/mtu; ls /sys/class/net /sys/devices/system/cpu; ls -d /sys/bus/*/';
    const plain = spawnSync('bash', ['-c', script], { encoding: 'utf8' }).stdout;
    const said = bash(script).out;
    for (const line of plain.split('\n')) expect(said.split('\n')).toContain(line);
  });
});

test.skipIf(!has('python3'))('Python walks and reads it', () => {
  const script = `
import glob, os
print(sorted(os.path.basename(p) for p in glob.glob('/sys/bus/pci/devices/*')))
print(os.path.realpath('/sys/bus/pci/devices/${PF}/iommu_group'))
print(sorted(d for _, ds, _ in os.walk('/sys/kernel/iommu_groups') for d in ds if d.isdigit()))
f = open('/sys/bus/pci/devices/${PF}/config', 'r+b', buffering=0)
f.seek(4); f.write(bytes([6, 0])); f.seek(4); print(f.read(2)); f.seek(4); f.write(bytes([0, 0]))
try:
    with open('/sys/bus/pci/devices/${PF}/reset', 'w') as f: f.write('2')
except OSError as e: print(e.errno)
`;
  expect(say('python3', ['-c', script])).toMatchObject({
    err: '',
    out: `['${A}', '0000:00:02.0', '${PF}', '0000:00:06.0']\n/sys/kernel/iommu_groups/1\n['0', '1', '2', '3']\nb'\\x06\\x00'\n22\n`,
  });
});

// Without pciutils nobody decodes: .ci/run installs it.
test.skipIf(!has('lspci'))('lspci lists the devices, and decodes every capability', () => {
  bash(`echo 1 > devices/${PF}/sriov_numvfs`);
  const { status, out, err } = say('lspci', ['-D', '-vvv']);
  bash(`echo 0 > devices/${PF}/sriov_numvfs`);
  expect(status).toBe(0);
  // Of modules, which a machine without /lib/modules does not have.
  expect(err.replace(/^lspci: Unable to load libkmod resources.*\n/gm, '')).toBe('');
  const slots = [...out.matchAll(/^(\S+) /gm)].map(([, slot]) => slot);
  expect(slots).toEqual([A, '0000:00:02.0', PF, expect.stringMatching(/^0000:00:0/), '0000:00:06.0']);
  const capabilities = out.split('\n').filter((line) => line.includes('Capabilities: ['));
  expect(capabilities.length).toBeGreaterThan(20);
  expect(out).not.toMatch(/unknown|<chain|\?\?|access denied|!!!/i);
  for (const name of ['MSI-X', 'Express (v2)', 'Single Root I/O Virtualization', 'Access Control Services'])
    expect(out).toContain(name);
  expect(out).toContain('Kernel driver in use: vfio-pci');
  expect(out).toMatch(/CXLCap:\s+Cache\+ IO\+ Mem\+ .*HDMCount 1/);
  expect(out).toMatch(/Range1: 0+-0*3fffffff\n\s+Valid\+ Active\+/);
  expect(out).toMatch(/Block1: BIR: bar2, ID: component registers, offset: 0+/);
});

test.skipIf(!has('udevadm'))('udevadm knows a device by its directory, and its file by the number', () => {
  const at = say('udevadm', ['info', `/sys/bus/pci/devices/${PF}`]);
  expect(at.out).toContain(`P: /devices/pci0000:00/${PF}\n`);
  expect(at.out).toContain('E: DRIVER=vfio-pci\n');
  const node = say('udevadm', ['info', '-q', 'path', '/dev/vfio/devices/vfio0']);
  expect(node.out).toBe(`/devices/pci0000:00/${A}/vfio-dev/vfio0\n`);
});

test.skipIf(process.geteuid?.() !== 0)('an ordinary user has all of it, with a machine of his own', () =>
  withOrdinaryUser((user) => {
    const dir = mkdtempSync(join(user.env['HOME']!, 'sysfs-'));
    chmodSync(dir, 0o777);
    const file = join(dir, 'ioat.yaml');
    copyFileSync(join(repoRoot, 'examples/topologies/ioat.yaml'), file);
    const script = `echo 1 > /sys/bus/pci/devices/0000:00:04.1/sriov_numvfs && ls /sys/bus/pci/devices | wc -l
    echo 0000:00:04.0 > /sys/bus/pci/drivers/vfio-pci/unbind && ls /dev/vfio/devices | wc -l`;
    const [program = '', ...args] = user.command(['-t', file], '/bin/bash', '-c', script);
    const env = { ...user.env, TMPDIR: dir };
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', env });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '3\n2\n', stderr: '' });
    // Nothing of the tree is left.
    expect(readdirSync(dir)).toEqual(['ioat.yaml']);
  }),
);

describe('a program that comes before the tree is complete waits for it', () => {
  const linked = readdirSync('/sys/class/misc').find((name) => !['iommu', 'vfio'].includes(name))!;
  test.each([
    [
      'a link of the system’s',
      'readlink',
      `/sys/class/misc/${linked}`,
      readlinkSync(`/sys/class/misc/${linked}`),
    ],
    [
      'a way up from behind a link',
      'cat',
      `/sys/bus/pci/devices/${A}/../../pci0000:00/${A}/vendor`,
      '0x1234',
    ],
    ['a link of ours', 'readlink', `/sys/bus/pci/devices/${A}`, `../../../devices/pci0000:00/${A}`],
  ])('%s', async (_what, program, path, answer) => {
    const young = await startEngine({ config: { selftest: false, topology }, early: true });
    expect(await run(young, program, [path])).toEqual({ ...success, output: `${answer}\n` });
    await young.stop();
  });
});

test('without a topology /sys is the system’s', () => {
  expect(existsSync('/sys/bus')).toBe(true);
  const list = 'ls /sys/bus/pci/devices /sys/class /sys/kernel';
  const main = join(repoRoot, 'dist/cli/main.js');
  const ours = spawnSync(process.execPath, [main, 'run', '--', 'sh', '-c', list], { encoding: 'utf8' });
  expect(ours.stdout).toBe(spawnSync('sh', ['-c', list], { encoding: 'utf8' }).stdout);
});
