// What a second worker is worth: the same candidates scored and the same refits done by one worker thread and by two, in turns, with
// the processor time of both; then whole runs on the shipped example by one, two and three workers, whose files must be equal.
// usage: npm run bench -- workers [network=example [candidates=16 [rounds=3 [refits=4 [evaluations of the whole runs=24]]]]]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { drawFresh } from '../search/fresh.js';
import type { Effort, Job } from '../search/evaluator.js';
import { DEFAULT_EFFORT } from '../search/optimize.js';
import type { Workplace } from '../search/workplace.js';
import type { Workshop } from '../search/workshop.js';
import { createRng } from '../src/rng.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { benchWorkshop, taskOf } from './support/workshop.js';

const program = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

export async function run(args: string[]): Promise<void> {
  const [name, candidates, rounds, refits] = [
    args[0] ?? 'example',
    ...[16, 3, 4].map((n, i) => Number(args[i + 1] ?? n)),
  ];
  const runtime = threadRuntime(2);
  try {
    const task = taskOf(name);
    const opened: Workshop[] = [];
    for (const workers of [1, 2]) opened.push(await benchWorkshop(task, runtime, '1', {}, workers));
    const [workshop] = opened;
    const { fitness, replayer, assess } = workshop!;
    const known = new Set(['[]']);
    const drawing = { fitness, replayer, assess, parents: [], known, low: 0.3, high: 0.9, rng: createRng('workers') };
    const drawn = drawFresh({ ...drawing, count: candidates! });
    const places = opened.map((w) => w.place);
    console.log(`${name}: ${drawn.length} candidates scored on ${workshop!.reference.indices.length} images`);
    const jobs = (effort: Effort, count: number): Job[] =>
      drawn.slice(0, count).map(({ genome }) => ({ genome, effort }));
    await compare('scoring', places, opened, jobs(DEFAULT_EFFORT.search, drawn.length), rounds!);
    await compare('full refits', places, opened, jobs(DEFAULT_EFFORT.calibration, refits!), rounds!);
    for (const w of opened) await w.close();
  } finally {
    await runtime.close();
  }
  const evaluations = Number(args[4] ?? 24);
  if (evaluations > 0) wholeRuns(evaluations);
}

async function compare(
  what: string,
  places: readonly Workplace[],
  opened: readonly Workshop[],
  jobs: readonly Job[],
  rounds: number,
): Promise<void> {
  const evaluators = places.map((place, i) => place.evaluator(opened[i]!.reference));
  const texts = new Set<string>();
  const measure = async (of: number, some: readonly Job[]): Promise<readonly [wall: number, processor: number]> => {
    const [wall, processor] = [performance.now(), process.cpuUsage()];
    const results = await evaluators[of]!.evaluate(some);
    if (some === jobs) texts.add(JSON.stringify(results));
    const { user, system } = process.cpuUsage(processor);
    return [performance.now() - wall, (user + system) / 1000];
  };
  // Threads start, and open everything, with their first job.
  for (const of of [0, 1]) await measure(of, jobs.slice(0, 2 * (of + 1)));
  const sums = [
    [0, 0],
    [0, 0],
  ];
  for (let round = 0; round < rounds; round++) {
    for (const of of [0, 1]) {
      const [wall, processor] = await measure(of, jobs);
      sums[of]![0]! += wall;
      sums[of]![1]! += processor;
    }
  }
  const each = (ms: number): string => `${(ms / rounds / jobs.length).toFixed(0)} ms`;
  const [one, two] = sums.map(([wall, processor]) => ({ wall: wall!, processor: processor! }));
  console.log(
    `${what}: ${each(one!.wall)} each by 1 worker (processor ${each(one!.processor)}), ${each(two!.wall)} by 2 (processor ${each(two!.processor)}): ${(one!.wall / two!.wall).toFixed(2)} times as fast, ${texts.size === 1 ? 'results equal' : 'RESULTS DIFFER'}`,
  );
  console.log(
    `  cores busy: ${(one!.processor / one!.wall).toFixed(2)} by 1 worker, ${(two!.processor / two!.wall).toFixed(2)} by 2; were all of it theirs, two would be ${((one!.processor / two!.processor) * 2).toFixed(2)} times as fast`,
  );
  if (texts.size !== 1) process.exitCode = 1;
}

/** The command line as users run it. */
function wholeRuns(evaluations: number): void {
  const folder = mkdtempSync(join(tmpdir(), 'pare-workers-'));
  try {
    const { model, data } = taskOf('example');
    const runs = [1, 2, 3].map((workers) => {
      const out = join(folder, `by-${workers}`);
      const options = [
        '--flops=50%',
        `--evaluations=${evaluations}`,
        '--seed=1',
        `--workers=${workers}`,
        `--out=${out}`,
      ];
      const started = performance.now();
      const { status, stderr } = spawnSync(
        process.execPath,
        [program, 'optimize', model, `--data=${data}`, ...options],
        { encoding: 'utf8' },
      );
      if (status !== 0) throw new Error(`pare optimize ended with ${status}: ${stderr.slice(-500)}`);
      return { workers, seconds: (performance.now() - started) / 1000, content: contentOf(out) };
    });
    const equal = runs.every(({ content }) => JSON.stringify(content) === JSON.stringify(runs[0]!.content));
    const times = runs.map(({ workers, seconds }) => `${seconds.toFixed(1)} s by ${workers}`).join(', ');
    console.log(
      `whole runs of ${evaluations} evaluations and 6 refitted members: ${times}; ${runs[0]!.content.length} files ${equal ? 'equal' : 'DIFFER'}`,
    );
    if (!equal) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Every file but run.json; of the reports, all but their volatile block. */
function contentOf(root: string): (readonly [string, string])[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name !== 'run.json' && statSync(join(root, name)).isFile())
    .sort()
    .map((name) => {
      const text = readFileSync(join(root, name)).toString('latin1');
      return [name, text.replace(/<!-- volatile: begin -->[^]*?<!-- volatile: end -->/g, '')] as const;
    });
}
