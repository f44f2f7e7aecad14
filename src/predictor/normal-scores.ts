// Labels as normal scores (van der Waerden) and back: what a model of ranks with normal errors wants to be fed. Accuracies are skewed,
// a few networks fail altogether; their ranks are not. Between the labels seen the way back is a line, beyond them the line goes on.
import { ranks } from './correlation.js';

export interface NormalScores {
  readonly scores: readonly number[];
  /** Monotone. */
  readonly label: (score: number) => number;
}

export function normalScores(labels: readonly number[]): NormalScores {
  const n = labels.length;
  const scores = Array.from(ranks(labels), (rank) => probit((rank - 0.5) / n));
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => scores[a]! - scores[b]!);
  // one knot for each distinct label
  const at: number[] = [];
  const value: number[] = [];
  for (const i of order) {
    if (at.length > 0 && value.at(-1) === labels[i]) continue;
    at.push(scores[i]!);
    value.push(labels[i]!);
  }
  const last = at.length - 1;
  // beyond the ends the mean slope of the outer quarter
  const slope = (from: number, to: number): number =>
    to > from ? (value[to]! - value[from]!) / (at[to]! - at[from]!) : 0;
  const quarter = Math.max(1, Math.floor(last / 4));
  const below = slope(0, Math.min(last, quarter));
  const above = slope(Math.max(0, last - quarter), last);
  return {
    scores,
    label(score) {
      if (score <= at[0]!) return value[0]! + (score - at[0]!) * below;
      if (score >= at[last]!) return value[last]! + (score - at[last]!) * above;
      let low = 0;
      let high = last;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (at[middle]! <= score) low = middle;
        else high = middle;
      }
      const share = (score - at[low]!) / (at[high]! - at[low]!);
      return value[low]! + share * (value[high]! - value[low]!);
    },
  };
}

/** The standard normal's quantile for p in (0, 1), by bisection of its distribution function; to 1e-9. */
export function probit(p: number): number {
  let low = -9;
  let high = 9;
  for (let i = 0; i < 36; i++) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(Z <= z), by the continued fraction of the tail, or the series near 0 (Abramowitz and Stegun 26.2.10, 26.2.14). */
function normalShare(z: number): number {
  const x = Math.abs(z);
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  let inner: number;
  if (x < 3) {
    let term = x;
    inner = x;
    for (let k = 1; k < 60; k++) {
      term *= (x * x) / (2 * k + 1);
      inner += term;
    }
    inner = 0.5 + density * inner;
  } else {
    let fraction = 0;
    for (let k = 40; k >= 1; k--) fraction = k / (x + fraction);
    inner = 1 - density / (x + fraction);
  }
  return z >= 0 ? inner : 1 - inner;
}
