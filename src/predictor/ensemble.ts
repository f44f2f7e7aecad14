// The first online predictor: a Bayesian ridge and a random forest over the candidate's cheap signals, weighed by how well each
// foretells the samples it did not see. Learns from tens of candidates in milliseconds.
import { createRng, type Rng } from '../rng.js';
import { fitBayesianRidge, type BayesianRidge } from './bayesian-ridge.js';
import { spearman } from './correlation.js';
import { fitForest, type Forest } from './forest.js';
import type { Predictor, PredictorInput, Prediction, Sample } from './predictor.js';

/** What the predictor thinks of itself, on the samples it was fitted to, each one left out. */
export interface Belief {
  readonly samples: number;
  /** Leave-one-out rank correlation; NaN below three samples. */
  readonly spearman: number;
  /** Leave-one-out mean absolute error, in the metric's unit. */
  readonly meanAbsoluteError: number;
  /** How much the ridge counts; the rest is the forest. */
  readonly ridgeShare: number;
}

export interface EnsemblePredictor extends Predictor {
  belief(): Belief | undefined;
  /** What it says of each sample when that one is left out, in the order of the samples. */
  leaveOneOut(): readonly number[] | undefined;
}

interface Fitted {
  readonly ridge: BayesianRidge;
  readonly forest: Forest;
  readonly ridgeShare: number;
  readonly residual: number;
  readonly belief: Belief;
  readonly leftOut: readonly number[];
}

export function createEnsemble(rng: Rng = createRng('ensemble')): EnsemblePredictor {
  let fitted: Fitted | undefined;
  return {
    name: 'signals',
    fit: async (samples) => {
      fitted = samples.length === 0 ? undefined : fit(samples, rng);
    },
    predict: async (candidates) => {
      if (fitted === undefined) return candidates.map(() => ({ mean: 0, deviation: 1 }));
      const known = fitted;
      return candidates.map((c) => predict(known, c));
    },
    belief: () => fitted?.belief,
    leaveOneOut: () => fitted?.leftOut,
  };
}

function fit(samples: readonly Sample[], rng: Rng): Fitted {
  const rows = samples.map(features);
  const targets = samples.map((s) => s.score);
  const ridge = fitBayesianRidge(rows, targets);
  const forest = fitForest(rows, targets, { trees: 60, leaf: samples.length < 12 ? 1 : 2, rng });
  const ridgeError = meanSquare(ridge.leaveOneOut, targets);
  const forestError = meanSquare(forest.outOfBag, targets);
  // Inverse squared errors, so that the worse one soon counts little.
  const a = 1 / (ridgeError * ridgeError + 1e-24);
  const b = 1 / (forestError * forestError + 1e-24);
  const ridgeShare = samples.length < 4 ? 0.5 : a / (a + b);
  const left = targets.map((_, i) => ridgeShare * ridge.leaveOneOut[i]! + (1 - ridgeShare) * forest.outOfBag[i]!);
  const belief: Belief = {
    samples: samples.length,
    spearman: samples.length < 3 ? NaN : spearman(left, targets),
    meanAbsoluteError: left.reduce((sum, x, i) => sum + Math.abs(x - targets[i]!) / left.length, 0),
    ridgeShare,
  };
  return { ridge, forest, ridgeShare, residual: Math.sqrt(meanSquare(left, targets)), belief, leftOut: left };
}

function predict(known: Fitted, candidate: PredictorInput): Prediction {
  const row = features(candidate);
  const r = known.ridge.predict(row);
  const f = known.forest.predict(row);
  const w = known.ridgeShare;
  const mean = w * r.mean + (1 - w) * f.mean;
  // Law of total variance over the two members, plus what both leave unexplained.
  const spread = w * (r.deviation ** 2 + (r.mean - mean) ** 2) + (1 - w) * (f.deviation ** 2 + (f.mean - mean) ** 2);
  return { mean, deviation: Math.sqrt(spread + known.residual ** 2) };
}

/** The signals and, since errors and MACs spread over orders of magnitude, their logarithms. */
function features(candidate: PredictorInput): Float64Array {
  const row = new Float64Array(candidate.signals.size * 2);
  let at = 0;
  for (const value of candidate.signals.values()) {
    row[at++] = Number.isFinite(value) ? value : 0;
    row[at++] = Math.sign(value) * Math.log1p(1e6 * Math.abs(Number.isFinite(value) ? value : 0));
  }
  return row;
}

function meanSquare(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / Math.max(1, a.length);
}
