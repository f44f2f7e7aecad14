// AIO-P at work: what the shipped predictor (or another file) says of networks - of spaces it knows, of others, and of new tasks from a
// few measured samples. The method `aiop` of the evaluation harness, and the seam for the search.
import { readFileSync } from 'node:fs';
import { readFloats } from '../ir/tensor.js';
import { parseModel } from '../onnx/read.js';
import type { Rng } from '../rng.js';
import type { Runtime } from '../runtime/runtime.js';
import type { ComputationGraph } from './computation-graph.js';
import { detailed } from './corpus.js';
import type { Candidate, Fitted, Labelled, Method, Task } from './evaluate.js';
import type { View } from './few-shot.js';
import { fitStack } from './few-shot-stack.js';
import { graphFeatureNames, graphFeatures } from './graph-features.js';
import { selectAdapters } from './network.js';
import { openPredictor, readPredictor, type PredictorFile } from './predictor-file.js';
import type { Prediction } from './predictor.js';
import { rankScores, standardized } from './rank.js';
import { runNetwork, runTrunk } from './run-network.js';
import { scoringModel } from './scoring-network.js';
import { SPACES } from './spaces/index.js';
import { trunkModel } from './trunk.js';

/** What the predictor says of one network; outputs in the standardised labels' unit, by the file's labels. */
export interface Outlook {
  readonly macs: number;
  readonly features: Float32Array;
  /** Mean of the last layer of the base. */
  readonly latent: Float32Array;
  /** NaN for adapters that were not asked for. */
  readonly adapters: Float32Array;
  readonly trunk: Float32Array;
}

export interface Aiop {
  readonly file: PredictorFile;
  /** Graphs compressed with extras; with these adapters (indices of the file's labels); all by default. */
  look(graphs: readonly ComputationGraph[], adapters?: readonly number[]): Promise<Outlook[]>;
  /** The trunk's outputs alone, by the file's labels: no graph network runs. */
  trunk(graphs: readonly ComputationGraph[]): Promise<readonly Float32Array[]>;
  /** Both halves of the predictor for one label: adapter and trunk by how well each ranked the rows kept back. */
  blend(outlook: Outlook, label: number): number;
}

/** The predictor that comes with Pare. */
export function shippedPredictor(): PredictorFile {
  const path = new URL('./weights/aiop.onnx', import.meta.url);
  return openPredictor(parseModel(readFileSync(path)), 'the shipped predictor');
}

export function openAiop(file: PredictorFile | string | undefined, runtime: Runtime): Aiop {
  const opened = file === undefined ? shippedPredictor() : typeof file === 'string' ? readPredictor(file) : file;
  const { card, weights } = opened;
  const trunkOf = async (features: readonly Float32Array[]): Promise<readonly Float32Array[]> => {
    const trunk = await runtime.load(trunkModel(weights));
    try {
      return await runTrunk(trunk, features, card.labels.length);
    } finally {
      await trunk.release();
    }
  };
  return {
    file: opened,
    trunk: (graphs) => trunkOf(graphs.map((g) => graphFeatures(detailed(g)))),
    async look(graphs, adapters = card.labels.map((_, k) => k)) {
      const features = graphs.map((g) => graphFeatures(detailed(g)));
      const network = await runtime.load(scoringModel(card.size, selectAdapters(weights, adapters)));
      try {
        const asked = ['latent', ...(adapters.length > 0 ? ['adapters'] : [])];
        const latents = await runNetwork(network, graphs, asked, runtime.concurrency);
        const outputs = await trunkOf(features);
        return graphs.map((g, i): Outlook => {
          const all = new Float32Array(card.labels.length).fill(NaN);
          adapters.forEach((k, j) => (all[k] = latents[i]![1]![j]!));
          return { macs: g.macs, features: features[i]!, latent: latents[i]![0]!, adapters: all, trunk: outputs[i]! };
        });
      } finally {
        await network.release();
      }
    },
    blend(outlook, label) {
      const [adapter, trunk] = card.labels[label]!.heldOut.map(
        (rho) => Math.max(0.01, rho) / Math.max(0.01, 1.02 - rho),
      );
      const a = outlook.adapters[label]!;
      return Number.isNaN(a)
        ? outlook.trunk[label]!
        : (adapter! * a + trunk! * outlook.trunk[label]!) / (adapter! + trunk!);
    },
  };
}

/** Labels of the file that belong to the task's space. */
function knownLabels(file: PredictorFile, space: string | undefined): number[] {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const name = SPACES.find((s) => plain(s.name) === plain(space ?? ''))?.name;
  return file.card.labels.flatMap((l, k) => (l.space === name ? [k] : []));
}

export interface AiopMethodOptions {
  readonly file?: PredictorFile | string;
  readonly runtime: Runtime;
}

/** `--method aiop`: zero-shot by adapters of the space or the ranking of unknown spaces; a closed-form head with samples. */
export function aiopMethod(options: AiopMethodOptions): Method {
  const aiop = openAiop(options.file, options.runtime);
  const { card, weights } = aiop.file;
  const pools = new WeakMap<readonly Candidate[], Promise<readonly Outlook[]>>();
  return {
    name: 'aiop',
    fewest: 0,
    seen: card.labels.map(({ space, column }) => ({ space, column })),
    async fit(train: readonly Labelled[], task: Task, rng: Rng): Promise<Fitted> {
      const own = knownLabels(aiop.file, task.space);
      const found =
        pools.get(task.candidates) ??
        aiop.look(
          task.candidates.map((c) => c.graph()),
          own,
        );
      pools.set(task.candidates, found);
      const pool = await found;
      const rowOf = new Map(task.candidates.map((c, i) => [c, i]));
      const rows = (candidates: readonly Candidate[]): number[] => candidates.map((c) => rowOf.get(c)!);
      const heads = own.map((k) => held(standardized(pool.map((o) => aiop.blend(o, k)))));
      const general =
        own.length > 0
          ? standardized(pool.map((_, i) => heads.reduce((sum, h) => sum + h[i]!, 0)))
          : rankScores(
              pool.map((o) => o.features),
              readFloats(weights.get('rank/w')!),
            );
      if (train.length < 2) {
        const { mean, deviation } = task.prior;
        const centre = train[0]?.label ?? mean;
        return {
          predict: (candidates) =>
            Promise.resolve(
              rows(candidates).map((i): Prediction => ({ mean: centre + deviation * general[i]!, deviation })),
            ),
        };
      }
      const recipes = recipesOf(task.candidates);
      const head = fitStack({
        views: viewsOf(pool, heads, general, recipes),
        rows: rowsOf(
          [...columnsOf(pool.map((o) => o.features)), ...(heads.length > 0 ? heads : [held(general)]), ...recipes],
          pool.length,
        ),
        train: rows(train.map((t) => t.candidate)),
        labels: train.map((t) => t.label),
        // in a known space the heads are a view already; the ranking of others is a belief to start from
        ...(own.length > 0 ? {} : { verdict: general }),
        rng: rng.fork('forest'),
      });
      return { predict: (candidates) => Promise.resolve(head.predict(rows(candidates))) };
    },
  };
}

/** Standardised over the pool and held within four deviations; constant columns are left out. */
function columnsOf(pool: readonly ArrayLike<number>[]): Float64Array[] {
  const width = pool[0]?.length ?? 0;
  const columns: Float64Array[] = [];
  for (let c = 0; c < width; c++) {
    const column = standardized(pool.map((r) => r[c]!));
    if (column.some((v) => v !== 0)) columns.push(held(column));
  }
  return columns;
}

function held(column: Float64Array): Float64Array {
  return column.map((v) => Math.max(-4, Math.min(4, v)));
}

function rowsOf(columns: readonly Float64Array[], count: number): Float64Array[] {
  return Array.from({ length: count }, (_, i) => Float64Array.from(columns, (c) => c[i]!));
}

const SIZES = ['macs', 'params', 'resolution', 'activations'];

/** What is said of all tasks of the space, or the ranking of unknown spaces and the size; the features at two scales; the training recipe. */
function viewsOf(
  pool: readonly Outlook[],
  heads: readonly Float64Array[],
  general: Float64Array,
  recipes: readonly Float64Array[],
): View[] {
  const n = pool.length;
  const columns = columnsOf(pool.map((o) => o.features));
  // a recipe has few columns: without a louder voice the many features would drown it
  const weight = Math.sqrt(columns.length / Math.max(1, 4 * recipes.length));
  const features = rowsOf([...columns, ...recipes.map((c) => c.map((v) => v * weight))], n);
  const said = rowsOf(heads.length > 0 ? heads : [held(general)], n);
  return [
    { name: 'heads', kernel: 'linear', rows: said },
    { name: 'heads, bent', kernel: 'rbf', rows: said },
    { name: 'features', kernel: 'rbf', rows: features },
    { name: 'features, smooth', kernel: 'rbf', rows: features.map((r) => r.map((v) => v / 2)) },
    // how accuracy grows with size is a curve that goes on beyond the measured ones; heads of the space know it already
    ...(heads.length > 0 ? [] : [{ name: 'size', kernel: 'quadratic' as const, rows: sizesOf(pool) }]),
    ...(recipes.length > 0 ? [{ name: 'recipe', kernel: 'linear' as const, rows: rowsOf(recipes, n) }] : []),
  ];
}

function sizesOf(pool: readonly Outlook[]): Float64Array[] {
  const names = graphFeatureNames();
  const at = SIZES.map((name) => names.indexOf(name));
  return rowsOf(columnsOf(pool.map((o) => at.map((f) => o.features[f]!))), pool.length);
}

/** One column for every value of the recipe's columns, standardised; none where all are alike or the table has none. */
function recipesOf(candidates: readonly Candidate[]): Float64Array[] {
  const values = new Map<string, Set<string>>();
  for (const { recipe } of candidates) {
    for (const [name, value] of recipe) values.set(name, (values.get(name) ?? new Set()).add(value));
  }
  return [...values].flatMap(([name, found]) =>
    // of two values one column says it all
    [...found].slice(found.size === 2 ? 1 : 0).flatMap((value) => {
      const column = standardized(candidates.map((c) => (c.recipe.get(name) === value ? 1 : 0)));
      return column.some((v) => v !== 0) ? [held(column)] : [];
    }),
  );
}
