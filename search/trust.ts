// How far a predictor is believed: when its ranking of the last measured candidates (each left out of the fit; where it cannot do
// that, as it foretold them before they were measured) is no better than chance, a training-free one is asked in its place until it
// has found its way again.
import { spearman } from '../src/predictor/correlation.js';
import type { Belief, Prediction, Predictor, PredictorInput, Sample } from '../src/predictor/predictor.js';

/** What is believed after learning, and how sure it is. */
export interface Confidence {
  /** Who is asked. */
  readonly predictor: string;
  /** Of whom the rest is said. */
  readonly belief?: Belief;
  /** What was foretold before measuring, the last of them: how many, and their rank correlation. */
  readonly foretold: number;
  readonly foretoldSpearman?: number;
  /** True while the predictor's own ranking of the last measured ones is no better than chance. */
  readonly fellBack: boolean;
}

export interface Trusted {
  learn(samples: readonly Sample[]): Promise<Confidence>;
  /** By whoever is asked at the moment. */
  predict(candidates: readonly PredictorInput[]): Promise<readonly Prediction[]>;
  /** Before measuring: what the predictor itself says, asked or not. */
  foretell(candidates: readonly PredictorInput[]): Promise<readonly Prediction[]>;
  judge(foretold: Prediction, score: number): void;
}

/** So many of the last foretold ones are looked at; below the smaller number nothing is concluded. */
const WINDOW = 16;
const LEAST = 8;

export function trust(predictor: Predictor, fallback: Predictor | undefined): Trusted {
  const record: Judged[] = [];
  let fellBack = false;
  return {
    async learn(samples) {
      await predictor.fit(samples);
      const last = record.slice(-WINDOW);
      const rho = spearman(
        last.map((r) => r.predicted),
        last.map((r) => r.score),
      );
      const judged = leftOutOf(predictor, samples)?.slice(-WINDOW) ?? last;
      const ranking = spearman(
        judged.map((r) => r.predicted),
        judged.map((r) => r.score),
      );
      // Not a number: it foretold the same of all, or all are equal; a ranking it is only when the scores differ.
      const differ = new Set(judged.map((r) => r.score)).size > 1;
      fellBack = fallback !== undefined && judged.length >= LEAST && differ && !(ranking > 0);
      if (fellBack) await fallback!.fit(samples);
      const belief = beliefOf(predictor, samples);
      return {
        predictor: fellBack ? fallback!.name : predictor.name,
        ...(belief === undefined ? {} : { belief }),
        foretold: last.length,
        ...(Number.isNaN(rho) ? {} : { foretoldSpearman: rho }),
        fellBack,
      };
    },
    predict: (candidates) => (fellBack ? fallback! : predictor).predict(candidates),
    foretell: (candidates) => predictor.predict(candidates),
    judge: ({ mean }, score) => void record.push({ predicted: mean, score }),
  };
}

interface Judged {
  readonly predicted: number;
  readonly score: number;
}

/** What it says now of each, left out: it has learnt since it foretold them. Undefined where it cannot tell. */
function leftOutOf(predictor: Predictor, samples: readonly Sample[]): readonly Judged[] | undefined {
  const left = predictor.leaveOneOut?.();
  if (left === undefined || left.length !== samples.length) return undefined;
  return samples.map((s, i) => ({ predicted: left[i]!, score: s.score }));
}

/** What the predictor thinks of itself on the samples it was last fitted to; undefined where it cannot tell. */
export function beliefOf(predictor: Predictor, samples: readonly Sample[]): Belief | undefined {
  const left = leftOutOf(predictor, samples);
  if (left === undefined || left.length < 3) return undefined;
  const rho = spearman(
    left.map((r) => r.predicted),
    left.map((r) => r.score),
  );
  if (Number.isNaN(rho)) return undefined;
  const error = left.reduce((sum, r) => sum + Math.abs(r.predicted - r.score), 0) / left.length;
  return { samples: left.length, spearman: rho, meanAbsoluteError: error };
}
