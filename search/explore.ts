// The search itself, over anything that can be assessed cheaply and measured dearly: measure some seeds, then again and again fit the
// predictor, let NSGA-II look for the front that it foretells, and measure those that promise most hypervolume.
import type { Predictor, Prediction } from '../src/predictor/predictor.js';
import type { Rng } from '../src/rng.js';
import { chooseByGain, type AcquisitionOptions, type Hopeful } from './acquisition.js';
import { chooseBlindly } from './blind.js';
import { priceOf, violation, type Constraints } from './constraints.js';
import { sortNondominated, type Scored } from './dominance.js';
import type { Candidate } from './fitness.js';
import { genomeKey, type Genome } from './genome.js';
import { hypervolume } from './hypervolume.js';
import { latencyModel } from './latency-model.js';
import { nsga2, type Individual } from './nsga2.js';
import { trust, type Confidence } from './trust.js';

/** What a measurement at low fidelity gave. */
export interface Evaluation {
  readonly key: string;
  readonly score: number;
  /** Volatile: measured once, stored, reused. */
  readonly latencyMs?: number;
}

export interface Measured extends Candidate {
  readonly score: number;
  readonly latencyMs?: number;
}

export interface ExploreOptions {
  /** The uncut network and its score at the same fidelity. */
  readonly base: Measured;
  readonly seeds: readonly Genome[];
  /** Measured beforehand: learnt from, never measured again, not counted. */
  readonly known?: readonly Measured[];
  assess(genome: Genome): Candidate;
  vary(a: Genome, b: Genome, rng: Rng): Genome | undefined;
  /**
   * Results in the order of the candidates, undefined for one that could not be measured; `predictions` is what was foretold of
   * them, when anything was.
   */
  measure(
    candidates: readonly Candidate[],
    predictions?: readonly Prediction[],
  ): Promise<readonly (Evaluation | undefined)[]>;
  /** Absent: nothing is foretold, and the next to measure are chosen by `blindly`. */
  readonly predictor?: Predictor;
  /** Asked in its place while its ranking of what was measured last is no better than chance. */
  readonly fallback?: Predictor;
  /** Without a predictor ("diverse"). */
  readonly blindly?: 'diverse' | 'random';
  /** Between two candidates, 0 = equal: those close to something measured are measured last. */
  distance?(a: Genome, b: Genome): number;
  /** Milliseconds of candidates, from what was measured; by their MACs otherwise. */
  latency?(measured: readonly Measured[]): (c: Candidate) => number;
  readonly constraints: Constraints;
  /** Asked once the seeds are measured: the lowest score to look for, in the place of the one in the constraints. */
  leastScore?(measured: readonly Measured[]): Promise<number>;
  readonly rng: Rng;
  readonly evaluations: number;
  /** How many are measured before the predictor learns again; part of the run's definition, not of the machine. */
  readonly batch?: number;
  /** How many seeds are measured before the predictor is asked. */
  readonly initial?: number;
  readonly population?: number;
  readonly generations?: number;
  /** Asked between batches; true ends the search. */
  stop?(): boolean;
}

export interface ExploreReport {
  readonly stage: 'seeds' | 'learnt' | 'generation' | 'measured';
  readonly measured: readonly Measured[];
  /** Measured or failed. */
  readonly tried: number;
  /** Of the measured candidates that hold the constraints. */
  readonly hypervolume: number;
  /** As the search takes them now. */
  readonly constraints: Constraints;
  readonly generation: number;
  readonly scored: number;
  /** What the predictor believes after it learnt last, and how sure it is. */
  readonly confidence?: Confidence;
}

export async function* explore(given: ExploreOptions): AsyncGenerator<ExploreReport, readonly Measured[], void> {
  const { base, rng } = given;
  let options = given;
  const trusted = options.predictor === undefined ? undefined : trust(options.predictor, options.fallback);
  let confidence: Confidence | undefined;
  const batch = options.batch ?? 4;
  const price = priceOf(options.constraints);
  const measured: Measured[] = [...(options.known ?? [])];
  const seen = new Set<string>([base.key, ...measured.map((m) => m.key)]);
  // Candidates that failed count as well: a run ends.
  let tried = 0;
  let generation = 0;
  let scored = 0;

  const report = (stage: ExploreReport['stage']): ExploreReport => ({
    stage,
    measured: [...measured],
    tried,
    hypervolume: measuredVolume(options, measured),
    constraints: options.constraints,
    generation,
    scored,
    ...(confidence === undefined ? {} : { confidence }),
  });

  const measure = async (candidates: readonly Candidate[], predictions?: readonly Prediction[]): Promise<void> => {
    const results = await options.measure(candidates, predictions);
    tried += candidates.length;
    candidates.forEach((c, i) => {
      seen.add(c.key);
      const result = results[i];
      if (result !== undefined) measured.push(withMeasurement(c, result.score, result.latencyMs));
    });
  };

  // Nothing below may depend on how many evaluations are allowed: a shorter run is the beginning of a longer one, so that a run
  // that was ended by the clock can be repeated by its count.

  // The first measurements spread over the seeds: the plain answers first, they are the ones to beat.
  const assessed = unique(options.seeds.map((g) => options.assess(g))).filter((c) => !seen.has(c.key));
  scored += assessed.length;
  const first = Math.min(options.evaluations, options.initial ?? 2 * batch, assessed.length);
  for (let at = 0; at < first && !(options.stop?.() ?? false); at += batch) {
    await measure(assessed.slice(at, Math.min(first, at + batch)));
    yield report('seeds');
  }

  if (given.leastScore !== undefined && tried < given.evaluations && !(given.stop?.() ?? false)) {
    options = { ...given, constraints: { ...given.constraints, minScore: await given.leastScore(measured) } };
  }
  let parents: readonly Genome[] = options.seeds;
  for (let round = 1; tried < options.evaluations && !(options.stop?.() ?? false); round++) {
    const latency = options.latency?.(measured) ?? latencyModel(base, measured);
    const stream = rng.fork(`round/${round}`);
    const count = Math.min(batch, options.evaluations - tried);
    if (trusted === undefined) {
      const blind = chooseBlindly({
        choose: options.blindly ?? 'diverse',
        count,
        seeds: options.seeds,
        measured: measured.map((m) => ({ candidate: m, scored: scoredOf(m, options) })),
        seen,
        assess: (genome) => options.assess(genome),
        vary: (a, b, r) => options.vary(a, b, r),
        feasible: (c) =>
          violation(options.constraints, { ...costsOf(c), latencyMs: latency(c) * 0.97, score: Infinity }) === 0,
        rng: stream,
      });
      scored += blind.scored;
      if (blind.chosen.length === 0) return measured;
      await measure(blind.chosen);
      yield report('measured');
      continue;
    }
    confidence = await trusted.learn([base, ...measured]);
    yield report('learnt');
    const known = new Map<string, { candidate: Candidate; prediction: Prediction }>();

    const score = async (genomes: readonly Genome[]): Promise<Scored[]> => {
      const candidates = genomes.map((g) => options.assess(g));
      const predictions = await trusted.predict(candidates);
      scored += candidates.length;
      return candidates.map((candidate, i) => {
        const prediction = predictions[i]!;
        known.set(candidate.key, { candidate, prediction });
        const figures = { ...costsOf(candidate), latencyMs: latency(candidate), score: prediction.mean };
        return {
          objectives: [-prediction.mean, figures[price]],
          // A candidate that may well hold the lowest score is not ruled out by its mean.
          violation: violation(options.constraints, { ...figures, score: prediction.mean + prediction.deviation }),
        };
      });
    };

    let last: readonly Individual<Genome>[] = [];
    const run = nsga2<Genome>({
      seeds: [...measured.map((m) => m.genome), ...parents],
      size: options.population ?? 32,
      generations: options.generations ?? 8,
      rng: stream,
      key: genomeKey,
      score,
      vary: (a, b, r) => options.vary(a, b, r),
      reference: referenceOf(options, measured),
    });
    for await (const g of run) {
      last = g.population;
      generation++;
      yield report('generation');
    }
    parents = last.map((x) => x.genome);

    const hopefuls = [...known.values()].filter(({ candidate }) => !seen.has(candidate.key));
    const feasible = hopefuls.filter(
      ({ candidate, prediction }) =>
        violation(options.constraints, {
          ...costsOf(candidate),
          latencyMs: latency(candidate) * 0.97,
          score: prediction.mean + 2 * prediction.deviation,
        }) === 0,
    );
    const open = feasible.length > 0 ? feasible : hopefuls;
    if (open.length === 0) return measured;
    const chosen = chooseByGain(
      open.map(({ candidate, prediction }): Hopeful => ({
        ...prediction,
        known: [{ ...costsOf(candidate), latencyMs: latency(candidate) }[price]],
      })),
      {
        count,
        measured: measured.filter((m) => violation(options.constraints, m) === 0).map((m) => pointOf(m, options)),
        reference: referenceOf(options, measured),
        rng: stream.fork('gain'),
        ...apartBy(
          options,
          measured,
          open.map((o) => o.candidate),
        ),
      },
    );
    const next = chosen.map((i) => open[i]!.candidate);
    // Also while another one is asked: so it can find its way back.
    const foretold = await trusted.foretell(next);
    await measure(next, foretold);
    const scores = new Map(measured.map((m) => [m.key, m.score]));
    // Those that failed say nothing of it.
    next.forEach(({ key }, i) => {
      const score = scores.get(key);
      if (score !== undefined) trusted.judge(foretold[i]!, score);
    });
    yield report('measured');
  }
  if (trusted !== undefined) {
    confidence = await trusted.learn([base, ...measured]);
    yield report('learnt');
  }
  return measured;
}

/** Those of the first front that hold the constraints, by price; the least violating one when none does. */
export function measuredFront(constraints: Constraints, measured: readonly Measured[]): Measured[] {
  const price = priceOf(constraints);
  const scored = measured.map((m) => scoredOf(m, { constraints }));
  const front = (sortNondominated(scored)[0] ?? []).map((i) => measured[i]!);
  return front.toSorted((a, b) => (b[price] ?? b.macs) - (a[price] ?? a.macs) || (a.key < b.key ? -1 : 1));
}

/** A measured candidate; the graph stays lazy. */
export function withMeasurement(candidate: Candidate, score: number, latencyMs?: number): Measured {
  const { genome, key, macs, params, memoryBytes, signals, computation } = candidate;
  return {
    genome,
    key,
    macs,
    params,
    memoryBytes,
    signals,
    get graph() {
      return candidate.graph;
    },
    score,
    ...(computation === undefined ? {} : { computation }),
    ...(latencyMs === undefined ? {} : { latencyMs }),
  };
}

function apartBy(
  options: ExploreOptions,
  measured: readonly Measured[],
  open: readonly Candidate[],
): Pick<AcquisitionOptions, 'apart'> {
  if (options.distance === undefined) return {};
  const distance = (a: Candidate, b: Candidate): number => options.distance!(a.genome, b.genome);
  return {
    apart: {
      measured: (i) => measured.reduce((least, m) => Math.min(least, distance(open[i]!, m)), Infinity),
      between: (i, j) => distance(open[i]!, open[j]!),
    },
  };
}

function costsOf({ macs, params, memoryBytes }: Candidate): { macs: number; params: number; memoryBytes: number } {
  return { macs, params, memoryBytes };
}

function pointOf(m: Measured, { constraints }: Pick<ExploreOptions, 'constraints'>): number[] {
  return [-m.score, m[priceOf(constraints)] ?? m.macs];
}

function scoredOf(m: Measured, { constraints }: Pick<ExploreOptions, 'constraints'>): Scored {
  return { objectives: pointOf(m, { constraints }), violation: violation(constraints, m) };
}

/**
 * Beyond it nothing counts: the price of the original, and a score as far again below the best measured one as that is below the
 * original. So a gain in score at the budget weighs as much as a saving below it.
 */
function referenceOf(options: ExploreOptions, measured: readonly Measured[]): number[] {
  const { base, constraints } = options;
  const feasible = measured.filter((m) => violation(constraints, m) === 0);
  const known = feasible.length > 0 ? feasible : measured.length > 0 ? measured : [base];
  const best = Math.max(...known.map((m) => m.score));
  const worst = constraints.minScore ?? worstOf(base.score, best);
  return [-worst, (base[priceOf(constraints)] ?? base.macs) * 1.0001];
}

/** The score that hypervolumes count from. */
export function worstOf(original: number, best: number): number {
  return original - 2 * Math.max(original - best, 0.01 * Math.abs(original), 1e-6);
}

function measuredVolume(options: ExploreOptions, measured: readonly Measured[]): number {
  if (measured.length === 0) return 0;
  const { base, constraints } = options;
  const price = base[priceOf(constraints)] ?? base.macs;
  const points = measured.filter((m) => violation(constraints, m) === 0).map((m) => pointOf(m, options));
  // In shares of the original's price and of its score: comparable along the run.
  return hypervolume(
    points.map((p) => [p[0]! / Math.abs(base.score || 1), p[1]! / price]),
    [0, 1],
  );
}

function unique(candidates: readonly Candidate[]): Candidate[] {
  return [...new Map(candidates.map((c) => [c.key, c])).values()];
}
