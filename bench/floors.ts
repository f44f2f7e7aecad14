// Floors under every predictor on the shared tables (field.md §6): MACs alone without labels, MACs with 20, GRAF and a forest with 20.
// `floors [ROWS] [SEEDS]`: at most so many rows of each table, drawn once; 0 = all.
import { evaluate } from '../src/predictor/evaluate.js';
import { METHODS } from '../src/predictor/evaluate-methods.js';
import { openTask } from '../src/predictor/evaluate-table.js';
import { SPACES } from '../src/predictor/spaces/index.js';
import { createRng } from '../src/rng.js';
import { sharedPath } from '../test/shared-path.js';

/** Space, table, label, Spearman of field.md's forest with 20 rows. */
const LABELS: readonly (readonly [string, string, string, number])[] = [
  ['nb201', 'nb201.csv.gz', 'cifar10_test200_pct', 0.586],
  ['nb201', 'nb201.csv.gz', 'nb360_ninapro_acc_pct', 0.216],
  ['nas-bench-macro', 'nas-bench-macro.csv', 'mean_acc_pct', 0.83],
  ['nb101', 'nb101-500.csv', 'cifar10_val108_pct', 0.687],
  ['accel-nasbench', 'accel-nasbench.csv', 'val_top1_pct', 0.803],
  ['transnas101-micro', 'transnas101-micro.csv', 'valfinal_segmentsemantic_pixacc_pct', 0.491],
  ['transnas101-micro', 'transnas101-micro.csv', 'valfinal_room_layout_negloss', 0.336],
  ['transnas101-macro', 'transnas101-macro.csv', 'valfinal_segmentsemantic_pixacc_pct', 0.823],
  ['transnas101-macro', 'transnas101-macro.csv', 'valfinal_room_layout_negloss', 0.64],
  ['nas-bench-mr', 'nas-bench-mr.csv', 'video.top1', 0.677],
];

export async function run(args: string[]): Promise<void> {
  const most = Number(args[0] ?? 400);
  const seeds = Number(args[1] ?? 5);
  console.log('| space | label | rows | MACs, no label | MACs, 20 | GRAF, 20 | OMNI, 20 | forest of field.md, 20 |');
  console.log('|---|---|---|---|---|---|---|---|');
  for (const [space, table, label, floor] of LABELS) {
    if (!SPACES.some((s) => s.name === space)) continue;
    const whole = openTask({ table: sharedPath('tables', table), space, label });
    const { candidates } = whole.task;
    const rng = createRng(`floors/${space}`);
    const drawn =
      most === 0 ? candidates.map((_, i) => i) : rng.sample(candidates.length, Math.min(most, candidates.length));
    const task = { ...whole.task, candidates: drawn.map((i) => candidates[i]!) };
    const labels = drawn.map((i) => whole.labels[i]!);
    const cells: string[] = [];
    for (const [method, samples] of [
      ['flops', 0],
      ['flops', 20],
      ['graf', 20],
      ['omni', 20],
    ] as const) {
      const figures = await evaluate(await METHODS.get(method)!({}), task, labels, { samples, seeds });
      const { spearman, mae } = figures;
      cells.push(
        samples === 0
          ? spearman.mean.toFixed(3)
          : `${spearman.mean.toFixed(3)} ± ${spearman.std.toFixed(3)} / ${mae.mean.toPrecision(3)}`,
      );
    }
    console.log(`| ${space} | ${label} | ${drawn.length} | ${cells.join(' | ')} | ${floor} |`);
  }
}
