// OMNI on NAS-Bench-201 CIFAR-10, 128 rows (methods.md §9.3): NGBoost on the thirteen proxies and GRAF against the random forest on the same
// features; coverage of the 90 % intervals; deviations on graphs of another space: `omni [SEEDS] [spaces: those alone]`.
import { compress } from '../src/predictor/compress.js';
import { fitForest } from '../src/predictor/forest.js';
import { score, spread, type Spread } from '../src/predictor/evaluate.js';
import { distinctColumns } from '../src/predictor/graf-method.js';
import { grafFeatures } from '../src/predictor/graf-features.js';
import { fitOmni } from '../src/predictor/omni.js';
import { SPACES, spaceOf } from '../src/predictor/spaces/index.js';
import { readTable } from '../src/predictor/tables.js';
import { createRng } from '../src/rng.js';
import { sharedPath } from '../test/shared-path.js';
import { readNb201 } from './support/nb201.js';

export async function run(args: string[]): Promise<void> {
  const seeds = Number(args[0] ?? 10);
  if (args[1] !== 'spaces') within(seeds);
  outOfSpace(seeds);
}

function within(seeds: number): void {
  const rows = readNb201('cifar10');
  const whole = rows.map((r) => Float64Array.from([...r.proxies, ...r.graf]));
  const kept = distinctColumns(whole, whole[0]!.length);
  const features = whole.map((r) => Float64Array.from(kept, (f) => r[f]!));
  console.log('| rows | method | tau | rho | MAE (points) | 90 % intervals hold |\n|---|---|---|---|---|---|');
  for (const size of [32, 128, 1024]) {
    const found = { forest: [] as Figures[], omni: [] as Figures[] };
    for (let seed = 0; seed < (size > 500 ? Math.ceil(seeds / 3) : seeds); seed++) {
      const rng = createRng(`graf-nb201/${seed}`);
      const order = rng.shuffle(rows.map((_r, i) => i));
      const train = order.slice(0, size);
      const test = order.slice(size);
      const x = train.map((i) => features[i]!);
      const y = train.map((i) => rows[i]!.label);
      const truth = test.map((i) => rows[i]!.label);
      const forest = fitForest(x, y, { rng: rng.fork('forest') });
      found.forest.push({
        ...score(
          test.map((i) => forest.predict(features[i]!).mean),
          truth,
        ),
        held: NaN,
      });
      const omni = fitOmni(x, y, rng.fork('omni'));
      const said = test.map((i) => omni.predict(features[i]!));
      const held = said.filter(({ interval }, k) => interval![0] <= truth[k]! && truth[k]! <= interval![1]).length;
      found.omni.push({
        ...score(
          said.map((p) => p.mean),
          truth,
        ),
        held: held / said.length,
      });
    }
    for (const [name, figures] of Object.entries(found)) {
      const of = (key: keyof Figures): Spread => spread(figures.map((f) => f[key]));
      const text = (key: keyof Figures, digits: number): string =>
        `${of(key).mean.toFixed(digits)} ± ${of(key).std.toFixed(digits)}`;
      console.log(
        `| ${size} | ${name} | ${text('kendall', 3)} | ${text('spearman', 3)} | ${text('mae', 2)} | ${name === 'omni' ? text('held', 3) : ''} |`,
      );
    }
  }
}

interface Figures {
  readonly kendall: number;
  readonly spearman: number;
  readonly mae: number;
  readonly held: number;
}

/** Learns from one space's graphs; AUROC of the deviation between its other graphs and those of another space. */
function outOfSpace(seeds: number): void {
  const own = graphs('nas-bench-macro', 'nas-bench-macro.csv', 'mean_acc_pct', 160);
  console.log('\nlearnt from 80 networks of nas-bench-macro; AUROC of the deviation against graphs of another space\n');
  console.log('| other space | AUROC |\n|---|---|');
  for (const [space, table, label] of [
    ['accel-nasbench', 'accel-nasbench.csv', 'val_top1_pct'],
    ['nb201', 'nb201.csv.gz', 'cifar10_test200_pct'],
    ['nb101', 'nb101-500.csv', 'cifar10_val108_pct'],
    ['transnas101-macro', 'transnas101-macro.csv', 'valfinal_class_scene_top1_pct'],
  ] as const) {
    if (!SPACES.some((s) => s.name === space)) continue;
    const others = graphs(space, table, label, 60);
    const rates = Array.from({ length: Math.min(5, seeds) }, (_, seed) => {
      const rng = createRng(`omni/out/${seed}`);
      const order = rng.shuffle(own);
      const seen = order.slice(0, 80);
      const omni = fitOmni(
        seen.map((g) => g.row),
        seen.map((g) => g.label),
        rng,
      );
      const inside = order.slice(80).map((g) => omni.predict(g.row).deviation);
      const outside = others.map((g) => omni.predict(g.row).deviation);
      const wins = inside.flatMap((a) => outside.map((b): number => (b > a ? 1 : b === a ? 0.5 : 0)));
      return wins.reduce((s, v) => s + v, 0) / wins.length;
    });
    const { mean, std } = spread(rates);
    console.log(`| ${space} | ${mean.toFixed(3)} ± ${std.toFixed(3)} |`);
  }
}

function graphs(space: string, table: string, label: string, count: number): { row: Float64Array; label: number }[] {
  const { rows } = readTable(sharedPath('tables', table));
  return createRng(`omni/${space}`)
    .sample(rows.length, count)
    .map((i) => ({
      row: grafFeatures(compress(spaceOf(space).parse(rows[i]!).build(), { extras: true, extended: true })),
      label: Number(rows[i]!.get(label)),
    }));
}
