// How well predictions agree with measurements: error, rank correlations and how often the predictor's own interval holds, each with
// a 95 % interval. Pure functions of the pairs and of a seed.
import { proportion, quantile, type Estimate } from '../measure/statistics.js';
import { kendall, spearman } from '../predictor/correlation.js';
import type { Rng } from '../rng.js';

export interface PredictedPair {
  readonly predicted: number;
  /** Standard deviation that the predictor claims. */
  readonly deviation: number;
  readonly measured: number;
}

export interface Agreement {
  readonly n: number;
  /** Mean absolute error, in the unit of the values. */
  readonly meanAbsoluteError: Estimate;
  /** Mean of predicted minus measured. */
  readonly bias: Estimate;
  /** Rank correlations; absent when one side is constant or there are fewer than three pairs. */
  readonly spearman?: Estimate;
  /** Tau-b. */
  readonly kendall?: Estimate;
  /** Share of the pairs whose measurement lies within the predictor's own 90 % interval. */
  readonly coverage90: Estimate;
}

/** 95 % of a normal distribution's mass lies below mean + Z90 x deviation, so 90 % within both sides. */
const Z90 = 1.6448536269514722;

/** Intervals by the percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13); Wilson's for the coverage. */
export function agreementOf(pairs: readonly PredictedPair[], rng: Rng, resamples = 1000): Agreement {
  const n = pairs.length;
  if (n === 0) throw new RangeError('agreementOf: no pairs');
  const covered = pairs.filter((p) => Math.abs(p.predicted - p.measured) <= Z90 * p.deviation).length;
  const bootstrap = (statistic: Statistic): Estimate => {
    const value = statistic(pairs);
    const stream = rng.fork('bootstrap');
    const drawn: number[] = [];
    for (let i = 0; i < resamples; i++) {
      const found = statistic(Array.from(pairs, () => pairs[stream.int(n)]!));
      // A resample may hold one pair n times: it has no rank correlation.
      if (Number.isFinite(found)) drawn.push(found);
    }
    drawn.sort((a, b) => a - b);
    if (drawn.length === 0) return { value, ci95: [value, value] };
    return { value, ci95: [quantile(drawn, 0.025), quantile(drawn, 0.975)] };
  };
  const ranked = (statistic: (a: readonly number[], b: readonly number[]) => number): Estimate | undefined => {
    const found = n < 3 ? undefined : bootstrap((p) => statistic(predictedOf(p), measuredOf(p)));
    return found === undefined || Number.isNaN(found.value) ? undefined : found;
  };
  const rho = ranked(spearman);
  const tau = ranked(kendall);
  return {
    n,
    meanAbsoluteError: bootstrap((p) => average(p.map((x) => Math.abs(x.predicted - x.measured)))),
    bias: bootstrap((p) => average(p.map((x) => x.predicted - x.measured))),
    ...(rho === undefined ? {} : { spearman: rho }),
    ...(tau === undefined ? {} : { kendall: tau }),
    coverage90: proportion(covered, n),
  };
}

/** From one quantity to another that runs along with it: `to = intercept + slope x from`. */
export interface LinearMap {
  readonly slope: number;
  readonly intercept: number;
  /** Standard deviation of what the line leaves unexplained. */
  readonly residual: number;
  readonly anchors: number;
}

/** Least squares; where the anchors do not carry a rising line, only the mean difference is taken. */
export function linearMap(from: readonly number[], to: readonly number[]): LinearMap {
  const n = from.length;
  if (n === 0) return { slope: 1, intercept: 0, residual: 0, anchors: 0 };
  const [a, b] = [average(from), average(to)];
  let squares = 0;
  let products = 0;
  from.forEach((x, i) => {
    squares += (x - a) ** 2;
    products += (x - a) * (to[i]! - b);
  });
  const rising = n >= 4 && squares > 1e-12 && products > 0;
  const slope = rising ? products / squares : 1;
  const intercept = b - slope * a;
  const left = from.reduce((sum, x, i) => sum + (to[i]! - intercept - slope * x) ** 2, 0);
  const freedom = n - (rising ? 2 : 1);
  return { slope, intercept, residual: freedom > 0 ? Math.sqrt(left / freedom) : 0, anchors: n };
}

export function mapped(
  map: LinearMap,
  p: { readonly mean: number; readonly deviation: number },
): { mean: number; deviation: number } {
  return { mean: map.intercept + map.slope * p.mean, deviation: Math.hypot(map.slope * p.deviation, map.residual) };
}

type Statistic = (pairs: readonly PredictedPair[]) => number;

function predictedOf(pairs: readonly PredictedPair[]): number[] {
  return pairs.map((p) => p.predicted);
}

function measuredOf(pairs: readonly PredictedPair[]): number[] {
  return pairs.map((p) => p.measured);
}

function average(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0) / values.length;
}
