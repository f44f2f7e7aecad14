// Makes the predictor file from tables (`pare predictor pretrain`): corpus, label-free pretraining of the base (FGP or statistics), the
// base on all labels together, one k-adapter for every label on the frozen base, the trunk on graph features, and the ranking of unknown
// spaces. Deterministic in its options; nothing of an excluded space or label is read.
import { PareError } from '../errors.js';
import { floatTensor } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { spearman } from './correlation.js';
import { loadCorpus, type Corpus } from './corpus.js';
import { fitNetwork, regression, type FitReport } from './fit-network.js';
import { pretrainUnlabelled, type Unlabelled } from './pretrain-unlabelled.js';
import { graphFeatureNames } from './graph-features.js';
import { fitLabels, transformLabel, type LabelMode, type LabelTransform } from './labels.js';
import {
  freshWeights,
  REFERENCE,
  selectAdapters,
  weightDims,
  withAdapters,
  type NetworkSize,
  type Weights,
} from './network.js';
import type { LearntLabel, PredictorFile } from './predictor-file.js';
import { fitRank } from './rank.js';
import { runNetwork, runTrunk } from './run-network.js';
import { scoringModel } from './scoring-network.js';
import type { Source } from './sources.js';
import { fitTrunk, trunkModel } from './trunk.js';
import type { UnlabelledGraphs } from './unlabelled-graphs.js';

export interface PretrainOptions {
  readonly tables: string;
  readonly sources: readonly Source[];
  readonly excludeSpaces: readonly string[];
  readonly excludeLabels: readonly string[];
  readonly rng: Rng;
  readonly runtime: Runtime;
  /** Rows of a space at most. */
  readonly perSpace: number;
  /** Of these the graph network, which takes most of the time, learns from so many a space. */
  readonly networkRows?: number;
  /** Passes over the corpus: without labels, of the base, of the adapters, of the trunk. */
  readonly epochs: {
    readonly unlabelled: number;
    readonly base: number;
    readonly adapters: number;
    readonly trunk: number;
  };
  readonly unlabelled: Unlabelled;
  /** Graphs beside those of the corpus that the base learns from before any label; those of excluded spaces are left out. */
  readonly more?: readonly UnlabelledGraphs[];
  readonly mode?: LabelMode;
  readonly size?: NetworkSize;
  readonly signal?: AbortSignal;
}

export interface PretrainReport {
  /** What is being done: `corpus nb201`, `base`, `adapters nb201`, `trunk`, `ranking`. */
  readonly stage: string;
  readonly rows?: number;
  readonly epoch?: number;
  readonly loss?: number;
}

export const UNLABELLED = ['fgp', 'statistics', 'none'] as const satisfies readonly Unlabelled[];

/** What the shipped predictor was made with. */
export const DEFAULTS = {
  perSpace: 2500,
  networkRows: 900,
  epochs: { unlabelled: 1, base: 4, adapters: 4, trunk: 60 },
  unlabelled: 'fgp',
  mode: 'scores',
} as const satisfies Pick<PretrainOptions, 'perSpace' | 'networkRows' | 'epochs' | 'unlabelled' | 'mode'>;

/** Share of each space's rows that is kept back to tell how good each head is. */
const HELD_OUT = 0.1;
const BATCH = 32;

export async function* pretrain(options: PretrainOptions): AsyncGenerator<PretrainReport, PredictorFile, void> {
  const { rng, runtime } = options;
  const size = options.size ?? REFERENCE;
  const corpus = yield* corpusOf(options);
  const split = splitRows(corpus, rng.fork('held-out'));
  const transforms = corpus.labels.map((_, k) => labelTransform(corpus, split.train, k, options.mode ?? DEFAULTS.mode));
  // standardised labels of the training rows; NaN where there is none
  const target = (row: number, k: number): number => {
    const { labels, graph } = corpus.rows[row]!;
    return Number.isNaN(labels[k]) ? NaN : transformLabel(transforms[k]!, labels[k]!, graph.macs);
  };

  const some = fewOfEach(corpus, split.train, options.networkRows ?? DEFAULTS.networkRows);
  const more = (options.unlabelled === 'none' ? [] : (options.more ?? [])).filter(
    (m) => m.space === undefined || !options.excludeSpaces.includes(m.space),
  );
  const counts: Record<string, number> = {};
  for (const { name, graphs } of more) counts[name] = (counts[name] ?? 0) + graphs.length;
  const fresh = freshWeights(weightDims(size), rng.fork('base'));
  const started = yield* staged(
    'unlabelled',
    pretrainUnlabelled({
      kind: options.unlabelled,
      size,
      weights: fresh,
      graphs: [...some.map((i) => corpus.rows[i]!.graph), ...more.flatMap((m) => m.graphs)],
      epochs: options.epochs.unlabelled,
      batch: BATCH,
      rng: rng.fork('unlabelled'),
      runtime,
    }),
  );
  const goodness = (row: number): number => {
    const known = corpus.labels.map((_, k) => target(row, k)).filter((v) => !Number.isNaN(v));
    return known.reduce((a, b) => a + b, 0) / known.length;
  };
  const base = yield* staged(
    'base',
    fitNetwork({
      size,
      weights: started,
      trained: () => true,
      objective: regression(
        (v) => [v.base],
        (s) => goodness(some[s]!),
        () => 1,
        1,
      ),
      samples: some.length,
      graph: (s) => corpus.rows[some[s]!]!.graph,
      epochs: options.epochs.base,
      batch: BATCH,
      rate: 3e-3,
      clip: 5,
      rng: rng.fork('fit-base'),
      runtime,
    }),
  );

  let weights: Weights = base;
  for (const space of new Set(corpus.labels.map((l) => l.space))) {
    const adapters = yield* staged(`adapters ${space}`, fitAdapters(corpus, some, space, target, base, options));
    weights = withAdapters(weights, adapters);
  }

  const trunk = yield* staged(
    'trunk',
    fitTrunk({
      rows: split.train.map((i) => corpus.rows[i]!.features),
      outputs: corpus.labels.length,
      target: (s, k) => target(split.train[s]!, k),
      epochs: options.epochs.trunk,
      rng: rng.fork('trunk'),
      runtime,
    }),
  );
  yield { stage: 'ranking' };
  const rank = fitRank(
    split.train.map((i) => {
      const { space, task, features } = corpus.rows[i]!;
      return { space, head: task, features };
    }),
    split.train.map((i) => goodness(i)),
  );
  weights = new Map([...weights, ...trunk, ['rank/w', floatTensor('rank/w', [rank.length, 1], rank)]]);
  const heldOut = await judge(corpus, split.test, weights, size, runtime);
  const labels = corpus.labels.map(({ space, column }, k): LearntLabel => ({
    space,
    column,
    ...transforms[k]!,
    heldOut: heldOut[k]!,
  }));
  const rows: Record<string, number> = {};
  for (const i of split.train) rows[corpus.rows[i]!.space] = (rows[corpus.rows[i]!.space] ?? 0) + 1;
  const card = {
    format: 1 as const,
    seed: rng.path,
    size,
    features: [...graphFeatureNames()],
    labels,
    rows,
    pretrained: options.unlabelled,
    ...(more.length === 0 ? {} : { unlabelled: counts }),
  };
  return { card, weights };
}

async function* corpusOf(options: PretrainOptions): AsyncGenerator<PretrainReport, Corpus, void> {
  const excluded = new Set(options.excludeSpaces);
  const known = new Set(options.sources.map((s) => s.space));
  const unknown = options.excludeSpaces.find((s) => !known.has(s));
  if (unknown !== undefined) {
    throw new PareError(`--exclude-space ${unknown}: the predictor learns from ${[...known].join(', ')} only`);
  }
  const without = new Set(options.excludeLabels);
  const sources = options.sources.flatMap((s) => {
    const labels = s.labels.filter((l) => !without.has(l));
    return excluded.has(s.space) || labels.length === 0 ? [] : [{ ...s, labels }];
  });
  const loading = loadCorpus({ ...options, sources, rng: options.rng.fork('corpus') });
  for (;;) {
    const next = await loading.next();
    if (next.done === true) return next.value;
    yield { stage: `corpus ${next.value.space}`, rows: next.value.rows };
  }
}

/** Rows to learn from and rows to tell how well; the corpus holds no twins. */
function splitRows(corpus: Corpus, rng: Rng): { readonly train: readonly number[]; readonly test: readonly number[] } {
  const bySpace = new Map<string, number[]>();
  corpus.rows.forEach((r, i) => {
    const list = bySpace.get(r.space);
    if (list === undefined) bySpace.set(r.space, [i]);
    else list.push(i);
  });
  const test = [...bySpace].flatMap(([space, rows]) =>
    rng
      .fork(space)
      .shuffle(rows)
      .slice(0, Math.floor(HELD_OUT * rows.length)),
  );
  const kept = new Set(test);
  return { train: corpus.rows.flatMap((_, i) => (kept.has(i) ? [] : [i])), test };
}

/** The first rows of each space, at most so many; they were shuffled when they were read. */
function fewOfEach(corpus: Corpus, rows: readonly number[], most: number): number[] {
  const counts = new Map<string, number>();
  return rows.filter((i) => {
    const { space } = corpus.rows[i]!;
    const count = (counts.get(space) ?? 0) + 1;
    counts.set(space, count);
    return count <= most;
  });
}

function labelTransform(corpus: Corpus, train: readonly number[], k: number, mode: LabelMode): LabelTransform {
  const known = train.filter((i) => !Number.isNaN(corpus.rows[i]!.labels[k]));
  return fitLabels(
    known.map((i) => corpus.rows[i]!.labels[k]!),
    known.map((i) => corpus.rows[i]!.graph.macs),
    mode,
  );
}

/** The adapters of one space's labels, side by side; each learns as if alone, for their weights are apart. */
async function* fitAdapters(
  corpus: Corpus,
  train: readonly number[],
  space: string,
  target: (row: number, k: number) => number,
  base: Weights,
  options: PretrainOptions,
): AsyncGenerator<FitReport, Weights, void> {
  const size = options.size ?? REFERENCE;
  const rng = options.rng.fork(`adapters/${space}`);
  const own = corpus.labels.flatMap((l, k) => (l.space === space ? [k] : []));
  const rows = train.filter((i) => corpus.rows[i]!.space === space);
  const fresh = freshWeights(weightDims(size, own.length), rng.fork('weights'));
  const start = new Map([...fresh, ...base]);
  const fitted = yield* fitNetwork({
    size,
    weights: start,
    trained: (name) => name.startsWith('adapter'),
    objective: regression(
      (v) => v.adapters,
      (s, k) => target(rows[s]!, own[k]!),
      (s, k) => (Number.isNaN(target(rows[s]!, own[k]!)) ? 0 : 1),
      own.length,
    ),
    samples: rows.length,
    graph: (s) => corpus.rows[rows[s]!]!.graph,
    epochs: options.epochs.adapters,
    batch: BATCH,
    rate: 2e-3,
    rng: rng.fork('fit'),
    runtime: options.runtime,
  });
  return fitted;
}

/** Spearman of each label on the rows kept back: adapter and trunk. */
async function judge(
  corpus: Corpus,
  test: readonly number[],
  weights: Weights,
  size: NetworkSize,
  runtime: Runtime,
): Promise<[number, number][]> {
  const found: [number, number][] = corpus.labels.map(() => [0, 0]);
  for (const space of new Set(corpus.labels.map((l) => l.space))) {
    const own = corpus.labels.flatMap((l, k) => (l.space === space ? [k] : []));
    const rows = test.map((i) => corpus.rows[i]!).filter((r) => r.space === space);
    const network = await runtime.load(scoringModel(size, selectAdapters(weights, own)));
    const trunk: Session = await runtime.load(trunkModel(weights));
    try {
      const adapters = await runNetwork(
        network,
        rows.map((r) => r.graph),
        ['adapters'],
      );
      const outputs = await runTrunk(
        trunk,
        rows.map((r) => r.features),
        corpus.labels.length,
      );
      own.forEach((k, j) => {
        const truth = rows.map((r) => r.labels[k]!);
        const known = truth.flatMap((v, i) => (Number.isNaN(v) ? [] : [i]));
        const agreement = (said: readonly Float32Array[], column: number): number => {
          const rho = spearman(
            known.map((i) => said[i]![column]!),
            known.map((i) => truth[i]!),
          );
          return Number.isNaN(rho) ? 0 : rho;
        };
        found[k] = [
          agreement(
            adapters.map(([a]) => a!),
            j,
          ),
          agreement(outputs, k),
        ];
      });
    } finally {
      await network.release();
      await trunk.release();
    }
  }
  return found;
}

async function* staged<T>(
  stage: string,
  steps: AsyncGenerator<FitReport, T, void>,
): AsyncGenerator<PretrainReport, T, void> {
  for (;;) {
    const next = await steps.next();
    if (next.done === true) return next.value;
    yield { stage, epoch: next.value.epoch, loss: next.value.loss };
  }
}
