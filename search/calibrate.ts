// A few networks all over the range of MACs are refitted on data as the exported ones are, with less effort: from them the run learns
// what the refit will make of a score of the search. They take part in no choice. Each is written down, so that a killed run goes on.
import { join } from 'node:path';
import { z } from 'zod';
import { recordOutputs } from '../src/measure/evaluate.js';
import { createEnsemble } from '../src/predictor/ensemble.js';
import { editCounts } from '../src/predictor/refit-level.js';
import type { Rng } from '../src/rng.js';
import { openJsonLog } from './checkpoint.js';
import { ahead } from './evaluator.js';
import { withMeasurement, type Measured } from './explore.js';
import type { Candidate } from './fitness.js';
import { drawFresh } from './fresh.js';
import { genomeKey, type Genome } from './genome.js';
import { farthestFirst } from './spread.js';
import type { EffortPlan, Workshop } from './workshop.js';

/** A line of refits.jsonl. */
export type RefitLine = RefittedLine | { readonly genome: Genome; readonly failed: string };

export interface RefittedLine {
  readonly genome: Genome;
  readonly macs: number;
  /** As the search measures. */
  readonly score: number;
  /** After the refit, on held-out calibration samples; higher is better. */
  readonly refitted: number;
}

const genome = z.array(z.object({ mutation: z.string(), params: z.json() }));
const line = z.union([
  z.object({ genome, macs: z.number(), score: z.number(), refitted: z.number() }),
  z.object({ genome, failed: z.string() }),
]);

/** A line of refits.jsonl, checked. */
export function parseRefit(json: unknown): RefitLine {
  return line.parse(json);
}

export interface Refit {
  /** With the search's score. */
  readonly candidate: Measured;
  readonly refitted: number;
}

/** The file in the run's folder. */
export const REFITS = 'refits.jsonl';

/** Held-out samples that refitted networks are measured on: at most so many, evenly. */
const SAMPLES = 2000;

export function calibrationIndices({ heldIndices }: Pick<Workshop, 'heldIndices'>): readonly number[] {
  const n = Math.min(SAMPLES, heldIndices.length);
  return Array.from({ length: n }, (_, i) => heldIndices[Math.floor((i * heldIndices.length) / n)]!);
}

/** So many are drawn for each one that is refitted. */
const DRAWN = 6;

/**
 * Networks to refit, never one that the search measured: of many drawn all over the range, half of them made of what the search had
 * found, those that fill the space of MACs, foretold loss and kinds of edits best, so that little is left to extrapolate.
 */
export async function drawCalibration(
  workshop: Pick<Workshop, 'fitness' | 'replayer' | 'assess' | 'original'>,
  measured: readonly Measured[],
  count: number,
  rng: Rng,
): Promise<readonly Candidate[]> {
  const { fitness, replayer, assess, original } = workshop;
  const drawn = drawFresh({
    fitness,
    replayer,
    assess,
    parents: measured.map((m) => m.genome),
    known: new Set(measured.map((m) => m.key)),
    count: DRAWN * count,
    low: measured.reduce((least, m) => Math.min(least, m.macs / original.macs), 0.9),
    high: 1,
    rng,
  });
  const predictor = createEnsemble(rng.fork('foretell'));
  await predictor.fit([original, ...measured]);
  const said = await predictor.predict(drawn);
  const scale = Math.abs(original.score) > 1e-9 ? Math.abs(original.score) : 1;
  // Losses as logarithms, a third of a unit for each factor e; a kind of edit counts as much as half the MACs.
  const point = (c: Candidate, score: number): number[] => [
    c.macs / original.macs,
    Math.log(Math.max(0, original.score - score) / scale + 0.02) / 3,
    ...editCounts(c).map(([, edits]) => (edits > 0 ? 0.5 : 0)),
  ];
  const points = drawn.map((c, i) => point(c, said[i]!.mean));
  return farthestFirst(points, [point(original, original.score)], count)
    .map((i) => drawn[i]!)
    .toSorted((a, b) => b.macs - a.macs);
}

export interface CalibrateOptions {
  readonly workshop: Workshop;
  readonly measured: readonly Measured[];
  readonly plan: EffortPlan;
  /** The run's folder. */
  readonly out: string;
  readonly rng: Rng;
  readonly signal?: AbortSignal;
  /** Once aborted nothing more is refitted. */
  readonly interrupt?: AbortSignal;
}

export interface Calibrated {
  readonly refits: readonly Refit[];
  /** The original on the same samples. */
  readonly original: number;
}

export async function* calibrate(
  options: CalibrateOptions,
): AsyncGenerator<{ readonly done: number; readonly of: number }, Calibrated, void> {
  const { workshop, measured, plan, signal, interrupt } = options;
  const { context, session, dataset, reference, place } = workshop;
  if (plan.calibrators === 0) return { refits: [], original: workshop.original.score };
  const indices = calibrationIndices(workshop);
  const held = await recordOutputs(session, dataset, { indices, concurrency: context.runtime.concurrency });
  const low = place.evaluator(reference);
  const high = place.evaluator(held);
  const [whole] = await high.evaluate([{ genome: [], effort: plan.search }], signal);
  const original = whole !== undefined && 'score' in whole ? whole.score : workshop.original.score;
  const drawn = await drawCalibration(workshop, measured, plan.calibrators, options.rng);
  const log = openJsonLog(join(options.out, REFITS), parseRefit);
  try {
    const known = new Map(log.earlier.map((l) => [genomeKey(l.genome), l]));
    const refits: Refit[] = [];
    const refit = async ({ genome: own, key, macs }: Candidate): Promise<RefitLine> => {
      const before = known.get(key);
      if (before !== undefined) return before;
      const [score] = await low.evaluate([{ genome: own, effort: plan.search }], signal);
      if ('failed' in score!) return { genome: own, failed: score.failed };
      const [refitted] = await high.evaluate([{ genome: own, effort: plan.calibration }], signal);
      if ('failed' in refitted!) return { genome: own, failed: refitted.failed };
      return { genome: own, macs, score: score!.score, refitted: refitted!.score };
    };
    let done = 0;
    for await (const { item, result } of ahead(drawn, place.refits, refit, () => interrupt?.aborted !== true)) {
      const found = await result;
      if (!known.has(item.key)) log.append([found]);
      if (!('failed' in found))
        refits.push({ candidate: withMeasurement(item, found.score), refitted: found.refitted });
      yield { done: ++done, of: drawn.length };
    }
    return { refits, original };
  } finally {
    log.close();
  }
}
