// The first online predictor: two Bayesian ridges and a random forest over the candidate's cheap signals, or over several views of them,
// weighed by how well each foretells the samples it did not see. One ridge and the forest learn the logarithm of what is lost to the best
// score, which levels off as scores do; the other ridge learns the score itself and is clipped, since a line foretells anything where it
// extrapolates.
import { createRng, type Rng } from '../rng.js';
import { fitBayesianRidge } from './bayesian-ridge.js';
import { explainAll } from './explain.js';
import { fitForest } from './forest.js';
import { mixtureOf } from './mixture.js';
import type { Predictor, PredictorInput, Prediction, Sample } from './predictor.js';

/** One opinion: what it says of a row, and what it says of each sample without having seen it. */
interface Member {
  readonly leaveOneOut: readonly number[];
  predict(row: Float64Array): Prediction;
}

interface Fitted {
  readonly members: readonly (Member & { readonly share: number })[];
  /** What all leave unexplained of scores about this high. */
  readonly residual: (score: number) => number;
  readonly leftOut: readonly number[];
}

/** A predictor that can say all that one may ask. */
export type Telling = Required<Predictor>;

/** Which signals, by their names, an opinion is formed of. */
export type SignalView = (name: string) => boolean;

/** Each of `views` gets members of its own: few samples tell little of many signals. */
export function createEnsemble(rng: Rng = createRng('ensemble'), views: readonly SignalView[] = [() => true]): Telling {
  let fitted: Fitted | undefined;
  return {
    name: 'signals',
    fit: async (samples) => {
      fitted = samples.length === 0 ? undefined : fit(samples, views, rng);
    },
    predict: async (candidates) => {
      if (fitted === undefined) return candidates.map(() => ({ mean: 0, deviation: 1 }));
      const known = fitted;
      return candidates.map((c) => predict(known, features(c)));
    },
    leaveOneOut: () => fitted?.leftOut,
    explain: async (candidates, among) => {
      if (fitted === undefined) return undefined;
      const known = fitted;
      const foretell = (row: Float64Array): number => predict(known, row).mean;
      return explainAll(candidates, { foretell, rowOf: features, among, rng: rng.fork('explain') });
    },
  };
}

function fit(samples: readonly Sample[], views: readonly SignalView[], rng: Rng): Fitted {
  const rows = samples.map(features);
  const names = [...samples[0]!.signals.keys()];
  const targets = samples.map((s) => s.score);
  const scale = lossScale(targets);
  const members = views.flatMap((view): Member[] => {
    const columns = names.flatMap((name, i) => (view(name) ? [i] : []));
    const seen = (row: Float64Array): Float64Array => Float64Array.from(columns, (c) => row[c]!);
    return membersOf(rows.map(seen), targets, scale, rng).map((m) => ({
      ...m,
      predict: (row) => m.predict(seen(row)),
    }));
  });
  // Inverse squared mean errors, so that the worse ones soon count little; mean and not square, or one wild candidate decides.
  const trust = members.map((m) => (samples.length < 4 ? 1 : 1 / (meanError(m.leaveOneOut, targets) ** 2 + 1e-12)));
  const whole = trust.reduce((sum, x) => sum + x, 0);
  const shared = members.map((m, i) => ({ ...m, share: trust[i]! / whole }));
  const left = targets.map((_, i) => shared.reduce((sum, m) => sum + m.share * m.leaveOneOut[i]!, 0));
  return { members: shared, residual: residualsOf(left, targets), leftOut: left };
}

function membersOf(rows: readonly Float64Array[], targets: readonly number[], scale: LossScale, rng: Rng): Member[] {
  const logs = targets.map((score) => scale.log(score));
  const ridge = fitBayesianRidge(rows, logs);
  const forest = fitForest(rows, logs, {
    trees: 60,
    leaf: targets.length < 12 ? 1 : 2,
    columns: 0.5,
    randomThresholds: true,
    rng,
  });
  const line = fitBayesianRidge(rows, targets);
  return [
    {
      leaveOneOut: line.leaveOneOut.map(scale.clip),
      predict: (row) => {
        const { mean, deviation } = line.predict(row);
        return { mean: scale.clip(mean), deviation };
      },
    },
    { leaveOneOut: ridge.leaveOneOut.map(scale.score), predict: (row) => scale.prediction(ridge.predict(row)) },
    { leaveOneOut: forest.outOfBag.map(scale.score), predict: (row) => scale.prediction(forest.predict(row)) },
  ];
}

interface LossScale {
  log(score: number): number;
  /** Into the range of what was seen, and a little beyond. */
  readonly clip: (score: number) => number;
  readonly score: (logLoss: number) => number;
  prediction(logLoss: Prediction): Prediction;
}

/** Between scores and log(best - score + a little), and never far below what was seen: an exponential knows no floor. */
function lossScale(targets: readonly number[]): LossScale {
  const top = targets.reduce((a, b) => Math.max(a, b));
  const least = targets.reduce((a, b) => Math.min(a, b));
  const range = top - least;
  const little = 0.01 * range + 1e-9;
  const score = (logLoss: number): number => Math.max(least - 0.25 * range, top + little - Math.exp(logLoss));
  return {
    clip: (value) => Math.min(top + little, Math.max(least - 0.25 * range, value)),
    log: (value) => Math.log(top - value + little),
    score,
    prediction({ mean, deviation }) {
      const loss = Math.exp(Math.min(mean, Math.log(range + little)));
      return { mean: score(mean), deviation: Math.min(range, loss * deviation) };
    },
  };
}

function predict({ members, residual }: Fitted, row: Float64Array): Prediction {
  const said = members.map((m) => ({ ...m.predict(row), share: m.share }));
  const { mean, variance } = mixtureOf(said);
  // what all leave unexplained comes on top
  return { mean, deviation: Math.sqrt(variance + residual(mean) ** 2) };
}

/** Logarithms of the signals, which spread over orders of magnitude; straight below a hundredth, where nothing is lost anyway. */
function features(candidate: PredictorInput): Float64Array {
  const row = new Float64Array(candidate.signals.size);
  let at = 0;
  for (const value of candidate.signals.values()) {
    row[at++] = Number.isFinite(value) ? Math.sign(value) * Math.log1p(100 * Math.abs(value)) : 0;
  }
  return row;
}

function meanError(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + Math.abs(x - b[i]!), 0) / Math.max(1, a.length);
}

/**
 * Root mean square of the errors of samples that were foretold about as high: networks that hardly lose anything differ by little, those
 * that break by much.
 */
function residualsOf(leftOut: readonly number[], targets: readonly number[]): (score: number) => number {
  const near = Math.max(LEAST_NEAR, Math.round(SHARE_NEAR * targets.length));
  return (score) => {
    const order = [...leftOut.keys()].sort((a, b) => Math.abs(leftOut[a]! - score) - Math.abs(leftOut[b]! - score));
    const chosen = order.slice(0, near);
    return Math.sqrt(
      meanSquare(
        chosen.map((i) => leftOut[i]!),
        chosen.map((i) => targets[i]!),
      ),
    );
  };
}

/** Samples that the error at a score is taken from. */
const LEAST_NEAR = 6;
const SHARE_NEAR = 0.25;

function meanSquare(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / Math.max(1, a.length);
}
