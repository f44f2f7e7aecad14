// The trainer against PyTorch: the same ResNet-20, weights and batches of 64, and PyTorch against itself with oneDNN off beside it.
// `npm run bench -- train-parity [first|twelve|long ...]` (all three when none is named; `long` is 200 steps).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatsOf } from '../src/runtime/runtime.js';
import { startTraining, trainingStep, type TrainingState } from '../src/training/step.js';
import { oneHot, workload, type TorchAnswer, type Workload } from './support/torch.js';

const BATCH = 64;
const THREADS = 2;

export async function run(args: string[]): Promise<void> {
  const wanted = (name: string): boolean => args.length === 0 || args.includes(name);
  const load = workload('resnet20', BATCH, wanted('long') ? 200 : 12);
  if (wanted('first')) await firstStep(load);
  if (wanted('twelve')) {
    const [ours, theirs, other] = await losses(load, 12, 1e-3);
    const worst = (a: readonly number[], b: readonly number[]): number =>
      Math.max(...a.map((x, i) => Math.abs(x - b[i]!) / b[i]!));
    verdict(
      'loss over 12 steps at rate 1e-3, worst relative difference',
      worst(ours, theirs),
      1e-3,
      worst(other, theirs),
    );
  }
  if (wanted('long')) {
    const [ours, theirs, other] = await losses(load, 200, 0.01);
    const mean = (list: readonly number[]): number => list.slice(150).reduce((a, b) => a + b, 0) / 50;
    const off = (list: readonly number[]): number => Math.abs(mean(list) - mean(theirs)) / mean(theirs);
    console.log(
      `mean loss of steps 151 to 200 at rate 0.01: Pare ${mean(ours).toFixed(4)}, PyTorch ${mean(theirs).toFixed(4)}`,
    );
    verdict('relative difference', off(ours), 0.03, off(other));
  }
}

async function firstStep(load: Workload): Promise<void> {
  const ours = await train(load, 1, 0.01);
  const answer = async (name: string, onednn: boolean): Promise<[TorchAnswer, Map<string, Float32Array>]> => {
    const file = join(load.folder, name);
    const found = await torch(load, { steps: 1, rate: 0.01, gradients: file, onednn });
    return [found, gradientsIn(file, found)];
  };
  const [theirs, reference] = await answer('gradients', true);
  const [without, other] = await answer('gradients-plain', false);
  const loss = (list: readonly number[] | undefined): number => Math.abs(list![0]! - theirs.losses![0]!);
  console.log(`${reference.size} gradient tensors`);
  verdict('loss of step 1, difference', loss(ours.losses), 1e-5, loss(without.losses));
  const off = (get: (name: string) => Float32Array): number =>
    Math.max(...[...reference].map(([name, g]) => distance(get(name), g)));
  // the velocity after one step is the gradient
  const own = (name: string): Float32Array => floatsOf(ours.state.get(`velocity/${name}`)!);
  verdict(
    'gradients, worst relative L2 difference',
    off(own),
    1e-3,
    off((name) => other.get(name)!),
  );
}

async function losses(
  load: Workload,
  steps: number,
  rate: number,
): Promise<[number[], readonly number[], readonly number[]]> {
  const ours = await train(load, steps, rate);
  const theirs = await torch(load, { steps, rate });
  const other = await torch(load, { steps, rate, onednn: false });
  return [ours.losses, theirs.losses!, other.losses!];
}

async function torch(load: Workload, request: Readonly<Record<string, unknown>>): Promise<TorchAnswer> {
  const answer = load.torch({ what: 'parity', threads: THREADS, ...request });
  if (answer === undefined) throw new Error('PyTorch could not be installed: nothing to compare with');
  return Promise.resolve(answer);
}

async function train(load: Workload, steps: number, rate: number): Promise<{ losses: number[]; state: TrainingState }> {
  const step = trainingStep(load.model, standardOps, new Map([[load.input, load.dims]]), {
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 },
  });
  const training = await startTraining(step, ortRuntime(), THREADS);
  const found: number[] = [];
  for (let k = 0; k < steps; k++) {
    const { images, labels } = load.batches[k]!;
    const inputs = new Map([[load.input, images]]);
    const targets = oneHot(labels, step.targetDims.at(-1)!);
    found.push((await training.run({ inputs, targets, rate, step: k })).loss);
  }
  const state = training.state();
  await training.end();
  return { losses: found, state };
}

function gradientsIn(file: string, answer: TorchAnswer): Map<string, Float32Array> {
  const bytes = readFileSync(file);
  let at = 0;
  return new Map(
    Object.entries(answer.gradients!).map(([name, [count]]) => {
      const values = new Float32Array(Uint8Array.from(bytes.subarray(at, at + 4 * count)).buffer);
      at += 4 * count;
      return [name, values];
    }),
  );
}

function distance(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  b.forEach((v, i) => {
    difference += (a[i]! - v) ** 2;
    size += v * v;
  });
  return Math.sqrt(difference / size);
}

function verdict(what: string, value: number, limit: number, torchItself: number): void {
  const reached = value <= limit ? 'reached' : 'MISSED';
  console.log(
    `${what}: ${value.toExponential(2)} (at most ${limit}: ${reached}); PyTorch without oneDNN ${torchItself.toExponential(2)}`,
  );
}
