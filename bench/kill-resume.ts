// Killed at any moment, a run that is resumed ends as if nothing had happened: `kill -9` at seeded random moments of a run on the shipped
// example that --evaluations bounds, --resume with another number of workers, and a comparison of every file but the volatile ones with
// an undisturbed run by one worker.
// usage: npm run bench -- kill-resume [moments=50 [seed=1]]

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRng } from '../src/rng.js';
import { archivedLines, builtProgram, contentOf, smallExample } from '../test/small-run.js';

export async function run(args: string[]): Promise<void> {
  const moments = Number(args[0] ?? 50);
  const rng = createRng(args[1] ?? '1');
  const folder = mkdtempSync(join(tmpdir(), 'pare-kill-'));
  try {
    smallExample(folder, { calib: 100 });
    const started = performance.now();
    const whole = join(folder, 'undisturbed');
    mustEnd(whole, ['--workers=1']);
    const length = performance.now() - started;
    const expected = contentOf(whole);
    console.log(`undisturbed: ${(length / 1000).toFixed(1)} s, ${expected.size} files compared`);
    let identical = 0;
    for (let i = 1; i <= moments; i++) {
      const out = join(folder, `killed-${i}`);
      const ms = rng.fork(`${i}`).next() * length;
      const workers = [1 + (i % 3), 1 + ((i + 1) % 3)] as const;
      const killed = await killAfter(out, ms, workers[0]);
      const left = stateOf(out);
      mustEnd(out, ['--resume', `--workers=${workers[1]}`]);
      const different = differences(expected, contentOf(out));
      if (different.length === 0) identical++;
      const verdict = different.length === 0 ? 'identical' : `DIFFERENT: ${different.join(', ')}`;
      console.log(
        `${i}: ${killed ? 'killed' : 'had ended'} at ${(ms / 1000).toFixed(2)} s by ${workers[0]} workers, ${left}; resumed by ${workers[1]}: ${verdict}`,
      );
      rmSync(out, { recursive: true, force: true });
    }
    console.log(`${identical} identical of ${moments}`);
    if (identical < moments) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function commandFor(out: string): string[] {
  const from = join(out, '..');
  const options = ['--flops=50%', '--evaluations=10', '--members=2', '--seed=5', `--out=${out}`];
  return [builtProgram, 'optimize', join(from, 'net.onnx'), `--data=${join(from, 'calib.json')}`, ...options];
}

function mustEnd(out: string, more: readonly string[]): void {
  const { status, stderr } = spawnSync(process.execPath, [...commandFor(out), ...more], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`pare optimize ended with ${status}: ${stderr.slice(-500)}`);
}

/** True when it was still running. */
async function killAfter(out: string, ms: number, workers: number): Promise<boolean> {
  const child = spawn(process.execPath, [...commandFor(out), `--workers=${workers}`], { stdio: 'ignore' });
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
  const models = files.filter((f) => f.endsWith('.onnx')).length;
  const done = files.includes('front.json') ? ', front.json' : '';
  return `${archivedLines(out)} candidates measured, ${models} exported${done}`;
}

function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name));
}
