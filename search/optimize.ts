// `optimize`: from a model file, data and a budget to a folder with a front of smaller models. An async generator of reports; all that
// is written is equal for equal seeds and counts, but for run.json. Killed at any moment, `resume` gives the same front: the
// algorithm is replayed with the archive as a cache of measurements.
import { existsSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Knowledge } from '../src/recovery/knowledge.js';
import { splitDataset } from '../src/data/batches.js';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { PareError } from '../src/errors.js';
import { checkData } from '../src/measure/check-data.js';
import { evaluate, recordOutputs, safeBatch } from '../src/measure/evaluate.js';
import { measureLatency } from '../src/measure/latency.js';
import { readModel, sha256OfFile } from '../src/onnx/read.js';
import type { OpTable } from '../src/ops/op.js';
import { createEnsemble, type Belief } from '../src/predictor/ensemble.js';
import { learnFrom } from '../src/recovery/recover.js';
import { createRng } from '../src/rng.js';
import type { Runtime, Session } from '../src/runtime/runtime.js';
import { archiveOf, checkSameRun, openVolatile, parseRecord, writeJson } from './archive.js';
import { claimFolder, openJsonLog } from './checkpoint.js';
import { constraintsOf, priceOf, violation, type Constraints, type Wishes } from './constraints.js';
import { inlineEvaluator, resultOf, type Effort, type RecoveryContext } from './evaluator.js';
import { explore, withMeasurement, type ExploreReport, type Measured } from './explore.js';
import { figureOf, finish, type Figure, type FrontMember } from './finish.js';
import { createFitness, type Candidate, type Fitness } from './fitness.js';
import { genomeKey, type Genome } from './genome.js';
import { pruneChannels } from './mutations/prune-channels.js';
import type { Mutation } from './mutations/mutation.js';
import { createReplayer, openGroups, surgeryWith, type Replayer } from './replay.js';
import { chooseMembers } from './members.js';
import { createVariation, type Targets } from './variation.js';

export interface OptimizeOptions {
  readonly model: string;
  readonly data: string;
  /** Measured at the end, never used for choosing. */
  readonly test?: string;
  readonly out: string;
  readonly wishes: Wishes;
  /** Node or tensor names that stay: true = untouched. */
  readonly ignore?: (name: string) => boolean;
  /** As written by the user, for config.json. */
  readonly ignorePatterns?: readonly string[];
  readonly roundTo?: number;
  readonly maxRatio?: number;
  readonly seed?: string;
  readonly evaluations?: number;
  readonly timeMs?: number;
  readonly resume?: boolean;
  readonly runtime: Runtime;
  readonly table: OpTable;
  readonly version: string;
  readonly mutations?: readonly Mutation[];
  readonly effort?: Partial<EffortPlan>;
  readonly signal?: AbortSignal;
}

/** How many samples go where; part of a run's definition. */
export interface EffortPlan {
  readonly search: Effort;
  readonly final: Effort;
  /** Samples from which the base network is learnt: what each channel is worth. */
  readonly learnImages: number;
  /** Samples that score candidates during the search. */
  readonly scoreImages: number;
  /** Samples on which the front is measured at the end, others than those. */
  readonly heldImages: number;
  /** Largest number of front members. */
  readonly members: number;
}

export interface OptimizeReport {
  readonly stage: 'read' | 'data' | 'learn' | 'seeds' | 'generation' | 'measured' | 'finish' | 'written';
  readonly text?: string;
  readonly warning?: string;
  readonly measured?: number;
  readonly of?: number;
  /** Best score so far that holds the constraints, and its share of the original's price. */
  readonly best?: { readonly score: number; readonly share: number };
  readonly original?: { readonly score: number; readonly metric: string };
  readonly generation?: number;
  readonly scored?: number;
  readonly hypervolume?: number;
}

/** front.json. */
export interface FrontFile {
  readonly model: string;
  readonly metric: string;
  readonly constraints: Constraints;
  /** False: no candidate holds the constraints, these come closest; `note` says why. */
  readonly reached: boolean;
  readonly note?: string;
  readonly original: {
    readonly macs: number;
    readonly params: number;
    readonly memoryBytes: number;
    readonly measured: Figure;
    readonly test?: Figure;
  };
  readonly belief?: Belief;
  readonly candidates: readonly FrontMember[];
}

export interface OptimizeResult {
  readonly out: string;
  readonly front: FrontFile;
  readonly evaluations: number;
  readonly measured: readonly Measured[];
}

const DEFAULT_EFFORT: EffortPlan = {
  search: { mode: 'quick', images: 0, positions: 0 },
  final: { mode: 'reconstruct', images: 1000, positions: 64 },
  learnImages: 500,
  scoreImages: 1000,
  heldImages: 4000,
  members: 6,
};

export async function* optimize(options: OptimizeOptions): AsyncGenerator<OptimizeReport, OptimizeResult, void> {
  const release = claimFolder(options.out, options.resume ?? false);
  try {
    return yield* run(options);
  } finally {
    release();
  }
}

async function* run(options: OptimizeOptions): AsyncGenerator<OptimizeReport, OptimizeResult, void> {
  const { runtime, table, out, signal } = options;
  const started = performance.now();
  const seed = options.seed ?? '0';
  const rng = createRng(seed);
  const plan: EffortPlan = { ...DEFAULT_EFFORT, ...options.effort };

  const surgery = surgeryWith(table);
  const base = surgery.analyse(readModel(options.model));
  const sourceSha256 = await sha256OfFile(options.model);
  yield { stage: 'read', text: describeBase(base.cost.macs, base.cost.params, base.groups.groups.length) };

  const session = await runtime.load(options.model);
  try {
    const dataset = openDataset(options.data, session.inputs);
    for (const warning of await checkData(session, dataset)) yield { stage: 'data', warning };
    const volatile = openVolatile(join(out, 'run.json'));
    const split = splitDataset(dataset.size, rng);
    const order = createRng(`${seed}/score`).shuffle(split.score);
    const scoring = ascending(order.slice(0, plan.scoreImages));
    const rest = order.slice(plan.scoreImages, plan.scoreImages + plan.heldImages);
    // With few samples there are none left over, and the scoring ones serve again.
    const heldIndices = rest.length >= Math.min(500, scoring.length) ? ascending(rest) : scoring;
    const concurrency = runtime.concurrency;
    const reference = await recordOutputs(session, dataset, { indices: scoring, concurrency });
    const evaluation = await evaluate(session, dataset, { indices: scoring, reference, concurrency });
    const baseResult = resultOf('[]', evaluation);
    const wantsLatency = options.wishes.latency !== undefined;
    if (wantsLatency && volatile.latencies.get('[]') === undefined) {
      volatile.latencies.set('[]', (await measureLatency(options.model, { rounds: 30, maxMs: 5000 })).median);
      volatile.save();
    }

    const roundTo = options.roundTo ?? (wantsLatency ? 8 : 1);
    const batch = await safeBatch(session, dataset, split.fit, 32);
    const beforeLearning = performance.now();
    const learning = learnFrom(
      base,
      { dataset, indices: split.fit, batch },
      {
        seed,
        images: plan.learnImages,
        runtime,
        ...(signal === undefined ? {} : { signal }),
      },
    );
    let lesson = await learning.next();
    for (; lesson.done !== true; lesson = await learning.next()) {
      const { stage, index, of } = lesson.value;
      if (index + 1 === of)
        yield { stage: 'learn', text: stage === 'moments' ? 'activations seen' : 'channels ranked' };
    }
    const knowledge: Knowledge = lesson.value;
    const learntMs = performance.now() - beforeLearning;
    const replayer = createReplayer(base, {
      surgery,
      mutations: [pruneChannels(surgery), ...(options.mutations ?? [])],
      ignore: options.ignore ?? (() => false),
      roundTo,
      maxRatio: options.maxRatio ?? 1,
      knowledge,
    });
    if (openGroups(base, replayer.options.ignore).length === 0) {
      throw new PareError(
        `${options.model}: there is no channel group to cut; \`pare groups\` says what is frozen and why`,
      );
    }
    const fitness = createFitness(replayer);
    const original = withMeasurement(fitness.assess([]), baseResult.score, volatile.latencies.get('[]'));
    const constraints = constraintsOf(options.wishes, original);
    const targets = targetsOf(constraints, original);
    const variation = createVariation(fitness, replayer, reachable(fitness, replayer, targets));
    const note = unreachableNote(targets, variation.least);
    if (note !== undefined) yield { stage: 'learn', warning: note };

    const config = {
      pare: options.version,
      model: { file: basename(options.model), sha256: sourceSha256 },
      data: await dataset.fingerprint(),
      wishes: options.wishes,
      ignore: options.ignorePatterns ?? [],
      roundTo,
      maxRatio: options.maxRatio ?? 1,
      seed,
      effort: plan,
      mutations: replayer.options.mutations.map((m) => m.name),
    };
    checkSameRun(join(out, 'config.json'), config);
    const limit = options.evaluations ?? (options.timeMs === undefined ? 24 : 400);
    if (!existsSync(join(out, 'config.json'))) writeJson(join(out, 'config.json'), { ...config, evaluations: null });

    const context: RecoveryContext = { replayer, runtime, dataset, fit: split.fit, batch, seed };
    const inline = inlineEvaluator({
      ...context,
      reference,
      latency: wantsLatency,
      concurrency: Math.min(2, runtime.concurrency),
    });
    const log = openJsonLog(join(out, 'archive.jsonl'), parseRecord);
    const archive = archiveOf(log, volatile, inline, plan.search, signal);
    const predictor = createEnsemble(rng.fork('predictor'));
    const measured: Measured[] = [];
    const beforeSearch = performance.now();
    const search = explore({
      base: original,
      seeds: variation.seeds(20, rng.fork('seeds')),
      assess: memo(fitness),
      vary: (a, b, stream) => variation.vary(a, b, stream),
      measure: (candidates) => archive.measure(candidates),
      predictor,
      constraints,
      rng: rng.fork('search'),
      evaluations: limit,
      stop: () => {
        signal?.throwIfAborted();
        if (options.timeMs === undefined) return false;
        const now = performance.now();
        const each = (now - beforeSearch) / Math.max(1, archive.fresh());
        // A full refit runs both networks and collects moments, about three times what learning costs an image.
        const finals = (plan.members * 3 * learntMs * plan.final.images) / plan.learnImages;
        return archive.fresh() > 0 && volatile.spentMs + now - started + 4 * each + finals > options.timeMs;
      },
    });
    try {
      for await (const report of search) {
        measured.splice(0, measured.length, ...report.measured);
        volatile.touch(performance.now() - started);
        yield describe(report, limit, constraints, original, evaluation.metric);
      }
    } finally {
      log.close();
    }

    // The front: the most accurate one filled up to the budget, the others where the front bends.
    yield { stage: 'finish', text: `${measured.length} candidates measured; the front is refitted on more samples` };
    const chosen = chooseMembers(measured, constraints, plan.members, variation, fitness);
    const held = await recordOutputs(session, dataset, { indices: heldIndices, concurrency });
    const originalMeasured = await evaluate(session, dataset, { indices: heldIndices, concurrency, reference: held });
    const test = options.test === undefined ? undefined : await openTest(options.test, session, concurrency);
    await predictor.fit([original, ...measured]);
    mkdirSync(join(out, 'candidates'), { recursive: true });
    const members: FrontMember[] = [];
    for (const [i, candidate] of chosen.entries()) {
      signal?.throwIfAborted();
      const name = `${String(i + 1).padStart(2, '0')}-macs-${((100 * candidate.macs) / original.macs).toFixed(1)}`;
      try {
        const finished = await finish(candidate, name, {
          out,
          table,
          context,
          effort: plan.final,
          held,
          recipe: { sourceSha256, version: options.version },
          ...(test === undefined ? {} : { test }),
          ...(signal === undefined ? {} : { signal }),
        });
        const [predicted] = await predictor.predict([candidate]);
        members.push({
          ...finished,
          predicted: predicted!,
          searched: candidate.score,
          violation: violation(constraints, candidate),
          genome: candidate.genome,
        });
        yield { stage: 'finish', measured: i + 1, of: chosen.length, text: describeMember(members.at(-1)!, original) };
      } catch (error) {
        if (!(error instanceof PareError)) throw error;
        yield { stage: 'finish', warning: `candidate ${i + 1} is left out: ${error.message}` };
      }
    }

    const reached = members.some((m) => m.violation === 0);
    const belief = predictor.belief();
    const front: FrontFile = {
      model: basename(options.model),
      metric: originalMeasured.metric,
      constraints: withoutVolatile(constraints),
      reached,
      ...(reached ? {} : { note: note ?? 'no measured candidate holds all constraints; these come closest' }),
      original: {
        macs: original.macs,
        params: original.params,
        memoryBytes: original.memoryBytes,
        measured: figureOf(originalMeasured),
        ...(test === undefined ? {} : { test: figureOf(test.original) }),
      },
      ...(belief === undefined ? {} : { belief }),
      candidates: members,
    };
    writeJson(join(out, 'front.json'), front);
    writeJson(join(out, 'config.json'), { ...config, evaluations: measured.length });
    volatile.touch(performance.now() - started);
    volatile.save();
    yield { stage: 'written', text: out };
    return { out, front, evaluations: measured.length, measured };
  } finally {
    await session.release();
  }
}

// --- targets -------------------------------------------------------------------------------------------------------------

function targetsOf(constraints: Constraints, original: Candidate): Targets {
  const limits = {
    ...(constraints.macs === undefined ? {} : { macs: constraints.macs }),
    ...(constraints.params === undefined ? {} : { params: constraints.params }),
  };
  const price = priceOf(constraints);
  if (price === 'params') {
    const high = Math.min(1, constraints.params! / original.params);
    return { kind: 'params', low: 0.6 * high, high, ...limits };
  }
  const high = constraints.macs === undefined ? 0.97 : Math.min(1, constraints.macs / original.macs);
  return { kind: 'macs', low: constraints.macs === undefined ? 0.15 : 0.6 * high, high, ...limits };
}

/** Where the budget is out of reach, the search stays just above what can be reached. */
function reachable(fitness: Fitness, replayer: Replayer, targets: Targets): Targets {
  const { least } = createVariation(fitness, replayer, targets);
  const high = Math.max(targets.high, Math.min(1, least * 1.02));
  return { ...targets, high, low: Math.min(high, Math.max(targets.low, least)) };
}

function unreachableNote(targets: Targets, least: number): string | undefined {
  if (least <= targets.high) return undefined;
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
  return `the budget of ${percent(targets.high)} ${targets.kind === 'macs' ? 'MACs' : 'parameters'} is out of reach: with every group at its narrowest ${percent(least)} remain; the search goes for the best it can reach`;
}

/** Candidates are assessed once, as long as there are not too many of them. */
function memo(fitness: Fitness): (genome: Genome) => Candidate {
  const known = new Map<string, Candidate>();
  return (genome) => {
    const key = genomeKey(genome);
    let found = known.get(key);
    if (found === undefined) {
      found = fitness.assess(genome);
      known.set(key, found);
      if (known.size > 20_000) known.delete(known.keys().next().value!);
    }
    return found;
  };
}

async function openTest(
  path: string,
  session: Session,
  concurrency: number,
): Promise<{
  dataset: Dataset;
  reference: Awaited<ReturnType<typeof recordOutputs>>;
  original: Awaited<ReturnType<typeof evaluate>>;
}> {
  const dataset = openDataset(path, session.inputs);
  const reference = await recordOutputs(session, dataset, { concurrency });
  return { dataset, reference, original: await evaluate(session, dataset, { reference, concurrency }) };
}

// --- words -----------------------------------------------------------------------------------------------------------------

function describe(
  report: ExploreReport,
  of: number,
  constraints: Constraints,
  original: Measured,
  metric: string,
): OptimizeReport {
  const feasible = report.measured.filter((m) => violation(constraints, m) === 0);
  const best = feasible.reduce<Measured | undefined>(
    (a, b) => (a === undefined || b.score > a.score ? b : a),
    undefined,
  );
  const price = priceOf(constraints);
  return {
    stage: report.stage,
    measured: report.measured.length,
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

function describeBase(macs: number, params: number, groups: number): string {
  return `${(macs / 1e6).toFixed(2)} M MACs, ${(params / 1e6).toFixed(3)} M parameters, ${groups} channel groups`;
}

function describeMember(m: FrontMember, original: Candidate): string {
  return `${m.file}: ${((100 * m.macs) / original.macs).toFixed(1)} % MACs, ${m.measured.metric} ${m.measured.value.toFixed(4)}`;
}

/** Limits on latency were given or derived in milliseconds of this machine; as a wish they stand in config.json. */
function withoutVolatile(constraints: Constraints): Constraints {
  const { latencyMs: _volatile, ...rest } = constraints;
  return rest;
}

function ascending(list: readonly number[]): number[] {
  return list.toSorted((a, b) => a - b);
}
