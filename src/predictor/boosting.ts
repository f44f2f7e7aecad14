// Gradient boosting of regression trees for the squared error (Friedman 2001, 2002): each tree fits what is left, on a share of the
// rows and columns, and counts a little.
import type { Rng } from '../rng.js';
import { attribute, columnsOf, growTree, leafOf, type Tree } from './tree.js';

export interface BoostOptions {
  readonly rng: Rng;
  readonly steps: number;
  /** How much of each tree counts. */
  readonly rate: number;
  readonly depth: number;
  /** Fewest rows of a leaf. */
  readonly leaf: number;
  /** Share of the rows that each tree sees. */
  readonly rows: number;
  /** Share of the columns that each split may choose from. */
  readonly columns: number;
}

export interface Boosted {
  predict(row: ArrayLike<number>): number;
  /** How much each column moved the prediction of this row away from `base`. */
  explain(row: ArrayLike<number>): { readonly base: number; readonly columns: Float64Array };
}

/** Rows hold finite numbers. */
export function fitBoosting(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  options: BoostOptions,
): Boosted {
  const n = rows.length;
  const data = columnsOf(rows);
  let mean = 0;
  for (let i = 0; i < n; i++) mean += targets[i]! / n;
  const left = Float64Array.from({ length: n }, (_, i) => targets[i]! - mean);
  const trees: Tree[] = [];
  for (let step = 0; step < options.steps; step++) {
    const rng = options.rng.fork(`step/${step}`);
    const tree = growTree(data, left, drawRows(n, options.rows, rng), { ...options, randomThresholds: false, rng });
    trees.push(tree);
    for (let i = 0; i < n; i++) left[i]! -= options.rate * tree.value[leafOf(tree, rows[i]!)]!;
  }
  return {
    predict: (row) => trees.reduce((sum, tree) => sum + options.rate * tree.value[leafOf(tree, row)]!, mean),
    explain(row) {
      const columns = new Float64Array(row.length);
      let base = mean;
      for (const tree of trees) {
        base += options.rate * tree.value[0]!;
        attribute(tree, row, columns, options.rate);
      }
      return { base, columns };
    },
  };
}

/** Weights that are 1 for a random share of the rows, at least one of them. */
export function drawRows(n: number, share: number, rng: Rng): Uint8Array {
  if (share >= 1) return new Uint8Array(n).fill(1);
  const weights = new Uint8Array(n);
  for (const i of rng.sample(n, Math.max(1, Math.round(share * n)))) weights[i] = 1;
  return weights;
}
