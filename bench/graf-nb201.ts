// GRAF and a random forest on NAS-Bench-201 against the table of methods.md §3.4, cell by cell: `graf-nb201 [SEEDS]`.
import { fitForest } from '../src/predictor/forest.js';
import { distinctColumns } from '../src/predictor/graf-method.js';
import { score, spread } from '../src/predictor/evaluate.js';
import { createRng } from '../src/rng.js';
import { oneHot, readNb201, type Nb201Row } from './support/nb201.js';

const SIZES = [32, 128, 1024] as const;
const TOLERANCE = { 32: 0.04, 128: 0.02, 1024: 0.02 } as const;

/** Features and the tau that scikit-learn reaches with them at 32, 128 and 1,024 rows: CIFAR-10, ImageNet16-120. */
const FEATURES: readonly (readonly [
  string,
  (r: Nb201Row) => readonly number[],
  readonly number[],
  readonly number[],
])[] = [
  ['one-hot operators', (r) => oneHot(r.cell), [0.373, 0.541, 0.741], [0.41, 0.557, 0.738]],
  ['FLOPs + params', (r) => r.size, [0.504, 0.611, 0.679], [0.449, 0.594, 0.666]],
  ['13 proxies', (r) => r.proxies, [0.685, 0.757, 0.811], [0.645, 0.717, 0.791]],
  ['GRAF', (r) => r.graf, [0.632, 0.746, 0.826], [0.625, 0.723, 0.807]],
  ['FLOPs + params + GRAF', (r) => [...r.size, ...r.graf], [0.643, 0.742, 0.824], [0.645, 0.725, 0.81]],
  ['13 proxies + GRAF', (r) => [...r.proxies, ...r.graf], [0.691, 0.776, 0.844], [0.675, 0.751, 0.841]],
];

export async function run(args: string[]): Promise<void> {
  const seeds = Number(args[0] ?? 10);
  console.log(`| set | features | rows | tau | rho | reference tau | within tolerance |`);
  console.log(`|---|---|---|---|---|---|---|`);
  let missed = 0;
  for (const set of ['cifar10', 'imagenet16'] as const) {
    const rows = readNb201(set);
    for (const [name, of, forCifar, forImagenet] of FEATURES) {
      const whole = rows.map((r) => Float64Array.from(of(r)));
      // equal columns say the same: leaving them out only saves time
      const kept = distinctColumns(whole, whole[0]!.length);
      const features = whole.map((r) => Float64Array.from(kept, (f) => r[f]!));
      for (const [k, size] of SIZES.entries()) {
        const figures = Array.from({ length: set === 'cifar10' ? seeds : Math.ceil(seeds / 2) }, (_, seed) => {
          const rng = createRng(`graf-nb201/${seed}`);
          const order = rng.shuffle(rows.map((_r, i) => i));
          const train = order.slice(0, size);
          const test = order.slice(size);
          const forest = fitForest(
            train.map((i) => features[i]!),
            train.map((i) => rows[i]!.label),
            { rng: rng.fork('forest') },
          );
          return score(
            test.map((i) => forest.predict(features[i]!).mean),
            test.map((i) => rows[i]!.label),
          );
        });
        const tau = spread(figures.map((f) => f.kendall));
        const rho = spread(figures.map((f) => f.spearman));
        const reference = (set === 'cifar10' ? forCifar : forImagenet)[k]!;
        const within = Math.abs(tau.mean - reference) <= TOLERANCE[size];
        if (!within) missed++;
        console.log(
          `| ${set} | ${name} | ${size} | ${tau.mean.toFixed(3)} ± ${tau.std.toFixed(3)} | ${rho.mean.toFixed(3)} | ${reference} | ${within ? 'yes' : 'NO'} |`,
        );
      }
    }
  }
  console.log(
    `\n${missed === 0 ? 'all cells are' : `${missed} cells are not`} within ±0.04 (32 rows) or ±0.02 (128, 1024)`,
  );
}
