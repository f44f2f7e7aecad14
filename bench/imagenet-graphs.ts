// Real ImageNet networks (../shared/graphs): six test sets as six tasks, the training recipe beside the graph, one family left out at a
// time. A Gaussian process on GRAF's scalars and longest paths; MACs alone as the floor: `imagenet-graphs`.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readModel } from '../src/onnx/read.js';
import { compress } from '../src/predictor/compress.js';
import { score } from '../src/predictor/evaluate.js';
import { leaveGroupsOut, type Blocks } from '../src/predictor/gaussian-process.js';
import { grafFeatures, grafNames } from '../src/predictor/graf-features.js';
import { recipeFeatures } from '../src/predictor/recipe.js';
import { readTable } from '../src/predictor/tables.js';
import { sharedPath } from '../test/shared-path.js';

const TASKS = ['in1k', 'real', 'v2', 'sketch', 'a', 'r'];
/** Spearman and error of the random forest of graphs/INDEX.md, one family left out. */
const FOREST: readonly (readonly [number, number])[] = [
  [0.913, 1.14],
  [0.894, 0.91],
  [0.903, 1.44],
  [0.839, 2.86],
  [0.921, 4.21],
  [0.834, 3.07],
];

export async function run(): Promise<void> {
  const { rows } = readTable(sharedPath('graphs', 'graphs.csv'));
  const names = grafNames();
  const kept = names.flatMap((name, i) =>
    i < names.findIndex((n) => n.includes(':')) || /^longest through:[^+]*$/.test(name) ? [i] : [],
  );
  const features = unpacked((folder) => {
    const found = new Map<string, Float64Array>();
    for (const file of new Set(rows.map((r) => r.get('file')!))) {
      const model = readModel(join(folder, file), { allowMissingData: true });
      const all = grafFeatures(compress(model, { extras: true, extended: true }));
      // counts and sizes spread over orders of magnitude
      found.set(
        file,
        Float64Array.from(kept, (f) => (names[f]!.startsWith('log') ? all[f]! : Math.log(2 + all[f]!))),
      );
    }
    return found;
  });
  const blocks = rows.map((r): Blocks => [features.get(r.get('file')!)!, Float64Array.from(recipeFeatures(r))]);
  const families = rows.map((r) => r.get('family')!);
  const labels = TASKS.map((task) => rows.map((r) => Number(r.get(`${task}_top1`))));
  const said = leaveGroupsOut(blocks, labels, families, { lengths: [1, 2], noise: 0.1 });
  console.log(
    `${rows.length} rows, ${features.size} graphs, ${new Set(families).size} families, ${kept.length} columns\n`,
  );
  console.log(
    '| test set | Spearman | Kendall | MAE (points) | random forest of INDEX.md | without the tiny "test" family |',
  );
  console.log('|---|---|---|---|---|---|');
  TASKS.forEach((task, t) => {
    const whole = score(said[t]!, labels[t]!);
    const at = families.flatMap((f, i) => (f === 'test' ? [] : [i]));
    const rest = score(
      at.map((i) => said[t]![i]!),
      at.map((i) => labels[t]![i]!),
    );
    console.log(
      `| ${task} | ${whole.spearman.toFixed(3)} | ${whole.kendall.toFixed(3)} | ${whole.mae.toFixed(2)} | ${FOREST[t]!.join(' / ')} | ${rest.spearman.toFixed(3)} / ${rest.mae.toFixed(2)} |`,
    );
  });
}

function unpacked<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'pare-graphs-'));
  try {
    execFileSync('tar', ['xf', sharedPath('graphs', 'graphs.tar.xz'), '-C', folder]);
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
