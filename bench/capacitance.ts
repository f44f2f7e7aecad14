// Whether neural capacitance foretells where a short fine-tune ends better than the last accuracy seen does (methods.md §8.3): pruned
// variants of the shipped example, a fresh probe for a head, trained by labels; rank correlation with the final accuracy after
// 1 to 5 short epochs.
//   npm run bench -- capacitance [variants, 12] [epochs, 12] [steps an epoch, 8]

import { fileURLToPath } from 'node:url';
import { analyse } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import { openDataset } from '../src/data/dataset.js';
import { evaluate } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import {
  extrapolated,
  featuresOf,
  headOf,
  neuralCapacitance,
  withProbe,
  type Observation,
} from '../src/predictor/capacitance.js';
import { kendall, spearman } from '../src/predictor/correlation.js';
import { criteria, orderBy } from '../src/recovery/importance.js';
import { createRng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { floatsOf, withSession } from '../src/runtime/runtime.js';
import { modelInputs } from '../src/runtime/source.js';
import { startTraining, trainingStep, withState } from '../src/training/step.js';
import { macsModel } from '../search/cost-model.js';
import { allocate, allowedSteps } from '../search/progressive.js';

const example = (name: string): string => fileURLToPath(new URL(`../../examples/shapes/${name}`, import.meta.url));
const BATCH = 64;

export async function run(args: string[]): Promise<void> {
  const [variants = 12, epochs = 12, steps = 8] = args.map(Number);
  const runtime = ortRuntime();
  const rng = createRng('bench/capacitance');
  const original = readModel(example('shapes-resnet.onnx'));
  const base = analyse(original, standardOps);
  const data = openDataset(example('calib.json'), modelInputs(original));
  const test = openDataset(example('test.json'), modelInputs(original));
  const fixed = data.batch(rng.fork('fixed').sample(data.size, 128));
  const cost = macsModel(base);
  const whole = cost.value(base.groups.groups.map(() => 0));
  const histories: Observation[][] = [];
  const finals: number[] = [];
  for (let v = 0; v < variants; v++) {
    // from 90 % to 5 % of the MACs, every other one cut at random
    const share = 0.9 * (0.05 / 0.9) ** (v / Math.max(1, variants - 1));
    const own = rng.fork(`variant/${v}`);
    const orders = base.groups.groups.map((group) =>
      orderBy(criteria[v % 2 === 0 ? 'l2' : 'random']({ analysis: base, group, rng: own }) ?? []),
    );
    const removed = allocate({
      groups: base.groups.groups.map((g) => ({
        id: g.id,
        size: g.size,
        steps: allowedSteps(g.size, 1, 0.95),
        losses: Array.from({ length: g.size + 1 }, (_, k) => k / g.size),
      })),
      limits: [{ cost, budget: share * whole }],
    });
    const dead = new Map(
      base.groups.groups.map((g, i) => [g.id, orders[i]!.slice(0, removed[i]).toSorted((a, b) => a - b)]),
    );
    const probed = withProbe(pruneModel(base, dead), own);
    const dims = new Map(
      [...data.batch(Array.from({ length: BATCH }, (_, i) => i)).inputs].map(([n, t]) => [n, t.dims]),
    );
    const step = trainingStep(probed.model, standardOps, dims, {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'sgd', momentum: 0.9, decay: 1e-4 },
    });
    const training = await startTraining(step, runtime, 1);
    const history: Observation[] = [];
    for (let epoch = 0; epoch < epochs; epoch++) {
      for (let s = 0; s < steps; s++) {
        const number = epoch * steps + s;
        const batch = data.batch(own.fork(`batch/${number}`).sample(data.size, BATCH));
        const [, classes = 1] = step.targetDims;
        const targets = new Float32Array(BATCH * classes);
        batch.labels!.forEach((label, i) => (targets[i * classes + label] = 1));
        await training.run({ inputs: batch.inputs, targets, rate: 0.01, step: number });
      }
      const now = withState(probed.model, step, training.state());
      const found = await withSession(runtime, now, {}, (session) => evaluate(session, test, { batch: 100 }));
      const features = await withSession(runtime, featuresOf({ ...probed, model: now }), {}, async (session) =>
        floatsOf((await session.run(fixed.inputs)).get(probed.features)!),
      );
      const beta = neuralCapacitance(headOf(now, probed.layers), features, fixed.labels!);
      history.push({ beta, accuracy: found.value });
    }
    await training.end();
    histories.push(history);
    finals.push(history.at(-1)!.accuracy);
    const shown = history.slice(0, 5).map((o) => `${o.beta.toFixed(2)}/${(100 * o.accuracy).toFixed(1)}`);
    console.log(
      `${(100 * share).toFixed(0).padStart(3)} % MACs: beta/accuracy ${shown.join(' ')}; final ${(100 * finals.at(-1)!).toFixed(1)} %`,
    );
  }
  console.log(
    `rank correlation with the accuracy after ${epochs} epochs of ${steps} steps, ${variants} variants (Spearman, Kendall)`,
  );
  console.log('epochs seen   accuracy at beta = 0   last accuracy   minus beta');
  for (let seen = 1; seen <= Math.min(5, epochs - 1); seen++) {
    const parts = histories.map((h) => h.slice(0, seen));
    const show = (values: readonly number[]): string =>
      `${spearman(values, finals).toFixed(3)}, ${kendall(values, finals).toFixed(3)}`.padStart(16);
    const foretold = parts.map((p) => extrapolated(p).mean);
    console.log(
      [
        String(seen).padStart(11),
        show(foretold),
        show(parts.map((p) => p.at(-1)!.accuracy)),
        show(parts.map((p) => -p.at(-1)!.beta)),
      ].join('  '),
    );
  }
  await runtime.close();
}
