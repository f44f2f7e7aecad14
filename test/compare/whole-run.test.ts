// The command line as users run it, on the shipped example with a few of its images: equal commands give equal folders, a process that
// was killed is continued to the same end, and `compare` says the same twice. Needs the build, which `npm test` makes first.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Comparison } from '../../src/compare/compare.js';
import { readFinished } from '../../search/finished.js';
import { readModel } from '../../src/onnx/read.js';
import { writeModel } from '../../src/onnx/write.js';
import { readRun } from '../../src/report/run.js';
import { archivedLines, builtProgram, contentOf, smallExample } from '../small-run.js';

let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-whole-'));
  smallExample(folder, { calib: 120, test: 60 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const optimizeTo = (out: string): string[] => [
  builtProgram,
  'optimize',
  join(folder, 'net.onnx'),
  '--flops=50%',
  '--evaluations=10',
  '--calibrators=4',
  '--seed=3',
  `--data=${join(folder, 'calib.json')}`,
  `--test=${join(folder, 'test.json')}`,
  `--out=${join(folder, out)}`,
];

const compareWith = (...options: string[]): { code: number | null; out: string; err: string } => {
  const args = [
    builtProgram,
    'compare',
    join(folder, 'a'),
    '--data',
    join(folder, 'test.json'),
    '--fresh',
    '6',
    ...options,
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
};

test('equal commands give equal folders; a killed run is continued to the same bytes; its predictions are compared', async () => {
  const first = spawnSync(process.execPath, optimizeTo('a'), { encoding: 'utf8' });
  expect(first).toMatchObject({ status: 0 });
  const content = contentOf(join(folder, 'a'));
  expect([...content.keys()]).toEqual(
    expect.arrayContaining(['archive.jsonl', 'config.json', 'front.json', 'report.md', 'plots/front.svg']),
  );
  expect([...content.keys()].filter((name) => /^plots\/.*\.svg$/.test(name))).toHaveLength(3);
  expect([...content.values()].join()).not.toContain(folder);
  expect(readFileSync(join(folder, 'a', 'report.md'), 'utf8')).toMatch(/volatile: begin -->\nTook .*candidates\/0\d/s);

  expect(spawnSync(process.execPath, optimizeTo('b')).status).toBe(0);
  expect(contentOf(join(folder, 'b'))).toEqual(content);

  const victim = spawn(process.execPath, optimizeTo('c'), { stdio: 'ignore' });
  const ended = new Promise((done) => victim.once('exit', done));
  while (archivedLines(join(folder, 'c')) < 4 && victim.exitCode === null)
    await new Promise((done) => setTimeout(done, 5));
  victim.kill('SIGKILL');
  await ended;
  expect(victim.signalCode).toBe('SIGKILL');
  const known = archivedLines(join(folder, 'c'));
  expect(known).toBeGreaterThanOrEqual(4);
  const resumed = spawnSync(process.execPath, [...optimizeTo('c'), '--resume'], { encoding: 'utf8' });
  expect(resumed).toMatchObject({ status: 0 });
  expect(contentOf(join(folder, 'c'))).toEqual(content);

  // Every candidate that the predictor chose was foretold before it was measured.
  const { front, searched } = readRun(join(folder, 'a'));
  expect(searched.map((s) => s.predicted !== undefined)).toEqual(searched.map((_, i) => i >= 8));
  expect(front.leaveOneOut).toHaveLength(searched.length);

  const compared = compareWith('--json', '--range', '30%-90%');
  expect(compared).toMatchObject({ code: 0 });
  // The cast: the documented output of our own command.
  const result = JSON.parse(compared.out) as Comparison;
  expect(readFileSync(join(folder, 'a', 'compare.json'), 'utf8').trim()).toBe(compared.out.trim());
  const fresh = result.candidates.filter((c) => c.kind === 'fresh');
  const measured = new Set([...searched, ...front.candidates].map((s) => JSON.stringify(s.genome)));
  expect(fresh).toHaveLength(6);
  for (const c of fresh) {
    expect(measured.has(JSON.stringify(c.genome))).toBe(false);
    expect(c.share).toBeGreaterThan(0.29);
    expect(c.share).toBeLessThanOrEqual(0.9);
  }
  expect(Math.max(...fresh.map((c) => c.share)) - Math.min(...fresh.map((c) => c.share))).toBeGreaterThan(0.35);
  // Networks that only taught what the refit is worth are neither fresh nor members.
  const refits = readFinished(join(folder, 'a')).refits;
  expect(refits).toHaveLength(4);
  for (const { genome } of refits) {
    expect(result.candidates.map((c) => JSON.stringify(c.genome))).not.toContain(JSON.stringify(genome));
    expect(measured.has(JSON.stringify(genome))).toBe(false);
  }
  expect(result.refittedFrom).toBe(5);
  expect(result.quantity).toBe('top1 after a least-squares refit on 256 images');
  // What was foretold of the files before they were refitted stays as it was written, and the files are what is measured.
  const members = result.candidates.filter((c) => c.kind === 'front');
  expect(members.map((c) => c.predicted)).toEqual(front.candidates.map((c) => c.predicted));
  expect(members.map((c) => c.measured.value)).toEqual(front.candidates.map((c) => c.test!.value));
  expect(result.original.value).toBe(front.original.test!.value);
  expect(result.fresh.n).toBe(6);
  const errors = fresh.map((c) => Math.abs(c.expected.mean - c.measured.value));
  expect(result.fresh.meanAbsoluteError.value).toBeCloseTo(errors.reduce((s, e) => s + e, 0) / 6, 12);

  const plot = readFileSync(join(folder, 'a', 'plots', 'compare.svg'), 'utf8');
  expect(plot).toMatch(/^<svg/);
  const again = compareWith('--range', '30%-90%');
  expect(again.out).toMatch(/Spearman .*Kendall tau-b .*90 % interval.*Note: /s);
  expect(readFileSync(join(folder, 'a', 'compare.json'), 'utf8').trim()).toBe(compared.out.trim());
  expect(readFileSync(join(folder, 'a', 'plots', 'compare.svg'), 'utf8')).toBe(plot);

  // Another network, other calibration data, no run at all: one sentence, exit code 2.
  const other = readModel(join(folder, 'net.onnx'));
  writeModel({ ...other, producerName: 'someone else' }, join(folder, 'other.onnx'));
  const sentences = [
    compareWith('--model', join(folder, 'other.onnx')),
    compareWith('--calibration', join(folder, 'test.json')),
    compareWith('--range', '90%-30%'),
    compareWith('--model', join(folder, 'none.onnx')),
  ];
  expect(sentences.map((s) => [s.code, s.out])).toEqual(sentences.map(() => [2, '']));
  const words = ['SHA-256', 'not the calibration data of this run', '--range 90%-30%', 'none.onnx'];
  sentences.forEach((s, i) => {
    expect(s.err.split('\n').find((line) => line.startsWith('pare: ') && !line.includes('warning'))).toContain(
      words[i],
    );
  });
}, 600_000);
