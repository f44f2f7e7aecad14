// Ranks the networks of a space that nobody has measured anything of: a declared prior (what is larger in every respect is better) and
// a linear form learnt from how networks of other spaces differ within their space. Both are seen relative to the pool to be ranked.
import { cholesky, solveRows } from '../recovery/linear-algebra.js';
import { graphFeatureNames } from './graph-features.js';

/** Features of the prior, all with the same weight. */
const PRIOR = ['macs', 'params', 'activations', 'spatial', 'longest/activation'];
/** The prior's say beside the learnt form's 1. */
const PRIOR_WEIGHT = 2;
const RIDGE = 0.3;
/** A feature that varies less than this within spaces has taught nothing. */
const LEAST_DEVIATION = 0.02;

/** Columns that the learnt form reads: sizes, counts, paths and work by kind of operator, not where they stand. */
function columns(): number[] {
  return graphFeatureNames().flatMap((name, i) =>
    i < LEADING || /^(count|longest|shortest|work|share)\/[^@]*$/.test(name) ? [i] : [],
  );
}
const LEADING = 11;

export interface RankRow {
  readonly space: string;
  readonly features: Float32Array;
}

/** Ridge regression of how good a row is within its space on how its features differ from the space's mean; spaces weigh the same. */
export function fitRank(rows: readonly RankRow[], goodness: readonly number[]): Float32Array {
  const spaces = new Map<string, number[]>();
  rows.forEach((r, i) => {
    const list = spaces.get(r.space);
    if (list === undefined) spaces.set(r.space, [i]);
    else list.push(i);
  });
  const own = columns();
  const p = own.length;
  const gram = new Float64Array(p * p);
  const product = new Float64Array(p);
  for (const list of spaces.values()) {
    const share = 1 / (list.length * spaces.size);
    const centre = own.map((c) => list.reduce((sum, i) => sum + rows[i]!.features[c]!, 0) / list.length);
    for (const i of list) {
      const x = own.map((c, a) => rows[i]!.features[c]! - centre[a]!);
      for (let a = 0; a < p; a++) {
        product[a]! += share * x[a]! * goodness[i]!;
        for (let b = 0; b < p; b++) gram[a * p + b]! += share * x[a]! * x[b]!;
      }
    }
  }
  // in units of each feature's deviation within spaces
  const scale = own.map((_, a) => {
    const deviation = Math.sqrt(gram[a * p + a]!);
    return deviation < LEAST_DEVIATION ? 0 : 1 / deviation;
  });
  for (let a = 0; a < p; a++) {
    product[a]! *= scale[a]!;
    for (let b = 0; b < p; b++) gram[a * p + b]! *= scale[a]! * scale[b]!;
    gram[a * p + a]! += RIDGE;
  }
  const factor = cholesky(gram, p);
  // the ridge makes it positive definite
  if (factor === undefined) throw new Error('the ranking has no solution');
  const solution = solveRows(factor, p, product, 1);
  const weights = new Float32Array(graphFeatureNames().length);
  own.forEach((c, a) => (weights[c] = solution[a]! * scale[a]!));
  return weights;
}

/** Scores that rank the pool, standardised over it. */
export function rankScores(pool: readonly Float32Array[], weights: Float32Array): Float64Array {
  const names = graphFeatureNames();
  const prior = PRIOR.map((name) => names.indexOf(name)).map((c) => standardized(pool.map((f) => f[c]!)));
  const said = standardized(pool.map((_, i) => prior.reduce((sum, z) => sum + z[i]!, 0)));
  const learnt = standardized(pool.map((f) => weights.reduce((sum, w, c) => (w === 0 ? sum : sum + w * f[c]!), 0)));
  return standardized(Array.from(said, (v, i) => PRIOR_WEIGHT * v + learnt[i]!));
}

/** Mean 0 and deviation 1; zeros when all are equal. */
export function standardized(values: ArrayLike<number>): Float64Array {
  const n = values.length;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i]! / n;
  let variance = 0;
  for (let i = 0; i < n; i++) variance += (values[i]! - mean) ** 2 / n;
  const scale = variance > 1e-12 * Math.max(1, mean * mean) ? 1 / Math.sqrt(variance) : 0;
  return Float64Array.from(values, (v) => (v - mean) * scale);
}
