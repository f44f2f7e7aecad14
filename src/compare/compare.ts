// `compare`: refits a finished run's predictor, lets it foretell candidates that it never saw, then really measures them and says
// how far off it was; the front's files are measured too. Deterministic by the run's settings, the data and a seed.
import { join } from 'node:path';
import type { Refit } from '../../search/calibrate.js';
import { ahead, type Effort } from '../../search/evaluator.js';
import { withMeasurement, type Measured } from '../../search/explore.js';
import { readFinished, type FinishedRun } from '../../search/finished.js';
import type { Candidate } from '../../search/fitness.js';
import { createForeteller } from '../../search/foretell.js';
import { drawFresh } from '../../search/fresh.js';
import type { Genome } from '../../search/genome.js';
import { shortGenome } from '../../search/refusals.js';
import type { Workshop } from '../../search/workshop.js';
import type { MetricName } from '../data/manifest.js';
import { isOfTheSystem, messageOf, PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { higherIsBetter, type Evaluation } from '../measure/evaluate.js';
import type { Estimate } from '../measure/statistics.js';
import { sha256OfFile } from '../onnx/read.js';
import { createEnsemble } from '../predictor/ensemble.js';
import { fitnessMethod, openPredictor, type FitnessMethod } from '../predictor/fitness-methods.js';
import type { Prediction, Predictor } from '../predictor/predictor.js';
import { FEWEST_REFITS } from '../predictor/refit-level.js';
import { createRng } from '../rng.js';
import { agreementOf, linearMap, mapped, type Agreement, type LinearMap, type PredictedPair } from './agreement.js';
import { openBench, workshopOf, type Bench, type BenchOptions, type BenchResult } from './bench.js';

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
  readonly front: readonly {
    readonly file: string;
    readonly genome: Genome;
    readonly predicted: Prediction;
    readonly measured: { readonly value: number };
  }[];
}

export interface ComparedCandidate {
  readonly kind: 'fresh' | 'front';
  /** Of front members. */
  readonly file?: string;
  readonly macs: number;
  /** Of the original's MACs. */
  readonly share: number;
  /** The score (higher is better) on calibration samples after the refit that `quantity` names; of files, after their own. */
  readonly predicted: Prediction;
  /** That quantity, measured. */
  readonly scored?: number;
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
  /** Networks that the predictor learnt from: measured by the search, and refitted on data. */
  readonly learntFrom: number;
  readonly refittedFrom: number;
  /** What is foretold and measured of fresh candidates, in words. */
  readonly quantity: string;
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
  run: FinishedRun,
  options: CompareOptions,
): AsyncGenerator<CompareReport, Comparison, void> {
  const { config, archive } = run;
  const { original, fitness, replayer, assess } = workshop;
  const { front } = options;
  const seed = options.seed ?? config.seed;
  const rng = createRng(seed).fork('compare');
  const measured = archive.map((r) => withMeasurement(assess(r.genome), r.score));
  const refits = run.refits.map((r): Refit => ({
    candidate: withMeasurement(assess(r.genome), r.score),
    refitted: r.refitted,
  }));
  const refitted = refits.length + 1 >= FEWEST_REFITS;
  const effort = refitted ? config.effort.calibration : config.effort.search;
  const bench = await openBench(workshop, config.data, effort, seed, options);
  if (bench.warning !== undefined) yield { stage: 'prepare', warning: bench.warning };
  if (!refitted) {
    const warning =
      'the run refitted too few networks to learn what the refit is worth (--calibrators): scores before it are compared';
    yield { stage: 'prepare', warning };
  }

  // The predictor as the run left it.
  const whole = await bench.candidate([]);
  const foreteller = await createForeteller({
    predictor: await predictorOf(config, options, () => replayer.base.model),
    original,
    measured,
    calibrated: { refits: refitted ? refits : [], original: whole.scored },
    rng: createRng(config.seed).fork('calibrate').fork('level'),
  });
  const known = [...measured, ...refits.map((r) => r.candidate)];

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
  const predictions = await foreteller.foretell(fresh);
  yield {
    stage: 'prepare',
    text: `predictor fitted to ${known.length + 1} networks; ${fresh.length} fresh ones drawn`,
  };

  const metric = whole.onData.metric;
  const sign = higherIsBetter(metric) ? 1 : -1;
  const searchedMetric = workshop.evaluation.metric;
  const searchedSign = higherIsBetter(searchedMetric) ? 1 : -1;
  // The run's own networks on both: what the run knew of them, and what they reach on the data.
  const anchors = refitted ? refits.map((r) => r.candidate) : spread(measured, ANCHORS);
  const seenOnBoth: Anchor[] = [{ scored: whole.scored, onData: sign * whole.onData.value }];
  for await (const { item, result } of ahead([...anchors.entries()], bench.atOnce, ([, m]) => bench.remade(m.genome))) {
    const [i, m] = item;
    const onData = await result;
    seenOnBoth.push({ scored: refitted ? refits[i]!.refitted : m.score, onData: sign * onData.value });
    yield { stage: 'anchors', measured: i + 1, of: anchors.length };
  }
  const files: Evaluation[] = [];
  for (const [i, member] of front.entries()) {
    const onData = await bench.file(join(options.folder, member.file));
    files.push(onData);
    if (refitted) seenOnBoth.push({ scored: searchedSign * member.measured.value, onData: sign * onData.value });
    yield { stage: 'front', measured: i + 1, of: front.length };
  }
  const map = linearMap(
    seenOnBoth.map((a) => a.scored),
    seenOnBoth.map((a) => a.onData),
  );
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

  const rows: (ComparedCandidate & { readonly scored: number })[] = [];
  const measure = async ([, c]: readonly [number, Candidate]): Promise<BenchResult | string> => {
    try {
      return await bench.candidate(c.genome);
    } catch (error) {
      if (options.signal?.aborted === true || isOfTheSystem(error)) throw error;
      return messageOf(error);
    }
  };
  for await (const { item, result } of ahead([...fresh.entries()], bench.atOnce, measure)) {
    const [i, c] = item;
    const found = await result;
    if (typeof found === 'string') {
      yield { stage: 'fresh', warning: `${shortGenome(c.genome)} is left out: ${found}` };
    } else rows.push({ kind: 'fresh', ...row(c, predictions[i]!, found.onData), scored: found.scored });
    yield { stage: 'fresh', measured: i + 1, of: fresh.length };
  }
  if (rows.length === 0) throw new PareError('none of the fresh candidates could be measured; see the warnings');
  const frontRows = front.map(({ file, predicted }, i): ComparedCandidate => ({
    kind: 'front',
    file,
    ...row(members[i]!, predicted, files[i]!),
  }));

  const comparable = searchedMetric === metric && sign === 1;
  const onData = rows.map((r) => r.measured.value);
  const raw = rows.map((r) => r.predicted);
  return {
    model: config.model.file,
    data: bench.data,
    metric,
    searchedMetric,
    seed,
    range,
    learntFrom: known.length + 1,
    refittedFrom: refitted ? refits.length + 1 : 0,
    quantity: `${metric} after ${effortText(effort)}`,
    original: { value: whole.onData.value, ci95: whole.onData.ci95 },
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
        rows.map((r) => r.scored),
      ),
      rng.fork('trained'),
    ),
    ...(comparable ? { uncalibrated: agreementOf(pairs(raw, onData), rng.fork('raw')) } : {}),
    calibration: { ...map, sentence: explain(map, refitted) },
    candidates: [...rows, ...frontRows],
  };
}

/** The run's own predictor, not fitted yet; that of the signals where the run foretold nothing. */
async function predictorOf(
  { seed, fitness, predictor }: FinishedRun['config'],
  options: CompareOptions,
  base: () => Model,
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
  return (await openPredictor(method, { rng, base, ...(file === undefined ? {} : { file }) })) ?? createEnsemble(rng);
}

interface Anchor {
  readonly scored: number;
  readonly onData: number;
}

/** Of the archive, so many are measured on the data, to carry predictions over to it. */
const ANCHORS = 12;

/** Evenly along the scores, ends included. */
function spread(measured: readonly Measured[], count: number): Measured[] {
  const sorted = measured.toSorted((a, b) => b.score - a.score || (a.key < b.key ? -1 : 1));
  if (sorted.length <= count) return sorted;
  return Array.from({ length: count }, (_, i) => sorted[Math.round((i * (sorted.length - 1)) / (count - 1))]!);
}

function pairs(predictions: readonly Prediction[], measured: readonly number[]): PredictedPair[] {
  return predictions.map(({ mean, deviation }, i) => ({ predicted: mean, deviation, measured: measured[i]! }));
}

function explain({ slope, intercept, anchors }: LinearMap, refitted: boolean): string {
  const which = refitted ? 'those it had refitted, and its files' : `${anchors - 1} of its archive`;
  return (
    `predictions are of scores on calibration samples; a line through ${anchors} networks that the run had measured (the original, ${which}, measured again on these data; no fresh one among them) carries them over: ` +
    `${intercept.toFixed(4)} + ${slope.toFixed(4)} x score`
  );
}

/** What was done to the weights before a measurement. */
function effortText({ mode, images }: Effort): string {
  if (mode === 'reconstruct') return `a least-squares refit on ${images} images`;
  if (mode === 'bn') return `the closed-form refit, statistics measured on ${images} images`;
  return mode === 'quick' ? 'the closed-form refit' : 'no refit';
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
