// One layer as two: a convolution (or matrix) of low rank, best in the metric of its inputs' second moments. A kernel's axes are dealt
// out to the two factors: k x 1 then 1 x k, k x k then 1 x 1, 1 x 1 then k x k are one computation.
// Sources: Jaderberg et al. 2014 (separable filters), Zhang et al. 2015 (asymmetric reconstruction), closed forms by the SVD.
import { leadingEigen, type Eigen } from './eigen.js';
import type { Gram } from './gram.js';
import { cholesky, columns, multiplyTransposed, principal, ridgedCholesky, solveRows } from './linear-algebra.js';

export interface FactorLayer {
  /** [outputs, channels, ...kernel] */
  readonly weights: Float64Array;
  readonly outputs: number;
  readonly channels: number;
  /** Lengths of the kernel's axes; none for a matrix. */
  readonly kernel: readonly number[];
  /** What one unit of each output weighs (the scale of the normalisation behind); 1 by default. */
  readonly scale?: ArrayLike<number>;
  /** Of group 1. Without it all inputs count alike. */
  readonly moments?: Gram;
}

export interface Factors {
  /** [rank, channels, ...axes of the first factor] (the others have length 1) */
  readonly first: Float64Array;
  /** [outputs, rank, ...axes of the second factor] */
  readonly second: Float64Array;
  /** What the outputs lose on average: to be added to the bias. */
  readonly shift: Float64Array;
}

export interface Factorisation {
  readonly maxRank: number;
  /** Unexplained share of the outputs' variance at a rank, 1..maxRank; never rising. */
  error(rank: number): number;
  factors(rank: number): Factors;
}

/** Whether the decomposition takes seconds at most. */
export function isFactorable(outputs: number, channels: number, kernel: readonly number[], first: boolean[]): boolean {
  const [rows, cols] = [outputs * share(kernel, first, false), channels * share(kernel, first, true)];
  const small = Math.min(rows, cols);
  return small * small * Math.max(rows, cols) <= 1e10;
}

/** `first[a]`: kernel axis a belongs to the first factor. Ranks above `limit` are not asked for. */
export function factorise(layer: FactorLayer, first: readonly boolean[], limit = Infinity): Factorisation {
  const { outputs, channels, kernel } = layer;
  const taps = splitTaps(kernel, first);
  const [rows, cols] = [outputs * taps.second, channels * taps.first];
  const matrix = matrixOf(layer, taps);
  const metric = metricOf(layer, taps);
  const scaled = scaleRows(matrix, rows, cols, (row) => layer.scale?.[Math.floor(row / taps.second)] ?? 1);
  const most = Math.max(1, Math.min(rows, cols, limit));
  const { values, features, total } = decompose(scaled, rows, cols, metric, most);
  const count = values.length;
  // the best second factor when the taps of the second kernel do not correlate
  const plain = multiplyTransposed(metric.apply(matrix, rows), rows, cols, features, count);
  let made: Refinement | undefined;
  const refined = (): Refinement | undefined => (made ??= refinement(layer, taps, features, count, plain));
  const closed = (rank: number): number => {
    let kept = 0;
    for (let i = 0; i < rank; i++) kept += values[i]!;
    return total > 0 ? Math.max(0, 1 - kept / total) : 0;
  };
  const clamp = (rank: number): number => Math.max(1, Math.min(rank, count));
  return {
    maxRank: count,
    error: (rank) => refined()?.error(clamp(rank)) ?? closed(clamp(rank)),
    factors(wanted) {
      const rank = clamp(wanted);
      const own = features.slice(0, rank * cols);
      // [(output, second tap), rank] -> [output, rank, second tap]
      const dense = refined()?.second(rank) ?? toKernel(plain, outputs, taps.second, rank, count);
      return { first: own, second: dense, shift: meanShift(layer, taps, own, dense, rank) };
    },
  };
}

// --- kernel axes ---------------------------------------------------------------------------------------------------------

interface Taps {
  readonly all: number;
  readonly first: number;
  readonly second: number;
  /** Flat index of each tap in the first kernel and in the second. */
  readonly inFirst: Int32Array;
  readonly inSecond: Int32Array;
  /** Tap of (first, second): [first * taps.second + second]. */
  readonly joined: Int32Array;
}

function share(kernel: readonly number[], first: readonly boolean[], which: boolean): number {
  return kernel.reduce((n, k, a) => (first[a] === which ? n * k : n), 1);
}

function splitTaps(kernel: readonly number[], first: readonly boolean[]): Taps {
  const all = kernel.reduce((n, k) => n * k, 1);
  const [nFirst, nSecond] = [share(kernel, first, true), share(kernel, first, false)];
  const inFirst = new Int32Array(all);
  const inSecond = new Int32Array(all);
  const joined = new Int32Array(all);
  for (let t = 0; t < all; t++) {
    let rest = t;
    let [i, j, strideI, strideJ] = [0, 0, 1, 1];
    for (let a = kernel.length - 1; a >= 0; a--) {
      const k = kernel[a]!;
      const at = rest % k;
      rest = Math.floor(rest / k);
      if (first[a] === true) {
        i += at * strideI;
        strideI *= k;
      } else {
        j += at * strideJ;
        strideJ *= k;
      }
    }
    inFirst[t] = i;
    inSecond[t] = j;
    joined[i * nSecond + j] = t;
  }
  return { all, first: nFirst, second: nSecond, inFirst, inSecond, joined };
}

/** Rows (output, second tap), columns (channel, first tap). */
function matrixOf({ weights, outputs, channels }: FactorLayer, taps: Taps): Float64Array {
  const cols = channels * taps.first;
  const out = new Float64Array(weights.length);
  for (let o = 0; o < outputs; o++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < taps.all; t++) {
        const row = o * taps.second + taps.inSecond[t]!;
        out[row * cols + c * taps.first + taps.inFirst[t]!] = weights[(o * channels + c) * taps.all + t]!;
      }
    }
  }
  return out;
}

function toKernel(plain: Float64Array, outputs: number, second: number, rank: number, stride: number): Float64Array {
  const out = new Float64Array(outputs * rank * second);
  for (let o = 0; o < outputs; o++) {
    for (let j = 0; j < second; j++) {
      for (let q = 0; q < rank; q++) out[(o * rank + q) * second + j] = plain[(o * second + j) * stride + q]!;
    }
  }
  return out;
}

// --- the metric of the inputs ----------------------------------------------------------------------------------------------

interface Metric {
  /** Rows times the symmetric matrix. */
  apply(rows: Float64Array, count: number): Float64Array;
  /** Absent: diagonal. */
  readonly full?: Float64Array;
  readonly diagonal: Float64Array;
}

/** Largest matrix that is kept whole. */
const WHOLE = 2000;

/** Of the columns (channel, first tap): the mean over the taps of the second kernel. */
function metricOf({ channels, moments }: FactorLayer, taps: Taps): Metric {
  const n = channels * taps.first;
  const diagonal = new Float64Array(n);
  if (moments === undefined) return diagonalMetric(diagonal.fill(1));
  const { kind, size, covariance } = moments;
  const whole = kind !== 'diagonal' && n <= WHOLE;
  const full = new Float64Array(whole ? n * n : 0);
  const at = (c: number, i: number, d: number, k: number): number => {
    if (kind === 'channel') return i === k ? covariance[c * size + d]! : 0;
    let sum = 0;
    for (let j = 0; j < taps.second; j++) {
      const [p, q] = [taps.joined[i * taps.second + j]!, taps.joined[k * taps.second + j]!];
      sum += covariance[(c * taps.all + p) * size + d * taps.all + q]!;
    }
    return sum / taps.second;
  };
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < taps.first; i++) {
      const row = c * taps.first + i;
      diagonal[row] = Math.max(0, kind === 'diagonal' ? covariance[c]! : at(c, i, c, i));
      if (!whole) continue;
      for (let d = 0; d < channels; d++)
        for (let k = 0; k < taps.first; k++) full[row * n + d * taps.first + k] = at(c, i, d, k);
    }
  }
  // dead inputs and too few samples: nothing is free
  const floor = (1e-5 * diagonal.reduce((s, v) => s + v, 0)) / n || 1e-12;
  for (let i = 0; i < n; i++) {
    diagonal[i] = diagonal[i]! + floor;
    if (whole) full[i * n + i] = diagonal[i]!;
  }
  if (!whole) return diagonalMetric(diagonal);
  return { full, diagonal, apply: (rows, count) => multiplyTransposed(rows, count, n, full, n) };
}

function diagonalMetric(diagonal: Float64Array): Metric {
  const n = diagonal.length;
  return { diagonal, apply: (rows, count) => rows.map((v, i) => (i < count * n ? v * diagonal[i % n]! : v)) };
}

function scaleRows(m: Float64Array, rows: number, cols: number, scale: (row: number) => number): Float64Array {
  const out = new Float64Array(m.length);
  for (let r = 0; r < rows; r++) {
    const s = scale(r);
    for (let c = 0; c < cols; c++) out[r * cols + c] = s * m[r * cols + c]!;
  }
  return out;
}

// --- the decomposition -----------------------------------------------------------------------------------------------------

interface Decomposition {
  /** Squared singular values, descending. */
  readonly values: Float64Array;
  /** [count, cols]: uncorrelated and of unit variance in the metric; a rank takes the first ones. */
  readonly features: Float64Array;
  /** Sum of all squared singular values. */
  readonly total: number;
}

/** The singular value decomposition of M in the metric H, by the eigenvectors of the smaller of M H M^T and L^T M^T M L (H = L L^T). */
function decompose(m: Float64Array, rows: number, cols: number, metric: Metric, limit: number): Decomposition {
  const product = metric.apply(m, rows);
  let total = 0;
  for (let i = 0; i < m.length; i++) total += m[i]! * product[i]!;
  if (rows <= cols) {
    const eigen = leadingEigen(multiplyTransposed(product, rows, cols, m, rows), rows, limit);
    const features = times(eigen.vectors, eigen.values.length, rows, m, cols);
    return finished(eigen, features, cols, total, (value) => 1 / Math.sqrt(value));
  }
  const transposed = transpose(m, rows, cols);
  const inner = multiplyTransposed(transposed, cols, rows, transposed, cols);
  const rootT = transpose(rootOf(metric, cols), cols, cols);
  const half = multiplyTransposed(rootT, cols, cols, inner, cols);
  const eigen = leadingEigen(multiplyTransposed(half, cols, cols, rootT, cols), cols, limit);
  // V^T L^-1 without an inverse: V^T L^T M^T M / value
  return finished(
    eigen,
    times(eigen.vectors, eigen.values.length, cols, half, cols),
    cols,
    total,
    (value) => 1 / value,
  );
}

function finished(
  eigen: Eigen,
  features: Float64Array,
  cols: number,
  total: number,
  scale: (value: number) => number,
): Decomposition {
  const values = eigen.values.map((v) => Math.max(0, v));
  // what is zero up to rounding carries nothing: the feature is zero too
  const floor = 1e-13 * (values[0] ?? 0);
  for (let q = 0; q < values.length; q++) {
    const f = values[q]! > floor ? scale(values[q]!) : 0;
    for (let c = 0; c < cols; c++) features[q * cols + c] = features[q * cols + c]! * f;
  }
  return { values, features, total };
}

function rootOf(metric: Metric, n: number): Float64Array {
  const { full, diagonal } = metric;
  const root = new Float64Array(n * n);
  if (full === undefined) {
    for (let i = 0; i < n; i++) root[i * n + i] = Math.sqrt(diagonal[i]!);
    return root;
  }
  return cholesky(full, n) ?? ridgedCholesky(full, n, 1e-9).factor;
}

/** A [m, k] · B [k, n]. */
function times(a: Float64Array, m: number, k: number, b: Float64Array, n: number): Float64Array {
  return multiplyTransposed(a, m, k, transpose(b, k, n), n);
}

function transpose(a: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) out[c * rows + r] = a[r * cols + c]!;
  return out;
}

// --- the second factor by least squares --------------------------------------------------------------------------------------

interface Refinement {
  error(rank: number): number;
  second(rank: number): Float64Array;
}

/** Shifted copies of the features correlate when the second kernel has taps: the second factor is refitted with all moments known. */
function refinement(
  layer: FactorLayer,
  taps: Taps,
  features: Float64Array,
  count: number,
  plain: Float64Array,
): Refinement | undefined {
  const { outputs, channels, moments, weights } = layer;
  if (moments?.kind !== 'exact' || taps.second === 1) return undefined;
  const n = channels * taps.all;
  const covariance = Float64Array.from(moments.covariance);
  const places = count * taps.second;
  // row (feature, second tap) over the columns of the unfolded input
  const basis = new Float64Array(places * n);
  for (let q = 0; q < count; q++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < taps.all; t++) {
        basis[(q * taps.second + taps.inSecond[t]!) * n + c * taps.all + t] =
          features[(q * channels + c) * taps.first + taps.inFirst[t]!]!;
      }
    }
  }
  const seen = multiplyTransposed(basis, places, n, covariance, n);
  const gram = multiplyTransposed(seen, places, n, basis, places);
  const cross = multiplyTransposed(weights, outputs, n, seen, places);
  const variance = rowProducts(multiplyTransposed(weights, outputs, n, covariance, n), weights, outputs);
  const known = new Map<number, { readonly second: Float64Array; readonly error: number }>();
  const solve = (rank: number): { readonly second: Float64Array; readonly error: number } => {
    const found = known.get(rank);
    if (found !== undefined) return found;
    const size = rank * taps.second;
    const keep = Array.from({ length: size }, (_, i) => i);
    const g = principal(gram, places, keep);
    const x = columns(cross, outputs, places, keep);
    const start = toKernel(plain, outputs, taps.second, rank, count);
    // ridge towards the start: A = A0 + (X - A0 G)(G + ridge)^-1
    const rest = multiplyTransposed(start, outputs, size, g, size).map((v, i) => x[i]! - v);
    const change = solveRows(ridgedCholesky(g, size, 1e-4).factor, size, rest, outputs);
    const second = start.map((v, i) => v + change[i]!);
    const explained = multiplyTransposed(second, outputs, size, g, size);
    let [lost, total] = [0, 0];
    for (let o = 0; o < outputs; o++) {
      const weight = (layer.scale?.[o] ?? 1) ** 2;
      let error = variance[o]!;
      for (let i = o * size; i < (o + 1) * size; i++) error += second[i]! * (explained[i]! - 2 * x[i]!);
      lost += weight * error;
      total += weight * variance[o]!;
    }
    const made = { second, error: total > 0 ? Math.max(0, lost / total) : 0 };
    known.set(rank, made);
    return made;
  };
  return { error: (rank) => solve(rank).error, second: (rank) => solve(rank).second };
}

function rowProducts(a: Float64Array, b: Float64Array, rows: number): Float64Array {
  const n = a.length / rows;
  return Float64Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let i = r * n; i < (r + 1) * n; i++) sum += a[i]! * b[i]!;
    return sum;
  });
}

/** (W - W') · mean of the inputs, by output. */
function meanShift(
  layer: FactorLayer,
  taps: Taps,
  first: Float64Array,
  second: Float64Array,
  rank: number,
): Float64Array {
  const { outputs, channels, moments, weights } = layer;
  const shift = new Float64Array(outputs);
  if (moments === undefined) return shift;
  const mean = (c: number, t: number): number => moments.mean[moments.kind === 'exact' ? c * taps.all + t : c]!;
  // mean of (feature, second tap)
  const seen = new Float64Array(rank * taps.second);
  for (let q = 0; q < rank; q++) {
    for (let c = 0; c < channels; c++) {
      for (let t = 0; t < taps.all; t++) {
        const at = q * taps.second + taps.inSecond[t]!;
        seen[at] = seen[at]! + first[(q * channels + c) * taps.first + taps.inFirst[t]!]! * mean(c, t);
      }
    }
  }
  for (let o = 0; o < outputs; o++) {
    let sum = 0;
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps.all; t++) sum += weights[(o * channels + c) * taps.all + t]! * mean(c, t);
    for (let i = 0; i < seen.length; i++) sum -= second[o * seen.length + i]! * seen[i]!;
    shift[o] = sum;
  }
  return shift;
}
