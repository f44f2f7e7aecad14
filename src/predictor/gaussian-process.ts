// Gaussian process regression (Rasmussen and Williams 2006) with a Matern-3/2 and a linear kernel over two blocks of features and a
// quadratic one over sizes, and what it would say of every group of rows had the group been left out, in closed form (ibid. 5.12 for
// groups): one factorisation for all.
import { cholesky, inverseFromCholesky } from '../recovery/linear-algebra.js';

export interface ProcessOptions {
  /** Length scales of the first two blocks, in standard deviations of a typical column. */
  readonly lengths: readonly [number, number];
  /** Variance of the noise over that of the targets. */
  readonly noise: number;
}

/**
 * A row in blocks: what the network is, how it was trained, and its size in logarithms. Accuracy bends with size (scaling laws), and the
 * curve goes on to networks that are smaller or larger than all others, where a Matern kernel returns to the mean.
 */
export type Blocks = readonly [Float64Array, Float64Array, Float64Array];

/** For every row, what is predicted from the rows of all other groups. Targets in their own unit. */
export function leaveGroupsOut(
  rows: readonly Blocks[],
  targets: readonly (readonly number[])[],
  groups: readonly string[],
  options: ProcessOptions,
): Float64Array[] {
  const n = rows.length;
  const [graph, recipe, size] = ([0, 1, 2] as const).map((b) => standardised(rows.map((r) => r[b])));
  const blocks = rows.map((_, i): Blocks => [graph![i]!, recipe![i]!, size![i]!]);
  const k = Array.from({ length: n }, () => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = kernel(blocks[i]!, blocks[j]!, options);
      k[i]![j] = k[j]![i] = value + (i === j ? options.noise : 0);
    }
  }
  const inverse = invert(k);
  const members = new Map<string, number[]>();
  groups.forEach((g, i) => members.set(g, [...(members.get(g) ?? []), i]));
  return targets.map((y) => {
    const mean = y.reduce((s, v) => s + v, 0) / n;
    const deviation = Math.sqrt(y.reduce((s, v) => s + (v - mean) ** 2, 0) / n) || 1;
    const scaled = y.map((v) => (v - mean) / deviation);
    const weights = inverse.map((row) => row.reduce((s, v, j) => s + v * scaled[j]!, 0));
    const found = new Float64Array(n);
    for (const group of members.values()) {
      const part = group.map((i) => Float64Array.from(group, (j) => inverse[i]![j]!));
      const back = invert(part);
      group.forEach((i, a) => {
        const error = group.reduce((s, j, b) => s + back[a]![b]! * weights[j]!, 0);
        found[i] = mean + deviation * (scaled[i]! - error);
      });
    }
    return found;
  });
}

function kernel(a: Blocks, b: Blocks, { lengths }: ProcessOptions): number {
  let far = 0;
  let along = 0;
  for (const which of [0, 1] as const) {
    const [x, y] = [a[which], b[which]];
    let squares = 0;
    for (let f = 0; f < x.length; f++) squares += (x[f]! - y[f]!) ** 2;
    far += squares / Math.max(1, x.length) / lengths[which] ** 2;
    along += (which === 0 ? 0.5 : 1) * dot(x, y);
  }
  const r = Math.sqrt(3 * far);
  const size = dot(a[2], b[2]);
  // the constant stands for the unknown mean
  return 3 * (1 + r) * Math.exp(-r) + along + size + size ** 2 + 10;
}

/** Mean of the products. */
function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let f = 0; f < x.length; f++) sum += x[f]! * y[f]!;
  return sum / Math.max(1, x.length);
}

function standardised(rows: readonly Float64Array[]): Float64Array[] {
  const width = rows[0]!.length;
  const mean = new Float64Array(width);
  const square = new Float64Array(width);
  for (const row of rows) row.forEach((v, f) => (mean[f]! += v / rows.length));
  for (const row of rows) row.forEach((v, f) => (square[f]! += (v - mean[f]!) ** 2 / rows.length));
  return rows.map((row) => row.map((v, f) => (v - mean[f]!) / (Math.sqrt(square[f]!) || 1)));
}

/** The inverse of a symmetric positive definite matrix. */
function invert(matrix: readonly Float64Array[]): Float64Array[] {
  const n = matrix.length;
  const flat = new Float64Array(n * n);
  matrix.forEach((row, i) => flat.set(row, i * n));
  const factor = cholesky(flat, n);
  if (factor === undefined) throw new RangeError('invert: the matrix is not positive definite');
  const inverse = inverseFromCholesky(factor, n);
  return matrix.map((_, i) => inverse.subarray(i * n, (i + 1) * n));
}
