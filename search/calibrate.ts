// A few networks all over the range of MACs are refitted on data as the exported ones are, with less effort: from them the run learns
// what the refit will make of a score of the search. They take part in no choice. Each is written down, so that a killed run goes on.
import { join } from 'node:path';
import { z } from 'zod';
import { recordOutputs } from '../src/measure/evaluate.js';
import type { Rng } from '../src/rng.js';
import { openJsonLog } from './checkpoint.js';
import { inlineEvaluator } from './evaluator.js';
import { withMeasurement, type Measured } from './explore.js';
import type { Candidate } from './fitness.js';
import { drawFresh } from './fresh.js';
import { genomeKey, type Genome } from './genome.js';
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

/** Networks to refit: all over the range, half of them made of what the search had found, half anew; never one that it measured. */
export function drawCalibration(
  workshop: Pick<Workshop, 'fitness' | 'replayer' | 'assess' | 'original'>,
  measured: readonly Measured[],
  count: number,
  rng: Rng,
): readonly Candidate[] {
  const { fitness, replayer, assess, original } = workshop;
  return drawFresh({
    fitness,
    replayer,
    assess,
    parents: measured.map((m) => m.genome),
    known: new Set(measured.map((m) => m.key)),
    count,
    low: measured.reduce((least, m) => Math.min(least, m.macs / original.macs), 0.9),
    high: 1,
    rng,
  });
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
  const { context, session, dataset, reference } = workshop;
  if (plan.calibrators === 0) return { refits: [], original: workshop.original.score };
  const concurrency = Math.min(2, context.runtime.concurrency);
  const indices = calibrationIndices(workshop);
  const held = await recordOutputs(session, dataset, { indices, concurrency: context.runtime.concurrency });
  const low = inlineEvaluator({ ...context, reference, concurrency });
  const high = inlineEvaluator({ ...context, reference: held, concurrency });
  const [whole] = await high.evaluate([{ genome: [], effort: plan.search }], signal);
  const original = whole !== undefined && 'score' in whole ? whole.score : workshop.original.score;
  const drawn = drawCalibration(workshop, measured, plan.calibrators, options.rng);
  const log = openJsonLog(join(options.out, REFITS), parseRefit);
  try {
    const known = new Map(log.earlier.map((l) => [genomeKey(l.genome), l]));
    const refits: Refit[] = [];
    for (let at = 0; at < drawn.length && interrupt?.aborted !== true; at += concurrency) {
      const part = drawn.slice(at, at + concurrency);
      const open = part.filter((c) => !known.has(c.key));
      const jobs = (effort: EffortPlan['search']): Parameters<typeof low.evaluate>[0] =>
        open.map((c) => ({ genome: c.genome, effort }));
      const cheap = new Map((await low.evaluate(jobs(plan.search), signal)).map((r) => [r.key, r]));
      const dear = new Map((await high.evaluate(jobs(plan.calibration), signal)).map((r) => [r.key, r]));
      const lines = open.map(({ genome: own, key, macs }): RefitLine => {
        const [score, refitted] = [cheap.get(key)!, dear.get(key)!];
        if ('failed' in score) return { genome: own, failed: score.failed };
        if ('failed' in refitted) return { genome: own, failed: refitted.failed };
        return { genome: own, macs, score: score.score, refitted: refitted.score };
      });
      log.append(lines);
      for (const l of lines) known.set(genomeKey(l.genome), l);
      for (const c of part) {
        const found = known.get(c.key)!;
        if (!('failed' in found)) refits.push({ candidate: withMeasurement(c, found.score), refitted: found.refitted });
      }
      yield { done: Math.min(drawn.length, at + concurrency), of: drawn.length };
    }
    return { refits, original };
  } finally {
    log.close();
  }
}
