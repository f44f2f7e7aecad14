// What a candidate will score once it has been refitted on data, as exported files are: the search's predictor foretells the score of
// the search, and what the refit makes of that is learnt from the networks that had both.
import { spearman } from '../src/predictor/correlation.js';
import type { Belief, Prediction, Predictor } from '../src/predictor/predictor.js';
import { FEWEST_REFITS, fitRefitLevel, type LevelSample } from '../src/predictor/refit-level.js';
import type { Rng } from '../src/rng.js';
import type { Calibrated } from './calibrate.js';
import type { Measured } from './explore.js';
import type { Candidate } from './fitness.js';

export interface Foreteller {
  /** "refitted": after a refit on data; "searched": too few were refitted, so what the search itself would measure. */
  readonly quantity: 'refitted' | 'searched';
  /** On the refitted ones, each left out; absent where nothing can be said. */
  readonly belief?: Belief;
  foretell(candidates: readonly Candidate[]): Promise<readonly Prediction[]>;
}

export interface ForetellOptions {
  /** Not shared with anybody: it is fitted here. */
  readonly predictor: Predictor;
  readonly original: Measured;
  readonly measured: readonly Measured[];
  readonly calibrated: Calibrated;
  readonly rng: Rng;
}

export async function createForeteller(options: ForetellOptions): Promise<Foreteller> {
  const { predictor, original, measured, calibrated, rng } = options;
  const networks = calibrated.refits.map((r) => r.candidate);
  const known = [original, ...measured];
  await predictor.fit([...known, ...networks]);
  const left = predictor.leaveOneOut?.();
  const lowOf = async (): Promise<readonly number[]> => {
    if (left !== undefined && left.length === known.length + networks.length)
      return [left[0]!, ...left.slice(known.length)];
    // It cannot leave one out: then it has to foretell them unseen, here and for good.
    await predictor.fit(known);
    return (await predictor.predict([original, ...networks])).map((p) => p.mean);
  };
  if (networks.length + 1 < FEWEST_REFITS) {
    return { quantity: 'searched', foretell: (candidates) => predictor.predict(candidates) };
  }
  const lows = await lowOf();
  const samples = [original, ...networks].map((c, i): LevelSample => ({
    signals: c.signals,
    get graph() {
      return c.graph;
    },
    low: lows[i]!,
    score: i === 0 ? calibrated.original : calibrated.refits[i - 1]!.refitted,
  }));
  const level = await fitRefitLevel(samples, original.score, rng);
  const scores = samples.map((s) => s.score);
  const rho = spearman(level.leaveOneOut, scores);
  const error = level.leaveOneOut.reduce((sum, x, i) => sum + Math.abs(x - scores[i]!), 0) / scores.length;
  return {
    quantity: 'refitted',
    ...(Number.isNaN(rho) ? {} : { belief: { samples: samples.length, spearman: rho, meanAbsoluteError: error } }),
    async foretell(candidates) {
      const said = await predictor.predict(candidates);
      const found: Prediction[] = [];
      for (const [i, c] of candidates.entries()) found.push(await level.predict(c, said[i]!));
      return found;
    },
  };
}

/** How much less is lost by the whole effort than by the calibration's: learnt from exported files as they are made. */
export interface EffortGain {
  carry(prediction: Prediction): Prediction;
  learn(foretold: Prediction, score: number): void;
}

/** `best`: what the original reaches on the held-out samples. */
export function effortGain(best: number): EffortGain {
  let expected = 0;
  let found = 0;
  // As if half a point had been lost as foretold: one file alone decides little.
  const prior = 0.005 * Math.abs(best);
  const ratio = (): number => Math.min(1.5, Math.max(0.2, (found + prior) / (expected + prior)));
  return {
    carry: ({ mean, deviation }) => ({ mean: best - ratio() * (best - mean), deviation: ratio() * deviation }),
    learn(foretold, score) {
      expected += Math.max(0, best - foretold.mean);
      found += Math.max(0, best - score);
    },
  };
}
