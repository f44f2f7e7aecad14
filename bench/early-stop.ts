// Whether a distillation that will end no better than it began is known early, by neural capacitance and by the last likeness seen
// (methods.md §8.3): variants of the shipped example after their refit, distilled for a while with all samples at the usual rate, with
// few samples, and at ten times the rate, so that some end better and some worse; both estimators are asked after each look.
//   npm run bench -- early-stop [variants, 15] [steps, 60] [network, example]
import { drain } from '../src/drain.js';
import { analyse, type Analysis } from '../src/analysis/analyse.js';
import { pruneModel } from '../src/analysis/cut.js';
import type { DeadUnits } from '../src/analysis/groups.js';
import { openDataset } from '../src/data/dataset.js';
import { usualAugmentation } from '../src/data/usual-augmentation.js';
import { recordOutputs } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import { extrapolated } from '../src/predictor/capacitance.js';
import { spearman } from '../src/predictor/correlation.js';
import { criteria, orderBy } from '../src/recovery/importance.js';
import { recover } from '../src/recovery/recover.js';
import { createRng, type Rng } from '../src/rng.js';
import { ortRuntime } from '../src/runtime/ort.js';
import { withSession } from '../src/runtime/runtime.js';
import { modelInputs } from '../src/runtime/source.js';
import { distillation } from '../src/training/distillation.js';
import { train, type Look } from '../src/training/trainer.js';
import { macsModel } from '../search/cost-model.js';
import { likenessOf, LOOKS, type Watched } from '../search/early-stop.js';
import { withFoldedNorms } from '../search/fold-norms.js';
import { allocate, allowedSteps } from '../search/progressive.js';
import { betaOf } from './support/fresh-probe.js';
import { taskOf } from './support/workshop.js';

const SEEN = 300;
/** Steps of the probe from one look to the next. */
const PROBE_STEPS = 6;

const estimators: Readonly<Record<string, (seen: readonly Look[]) => number>> = {
  last: (seen) => seen.at(-1)!['likeness']!,
  capacitance: (seen) => extrapolated(seen.map((l) => ({ accuracy: l['likeness']!, beta: l['beta']! }))).mean,
};

const kinds = [
  { name: 'all samples', samples: Infinity, rate: 1 },
  { name: '64 samples', samples: 64, rate: 1 },
  { name: '10 x rate', samples: Infinity, rate: 10 },
];

export async function run(args: string[]): Promise<void> {
  const [variants = 15, steps = 60] = args.slice(0, 2).map(Number);
  const task = taskOf(args[2] ?? 'example');
  const runtime = ortRuntime();
  const rng = createRng('bench/early-stop');
  const original = readModel(task.model);
  const base = analyse(original, standardOps);
  const data = openDataset(task.data, modelInputs(original));
  const order = rng.fork('held').shuffle(Array.from({ length: data.size }, (_, i) => i));
  const indices = order.slice(0, SEEN).toSorted((a, b) => a - b);
  const rest = order.slice(SEEN, 20_000).toSorted((a, b) => a - b);
  const reference = await withSession(runtime, original, {}, (s) => recordOutputs(s, data, { indices, batch: 100 }));
  const watched: Watched = { dataset: data, runtime, threads: 1, reference };
  const all: (readonly Look[])[] = [];
  for (let v = 0; v < variants; v++) {
    const share = 0.98 * (0.1 / 0.98) ** (v / Math.max(1, variants - 1));
    const kind = kinds[v % kinds.length]!;
    const own = rng.fork(`variant/${v}`);
    const dead = cutTo(base, share, v % 2 === 0 ? 'l2' : 'random', own);
    const calibration = { dataset: data, indices: rest };
    const how = { mode: 'reconstruct', seed: 1, images: 128, positions: 16, dead, runtime } as const;
    const refitted = await drain(recover(base, pruneModel(base, dead), calibration, how));
    const seen: Look[] = [];
    const look = async (model: typeof original, before: readonly Look[]): Promise<Look> => {
      const beta = await betaOf(model, PROBE_STEPS * (before.length + 1), watched, rng);
      const found = { likeness: await likenessOf(model, watched), beta };
      seen.push(found);
      return found;
    };
    const { model } = await drain(
      train(withFoldedNorms(refitted, standardOps), data, {
        table: standardOps,
        runtime,
        teacher: original,
        bound: { steps },
        batch: distillation.batch,
        optimizer: distillation.optimizer,
        rate: kind.rate * distillation.rate[0],
        schedule: distillation.schedule,
        rng: own.fork('train'),
        augment: usualAugmentation(data) ?? {},
        fit: kind.samples < rest.length ? rest.slice(0, kind.samples) : rest,
        step: { clip: distillation.clip, average: distillation.average },
        watch: { looks: LOOKS, look, hopeless: () => undefined },
      }),
    );
    await look(model, seen);
    all.push(seen);
    const shown = [0, 1, 2, 4, 7, LOOKS].map(
      (k) => `${seen[k]!['likeness']!.toFixed(4)}/${seen[k]!['beta']!.toPrecision(3)}`,
    );
    console.log(`${(100 * share).toFixed(0).padStart(3)} % MACs, ${kind.name}: likeness/beta ${shown.join(' ')}`);
  }
  report(all);
  await runtime.close();
}

function report(all: readonly (readonly Look[])[]): void {
  const likeness = (l: Look | undefined): number => l!['likeness']!;
  const gains = all.map((seen) => Math.log(likeness(seen.at(-1)) / likeness(seen[0])));
  const vain = gains.map((g) => g <= 0);
  console.log(
    `${vain.filter(Boolean).length} of ${all.length} runs end no better than they began; after so many looks:`,
  );
  console.log('looks   estimator     Spearman with the gain   rightly stopped   wrongly stopped');
  for (let looks = 2; looks <= LOOKS; looks++) {
    for (const [name, estimate] of Object.entries(estimators)) {
      const foretold = all.map((seen) => Math.log(estimate(seen.slice(0, looks)) / likeness(seen[0])));
      const stopped = foretold.map((g) => g <= 0);
      const count = (right: boolean): number => stopped.filter((s, i) => s && vain[i] === right).length;
      console.log(
        `${String(looks).padStart(5)}   ${name.padEnd(12)}  ${spearman(foretold, gains).toFixed(3).padStart(22)}   ${String(count(true)).padStart(15)}   ${String(count(false)).padStart(15)}`,
      );
    }
  }
}

function cutTo(base: Analysis, share: number, criterion: 'l2' | 'random', rng: Rng): DeadUnits {
  const { groups } = base.groups;
  const cost = macsModel(base);
  const orders = groups.map((group) => orderBy(criteria[criterion]({ analysis: base, group, rng }) ?? []));
  const removed = allocate({
    groups: groups.map(({ id, size }) => ({
      id,
      size,
      steps: allowedSteps(size, 1, 0.95),
      losses: Array.from({ length: size + 1 }, (_, k) => k / size),
    })),
    limits: [{ cost, budget: share * cost.value(groups.map(() => 0)) }],
  });
  return new Map(groups.map((g, i) => [g.id, orders[i]!.slice(0, removed[i]).toSorted((a, b) => a - b)]));
}
