// Random forests of regression trees (Breiman 2001), by default as scikit-learn grows them: 100 trees on bootstrap samples, every
// column at every split, grown until leaves are pure. Random thresholds make them extremely randomised trees (Geurts et al. 2006).
// Out-of-bag predictions come for free and stand in for leave-one-out.
import type { Rng } from '../rng.js';
import { attribute, columnsOf, growTree, leafOf, type Tree } from './tree.js';

export interface Forest {
  /** Prediction of each training sample by the trees that did not see it; the targets' mean where all saw it. */
  readonly outOfBag: readonly number[];
  predict(row: ArrayLike<number>): { readonly mean: number; readonly deviation: number };
  /** How much each column moved the prediction of this row away from `base` (they add up to the prediction). */
  explain(row: ArrayLike<number>): { readonly base: number; readonly columns: Float64Array };
}

export interface ForestOptions {
  readonly rng: Rng;
  /** 100 when absent. */
  readonly trees?: number;
  /** Fewest samples of a leaf, repeated ones counted as often as they were drawn; 1 when absent. */
  readonly leaf?: number;
  /** Share of the columns that each split may choose from; 1 when absent. */
  readonly columns?: number;
  readonly randomThresholds?: boolean;
}

/** Rows hold finite numbers. */
export function fitForest(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  options: ForestOptions,
): Forest {
  const n = rows.length;
  const data = columnsOf(rows);
  const sums = new Float64Array(n);
  const counts = new Int32Array(n);
  const trees: Tree[] = [];
  const wanted = options.trees ?? 100;
  for (let t = 0; t < wanted; t++) {
    const rng = options.rng.fork(`tree/${t}`);
    const drawn = new Int32Array(n);
    for (let i = 0; i < n; i++) drawn[rng.int(n)]!++;
    const tree = growTree(data, targets, drawn, {
      leaf: options.leaf ?? 1,
      depth: Infinity,
      columns: options.columns ?? 1,
      randomThresholds: options.randomThresholds ?? false,
      rng,
    });
    trees.push(tree);
    for (let i = 0; i < n; i++) {
      if (drawn[i]! > 0) continue;
      sums[i]! += tree.value[leafOf(tree, rows[i]!)]!;
      counts[i]!++;
    }
  }
  let overall = 0;
  for (let i = 0; i < n; i++) overall += targets[i]! / n;
  return {
    outOfBag: Array.from({ length: n }, (_, i) => (counts[i]! > 0 ? sums[i]! / counts[i]! : overall)),
    predict(row) {
      const votes = trees.map((tree) => tree.value[leafOf(tree, row)]!);
      // summed before it is divided: the mean of equal votes is that vote
      const mean = votes.reduce((sum, v) => sum + v, 0) / votes.length;
      const variance = votes.reduce((sum, v) => sum + (v - mean) ** 2, 0) / votes.length;
      return { mean, deviation: Math.sqrt(variance) };
    },
    explain(row) {
      const columns = new Float64Array(row.length);
      let base = 0;
      for (const tree of trees) {
        base += tree.value[0]! / trees.length;
        attribute(tree, row, columns, 1 / trees.length);
      }
      return { base, columns };
    },
  };
}
