// How far a predictor is believed: what it foretold of the candidates that were then measured is kept, and when its ranking of the
// last of them is no better than chance, a training-free one is asked in its place until it has found its way again.
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
  /** True while the predictor's own ranking was no better than chance. */
  readonly fellBack: boolean;
}

export interface Trusted {
  learn(samples: readonly Sample[]): Promise<Confidence>;
  /** By whoever is asked at the moment. */
  predict(candidates: readonly PredictorInput[]): Promise<readonly Prediction[]>;
  /** Before measuring: what the predictor itself says, asked or not. */
  foretell(candidates: readonly PredictorInput[]): Promise<readonly Prediction[]>;
  judge(foretold: readonly Prediction[], scores: readonly number[]): void;
}

/** So many of the last foretold ones are looked at; below the smaller number nothing is concluded. */
const WINDOW = 16;
const LEAST = 8;

export function trust(predictor: Predictor, fallback: Predictor | undefined): Trusted {
  const record: { readonly predicted: number; readonly score: number }[] = [];
  let fellBack = false;
  return {
    async learn(samples) {
      await predictor.fit(samples);
      const last = record.slice(-WINDOW);
      const rho = spearman(
        last.map((r) => r.predicted),
        last.map((r) => r.score),
      );
      // Not a number: it foretold the same of all, or all are equal; a ranking it is only when the scores differ.
      const differ = new Set(last.map((r) => r.score)).size > 1;
      fellBack = fallback !== undefined && last.length >= LEAST && differ && !(rho > 0);
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
    judge(foretold, scores) {
      foretold.forEach(({ mean }, i) => record.push({ predicted: mean, score: scores[i]! }));
    },
  };
}

/** What the predictor thinks of itself on the samples it was last fitted to; undefined where it cannot tell. */
export function beliefOf(predictor: Predictor, samples: readonly Sample[]): Belief | undefined {
  const left = predictor.leaveOneOut?.();
  if (left === undefined || left.length !== samples.length || samples.length < 3) return undefined;
  const scores = samples.map((s) => s.score);
  const rho = spearman(left, scores);
  if (Number.isNaN(rho)) return undefined;
  const error = left.reduce((sum, x, i) => sum + Math.abs(x - scores[i]!), 0) / samples.length;
  return { samples: samples.length, spearman: rho, meanAbsoluteError: error };
}
