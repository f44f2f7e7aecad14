// Bayesian linear regression whose prior width and noise are chosen by the evidence (MacKay 1992; Bishop, PRML 3.5). For tens of
// samples and tens of features. Features are standardised here; constant ones get weight 0.

export interface RidgeBelief {
  readonly mean: number;
  /** Standard deviation of the predicted mean, noise not included. */
  readonly deviation: number;
}

export interface BayesianRidge {
  /** Standard deviation of what the linear model leaves unexplained. */
  readonly noise: number;
  /** What each training sample would have been predicted as, had it been left out. */
  readonly leaveOneOut: readonly number[];
  predict(row: ArrayLike<number>): RidgeBelief;
}

const ROUNDS = 60;

export function fitBayesianRidge(rows: readonly ArrayLike<number>[], targets: ArrayLike<number>): BayesianRidge {
  const n = rows.length;
  const width = rows[0]?.length ?? 0;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += targets[i]! / n;
  let variance = 0;
  for (let i = 0; i < n; i++) variance += (targets[i]! - mean) ** 2 / n;
  const scaler = standardise(rows, width);
  const x = rows.map((row) => scaler.apply(row));
  if (variance < 1e-18 || scaler.kept.length === 0) {
    const noise = Math.sqrt(variance);
    const others = Array.from({ length: n }, (_, i) => (n > 1 ? (mean * n - targets[i]!) / (n - 1) : mean));
    return { noise, leaveOneOut: others, predict: () => ({ mean, deviation: noise / Math.sqrt(Math.max(1, n)) }) };
  }
  const y = Float64Array.from({ length: n }, (_, i) => targets[i]! - mean);

  // Work in the n x n Gram matrix K = X X^T: its eigenvectors diagonalise every (alpha, beta) at once.
  const gram = x.map((a) => Float64Array.from(x, (b) => dot(a, b)));
  const { values, vectors } = eigenSymmetric(gram);
  const projected = vectors.map((v) => dot(v, y));
  let prior = 1 / Math.max(1, scaler.kept.length); // variance of a weight, relative to the target's
  let noise2 = 0.1;
  prior *= variance;
  noise2 *= variance;
  for (let round = 0; round < ROUNDS; round++) {
    let effective = 0; // number of well-determined directions
    let weight2 = 0;
    let residual2 = 0;
    for (let k = 0; k < n; k++) {
      const lambda = Math.max(0, values[k]!);
      const shrink = (prior * lambda) / (prior * lambda + noise2);
      effective += shrink;
      if (lambda > 1e-12) weight2 += (shrink * projected[k]!) ** 2 / lambda;
      residual2 += ((1 - shrink) * projected[k]!) ** 2;
    }
    if (effective < 1e-9) break;
    prior = clamp(weight2 / effective, variance * 1e-9, variance * 1e3);
    noise2 = clamp(residual2 / Math.max(n - 1 - effective, 1), variance * 1e-6, variance);
  }

  // dual = (prior K + noise I)^-1 y; weights = prior X^T dual
  const inverse = values.map((v) => 1 / (prior * Math.max(0, v) + noise2));
  const dual = new Float64Array(n);
  const diagonal = new Float64Array(n);
  vectors.forEach((v, k) => {
    for (let i = 0; i < n; i++) {
      dual[i]! += inverse[k]! * projected[k]! * v[i]!;
      diagonal[i]! += inverse[k]! * v[i]! * v[i]!;
    }
  });
  const weights = new Float64Array(scaler.kept.length);
  for (let i = 0; i < n; i++) for (let j = 0; j < weights.length; j++) weights[j]! += prior * dual[i]! * x[i]![j]!;
  // Exact for fixed widths, the learnt mean included: the columns of X are centred, so 1 is an eigenvector of K with value 0.
  const leaveOneOut = Array.from(
    { length: n },
    (_, i) => targets[i]! - dual[i]! / Math.max(diagonal[i]! - 1 / (n * noise2), 1e-3 / noise2),
  );
  return {
    noise: Math.sqrt(noise2),
    leaveOneOut,
    predict(row) {
      const z = scaler.apply(row);
      const k = Float64Array.from(x, (b) => prior * dot(z, b));
      let explained = 0;
      vectors.forEach((v, i) => (explained += inverse[i]! * dot(v, k) ** 2));
      const deviation = Math.sqrt(Math.max(0, prior * dot(z, z) - explained) + noise2 / n);
      return { mean: mean + dot(weights, z), deviation };
    },
  };
}

interface Scaler {
  /** Columns that vary. */
  readonly kept: readonly number[];
  apply(row: ArrayLike<number>): Float64Array;
}

/** Mean 0 and deviation 1 over the rows, constant columns dropped; new rows are clamped to 6 deviations. */
function standardise(rows: readonly ArrayLike<number>[], width: number): Scaler {
  const means = new Float64Array(width);
  const deviations = new Float64Array(width);
  for (const row of rows) for (let j = 0; j < width; j++) means[j]! += row[j]! / rows.length;
  for (const row of rows) for (let j = 0; j < width; j++) deviations[j]! += (row[j]! - means[j]!) ** 2 / rows.length;
  const kept: number[] = [];
  for (let j = 0; j < width; j++) {
    deviations[j] = Math.sqrt(deviations[j]!);
    if (deviations[j]! > 1e-9 * (1 + Math.abs(means[j]!))) kept.push(j);
  }
  return {
    kept,
    apply: (row) => Float64Array.from(kept, (j) => clamp((row[j]! - means[j]!) / deviations[j]!, -6, 6)),
  };
}

/** Eigenvalues and eigenvectors (rows) of a small symmetric matrix, by cyclic Jacobi rotations. */
export function eigenSymmetric(matrix: readonly ArrayLike<number>[]): { values: number[]; vectors: Float64Array[] } {
  const n = matrix.length;
  const a = matrix.map((row) => Float64Array.from(row));
  const vectors = a.map((_, i) => Float64Array.from({ length: n }, (_unused, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    let all = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        all += a[i]![j]! ** 2;
        if (i !== j) off += a[i]![j]! ** 2;
      }
    }
    if (off <= 1e-22 * all) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, vectors, p, q);
  }
  return { values: a.map((row, i) => row[i]!), vectors };
}

function rotate(a: readonly Float64Array[], vectors: readonly Float64Array[], p: number, q: number): void {
  const apq = a[p]![q]!;
  if (apq === 0) return;
  const theta = (a[q]![q]! - a[p]![p]!) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (const row of a) {
    const x = row[p]!;
    const y = row[q]!;
    row[p] = c * x - s * y;
    row[q] = s * x + c * y;
  }
  for (const rows of [a, vectors]) {
    const x = rows[p]!;
    const y = rows[q]!;
    for (let k = 0; k < x.length; k++) {
      const u = x[k]!;
      const v = y[k]!;
      x[k] = c * u - s * v;
      y[k] = s * u + c * v;
    }
  }
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function clamp(x: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, x));
}
