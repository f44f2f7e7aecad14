// Labels as the network learns them (AIO-P, arXiv 2211.17228; methods.md §1.4): divided by a factor of the graph's work, so that what
// is left is efficiency, then standardised per family. Work is MACs; statistics come from training rows only, or are declared.
import { PareError } from '../errors.js';

/** `stand-flops` is the paper's; `stand` leaves the work out; `none` leaves labels as they are. */
export type LabelMode = 'stand-flops' | 'stand' | 'none';

export interface LabelTransform {
  readonly mode: LabelMode;
  /** Of the labels divided by {@link workFactor} (of the labels themselves in the other modes). */
  readonly mean: number;
  /** Population deviation, above 0. */
  readonly deviation: number;
}

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
  return { mode, mean, deviation: variance > 0 ? Math.sqrt(variance) : 1 };
}

/** The label as the network sees it. */
export function transformLabel(t: LabelTransform, label: number, macs: number): number {
  return ((t.mode === 'stand-flops' ? label / workFactor(macs) : label) - t.mean) / t.deviation;
}

/** The network's output as a label. */
export function restoreLabel(t: LabelTransform, output: number, macs: number): number {
  const q = output * t.deviation + t.mean;
  return t.mode === 'stand-flops' ? q * workFactor(macs) : q;
}
