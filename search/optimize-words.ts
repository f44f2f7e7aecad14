// What a run of `optimize` says of its progress.
import { priceOf, violation } from './constraints.js';
import type { ExploreReport, Measured } from './explore.js';
import type { OptimizeReport } from './optimize.js';
import type { Confidence } from './trust.js';

export function confidenceText(confidence: Confidence | undefined, metric: string): string | undefined {
  if (confidence === undefined) return undefined;
  const { predictor, belief, foretold, foretoldSpearman, fellBack } = confidence;
  const parts = [
    ...(belief === undefined
      ? []
      : [
          `left-out rank correlation ${belief.spearman.toFixed(2)}, mean error ${belief.meanAbsoluteError.toPrecision(2)} ${metric}, ${belief.samples} networks`,
        ]),
    ...(foretoldSpearman === undefined
      ? []
      : [`of the last ${foretold} that were foretold, then measured: ${foretoldSpearman.toFixed(2)}`]),
  ];
  const sure = parts.length === 0 ? 'nothing known of it yet' : parts.join('; ');
  return fellBack
    ? `the predictor ranks no better than chance (${sure}): "${predictor}" is asked until it does`
    : `predictor "${predictor}": ${sure}`;
}

export function describe(report: ExploreReport, of: number, original: Measured, metric: string): OptimizeReport {
  const feasible = report.measured.filter((m) => violation(report.constraints, m) === 0);
  const best = feasible.reduce<Measured | undefined>(
    (a, b) => (a === undefined || b.score > a.score ? b : a),
    undefined,
  );
  const price = priceOf(report.constraints);
  return {
    stage: report.stage,
    measured: report.tried,
    of,
    generation: report.generation,
    scored: report.scored,
    hypervolume: report.hypervolume,
    original: { score: original.score, metric },
    ...(best === undefined
      ? {}
      : { best: { score: best.score, share: (best[price] ?? best.macs) / (original[price] ?? original.macs) } }),
  };
}
