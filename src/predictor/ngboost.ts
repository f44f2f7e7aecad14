// NGBoost (Duan et al., ICML 2020; methods.md §9.2): boosting of a normal distribution's mean and logarithm of the deviation along the
// natural gradient of the likelihood, one tree for each, with a line search for their common scale.
import { drawRows, type BoostOptions } from './boosting.js';
import type { Prediction } from './predictor.js';
import { columnsOf, growTree, leafOf, type Tree } from './tree.js';

export interface NormalBoosted {
  predict(row: ArrayLike<number>): Prediction;
  /** Mean negative log-likelihood of the training rows before the first step and after each. */
  readonly losses: readonly number[];
}

/** Negative log-likelihood of y. */
export function normalLoss(y: number, mean: number, logDeviation: number): number {
  const z = (y - mean) / Math.exp(logDeviation);
  return 0.5 * Math.log(2 * Math.PI) + logDeviation + 0.5 * z * z;
}

/** Its gradient by (mean, log deviation). */
export function normalGradient(y: number, mean: number, logDeviation: number): readonly [number, number] {
  const variance = Math.exp(2 * logDeviation);
  return [(mean - y) / variance, 1 - (y - mean) ** 2 / variance];
}

/** The gradient over the Fisher information diag(1 / variance, 2). */
export function naturalGradient(y: number, mean: number, logDeviation: number): readonly [number, number] {
  const variance = Math.exp(2 * logDeviation);
  return [mean - y, 0.5 * (1 - (y - mean) ** 2 / variance)];
}

interface Step {
  readonly mean: Tree;
  readonly logDeviation: Tree;
  /** Rate times line search. */
  readonly scale: number;
}

/** Rows hold finite numbers. */
export function fitNgboost(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  options: BoostOptions,
): NormalBoosted {
  const n = rows.length;
  const data = columnsOf(rows);
  const y = Float64Array.from({ length: n }, (_, i) => targets[i]!);
  const center = y.reduce((s, v) => s + v, 0) / n;
  const deviation = Math.sqrt(y.reduce((s, v) => s + (v - center) ** 2, 0) / n);
  // below a billionth of its size a deviation is rounding
  const floor = Math.log(1e-9 * (1 + Math.abs(center)));
  const start: readonly [number, number] = [center, Math.max(floor, Math.log(deviation))];
  const mean = new Float64Array(n).fill(start[0]);
  const logDeviation = new Float64Array(n).fill(start[1]);
  const loss = (scale: number, moveMean: Float64Array, moveDeviation: Float64Array): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      sum += normalLoss(y[i]!, mean[i]! - scale * moveMean[i]!, logDeviation[i]! - scale * moveDeviation[i]!) / n;
    }
    return sum;
  };
  const none = new Float64Array(n);
  const losses = [loss(0, none, none)];
  const steps: Step[] = [];
  const towards: [Float64Array, Float64Array] = [new Float64Array(n), new Float64Array(n)];
  const moves: [Float64Array, Float64Array] = [new Float64Array(n), new Float64Array(n)];
  for (let step = 0; step < options.steps; step++) {
    const rng = options.rng.fork(`step/${step}`);
    const weights = drawRows(n, options.rows, rng);
    for (let i = 0; i < n; i++) {
      const [byMean, byDeviation] = naturalGradient(y[i]!, mean[i]!, logDeviation[i]!);
      towards[0][i] = byMean;
      towards[1][i] = byDeviation;
    }
    const grow = (k: 0 | 1): Tree => {
      const how = { ...options, randomThresholds: false, rng: rng.fork(String(k)) };
      const tree = growTree(data, towards[k], weights, how);
      for (let i = 0; i < n; i++) moves[k][i] = tree.value[leafOf(tree, rows[i]!)]!;
      return tree;
    };
    const trees = [grow(0), grow(1)] as const;
    const before = losses.at(-1)!;
    const whole = searchScale((scale) => loss(scale, moves[0], moves[1]) < before);
    if (whole === 0) {
      // on a share of the rows a step may lead nowhere; on all of them none ever will again
      if (options.rows >= 1 && options.columns >= 1) break;
      continue;
    }
    const scale = options.rate * whole;
    for (let i = 0; i < n; i++) {
      mean[i]! -= scale * moves[0][i]!;
      logDeviation[i] = Math.max(floor, logDeviation[i]! - scale * moves[1][i]!);
    }
    steps.push({ mean: trees[0], logDeviation: trees[1], scale });
    losses.push(loss(0, none, none));
  }
  return {
    losses,
    predict(row) {
      let center = start[0];
      let log = start[1];
      for (const { mean: m, logDeviation: d, scale } of steps) {
        center -= scale * m.value[leafOf(m, row)]!;
        log = Math.max(floor, log - scale * d.value[leafOf(d, row)]!);
      }
      return { mean: center, deviation: Math.exp(log) };
    },
  };
}

/** The largest power of two up to 4 that improves; 0 when none down to 2^-10 does. */
function searchScale(improves: (scale: number) => boolean): number {
  for (let scale = 4; scale >= 2 ** -10; scale /= 2) if (improves(scale)) return scale;
  return 0;
}
