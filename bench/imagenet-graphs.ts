// Real ImageNet networks (../shared/graphs): six test sets as six tasks, the training recipe beside the graph, one family left out at a
// time. Gaussian processes on GRAF's scalars and longest paths, on the recipe and on the size, of logits, then a forest beside them:
// `imagenet-graphs`.
import { join } from 'node:path';
import { readModel } from '../src/onnx/read.js';
import { compress } from '../src/predictor/compress.js';
import { score } from '../src/predictor/evaluate.js';
import { fitForest } from '../src/predictor/forest.js';
import { leaveGroupsOut, type Blocks } from '../src/predictor/gaussian-process.js';
import { grafFeatures, grafNames } from '../src/predictor/graf-features.js';
import { recipeFeatures, recipeWords } from '../src/predictor/recipe.js';
import { numberIn, readTable } from '../src/predictor/tables.js';
import { createRng } from '../src/rng.js';
import { sharedPath } from '../test/shared-path.js';
import { unpackShared } from '../test/conformance.js';

/** What accuracy bends with, beyond all others as well. */
const SIZES = ['log MACs', 'log parameters', 'log activations', 'input size'];
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
  const folder = unpackShared('graphs', 'graphs.tar.xz');
  const features = new Map<string, Float64Array>();
  for (const file of new Set(rows.map((r) => r.get('file')!))) {
    const model = readModel(join(folder, file), { allowMissingData: true });
    const all = grafFeatures(compress(model, { extras: true, extended: true }));
    // counts and sizes spread over orders of magnitude
    features.set(
      file,
      Float64Array.from(kept, (f) => (names[f]!.startsWith('log') ? all[f]! : Math.log(2 + all[f]!))),
    );
  }
  const sizeAt = SIZES.map((name) => kept.indexOf(names.indexOf(name)));
  const families = rows.map((r) => r.get('family')!);
  const words = recipeWords(
    rows.map((r) => r.get('tag')!),
    families,
  );
  const viewing = (r: ReadonlyMap<string, string>): number[] => [
    Number(r.get('crop_pct')) || 0.9,
    r.get('interpolation') === 'bilinear' ? 1 : 0,
  ];
  const recipes: readonly (readonly [string, readonly Float64Array[]])[] = [
    ['four columns of the recipe', rows.map((r) => Float64Array.from(recipeFeatures(r)))],
    [
      "and the words of the recipe's name, the crop and the interpolation",
      rows.map((r, i) => Float64Array.from([...recipeFeatures(r), ...words.rows[i]!, ...viewing(r)])),
    ],
  ];
  const labels = TASKS.map((task) => rows.map((r) => numberIn(r, `${task}_top1`) ?? NaN));
  // a label that is missing counts as the mean: it is not judged
  const scaled = labels.map((own) => {
    const known = own.filter((v) => !Number.isNaN(v));
    const mean = known.reduce((sum, v) => sum + v, 0) / known.length;
    return own.map((v) => toLogit(Number.isNaN(v) ? mean : v));
  });
  console.log(
    `${rows.length} rows, ${features.size} graphs, ${new Set(families).size} families, ${kept.length} columns of the graph`,
  );
  const processes = recipes.map(([, recipe]) => {
    const blocks = rows.map((r, i): Blocks => {
      const graph = features.get(r.get('file')!)!;
      return [graph, recipe[i]!, Float64Array.from(sizeAt, (f) => graph[f]!)];
    });
    return meanOver(LENGTHS.map((lengths) => leaveGroupsOut(blocks, scaled, families, { lengths, noise: 0.2 })));
  });
  const whole = recipes.at(-1)![1];
  const forests = forestsLeftOut(
    rows.map((r, i) => Float64Array.from([...features.get(r.get('file')!)!, ...whole[i]!])),
    scaled,
    families,
  );
  const ways = [
    ...recipes.map(([name, recipe], i) => [`${name}: ${recipe[0]!.length} columns`, processes[i]!] as const),
    ['the same, a forest beside the processes, equal parts', meanOver([processes.at(-1)!, forests])] as const,
  ];
  for (const [name, said] of ways) {
    console.log(`\n${name}\n`);
    console.log(
      '| test set | Spearman | Kendall | MAE (points) | random forest of INDEX.md | without the tiny "test" family |',
    );
    console.log('|---|---|---|---|---|---|');
    TASKS.forEach((task, t) => {
      const judged = (at: readonly number[]) => {
        const open = at.filter((i) => !Number.isNaN(labels[t]![i]!));
        return score(
          open.map((i) => fromLogit(said[t]![i]!)),
          open.map((i) => labels[t]![i]!),
        );
      };
      const whole = judged(families.map((_, i) => i));
      const rest = judged(families.flatMap((f, i) => (f === 'test' ? [] : [i])));
      console.log(
        `| ${task} | ${whole.spearman.toFixed(3)} | ${whole.kendall.toFixed(3)} | ${whole.mae.toFixed(2)} | ${FOREST[t]!.join(' / ')} | ${rest.spearman.toFixed(3)} / ${rest.mae.toFixed(2)} |`,
      );
    });
  }
}

/** For each family what trees that saw none of it say, by task. */
function forestsLeftOut(
  all: readonly Float64Array[],
  scaled: readonly (readonly number[])[],
  families: readonly string[],
): Float64Array[] {
  const rng = createRng('imagenet-graphs');
  const said = scaled.map(() => new Float64Array(all.length));
  for (const family of new Set(families)) {
    const train = families.flatMap((f, i) => (f === family ? [] : [i]));
    const own = families.flatMap((f, i) => (f === family ? [i] : []));
    scaled.forEach((labels, t) => {
      const forest = fitForest(
        train.map((i) => all[i]!),
        train.map((i) => labels[i]!),
        { rng: rng.fork(`${family}/${t}`), trees: 50, columns: 0.5, randomThresholds: true },
      );
      for (const i of own) said[t]![i] = forest.predict(all[i]!).mean;
    });
  }
  return said;
}

/** Nothing is chosen among them: what all say is averaged. */
const LENGTHS: readonly (readonly [number, number])[] = [0.7, 1, 1.5].flatMap((graph) =>
  [3, 6].map((recipe) => [graph, recipe] as const),
);

/** Percentages on a line: near the top each point is worth more. */
function toLogit(percent: number): number {
  const held = Math.min(99.8, Math.max(0.2, percent));
  return Math.log(held / (100 - held));
}

function fromLogit(z: number): number {
  return 100 / (1 + Math.exp(-z));
}

function meanOver(all: readonly (readonly Float64Array[])[]): Float64Array[] {
  return all[0]!.map((first, t) => first.map((_, i) => all.reduce((sum, own) => sum + own[t]![i]!, 0) / all.length));
}
