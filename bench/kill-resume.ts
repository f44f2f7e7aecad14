// Killed at any moment, a run that is resumed ends as if nothing had happened: `kill -9` at seeded random moments of a run on the shipped
// example that --evaluations bounds, --resume, and a comparison of every file but the volatile ones with an undisturbed run.
// usage: npm run bench -- kill-resume [moments=50 [seed=1]]

import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRng } from '../src/rng.js';

const program = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const example = fileURLToPath(new URL('../../examples/shapes', import.meta.url));

export async function run(args: string[]): Promise<void> {
  const moments = Number(args[0] ?? 50);
  const rng = createRng(args[1] ?? '1');
  const folder = mkdtempSync(join(tmpdir(), 'pare-kill-'));
  try {
    prepare(folder);
    const started = performance.now();
    const whole = join(folder, 'undisturbed');
    mustEnd(whole, []);
    const length = performance.now() - started;
    const expected = contentOf(whole);
    console.log(`undisturbed: ${(length / 1000).toFixed(1)} s, ${expected.size} files compared`);
    let identical = 0;
    for (let i = 1; i <= moments; i++) {
      const out = join(folder, `killed-${i}`);
      const ms = rng.fork(`${i}`).next() * length;
      const killed = await killAfter(out, ms);
      const left = stateOf(out);
      mustEnd(out, ['--resume']);
      const different = differences(expected, contentOf(out));
      if (different.length === 0) identical++;
      const verdict = different.length === 0 ? 'identical' : `DIFFERENT: ${different.join(', ')}`;
      console.log(`${i}: ${killed ? 'killed' : 'had ended'} at ${(ms / 1000).toFixed(2)} s, ${left}: ${verdict}`);
      rmSync(out, { recursive: true, force: true });
    }
    console.log(`${identical} identical of ${moments}`);
    if (identical < moments) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The shipped example with few of its images, so that a run takes seconds. */
function prepare(folder: string): void {
  copyFileSync(join(example, 'shapes-resnet.onnx'), join(folder, 'net.onnx'));
  copyFileSync(join(example, 'shapes-train.npz'), join(folder, 'shapes-train.npz'));
  // The cast: our own manifest, of which only `limit` changes.
  const manifest = JSON.parse(readFileSync(join(example, 'calib.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'calib.json'), JSON.stringify({ ...manifest, limit: 100 }));
}

function commandFor(out: string): string[] {
  const from = join(out, '..');
  const options = ['--flops=50%', '--evaluations=10', '--members=2', '--seed=5', `--out=${out}`];
  return [program, 'optimize', join(from, 'net.onnx'), `--data=${join(from, 'calib.json')}`, ...options];
}

function mustEnd(out: string, more: readonly string[]): void {
  const { status, stderr } = spawnSync(process.execPath, [...commandFor(out), ...more], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`pare optimize ended with ${status}: ${stderr.slice(-500)}`);
}

/** True when it was still running. */
async function killAfter(out: string, ms: number): Promise<boolean> {
  const child = spawn(process.execPath, commandFor(out), { stdio: 'ignore' });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_, signal) => resolve(signal)));
  const timer = setTimeout(() => child.kill('SIGKILL'), ms);
  const signal = await ended;
  clearTimeout(timer);
  return signal === 'SIGKILL';
}

/** In words, what the killed process left. */
function stateOf(out: string): string {
  if (!existsSync(out)) return 'no folder yet';
  const files = readdirSync(out, { recursive: true, encoding: 'utf8' });
  const lines = files.includes('archive.jsonl')
    ? readFileSync(join(out, 'archive.jsonl'), 'utf8').split('\n').length - 1
    : 0;
  const models = files.filter((f) => f.endsWith('.onnx')).length;
  const done = files.includes('front.json') ? ', front.json' : '';
  return `${lines} candidates measured, ${models} exported${done}`;
}

/** Every file but run.json; of the reports, all but their volatile block. */
function contentOf(root: string): Map<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' });
  return new Map(
    names
      .filter((name) => name !== 'run.json' && statSync(join(root, name)).isFile())
      .sort()
      .map((name) => [name, withoutVolatile(readFileSync(join(root, name)).toString('latin1'))]),
  );
}

function withoutVolatile(text: string): string {
  return text.replace(/<!-- volatile: begin -->[^]*?<!-- volatile: end -->/g, '');
}

function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name));
}
