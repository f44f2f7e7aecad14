// Why a predictor foretells what it foretells: Shapley values (Strumbelj & Kononenko 2014) of the signals against a reference row,
// estimated over orders that come in pairs, forwards and backwards. They add up to the difference between both predictions exactly.
import type { Rng } from '../rng.js';
import type { PredictorInput } from './predictor.js';

/** What one signal contributes. */
export interface Effect {
  readonly signal: string;
  readonly value: number;
  /** Of the networks that it is compared with. */
  readonly mean: number;
  /** In the metric's unit: how much more is foretold because the signal is what it is, and not the mean. */
  readonly effect: number;
}

export interface Explanation {
  readonly foretold: number;
  /** Of a network with the mean of every signal. */
  readonly reference: number;
  /** Largest first; signals without effect are left out. */
  readonly effects: readonly Effect[];
}

export interface ExplainOptions {
  readonly foretell: (row: Float64Array) => number;
  /** A candidate's signals as the predictor reads them. */
  readonly rowOf: (input: PredictorInput) => Float64Array;
  /** The networks whose mean is the reference. */
  readonly among: readonly PredictorInput[];
  readonly rng: Rng;
  /** Pairs of orders. */
  readonly pairs?: number;
}

export function explainAll(candidates: readonly PredictorInput[], options: ExplainOptions): Explanation[] {
  const { foretell, rowOf, among, rng, pairs = 6 } = options;
  const names = [...(candidates[0]?.signals.keys() ?? [])];
  const rows = among.map(rowOf);
  const reference = names.map((_, f) => rows.reduce((sum, r) => sum + r[f]!, 0) / rows.length);
  const means = names.map((name) => among.reduce((sum, c) => sum + (c.signals.get(name) ?? 0), 0) / among.length);
  return candidates.map((c): Explanation => {
    const start = Float64Array.from(reference);
    const row = rowOf(c);
    const effects = shapley(foretell, row, start, rng, pairs);
    return {
      foretold: foretell(row),
      reference: foretell(start),
      effects: names
        .map((signal, f) => ({ signal, value: c.signals.get(signal)!, mean: means[f]!, effect: effects[f]! }))
        .filter((e) => e.effect !== 0)
        .toSorted((a, b) => Math.abs(b.effect) - Math.abs(a.effect)),
    };
  });
}

/** Sums to foretell(row) - foretell(start). */
export function shapley(
  foretell: (row: Float64Array) => number,
  row: Float64Array,
  start: Float64Array,
  rng: Rng,
  pairs: number,
): Float64Array {
  const effects = new Float64Array(row.length);
  const differing = [...row.keys()].filter((f) => row[f] !== start[f]);
  for (let p = 0; p < pairs; p++) {
    const order = rng.fork(`order/${p}`).shuffle(differing);
    for (const way of [order, order.toReversed()]) {
      const at = start.slice();
      let before = foretell(at);
      for (const f of way) {
        at[f] = row[f]!;
        const after = foretell(at);
        effects[f]! += (after - before) / (2 * pairs);
        before = after;
      }
    }
  }
  return effects;
}
