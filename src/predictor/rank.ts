// Ranks the networks of a space that nobody has measured anything of: a declared prior (more work, more
// parameters and a longer way are better) and a linear form learnt from how networks of other spaces differ within their space, as far
// as the two agree. Both are seen relative to the pool to be ranked.
import { cholesky, solveRows } from '../recovery/linear-algebra.js';
import { graphFeatureNames } from './graph-features.js';

/** Features of the prior, all with the same weight. */
const PRIOR = ['macs', 'params', 'longest/activation'];
/** The learnt form counts as far as it agrees with the prior on the pool: from this correlation on, up to this weight. */
const AGREEMENT = 0.8;
const LEARNT_WEIGHT = 8;
const RIDGE = 3;
/** A feature that varies less than this within spaces has taught nothing. */
const LEAST_DEVIATION = 0.02;

/** Columns that the learnt form reads: sizes, and counts, longest paths and work by kind of operator, not where they stand. */
function columns(): number[] {
  return graphFeatureNames().flatMap((name, i) =>
    /^(macs|params|nodes|weighted|depth|activations|spatial|spatial path)$/.test(name) ||
    /^(count|longest|work)\/(pointwise|conv|large|depthwise|activation)$/.test(name)
      ? [i]
      : [],
  );
}

export interface RankRow {
  readonly space: string;
  /** Rows are compared within their space, and there among those with the same head; the same for all when absent. */
  readonly head?: string;
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
    const heads = new Map<string, { readonly rows: number[] }>();
    for (const i of list) {
      const head = rows[i]!.head ?? '';
      const known = heads.get(head);
      if (known === undefined) heads.set(head, { rows: [i] });
      else known.rows.push(i);
    }
    const centres = new Map(
      [...heads].map(([head, { rows: same }]) => [
        head,
        own.map((c) => same.reduce((sum, i) => sum + rows[i]!.features[c]!, 0) / same.length),
      ]),
    );
    for (const i of list) {
      const centre = centres.get(rows[i]!.head ?? '')!;
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
  const agreement = said.reduce((sum, v, i) => sum + (v * learnt[i]!) / said.length, 0);
  // a form learnt in spaces where size meant something else contradicts the prior, and is then not to be trusted here
  const weight = LEARNT_WEIGHT * Math.max(0, (agreement - AGREEMENT) / (1 - AGREEMENT));
  return standardized(Array.from(said, (v, i) => v + weight * learnt[i]!));
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
