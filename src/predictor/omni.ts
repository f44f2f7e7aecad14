// OMNI (methods.md §9.2): NGBoost on normal scores of the labels over whatever is known of a network - GRAF, recipe, proxies, size, what
// a pretrained predictor says - with deviations that are made honest: scaled so that 90 % intervals cover 90 % of left-out rows, and
// larger the farther a network lies from all that was learnt from.
import type { Rng } from '../rng.js';
import type { BoostOptions } from './boosting.js';
import { fitNgboost, type NormalBoosted } from './ngboost.js';
import { normalScores } from './normal-scores.js';
import type { Prediction } from './predictor.js';

/** How much of a standard normal lies within: 90 %. */
const QUANTILE_90 = 1.6448536269514722;
const FOLDS = 8;
/** Training rows whose distance tells how far away a network is. */
const NEIGHBOURS = 3;

export interface Omni {
  /** What it says of each training row when that one is left out, alone or with an eighth of the others. */
  readonly leaveOneOut: readonly number[];
  /** Mean is the median of the belief, the interval holds nine tenths of it. */
  predict(row: ArrayLike<number>): Prediction;
}

/** Rows hold finite numbers; at least three. */
export function fitOmni(rows: readonly Float64Array[], labels: readonly number[], rng: Rng): Omni {
  const n = rows.length;
  const scale = normalScores(labels);
  const distance = distanceTo(rows);
  const fit = (at: readonly number[], stream: Rng): NormalBoosted =>
    fitNgboost(
      at.map((i) => rows[i]!),
      at.map((i) => scale.scores[i]!),
      boostOptions(at.length, stream),
    );
  const all = rows.map((_, i) => i);
  const whole = fit(all, rng.fork('whole'));
  // what the model says of rows that it did not see, in its own deviations
  const surprises: number[] = [];
  const leftOut = scale.scores.map(() => 0);
  const folds = n < 10 ? n : FOLDS;
  const order = rng.fork('folds').shuffle(all);
  for (let fold = 0; fold < folds; fold++) {
    const left = order.filter((_, k) => k % folds === fold);
    const model = fit(
      order.filter((_, k) => k % folds !== fold),
      rng.fork(`fold/${fold}`),
    );
    for (const i of left) {
      const { mean, deviation } = model.predict(rows[i]!);
      leftOut[i] = scale.label(mean);
      surprises.push(Math.abs(scale.scores[i]! - mean) / (deviation * distance(rows[i]!, i)));
    }
  }
  // of few surprises nine tenths say little
  const stretch = n < 10 ? 3 : quantile(surprises, 0.9) / QUANTILE_90;
  return {
    leaveOneOut: leftOut,
    predict(row) {
      const { mean, deviation } = whole.predict(row);
      const spread = deviation * stretch * distance(row);
      return {
        mean: scale.label(mean),
        deviation: (scale.label(mean + spread) - scale.label(mean - spread)) / 2,
        interval: [scale.label(mean - QUANTILE_90 * spread), scale.label(mean + QUANTILE_90 * spread)],
      };
    },
  };
}

function boostOptions(n: number, rng: Rng): BoostOptions {
  return { rng, steps: 200, rate: 0.05, depth: 3, leaf: 2, rows: n < 40 ? 0.8 : 0.5, columns: 0.3 };
}

/**
 * 1 within the reach of the training rows, and as many times more as a row lies farther out than nine tenths of them do. `self` is the
 * training row that the row is, if any.
 */
function distanceTo(rows: readonly Float64Array[]): (row: ArrayLike<number>, self?: number) => number {
  const width = rows[0]!.length;
  const mean = new Float64Array(width);
  const deviation = new Float64Array(width);
  for (const row of rows) for (let f = 0; f < width; f++) mean[f]! += row[f]! / rows.length;
  for (const row of rows) for (let f = 0; f < width; f++) deviation[f]! += (row[f]! - mean[f]!) ** 2 / rows.length;
  // a column that never varied says the more when it does
  for (let f = 0; f < width; f++) deviation[f] = Math.sqrt(deviation[f]!) || 0.1 * Math.abs(mean[f]!) || 0.1;
  const between = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
    let sum = 0;
    for (let f = 0; f < width; f++) sum += Math.min(100, ((a[f]! - b[f]!) / deviation[f]!) ** 2);
    return Math.sqrt(sum / width);
  };
  const nearest = (row: ArrayLike<number>, skip: number): number => {
    const best = new Float64Array(NEIGHBOURS).fill(Infinity);
    for (let i = 0; i < rows.length; i++) {
      if (i === skip) continue;
      let d = between(row, rows[i]!);
      for (let k = 0; k < NEIGHBOURS; k++) {
        if (d < best[k]!) [d, best[k]] = [best[k]!, d];
      }
    }
    const known = best.filter((d) => d < Infinity);
    return known.reduce((s, d) => s + d, 0) / Math.max(1, known.length);
  };
  const usual = quantile(
    rows.map((row, i) => nearest(row, i)),
    0.9,
  );
  return (row, self = -1) => (usual > 0 ? Math.max(1, nearest(row, self) / usual) : 1);
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * (sorted.length + 1)) - 1))]!;
}
