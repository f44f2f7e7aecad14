// Labels as the network learns them (AIO-P, arXiv 2211.17228; methods.md §1.4): divided by a factor of the graph's work, so that what
// is left is efficiency, then standardised per family. Work is MACs; statistics come from training rows only, or are declared.
import { PareError } from '../errors.js';

/**
 * `stand-flops` is the paper's; `stand` leaves the work out; `none` leaves labels as they are. `scores` are normal scores: a few
 * networks that failed to train do not stretch the scale on which the many others differ.
 */
export type LabelMode = 'stand-flops' | 'stand' | 'none' | 'scores';

export interface LabelTransform {
  readonly mode: LabelMode;
  /** Of the labels divided by {@link workFactor} (of the labels themselves in the other modes). */
  readonly mean: number;
  /** Population deviation, above 0. */
  readonly deviation: number;
  /** Of `scores` only: labels at equal steps of the normal distribution from -BOUND to BOUND, ascending. */
  readonly knots?: readonly number[] | undefined;
}

const KNOTS = 41;
const BOUND = 2.5;

/** c(F) = log10(F + 1) + 1 with F in 10^9 MACs. */
export function workFactor(macs: number): number {
  return Math.log10(macs / 1e9 + 1) + 1;
}

/** Learns mean and deviation from labels and the MACs of their graphs. */
export function fitLabels(labels: ArrayLike<number>, macs: ArrayLike<number>, mode: LabelMode): LabelTransform {
  if (mode === 'none') return { mode, mean: 0, deviation: 1 };
  if (labels.length === 0) throw new PareError('labels cannot be standardised: there is not one training row');
  const q = Array.from(labels, (y, i) => (mode === 'stand-flops' ? y / workFactor(macs[i]!) : y));
  const mean = q.reduce((sum, v) => sum + v, 0) / q.length;
  const variance = q.reduce((sum, v) => sum + (v - mean) ** 2, 0) / q.length;
  // equal labels have no scale of their own
  const moments = { mode, mean, deviation: variance > 0 ? Math.sqrt(variance) : 1 };
  return mode === 'scores' ? { ...moments, knots: knotsOf(q) } : moments;
}

function knotsOf(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const last = sorted.length - 1;
  return Array.from({ length: KNOTS }, (_, i) => {
    const at = normalShare((2 * BOUND * i) / (KNOTS - 1) - BOUND) * last;
    const below = Math.floor(at);
    return sorted[below]! + (at - below) * (sorted[Math.min(last, below + 1)]! - sorted[below]!);
  });
}

/** Share of the normal distribution below z, to three digits (logistic with a cubic term, Page 1977). */
function normalShare(z: number): number {
  return 1 / (1 + Math.exp(-z * (1.5976 + 0.070565992 * z * z)));
}

/** Between the knots linear, beyond the last ones constant; equal knots give their middle. */
function scoreOf(knots: readonly number[], value: number): number {
  let low = 0;
  while (low < knots.length && knots[low]! < value) low++;
  let high = knots.length - 1;
  while (high >= 0 && knots[high]! > value) high--;
  // low is the first knot not below, high the last knot not above
  if (low > high) {
    if (high < 0) return -BOUND;
    if (low === knots.length) return BOUND;
    const between = (value - knots[high]!) / (knots[low]! - knots[high]!);
    return placeOf(high + between);
  }
  return placeOf((low + high) / 2);
}

function placeOf(index: number): number {
  return (2 * BOUND * index) / (KNOTS - 1) - BOUND;
}

/** The label as the network sees it. */
export function transformLabel(t: LabelTransform, label: number, macs: number): number {
  if (t.knots !== undefined) return scoreOf(t.knots, label);
  return ((t.mode === 'stand-flops' ? label / workFactor(macs) : label) - t.mean) / t.deviation;
}

/** The network's output as a label. */
export function restoreLabel(t: LabelTransform, output: number, macs: number): number {
  if (t.knots !== undefined) {
    const at = Math.min(KNOTS - 1, Math.max(0, ((output + BOUND) * (KNOTS - 1)) / (2 * BOUND)));
    const below = Math.floor(at);
    const next = Math.min(KNOTS - 1, below + 1);
    return t.knots[below]! + (at - below) * (t.knots[next]! - t.knots[below]!);
  }
  const q = output * t.deviation + t.mean;
  return t.mode === 'stand-flops' ? q * workFactor(macs) : q;
}
