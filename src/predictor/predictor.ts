// The seam between the search and whatever foretells a candidate's score. Accuracy is a fraction.
import type { Graph } from '../ir/graph.js';
import type { ComputationGraph } from './computation-graph.js';
import type { Explanation } from './explain.js';

/** A candidate as a predictor sees it: its graph and cheap signals computed by search/fitness (reconstruction error, MACs by stage ...). */
export interface PredictorInput {
  readonly graph: Graph;
  /** Named signals; the same names in the same order for all candidates of a run. */
  readonly signals: ReadonlyMap<string, number>;
  /** With extras, where it can be had without making the graph; worked out at every call. */
  readonly computation?: () => ComputationGraph;
}

export interface Sample extends PredictorInput {
  /** Measured metric (higher is better). */
  readonly score: number;
}

export interface Prediction {
  readonly mean: number;
  /** Standard deviation of the belief, in the metric's unit. */
  readonly deviation: number;
  /** Where the predictor has calibrated ones: nine tenths of what comes true lies within. */
  readonly interval?: readonly [number, number];
}

export interface Predictor {
  readonly name: string;
  /** Learns from all samples measured so far (call again as they grow). Deterministic. */
  fit(samples: readonly Sample[]): Promise<void>;
  predict(candidates: readonly PredictorInput[]): Promise<Prediction[]>;
  /** What it would have said of each sample of the last fit without having seen that one, in their order; where it can tell. */
  leaveOneOut?(): readonly number[] | undefined;
  /** Why it foretells what it foretells of these, against the mean of others; where it can tell. */
  explain?(
    candidates: readonly PredictorInput[],
    among: readonly PredictorInput[],
  ): Promise<readonly Explanation[] | undefined>;
}

/** How a predictor does on the samples that it was fitted to, each one left out. */
export interface Belief {
  readonly samples: number;
  /** Leave-one-out rank correlation; NaN below three samples. */
  readonly spearman: number;
  /** Leave-one-out mean absolute error, in the metric's unit. */
  readonly meanAbsoluteError: number;
}
