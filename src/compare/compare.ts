// `compare`: refits a finished run's predictor, lets it foretell candidates that it never saw, then really measures them and says
// how far off it was; the front's files are measured too. Deterministic by the run's settings, the data and a seed.
import { join } from 'node:path';
import { limited } from '../../search/evaluator.js';
import { withMeasurement, type Measured } from '../../search/explore.js';
import { readFinished, type FinishedRun } from '../../search/finished.js';
import type { Candidate } from '../../search/fitness.js';
import { drawFresh } from '../../search/fresh.js';
import type { Genome } from '../../search/genome.js';
import type { Workshop } from '../../search/workshop.js';
import type { MetricName } from '../data/manifest.js';
import { PareError } from '../errors.js';
import { higherIsBetter } from '../measure/evaluate.js';
import type { Estimate } from '../measure/statistics.js';
import { sha256OfFile } from '../onnx/read.js';
import { createEnsemble } from '../predictor/ensemble.js';
import { fitnessMethod, openPredictor, type FitnessMethod } from '../predictor/fitness-methods.js';
import type { Prediction, Predictor } from '../predictor/predictor.js';
import { createRng } from '../rng.js';
import { agreementOf, linearMap, mapped, type Agreement, type LinearMap, type PredictedPair } from './agreement.js';
import { openBench, workshopOf, type Bench, type BenchOptions } from './bench.js';

export interface CompareOptions extends BenchOptions {
  /** Candidates that the predictor never saw (20). */
  readonly fresh?: number;
  /** Shares of the original's MACs; from the front's smallest to 1 otherwise. */
  readonly range?: readonly [number, number];
  readonly seed?: string;
  /** What the run's predictor started from, where the run was given a file. */
  readonly predictor?: string;
  /** The fitness methods that there are; the built-in ones otherwise. */
  readonly methods?: readonly FitnessMethod[];
  /** The front as front.json has it. */
  readonly front: readonly { readonly file: string; readonly macs: number; readonly genome: Genome }[];
}

export interface ComparedCandidate {
  readonly kind: 'fresh' | 'front';
  /** Of front members. */
  readonly file?: string;
  readonly macs: number;
  /** Of the original's MACs. */
  readonly share: number;
  /** Of what the predictor learnt from: the score (higher is better) on the run's scoring samples, recovered as the search does. */
  readonly predicted: Prediction;
  /** That quantity, measured. */
  readonly searched?: number;
  /** The prediction carried over to the data by `calibration`. */
  readonly expected: Prediction;
  /** On the data. */
  readonly measured: Estimate;
  readonly genome: Genome;
}

/** compare.json. */
export interface Comparison {
  readonly model: string;
  readonly data: Bench['data'];
  readonly metric: MetricName;
  readonly searchedMetric: MetricName;
  readonly seed: string;
  readonly range: readonly [number, number];
  readonly learntFrom: number;
  readonly original: Estimate;
  /** The headline: fresh candidates, predictions carried over to the data, against measurements on the data. */
  readonly fresh: Agreement;
  /** Fresh candidates against the very quantity that the predictor was trained to foretell. */
  readonly asTrained: Agreement;
  /** Fresh candidates, raw predictions against the data; absent where the metrics differ. */
  readonly uncalibrated?: Agreement;
  readonly calibration: LinearMap & { readonly sentence: string };
  readonly candidates: readonly ComparedCandidate[];
}

export interface CompareReport {
  readonly stage: 'prepare' | 'anchors' | 'fresh' | 'front';
  readonly text?: string;
  readonly warning?: string;
  readonly measured?: number;
  readonly of?: number;
}

export async function* compare(options: CompareOptions): AsyncGenerator<CompareReport, Comparison, void> {
  const run = readFinished(options.folder);
  const opening = workshopOf(run, options);
  let step = await opening.next();
  for (; step.done !== true; step = await opening.next()) yield { ...step.value, stage: 'prepare' };
  const workshop = step.value;
  try {
    return yield* compareIn(workshop, run, options);
  } finally {
    await workshop.close();
  }
}

async function* compareIn(
  workshop: Workshop,
  { config, archive }: FinishedRun,
  options: CompareOptions,
): AsyncGenerator<CompareReport, Comparison, void> {
  const { original, fitness, replayer, assess } = workshop;
  const { front, runtime } = options;
  const seed = options.seed ?? config.seed;
  const rng = createRng(seed).fork('compare');
  const bench = await openBench(workshop, config.data, config.effort.search, seed, options);
  if (bench.warning !== undefined) yield { stage: 'prepare', warning: bench.warning };

  // The predictor as the run left it.
  const predictor = await predictorOf(config, options);
  const known = archive.map((r) => withMeasurement(assess(r.genome), r.score));
  await predictor.fit([original, ...known]);

  const members = front.map((c) => assess(c.genome));
  const range = options.range ?? [Math.min(1, ...members.map((c) => c.macs / original.macs)), 1];
  const wanted = options.fresh ?? 20;
  const fresh = drawFresh({
    fitness,
    replayer,
    assess,
    parents: archive.map((r) => r.genome),
    known: new Set([...known, ...members].map((c) => c.key)),
    count: wanted,
    low: range[0],
    high: range[1],
    rng: rng.fork('draw'),
  });
  if (fresh.length < Math.min(3, wanted)) {
    throw new PareError(
      `--range: between ${percent(range[0])} and ${percent(range[1])} of the MACs there are only ${fresh.length} candidates that the run did not measure; widen the range`,
    );
  }
  if (fresh.length < wanted) {
    yield { stage: 'prepare', warning: `only ${fresh.length} different fresh candidates were found, not ${wanted}` };
  }
  // Foretold before anything of theirs is measured.
  const predictions = await predictor.predict(fresh);
  yield {
    stage: 'prepare',
    text: `predictor fitted to ${known.length + 1} networks; ${fresh.length} fresh ones drawn`,
  };

  const whole = await bench.original();
  const sign = higherIsBetter(whole.metric) ? 1 : -1;
  const anchors = spread(known, ANCHORS);
  const anchored: number[] = [sign * whole.value];
  for (const m of anchors) {
    anchored.push(sign * (await bench.candidate(m.genome)).onData.value);
    yield { stage: 'anchors', measured: anchored.length - 1, of: anchors.length };
  }
  const map = linearMap([original.score, ...anchors.map((m) => m.score)], anchored);
  const row = (candidate: Candidate, predicted: Prediction, measured: Estimate): Omit<ComparedCandidate, 'kind'> => {
    const { mean, deviation } = mapped(map, predicted);
    const { value, ci95 } = measured;
    return {
      macs: candidate.macs,
      share: candidate.macs / original.macs,
      predicted,
      expected: { mean: sign * mean, deviation },
      measured: { value, ci95 },
      genome: candidate.genome,
    };
  };

  const rows: (ComparedCandidate & { readonly searched: number })[] = [];
  for (let at = 0; at < fresh.length; at += STEP) {
    const part = fresh.slice(at, at + STEP);
    const results = await limited(part, Math.min(STEP, runtime.concurrency), (c) => bench.candidate(c.genome));
    part.forEach((c, i) => {
      const { onData, searched } = results[i]!;
      rows.push({ kind: 'fresh', ...row(c, predictions[at + i]!, onData), searched });
    });
    yield { stage: 'fresh', measured: rows.length, of: fresh.length };
  }
  const frontRows: ComparedCandidate[] = [];
  for (const [i, member] of front.entries()) {
    const [predicted] = await predictor.predict([members[i]!]);
    const measured = await bench.file(join(options.folder, member.file));
    frontRows.push({ kind: 'front', file: member.file, ...row(members[i]!, predicted!, measured) });
    yield { stage: 'front', measured: i + 1, of: front.length };
  }

  const searchedMetric = workshop.evaluation.metric;
  const comparable = searchedMetric === whole.metric && sign === 1;
  const onData = rows.map((r) => r.measured.value);
  const raw = rows.map((r) => r.predicted);
  return {
    model: config.model.file,
    data: bench.data,
    metric: whole.metric,
    searchedMetric,
    seed,
    range,
    learntFrom: known.length + 1,
    original: { value: whole.value, ci95: whole.ci95 },
    fresh: agreementOf(
      pairs(
        rows.map((r) => r.expected),
        onData,
      ),
      rng.fork('data'),
    ),
    asTrained: agreementOf(
      pairs(
        raw,
        rows.map((r) => r.searched),
      ),
      rng.fork('trained'),
    ),
    ...(comparable ? { uncalibrated: agreementOf(pairs(raw, onData), rng.fork('raw')) } : {}),
    calibration: { ...map, sentence: explain(map) },
    candidates: [...rows, ...frontRows],
  };
}

/** The run's own predictor, not fitted yet; that of the signals where the run foretold nothing. */
async function predictorOf(
  { seed, fitness, predictor }: FinishedRun['config'],
  options: CompareOptions,
): Promise<Predictor> {
  const rng = createRng(seed).fork('predictor');
  const file = options.predictor;
  const sha256 = file === undefined ? undefined : await sha256OfFile(file);
  if (sha256 !== predictor) {
    throw new PareError(
      predictor === undefined
        ? '--predictor: the run was given none; leave it out'
        : `--predictor: the run's predictor started from a file whose SHA-256 begins with ${predictor.slice(0, 12)}; give that one`,
    );
  }
  const method = fitnessMethod(fitness, options.methods);
  return (await openPredictor(method, { rng, ...(file === undefined ? {} : { file }) })) ?? createEnsemble(rng);
}

/** Of the archive, so many are measured on the data, to carry predictions over to it. */
const ANCHORS = 12;
/** Candidates between two reports. */
const STEP = 2;

/** Evenly along the scores, ends included. */
function spread(measured: readonly Measured[], count: number): Measured[] {
  const sorted = measured.toSorted((a, b) => b.score - a.score || (a.key < b.key ? -1 : 1));
  if (sorted.length <= count) return sorted;
  return Array.from({ length: count }, (_, i) => sorted[Math.round((i * (sorted.length - 1)) / (count - 1))]!);
}

function pairs(predictions: readonly Prediction[], measured: readonly number[]): PredictedPair[] {
  return predictions.map(({ mean, deviation }, i) => ({ predicted: mean, deviation, measured: measured[i]! }));
}

function explain({ slope, intercept, anchors }: LinearMap): string {
  return (
    `predictions are of scores on calibration samples; a line through ${anchors} networks that the run had measured (the original and ${anchors - 1} of its archive, measured again on these data; no fresh one among them) carries them over: ` +
    `${intercept.toFixed(4)} + ${slope.toFixed(4)} x score`
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
