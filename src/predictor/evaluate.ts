// The harness that judges every predictor alike (methods.md §9): draws training rows by seed, never lets an isomorphic twin of a
// training row into the test, and reports rank correlations, the error in the label's unit and Precision@1 %, mean and deviation.
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { createRng, type Rng } from '../rng.js';
import type { ComputationGraph } from './computation-graph.js';
import { kendall, spearman } from './correlation.js';
import type { Prediction } from './predictor.js';
import type { CellCode } from './spaces/space.js';

/** One architecture of a table as a method sees it, without any label. */
export interface Candidate {
  /** What the table calls it: its encoding or its file. */
  readonly key: string;
  /** Rows of equal group are the same network (isomorphic cells, one architecture): they never face each other across a split. */
  readonly group: string;
  /** The network, weights perhaps without data; built when first asked for. */
  readonly model: () => Model;
  /** Its computation graph with extras; compressed when first asked for and kept. `extended` uses the reserved operator classes. */
  readonly graph: (extended?: boolean) => ComputationGraph;
  /** Multiply-accumulates of one sample, operators without effect included. */
  readonly macs: () => number;
  /** Elements of all weights. */
  readonly params: () => number;
  /** Training recipe, where the table has such columns: `pretrain`, `distilled`, `selfsup`, `adv`. */
  readonly recipe: ReadonlyMap<string, string>;
  /** Zero-cost proxies, where the table has such columns. */
  readonly proxies: ReadonlyMap<string, number>;
  /** In spaces of one small cell, the cell. */
  readonly cell?: CellCode;
}

export interface Labelled {
  readonly candidate: Candidate;
  /** In the label's unit, higher is better. */
  readonly label: number;
}

/** What a table is about. */
export interface Task {
  /** Name of the architecture space, or undefined for a folder of graphs. */
  readonly space: string | undefined;
  /** The label's column. */
  readonly label: string;
  /** What is declared about the label without looking at one; zero-shot errors rest on it. */
  readonly prior: { readonly mean: number; readonly deviation: number };
  /** All architectures of the table: unlabelled, so looking at them is no leak. */
  readonly candidates: readonly Candidate[];
}

export interface SeenLabel {
  readonly space: string;
  readonly column: string;
}

/** One feature's part in a prediction. */
export interface Effect {
  readonly feature: string;
  readonly value: number;
  /** How far it moved the prediction, in the label's unit. */
  readonly effect: number;
}

export interface Fitted {
  /** In the order of `candidates`, in the label's unit. */
  predict(candidates: readonly Candidate[]): Promise<readonly Prediction[]>;
  /** Why: the effects of the features that moved this prediction away from `base`, the largest first; they add up. */
  readonly explain?: (candidate: Candidate) => { readonly base: number; readonly effects: readonly Effect[] };
}

export interface Method {
  readonly name: string;
  /** Fewest training rows; 0 for a method that ranks without labels. */
  readonly fewest: number;
  /** Labels that the predictor file was trained on; absent for methods that start from nothing. */
  readonly seen?: readonly SeenLabel[];
  /** Deterministic in its arguments. `train` is empty for zero-shot. */
  fit(train: readonly Labelled[], task: Task, rng: Rng): Promise<Fitted>;
}

export interface Spread {
  readonly mean: number;
  readonly std: number;
}

export interface Figures {
  readonly spearman: Spread;
  readonly kendall: Spread;
  /** Mean absolute error in the label's unit. */
  readonly mae: Spread;
  /** Precision@1 %: share of the truly best hundredth among those predicted best. */
  readonly precision1: Spread;
  /** Share of the test labels within the 90 % intervals, where the method says such. */
  readonly coverage90?: Spread;
  readonly samples: number;
  readonly seeds: number;
  /** Test rows (mean over the seeds). */
  readonly n: number;
}

/** `labels[i]` belongs to `task.candidates[i]`. */
export async function evaluate(
  method: Method,
  task: Task,
  labels: readonly number[],
  options: { readonly samples: number; readonly seeds: number },
): Promise<Figures> {
  const { samples, seeds } = options;
  if (samples < method.fewest) {
    throw new PareError(
      `the method "${method.name}" needs at least ${method.fewest} training samples, not ${samples}: give more with --samples`,
    );
  }
  const runs: (Score & { readonly coverage90: number | undefined; readonly n: number })[] = [];
  // without training rows nothing is drawn: all seeds would be the same run
  for (let seed = 0; seed < (samples === 0 ? 1 : seeds); seed++) {
    const rng = createRng(`evaluate/${seed}`);
    const { train, test } = split(task.candidates, samples, rng.fork('split'));
    const fitted = await method.fit(
      train.map((i) => ({ candidate: task.candidates[i]!, label: labels[i]! })),
      task,
      rng.fork('fit'),
    );
    const said = await fitted.predict(test.map((i) => task.candidates[i]!));
    const truth = test.map((i) => labels[i]!);
    const means = said.map((p) => p.mean);
    runs.push({ ...score(means, truth), coverage90: coverage(said, truth), n: test.length });
  }
  const covered = runs.flatMap((r) => r.coverage90 ?? []);
  return {
    spearman: spread(runs.map((r) => r.spearman)),
    kendall: spread(runs.map((r) => r.kendall)),
    mae: spread(runs.map((r) => r.mae)),
    precision1: spread(runs.map((r) => r.precision1)),
    ...(covered.length === runs.length ? { coverage90: spread(covered) } : {}),
    samples,
    seeds,
    n: Math.round(spread(runs.map((r) => r.n)).mean),
  };
}

/** Random training rows; the test is what has no twin among them. */
export function split(
  candidates: readonly Pick<Candidate, 'group'>[],
  samples: number,
  rng: Rng,
): { readonly train: readonly number[]; readonly test: readonly number[] } {
  if (samples > candidates.length - 2) {
    throw new PareError(
      `${samples} training samples leave fewer than two of the ${candidates.length} rows to test on: give fewer with --samples`,
    );
  }
  const train = rng.sample(candidates.length, samples);
  const known = new Set(train.map((i) => candidates[i]!.group));
  // shuffled, so that the table's own order never decides between equal predictions
  const test = rng.shuffle(candidates.flatMap((c, i) => (known.has(c.group) ? [] : [i])));
  if (test.length < 2)
    throw new PareError('fewer than two rows are left to test on that have no twin among the training rows');
  return { train, test };
}

export interface Score {
  readonly spearman: number;
  readonly kendall: number;
  readonly mae: number;
  readonly precision1: number;
}

/** A constant prediction ranks nothing: its correlations are 0. */
export function score(said: ArrayLike<number>, truth: ArrayLike<number>): Score {
  let error = 0;
  for (let i = 0; i < truth.length; i++) error += Math.abs(said[i]! - truth[i]!) / truth.length;
  const rank = spearman(said, truth);
  const tau = kendall(said, truth);
  return {
    spearman: Number.isNaN(rank) ? 0 : rank,
    kendall: Number.isNaN(tau) ? 0 : tau,
    mae: error,
    precision1: precision(said, truth, 0.01),
  };
}

/** Share of the truth within the intervals; undefined for a method that gives none. */
function coverage(said: readonly Prediction[], truth: readonly number[]): number | undefined {
  let within = 0;
  for (let i = 0; i < said.length; i++) {
    const { interval } = said[i]!;
    if (interval === undefined) return undefined;
    if (interval[0] <= truth[i]! && truth[i]! <= interval[1]) within++;
  }
  return within / said.length;
}

/** |top k said and top k true| / k with k = ratio * n, at least 1 (methods.md §2.3). */
function precision(said: ArrayLike<number>, truth: ArrayLike<number>, ratio: number): number {
  const k = Math.max(1, Math.floor(ratio * truth.length));
  const top = (values: ArrayLike<number>): number[] =>
    Array.from(values, (_, i) => i)
      .sort((a, b) => values[b]! - values[a]! || a - b)
      .slice(0, k);
  const best = new Set(top(truth));
  return top(said).filter((i) => best.has(i)).length / k;
}

/** Mean and sample standard deviation. */
export function spread(values: readonly number[]): Spread {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, std: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}
