// Candidates ranked without training: every cheap signal ranks them, and the logarithms of the ranks are summed, so that a poor rank
// in one signal is not made up for by the others (AZ-NAS, CVPR 2024; methods.md §5.2). Measured samples only set the scale.
import { pearson, ranks } from './correlation.js';
import type { Predictor, PredictorInput, Prediction, Sample } from './predictor.js';

/** S(k) = sum over the criteria of ln(rank of k / m), ranks ascending, ties averaged; higher is better. */
export function aggregateRanks(criteria: readonly ArrayLike<number>[]): Float64Array {
  const sums = new Float64Array(criteria[0]?.length ?? 0);
  for (const values of criteria) ranks(values).forEach((rank, k) => (sums[k]! += Math.log(rank / values.length)));
  return sums;
}

/** Signals with a known direction: +1 = more is better. Everything named `proxy:` is taken to be better when larger. */
function direction(name: string): -1 | 0 | 1 {
  if (name.startsWith('proxy:') || name === 'macs' || name === 'params') return 1;
  return name === 'loss' || name === 'loss:rms' || name === 'loss:worst' ? -1 : 0;
}

interface Scale {
  readonly names: readonly string[];
  /** By name, the samples' values, ascending, better last. */
  readonly sorted: readonly Float64Array[];
  readonly slope: number;
  readonly intercept: number;
  readonly residual: number;
}

export function createRankAggregation(): Predictor {
  let scale: Scale | undefined;
  return {
    name: 'proxies',
    fit: async (samples) => {
      scale = samples.length === 0 ? undefined : scaleOf(samples);
    },
    predict: async (candidates) => {
      const known = scale;
      if (known === undefined) return candidates.map(() => ({ mean: 0, deviation: 1 }));
      return candidates.map((c): Prediction => ({
        mean: known.intercept + known.slope * aggregate(known, c),
        deviation: known.residual,
      }));
    },
  };
}

/** Ranks are places among the samples, interpolated: the same for a candidate whoever is asked about beside it. */
function scaleOf(samples: readonly Sample[]): Scale {
  const all = [...samples[0]!.signals.keys()].filter((name) => direction(name) !== 0);
  const names = all.filter((name) => new Set(samples.map((s) => valueOf(name, s))).size > 1);
  const sorted = names.map((name) => Float64Array.from(samples, (s) => valueOf(name, s)).sort());
  const unscaled = { names, sorted, slope: 0, intercept: 0, residual: 0 };
  const sums = samples.map((s) => aggregate(unscaled, s));
  const scores = samples.map((s) => s.score);
  const [a, b] = [mean(sums), mean(scores)];
  const [spreadA, spreadB] = [deviation(sums, a), deviation(scores, b)];
  // A ranking is not learnt: where the measured ones contradict it, it keeps its order and says that it is unsure.
  const correlation = spreadA > 0 && spreadB > 0 ? pearson(sums, scores) : 0;
  const slope = spreadA > 0 ? (Math.max(0.1, correlation) * spreadB) / spreadA : 0;
  const intercept = b - slope * a;
  const left = scores.reduce((sum, y, i) => sum + (y - intercept - slope * sums[i]!) ** 2, 0);
  return { names, sorted, slope, intercept, residual: Math.sqrt(left / Math.max(1, samples.length - 2)) };
}

function aggregate({ names, sorted }: Scale, candidate: PredictorInput): number {
  return names.reduce((sum, name, i) => sum + Math.log(place(sorted[i]!, valueOf(name, candidate))), 0);
}

function valueOf(name: string, candidate: PredictorInput): number {
  const value = candidate.signals.get(name) ?? 0;
  return direction(name) * (Number.isFinite(value) ? value : 0);
}

/** Rank over m, linear between the samples' own places, within (0, 1]. */
function place(sorted: Float64Array, value: number): number {
  const m = sorted.length;
  let below = 0;
  while (below < m && sorted[below]! < value) below++;
  let upTo = below;
  while (upTo < m && sorted[upTo]! === value) upTo++;
  if (upTo > below) return (below + upTo + 1) / (2 * m);
  if (below === 0) return 1 / (2 * m);
  if (below === m) return 1;
  const [low, high] = [sorted[below - 1]!, sorted[below]!];
  return (below + (value - low) / (high - low)) / m;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, x) => sum + x, 0) / Math.max(1, values.length);
}

function deviation(values: readonly number[], center: number): number {
  return Math.sqrt(mean(values.map((x) => (x - center) ** 2)));
}
