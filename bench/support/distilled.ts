// From a network to half its MACs to label-free distillation within a time: what `pare optimize` leaves, and what `pare train` with the
// original as teacher makes of it, on the test images that neither has seen.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cifarTask, type Task } from './cifar.js';
import { optimize, percent, type FrontFile } from './front.js';
import { pare, pareJson } from './pare.js';

interface Measured {
  readonly value: number;
  readonly n: number;
  readonly ci95: readonly [number, number];
}

export interface Goal {
  readonly network: string;
  readonly time: string;
  /** Accuracy on the test images to reach, and to aim at. */
  readonly least: number;
  readonly aim: number;
}

/** `args`: a candidate's file or a run's folder to start from (one is made when absent), and a time such as 15m. */
export function distilled(goal: Goal, args: readonly string[]): void {
  const task = cifarTask(goal.network);
  const given = args.find((a) => existsSync(a));
  const time = args.find((a) => !existsSync(a)) ?? goal.time;
  const candidate = given === undefined ? fromScratch(task) : candidateOf(given);
  console.log(`candidate ${candidate}`);
  const before = onTest(candidate, task);
  console.log(`  untrained     ${text(before)}`);
  const out = candidate.replace(/(\.onnx)?$/, '.distilled.onnx');
  const started = performance.now();
  // two threads of onnxruntime wait for one another as soon as anything else runs: half the speed of one, measured
  const how = ['--time', time, '--threads', '1', '--seed', '1'];
  pare(['train', candidate, '--data', task.data, '--teacher', task.model, ...how, '-o', out]);
  const minutes = (performance.now() - started) / 60_000;
  const after = onTest(out, task);
  console.log(`  distilled     ${text(after)}, ${minutes.toFixed(1)} min, ${out}`);
  console.log(`  original      ${text(onTest(task.model, task))}`);
  const reached = after.value >= goal.least && after.value > before.value;
  console.log(
    `${goal.network} at 50 % MACs: ${percent(after.value)} %, must reach ${percent(goal.least)} % and more than untrained: ${reached ? 'reached' : 'MISSED'}; aim ${percent(goal.aim)} %: ${after.value >= goal.aim ? 'reached' : 'missed'}`,
  );
}

function fromScratch(task: Task): string {
  const { out } = optimize(task, ['--flops', '50%', '--seed', '1', '--members', '2']);
  return candidateOf(out);
}

/** Of a run's folder the member that the run itself holds to be the most accurate. */
function candidateOf(path: string): string {
  if (!statSync(path).isDirectory()) return path;
  // the cast: the file is our own command's
  const front = JSON.parse(readFileSync(join(path, 'front.json'), 'utf8')) as FrontFile;
  const [best] = front.candidates.toSorted((a, b) => b.measured.value - a.measured.value);
  if (best === undefined) throw new Error(`${path}: the front is empty`);
  return join(path, best.file);
}

function onTest(file: string, task: Task): Measured {
  // the cast: what the command prints
  return pareJson(['measure', file, '--data', task.test, '--no-latency', '--no-check']) as Measured;
}

function text({ value, n, ci95 }: Measured): string {
  return `${percent(value)} % [${percent(ci95[0])}, ${percent(ci95[1])}] (n ${n})`;
}
