// A dense convolution as a depthwise and a pointwise one, W[o, c, t] = P[o, c] D[c, t], by least squares on the moments of its inputs:
// channel by channel by the SVD, then both factors in turn with all correlations known.
import { factorise, type FactorLayer, type Factorisation } from './factors.js';
import { multiplyTransposed, ridgedCholesky, solveRows } from './linear-algebra.js';

/** Unknowns of one solve. */
const LARGEST = 1300;

/** `rank` is the number of depthwise filters a channel: `first` [channels, rank, ...kernel], `second` [outputs, channels · rank]. */
export function factoriseDepthwise(layer: FactorLayer, limit = 4): Factorisation {
  const taps = layer.kernel.reduce((n, k) => n * k, 1);
  const maxRank = Math.max(1, Math.min(limit, taps, layer.outputs));
  const known = new Map<number, Made>();
  const make = (wanted: number): Made => {
    const rank = Math.max(1, Math.min(wanted, maxRank));
    let made = known.get(rank);
    if (made === undefined) known.set(rank, (made = fit(layer, rank, taps)));
    return made;
  };
  return { maxRank, error: (rank) => make(rank).error, factors: (rank) => make(rank) };
}

interface Made {
  readonly first: Float64Array;
  readonly second: Float64Array;
  readonly shift: Float64Array;
  readonly error: number;
}

function fit(layer: FactorLayer, rank: number, taps: number): Made {
  const { outputs, channels, moments } = layer;
  const start = byChannel(layer, rank, taps);
  const n = channels * taps;
  if (moments?.kind !== 'exact' || channels * rank * taps > LARGEST) return finished(layer, start, rank, taps);
  const covariance = Float64Array.from(moments.covariance);
  const seen = multiplyTransposed(layer.weights, outputs, n, covariance, n);
  let { first, second } = start;
  for (let turn = 0; turn < 3; turn++) {
    second = fitPointwise(layer, first, rank, taps, covariance, seen);
    if (turn < 2) first = fitDepthwise(layer, first, second, rank, taps, covariance, seen);
  }
  return finished(layer, { first, second }, rank, taps);
}

interface Pair {
  readonly first: Float64Array;
  readonly second: Float64Array;
}

/** The best filters of each channel alone. */
function byChannel(layer: FactorLayer, rank: number, taps: number): Pair {
  const { outputs, channels, weights, moments, kernel } = layer;
  const first = new Float64Array(channels * rank * taps);
  const second = new Float64Array(outputs * channels * rank);
  const all = kernel.map(() => true);
  for (let c = 0; c < channels; c++) {
    const own = new Float64Array(outputs * taps);
    for (let o = 0; o < outputs; o++) {
      own.set(weights.subarray((o * channels + c) * taps, (o * channels + c + 1) * taps), o * taps);
    }
    const alone = moments?.kind !== 'exact' ? {} : { moments: block(moments, c, taps) };
    const scale = layer.scale === undefined ? {} : { scale: layer.scale };
    const found = factorise({ weights: own, outputs, channels: 1, kernel, ...alone, ...scale }, all, rank);
    const made = found.factors(rank);
    const count = Math.min(rank, found.maxRank);
    first.set(made.first, c * rank * taps);
    for (let o = 0; o < outputs; o++) {
      for (let q = 0; q < count; q++) second[(o * channels + c) * rank + q] = made.second[o * count + q]!;
    }
  }
  return { first, second };
}

function block(moments: NonNullable<FactorLayer['moments']>, c: number, taps: number): typeof moments {
  const covariance = new Float32Array(taps * taps);
  for (let t = 0; t < taps; t++) {
    for (let u = 0; u < taps; u++) {
      covariance[t * taps + u] = moments.covariance[(c * taps + t) * moments.size + c * taps + u]!;
    }
  }
  return { ...moments, size: taps, covariance, mean: moments.mean.slice(c * taps, (c + 1) * taps) };
}

/** Rows (channel, filter) over all columns of the unfolded input. */
function spread(first: Float64Array, channels: number, rank: number, taps: number): Float64Array {
  const n = channels * taps;
  const out = new Float64Array(channels * rank * n);
  for (let f = 0; f < channels * rank; f++) {
    out.set(first.subarray(f * taps, (f + 1) * taps), f * n + Math.floor(f / rank) * taps);
  }
  return out;
}

function fitPointwise(
  { outputs, channels }: FactorLayer,
  first: Float64Array,
  rank: number,
  taps: number,
  covariance: Float64Array,
  seen: Float64Array,
): Float64Array {
  const n = channels * taps;
  const features = channels * rank;
  const basis = spread(first, channels, rank, taps);
  const gram = multiplyTransposed(multiplyTransposed(basis, features, n, covariance, n), features, n, basis, features);
  const cross = multiplyTransposed(seen, outputs, n, basis, features);
  return solveRows(ridgedCholesky(gram, features, 1e-6).factor, features, cross, outputs);
}

function fitDepthwise(
  layer: FactorLayer,
  before: Float64Array,
  second: Float64Array,
  rank: number,
  taps: number,
  covariance: Float64Array,
  seen: Float64Array,
): Float64Array {
  const { outputs, channels } = layer;
  const n = channels * taps;
  const features = channels * rank;
  const weighted = second.map((v, i) => v * (layer.scale?.[Math.floor(i / features)] ?? 1) ** 2);
  // inner[f, g] = sum over outputs of s^2 P[o, f] P[o, g]
  const inner = new Float64Array(features * features);
  for (let o = 0; o < outputs; o++) {
    for (let f = 0; f < features; f++) {
      const v = weighted[o * features + f]!;
      if (v !== 0) for (let g = 0; g < features; g++) inner[f * features + g]! += v * second[o * features + g]!;
    }
  }
  const size = features * taps;
  const normal = new Float64Array(size * size);
  const right = new Float64Array(size);
  for (let f = 0; f < features; f++) {
    const c = Math.floor(f / rank);
    for (let t = 0; t < taps; t++) {
      const row = f * taps + t;
      let sum = 0;
      for (let o = 0; o < outputs; o++) sum += weighted[o * features + f]! * seen[o * n + c * taps + t]!;
      right[row] = sum;
      for (let g = 0; g < features; g++) {
        const d = Math.floor(g / rank);
        const p = inner[f * features + g]!;
        for (let u = 0; u < taps; u++) {
          normal[row * size + g * taps + u] = p * covariance[(c * taps + t) * n + d * taps + u]!;
        }
      }
    }
  }
  // ridge towards the filters there are
  const { factor } = ridgedCholesky(normal, size, 1e-6);
  const rest = multiplyTransposed(before, 1, size, normal, size).map((v, i) => right[i]! - v);
  const change = solveRows(factor, size, rest, 1);
  return before.map((v, i) => v + change[i]!);
}

function finished(layer: FactorLayer, { first, second }: Pair, rank: number, taps: number): Made {
  const { outputs, channels, weights, moments } = layer;
  const n = channels * taps;
  const difference = weights.slice();
  for (let o = 0; o < outputs; o++) {
    for (let c = 0; c < channels; c++) {
      for (let q = 0; q < rank; q++) {
        const p = second[(o * channels + c) * rank + q]!;
        for (let t = 0; t < taps; t++) difference[o * n + c * taps + t]! -= p * first[(c * rank + q) * taps + t]!;
      }
    }
  }
  const shift = new Float64Array(outputs);
  if (moments !== undefined) {
    for (let i = 0; i < difference.length; i++) {
      const k = i % n;
      const mean = moments.mean[moments.kind === 'exact' ? k : Math.floor(k / taps)]!;
      const o = Math.floor(i / n);
      shift[o] = shift[o]! + difference[i]! * mean;
    }
  }
  return { first, second, shift, error: energy(difference, layer, taps) / (energy(weights, layer, taps) || 1) };
}

/** Weighted variance that these weights give to the outputs. */
function energy(weights: Float64Array, layer: FactorLayer, taps: number): number {
  const { outputs, channels, moments } = layer;
  const n = channels * taps;
  const product =
    moments?.kind === 'exact'
      ? multiplyTransposed(weights, outputs, n, Float64Array.from(moments.covariance), n)
      : weights.map((v, i) => v * variance(moments, Math.floor((i % n) / taps)));
  let sum = 0;
  for (let i = 0; i < weights.length; i++)
    sum += weights[i]! * product[i]! * (layer.scale?.[Math.floor(i / n)] ?? 1) ** 2;
  return Math.max(0, sum);
}

function variance(moments: FactorLayer['moments'], channel: number): number {
  if (moments === undefined) return 1;
  return moments.covariance[moments.kind === 'channel' ? channel * moments.size + channel : channel]!;
}
