// A small random forest of regression trees with random thresholds (Breiman 2001; extremely randomised trees, Geurts et al. 2006).
// Out-of-bag predictions come for free and stand in for leave-one-out.
import type { Rng } from '../rng.js';

export interface Forest {
  /** Prediction of each training sample by the trees that did not see it; the targets' mean where all saw it. */
  readonly outOfBag: readonly number[];
  predict(row: ArrayLike<number>): { readonly mean: number; readonly deviation: number };
}

export interface ForestOptions {
  readonly trees: number;
  /** Fewest samples of a leaf. */
  readonly leaf: number;
  readonly rng: Rng;
}

type Tree =
  | { readonly value: number }
  | { readonly feature: number; readonly threshold: number; readonly low: Tree; readonly high: Tree };

export function fitForest(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  options: ForestOptions,
): Forest {
  const n = rows.length;
  const width = rows[0]?.length ?? 0;
  const sums = new Float64Array(n);
  const counts = new Int32Array(n);
  const trees: Tree[] = [];
  for (let t = 0; t < options.trees; t++) {
    const rng = options.rng.fork(`tree/${t}`);
    const drawn = Array.from({ length: n }, () => rng.int(n));
    const tree = grow(rows, targets, drawn, width, options.leaf, rng);
    trees.push(tree);
    const inBag = new Set(drawn);
    for (let i = 0; i < n; i++) {
      if (inBag.has(i)) continue;
      sums[i]! += descend(tree, rows[i]!);
      counts[i]!++;
    }
  }
  const overall = mean(
    targets,
    Array.from({ length: n }, (_, i) => i),
  );
  return {
    outOfBag: Array.from({ length: n }, (_, i) => (counts[i]! > 0 ? sums[i]! / counts[i]! : overall)),
    predict(row) {
      const votes = trees.map((tree) => descend(tree, row));
      const center = votes.reduce((s, v) => s + v, 0) / votes.length;
      const spread = votes.reduce((s, v) => s + (v - center) ** 2, 0) / votes.length;
      return { mean: center, deviation: Math.sqrt(spread) };
    },
  };
}

function grow(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  samples: readonly number[],
  width: number,
  leaf: number,
  rng: Rng,
): Tree {
  const split = samples.length >= 2 * leaf ? bestSplit(rows, targets, samples, width, leaf, rng) : undefined;
  if (split === undefined) return { value: mean(targets, samples) };
  const { feature, threshold } = split;
  const low = samples.filter((i) => rows[i]![feature]! <= threshold);
  const high = samples.filter((i) => rows[i]![feature]! > threshold);
  return {
    feature,
    threshold,
    low: grow(rows, targets, low, width, leaf, rng),
    high: grow(rows, targets, high, width, leaf, rng),
  };
}

/** One random threshold for each of half the features; the one that leaves the least variance. */
function bestSplit(
  rows: readonly ArrayLike<number>[],
  targets: ArrayLike<number>,
  samples: readonly number[],
  width: number,
  leaf: number,
  rng: Rng,
): { feature: number; threshold: number } | undefined {
  let best: { feature: number; threshold: number; gain: number } | undefined;
  const center = mean(targets, samples);
  for (const feature of rng.sample(width, Math.ceil(width / 2))) {
    let min = Infinity;
    let max = -Infinity;
    for (const i of samples) {
      const x = rows[i]![feature]!;
      if (x < min) min = x;
      if (x > max) max = x;
    }
    if (!(max > min)) continue;
    const threshold = min + rng.next() * (max - min);
    let count = 0;
    let sum = 0;
    let rest = 0;
    for (const i of samples) {
      const y = targets[i]! - center;
      if (rows[i]![feature]! <= threshold) {
        count++;
        sum += y;
      } else rest += y;
    }
    const others = samples.length - count;
    if (count < leaf || others < leaf) continue;
    const gain = (sum * sum) / count + (rest * rest) / others;
    if (best === undefined || gain > best.gain) best = { feature, threshold, gain };
  }
  return best !== undefined && best.gain > 1e-18 ? best : undefined;
}

function descend(tree: Tree, row: ArrayLike<number>): number {
  let at = tree;
  while ('feature' in at) at = row[at.feature]! <= at.threshold ? at.low : at.high;
  return at.value;
}

function mean(values: ArrayLike<number>, at: readonly number[]): number {
  let sum = 0;
  for (const i of at) sum += values[i]!;
  return at.length === 0 ? 0 : sum / at.length;
}
