// Gaussian process regression (Rasmussen and Williams 2006) with a Matern-3/2 and a linear kernel over two blocks of features, and what
// it would say of every group of rows had the group been left out, in closed form (ibid. 5.12 for groups): one factorisation for all.
import { cholesky, inverseFromCholesky } from '../recovery/linear-algebra.js';

export interface ProcessOptions {
  /** Length scales of the two blocks, in standard deviations of a typical column. */
  readonly lengths: readonly [number, number];
  /** Variance of the noise over that of the targets. */
  readonly noise: number;
}

/** A row in two blocks: what the network is, how it was trained. */
export type Blocks = readonly [Float64Array, Float64Array];

/** For every row, what is predicted from the rows of all other groups. Targets in their own unit. */
export function leaveGroupsOut(
  rows: readonly Blocks[],
  targets: readonly (readonly number[])[],
  groups: readonly string[],
  options: ProcessOptions,
): Float64Array[] {
  const n = rows.length;
  const blocks = [standardised(rows.map((r) => r[0])), standardised(rows.map((r) => r[1]))] as const;
  const k = Array.from({ length: n }, () => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const value = kernel([blocks[0][i]!, blocks[1][i]!], [blocks[0][j]!, blocks[1][j]!], options);
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
    let dot = 0;
    for (let f = 0; f < x.length; f++) {
      squares += (x[f]! - y[f]!) ** 2;
      dot += x[f]! * y[f]!;
    }
    far += squares / Math.max(1, x.length) / lengths[which] ** 2;
    along += ((which === 0 ? 0.5 : 1) * dot) / Math.max(1, x.length);
  }
  const r = Math.sqrt(3 * far);
  // the constant stands for the unknown mean
  return 3 * (1 + r) * Math.exp(-r) + along + 10;
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
