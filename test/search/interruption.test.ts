// What may happen to a run from outside: Ctrl-C, a second process, a full disk, a folder that cannot be written. The command line as
// users run it, on the shipped example with a few of its images. Needs the build, which `npm test` makes first.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkModel } from '../../src/ir/check.js';
import { readModel } from '../../src/onnx/read.js';
import { claimFolder } from '../../search/checkpoint.js';
import { readRun } from '../../src/report/run.js';
import { archivedLines, builtProgram, contentOf, smallExample } from '../small-run.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-interruption-'));
  smallExample(folder, { calib: 120 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const argumentsFor = (out: string, ...more: string[]): string[] => [
  builtProgram,
  'optimize',
  join(folder, 'net.onnx'),
  '--flops=50%',
  '--evaluations=8',
  '--calibrators=0',
  '--members=4',
  // what is under way is finished: with few members several workers would be at the last of them
  '--workers=1',
  '--seed=3',
  `--data=${join(folder, 'calib.json')}`,
  `--out=${out}`,
  ...more,
];

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly err: string;
}

const start = (out: string, ...more: string[]): { child: ChildProcess; ended: Promise<Ended> } => {
  const child = spawn(process.execPath, argumentsFor(out, ...more), { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr?.on('data', (text: Buffer) => (err += text.toString()));
  const ended = new Promise<Ended>((done) => child.on('exit', (status, signal) => done({ status, signal, err })));
  return { child, ended };
};

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((next) => setTimeout(next, 5));
};

describe('an interrupted run', () => {
  let whole: Map<string, string>;
  beforeAll(() => {
    const out = join(folder, 'whole');
    expect(spawnSync(process.execPath, argumentsFor(out)).status).toBe(0);
    whole = contentOf(out);
  }, 120_000);

  test.each([
    ['while it searches', (out: string) => archivedLines(out) >= 2],
    ['while it hands over', (out: string) => existsSync(join(out, 'candidates'))],
  ])(
    'ends with what it has %s, exit code 130, and goes on to the front of an undisturbed run',
    async (when, reached) => {
      const out = join(folder, when.replaceAll(' ', '-'));
      const { child, ended } = start(out);
      await until(() => reached(out) || child.exitCode !== null);
      child.kill('SIGINT');
      const { status, err } = await ended;
      expect(status).toBe(130);
      expect(err).toMatch(/interrupted: what is under way is finished/);
      const { front } = readRun(out);
      expect(front.interrupted).toBe(true);
      expect(front.candidates.length).toBeGreaterThan(0);
      for (const { file } of front.candidates) checkModel(readModel(join(out, file)));
      expect(readFileSync(join(out, 'report.md'), 'utf8')).toMatch(/The run was interrupted/);
      expect(readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((f) => /part|tmp|lock/.test(f))).toEqual(
        [],
      );

      expect(spawnSync(process.execPath, argumentsFor(out, '--resume')).status).toBe(0);
      expect(contentOf(out)).toEqual(whole);
    },
    120_000,
  );

  test('meets no other one in its folder', async () => {
    const out = join(folder, 'shared');
    const { child, ended } = start(out);
    await until(() => existsSync(join(out, 'lock')) || child.exitCode !== null);
    const second = spawnSync(process.execPath, argumentsFor(out, '--resume'), { encoding: 'utf8' });
    child.kill('SIGKILL');
    expect([second.status, second.stderr]).toEqual([
      2,
      `pare: ${out}: process ${child.pid} is working in it; wait for it, or choose another --out\n`,
    ]);
    await ended;
  }, 60_000);

  test('a second interruption ends it at once, and its folder can be taken over', async () => {
    const out = join(folder, 'twice');
    const { child, ended } = start(out);
    await until(() => archivedLines(out) >= 2 || child.exitCode !== null);
    child.kill('SIGINT');
    child.stderr?.once('data', () => child.kill('SIGINT'));
    const { status, signal } = await ended;
    // shells say 130 of both
    expect(signal === 'SIGINT' || status === 130).toBe(true);
    claimFolder(out, true)();
  }, 120_000);
});

// A small file system of one's own needs the right to mount one.
const mount = (size: string, run: string): { status: number | null; stderr: string } =>
  spawnSync(
    'unshare',
    ['-rm', 'sh', '-c', `mkdir -p "$0" && mount -t tmpfs -o size=${size} none "$0" && ${run}`, join(folder, 'disk')],
    {
      encoding: 'utf8',
    },
  );
const canMount = spawnSync('unshare', ['-rm', 'sh', '-c', 'mount -t tmpfs -o size=64k none /mnt']).status === 0;

describe.skipIf(!canMount)('a disk', () => {
  const quoted = (args: readonly string[]): string => args.map((a) => `'${a}'`).join(' ');

  test.each([60])(
    'of %i kB is full: one sentence, exit code 2, nothing half-written',
    (size) => {
      const disk = join(folder, 'disk');
      const command = `${process.execPath} ${quoted(argumentsFor(join(disk, 'out')))}`;
      const list = join(folder, 'left');
      mkdirSync(disk, { recursive: true });
      const { status, stderr } = mount(
        `${size}k`,
        `{ ${command} 2>'${join(folder, 'err')}'; code=$?; ls -RA "$0" >'${list}'; cp -r "$0" '${join(folder, `copy-${size}`)}'; exit $code; }`,
      );
      expect([status, stderr]).toEqual([2, '']);
      expect(readFileSync(join(folder, 'err'), 'utf8')).toMatch(/pare: [^\n]*: the disk is full; make room[^\n]*\n$/);
      expect(readFileSync(list, 'utf8')).not.toMatch(/\.part|\.tmp|lock/);
      // every line of the archive is whole
      const archive = join(folder, `copy-${size}`, 'out', 'archive.jsonl');
      const lines = existsSync(archive) ? readFileSync(archive, 'utf8').split('\n') : [''];
      expect(lines.at(-1)).toBe('');
      for (const line of lines.slice(0, -1)) JSON.parse(line);
    },
    120_000,
  );

  test('that is read-only: one sentence, exit code 2', () => {
    const command = `${process.execPath} ${quoted(argumentsFor(join(folder, 'disk', 'out')))}`;
    const { status, stderr } = mount('1m', `mount -o remount,ro "$0" && { ${command}; exit $?; }`);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^pare: [^\n]*: the folder is read-only; choose one that can be written\n$/);
  });
});
