// One training step (forward, cross-entropy, gradients, SGD) against PyTorch: same network, weights, images, threads, same run.
// `npm run bench -- train-step [BATCH [ROUNDS [THREADS [NETWORK ...]]]]`
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { startTraining, trainingStep } from '../src/training/step.js';
import { oneHot, workload, type Workload } from './support/torch.js';

const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]!;

export async function run(args: string[]): Promise<void> {
  const batch = Number(args[0] ?? 128);
  const rounds = Number(args[1] ?? 10);
  const threads = Number(args[2] ?? 2);
  const networks = args.length > 3 ? args.slice(3) : ['resnet20', 'mobilenetv2'];
  console.log(
    `one step, batch ${batch}, ${threads} threads: median (fastest) of ${rounds}, ms; three turns each in alternation`,
  );
  for (const network of networks) {
    const load = workload(network, batch, 4);
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let turn = 0; turn < 3; turn++) {
      ours.push(...(await timeSteps(load, rounds, threads)));
      theirs.push(...(load.torch({ what: 'time', threads, rounds, rate: 0.01 })?.ms ?? []));
    }
    const text = (list: readonly number[]): string =>
      list.length === 0 ? '-' : `${median(list).toFixed(0)} (${Math.min(...list).toFixed(0)})`;
    const ratio = theirs.length === 0 ? '-' : (median(ours) / median(theirs)).toFixed(2);
    console.log(`${network}: Pare ${text(ours)}, PyTorch ${text(theirs)}, ratio ${ratio}`);
  }
}

async function timeSteps(load: Workload, rounds: number, threads: number): Promise<number[]> {
  const runtime = ortRuntime();
  const step = trainingStep(load.model, standardOps, new Map([[load.input, load.dims]]), {
    loss: { kind: 'cross-entropy' },
    optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 },
  });
  const training = await startTraining(step, runtime, threads);
  const spent: number[] = [];
  for (let k = -2; k < rounds; k++) {
    const { images, labels } = load.batches[(k + 2) % load.batches.length]!;
    const started = performance.now();
    await training.run({
      inputs: new Map([[load.input, images]]),
      targets: oneHot(labels, step.targetDims.at(-1)!),
      rate: 0.01,
      step: k + 2,
    });
    if (k >= 0) spent.push(performance.now() - started);
  }
  await training.end();
  await runtime.close();
  return spent;
}
