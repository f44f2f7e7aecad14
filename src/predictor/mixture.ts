// Several opinions as one, each with its share: the mean of a mixture, and its spread by the law of total variance.
import type { Prediction } from './predictor.js';

/** Shares add up to 1. */
export function mixtureOf(said: readonly (Prediction & { readonly share: number })[]): {
  readonly mean: number;
  readonly variance: number;
} {
  const mean = said.reduce((sum, s) => sum + s.share * s.mean, 0);
  const variance = said.reduce((sum, s) => sum + s.share * (s.deviation ** 2 + (s.mean - mean) ** 2), 0);
  return { mean, variance };
}
