// What moving the weights in and out of the runtime costs a training step, and what onnxruntime-node's preallocated outputs save of it.
// Isolated by a graph that hands everything that moves from step to step (weights, momentum, statistics) through unchanged: its run is
// the moving and nothing else. CPU time beside elapsed time, since a busy machine stretches only the latter.
//   npm run bench -- train-copies [batch, 128] [rounds, 5] [network ...]
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Graph } from '../src/ir/graph.js';
import { elementCount } from '../src/ir/tensor.js';
import { writeModel } from '../src/onnx/write.js';
import { standardOps } from '../src/ops/index.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatData, type Runtime, type RuntimeTensor } from '../src/runtime/runtime.js';
import { threadRuntime } from '../src/runtime/threads.js';
import { startTraining, trainingStep, type TrainingState, type TrainingStep } from '../src/training/step.js';
import { oneHot, workload, type Workload } from './support/torch.js';

/** The moving alone is short: so many runs of it for each of the step. */
const REPEATS = 20;

export async function run(args: string[]): Promise<void> {
  const [batch = 128, rounds = 5] = args.slice(0, 2).map(Number);
  const networks = args.length > 2 ? args.slice(2) : ['resnet20', 'mobilenetv2'];
  console.log(`one step at batch ${batch}, one thread; milliseconds elapsed (of CPU), the median of ${rounds}`);
  for (const network of networks) {
    const load = workload(network, batch, 1);
    const step = trainingStep(load.model, standardOps, new Map([[load.input, load.dims]]), {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 },
    });
    const { whole, state } = await wholeStep(load, step, rounds);
    const path = join(load.folder, 'moving.onnx');
    const graph = handedThrough(step.model.graph, state);
    writeModel({ ...step.model, graph }, path);
    const bytes = [...state.values()].reduce((sum, t) => sum + 4 * elementCount(t.dims), 0);
    console.log(`${network}: ${state.size} tensors move, ${(bytes / 2 ** 20).toFixed(1)} MiB`);
    const row = (name: string, spent: Spent): void => {
      const share = `${((100 * spent.cpu) / whole.cpu).toFixed(2)} % of the step`;
      console.log(`  ${name.padEnd(44)}${spent.ms.toFixed(2).padStart(9)} (${spent.cpu.toFixed(2)})  ${share}`);
    };
    row('the whole step', whole);
    const raw = await InferenceSession.create(path, { intraOpNumThreads: 1, executionMode: 'sequential' });
    const feeds = Object.fromEntries([...state].map(([name, t]) => [name, tensorOf(t)]));
    const kept = Object.fromEntries([...state].map(([name, t]) => [`next/${name}`, tensorOf(emptyLike(t))]));
    row('moving, outputs of its own', await spentOn(rounds, REPEATS, () => raw.run(feeds)));
    row('moving, preallocated outputs', await spentOn(rounds, REPEATS, () => raw.run(feeds, kept)));
    const given = await raw.run(feeds, kept);
    const same = [...state.keys()].filter((name) => given[`next/${name}`]!.data === kept[`next/${name}`]!.data).length;
    const filled = [...state].filter(([name, t]) => sameValues(kept[`next/${name}`]!.data, t.data)).length;
    await raw.release();
    const threads = threadRuntime(1);
    row('moving, this thread', await moving(ortRuntime(), path, state, rounds));
    row('moving, a thread of its own (as pare train)', await moving(threads, path, state, rounds));
    await threads.close();
    console.log(
      `  preallocated outputs: ${filled} of ${state.size} were filled, ${same} of ${state.size} handed back as they are (others: as copies)`,
    );
  }
}

interface Spent {
  readonly ms: number;
  readonly cpu: number;
}

/** By run: the median of each. */
async function spentOn(rounds: number, repeats: number, work: () => Promise<unknown>): Promise<Spent> {
  await work();
  const all: Spent[] = [];
  for (let k = 0; k < rounds; k++) {
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    for (let i = 0; i < repeats; i++) await work();
    const { user, system } = process.cpuUsage(cpu);
    all.push({ ms: (performance.now() - started) / repeats, cpu: (user + system) / 1000 / repeats });
  }
  const median = (get: (s: Spent) => number): number => all.map(get).toSorted((a, b) => a - b)[rounds >> 1]!;
  return { ms: median((s) => s.ms), cpu: median((s) => s.cpu) };
}

async function wholeStep(
  load: Workload,
  step: TrainingStep,
  rounds: number,
): Promise<{ readonly whole: Spent; readonly state: TrainingState }> {
  const training = await startTraining(step, ortRuntime(), 1);
  const { images, labels } = load.batches[0]!;
  const inputs = new Map([[load.input, images]]);
  const targets = oneHot(labels, step.targetDims.at(-1)!);
  const whole = await spentOn(rounds, 1, () => training.run({ inputs, targets, rate: 0.01, step: 0 }));
  const state = training.state();
  await training.end();
  return { whole, state };
}

/** The step without all that it computes. */
function handedThrough(step: Graph, state: TrainingState): Graph {
  const nodes = [...state.keys()].map((name) => ({
    name: `through/${name}`,
    opType: 'Identity',
    domain: '',
    inputs: [name],
    outputs: [`next/${name}`],
    attributes: new Map(),
  }));
  return {
    ...step,
    nodes,
    inputs: step.inputs.filter((v) => state.has(v.name)),
    outputs: step.outputs.filter((v) => v.name.startsWith('next/')),
    initializers: new Map(),
  };
}

async function moving(runtime: Runtime, path: string, state: TrainingState, rounds: number): Promise<Spent> {
  const session = await runtime.load(path);
  const spent = await spentOn(rounds, REPEATS, () => session.run(state));
  await session.release();
  return spent;
}

function tensorOf({ data, dims }: RuntimeTensor): Tensor {
  // the cast: all that moves is FLOAT
  return new Tensor('float32', data as Float32Array, dims);
}

function emptyLike({ dims }: RuntimeTensor): RuntimeTensor {
  return floatData(dims, new Float32Array(elementCount(dims)));
}

function sameValues(a: Tensor['data'], b: RuntimeTensor['data']): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
