// `optimize`: from a model file, data and a budget to a folder with a front of smaller models. An async generator of reports; all that
// is written is equal for equal seeds and counts, but for run.json. Killed at any moment, `resume` gives the same front: the
// algorithm is replayed with the archive as a cache of measurements.
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { inWords } from '../src/errors.js';
import { measureLatency } from '../src/measure/latency.js';
import { sha256OfFile } from '../src/onnx/read.js';
import type { OpTable } from '../src/ops/op.js';
import { createEnsemble } from '../src/predictor/ensemble.js';
import { DEFAULT_FITNESS, fitnessMethod, openPredictor, type FitnessMethod } from '../src/predictor/fitness-methods.js';
import { createRng } from '../src/rng.js';
import type { Prediction } from '../src/predictor/predictor.js';
import type { Runtime } from '../src/runtime/runtime.js';
import { archiveOf, checkSameRun, openVolatile, parseRecord, writeJson } from './archive.js';
import { bypassSeeds, measuredOf } from './bypasses.js';
import { claimFolder, openJsonLog } from './checkpoint.js';
import { choosingBy } from './choosing.js';
import { checkWishes, constraintsOf, type Wishes } from './constraints.js';
import { exactEdits, exactSeeds } from './exact-edits.js';
import { explore, withMeasurement, type Measured } from './explore.js';
import type { Result } from './evaluator.js';
import type { Candidate } from './fitness.js';
import { describeTraining, type TrainingPlan } from './finish-by-training.js';
import type { FrontFile } from './front-file.js';
import { handOver, mostTried } from './front.js';
import type { Mutation } from './mutations/mutation.js';
import { confidenceText, describe } from './optimize-words.js';
import { leastScore } from './least-score.js';
import { createRefusals } from './refusals.js';
import { chooseRounding } from './rounding.js';
import { factorsText, openTiming } from './timing.js';
import { reachable, targetsOf, unreachableNote } from './targets.js';
import { createVariation } from './variation.js';
import { openWorkshop, probeBatch, workerThreads, type EffortPlan } from './workshop.js';

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
  /** After the search the best members are distilled from the original, without labels. */
  readonly training?: TrainingPlan;
  readonly resume?: boolean;
  readonly runtime: Runtime;
  /**
   * Candidates are refitted and measured by so many threads, each with an onnxruntime of its own; in this process over `runtime` when
   * absent, and where the threads cannot know what is used: mutations, operators or an `ignore` that is not given as patterns.
   */
  readonly workers?: number;
  readonly table: OpTable;
  readonly version: string;
  readonly mutations?: readonly Mutation[];
  /** Where they come from, for config.json: other files, another run. */
  readonly plugins?: readonly { readonly file: string; readonly sha256: string }[];
  readonly effort?: Partial<EffortPlan>;
  /** How candidates are judged before they are measured ("aiop"). */
  readonly fitness?: FitnessMethod;
  /** Where that method starts from, for those that take a file. */
  readonly predictor?: string;
  /** Ends the run at once. */
  readonly signal?: AbortSignal;
  /** Ends the run soon: the candidate under way is finished, and a front of what was measured is written. It can be resumed. */
  readonly interrupt?: AbortSignal;
}

export interface OptimizeReport {
  readonly stage: 'read' | 'data' | 'learn' | 'seeds' | 'learnt' | 'generation' | 'measured' | 'finish' | 'written';
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

export interface OptimizeResult {
  readonly out: string;
  readonly front: FrontFile;
  readonly evaluations: number;
  readonly measured: readonly Measured[];
  /** Volatile: median latency of the original and of each exported file on this machine, one thread, batch 1. */
  readonly fileLatencies: ReadonlyMap<string, number>;
  /** Volatile: by all processes that worked on the run. */
  readonly spentMs: number;
}

export const DEFAULT_EFFORT: EffortPlan = {
  // Few images overfit a sequential refit: the closed form ranks as well and is ten times cheaper.
  search: { mode: 'quick', images: 0, positions: 0 },
  final: { mode: 'reconstruct', images: 1000, positions: 32 },
  calibration: { mode: 'reconstruct', images: 256, positions: 32 },
  calibrators: 8,
  learnImages: 500,
  scoreImages: 1000,
  heldImages: 4000,
  members: 6,
};

export async function* optimize(options: OptimizeOptions): AsyncGenerator<OptimizeReport, OptimizeResult, void> {
  checkWishes(options.wishes);
  const release = claimFolder(options.out, options.resume ?? false);
  try {
    return yield* run(options);
  } catch (error) {
    throw inWords(error);
  } finally {
    release();
  }
}

async function* run(options: OptimizeOptions): AsyncGenerator<OptimizeReport, OptimizeResult, void> {
  const { runtime, table, out, signal, interrupt } = options;
  const started = performance.now();
  const seed = options.seed ?? '0';
  const rng = createRng(seed);
  const plan: EffortPlan = { ...DEFAULT_EFFORT, ...options.effort };

  const method = options.fitness ?? fitnessMethod(DEFAULT_FITNESS);
  const predictor = await openPredictor(method, {
    rng: rng.fork('predictor'),
    base: () => workshop.replayer.base.model,
    batch: () => probeBatch(workshop),
    ...(options.predictor === undefined ? {} : { file: options.predictor }),
  });
  const sourceSha256 = await sha256OfFile(options.model);
  const wantsLatency = options.wishes.latency !== undefined;
  const rounding = await chooseRounding({
    asked: options.roundTo,
    config: join(out, 'config.json'),
    timed: wantsLatency,
    model: options.model,
    table,
    ignore: options.ignore ?? (() => false),
  });
  const { roundTo } = rounding;
  const workshop = yield* openWorkshop({
    model: options.model,
    data: options.data,
    ...(options.test === undefined ? {} : { test: options.test }),
    runtime,
    table,
    seed,
    plan,
    ignore: options.ignore ?? (() => false),
    roundTo,
    maxRatio: options.maxRatio ?? 1,
    mutations: options.mutations ?? [],
    ...workerThreads(options),
    // Until something is measured there is nothing to save.
    signal: AbortSignal.any([signal, interrupt].filter((s) => s !== undefined)),
  });
  try {
    const { dataset, reference, evaluation, replayer, own, fitness, learntMs } = workshop;
    const volatile = openVolatile(join(out, 'run.json'), {
      model: resolve(options.model),
      data: resolve(options.data),
    });
    const timing = wantsLatency
      ? await openTiming({ fitness, replayer, volatile, ...(signal === undefined ? {} : { signal }) })
      : undefined;
    if (timing?.factors !== undefined) yield { stage: 'learn', text: factorsText(timing.factors) };
    const original = withMeasurement(workshop.original, workshop.original.score, volatile.latencies.get('[]'));
    const constraints = constraintsOf(options.wishes, original);
    const targets = targetsOf(constraints, original, timing);
    const within = reachable(fitness, replayer, targets);
    const variation = createVariation(fitness, replayer, within);
    const note = unreachableNote(targets, variation.least);
    if (note !== undefined) yield { stage: 'learn', warning: note };

    const config = {
      pare: options.version,
      model: { file: basename(options.model), sha256: sourceSha256 },
      data: await dataset.fingerprint(),
      wishes: options.wishes,
      ignore: options.ignorePatterns ?? [],
      roundTo,
      rounding: rounding.why,
      maxRatio: options.maxRatio ?? 1,
      seed,
      effort: plan,
      ...(options.training === undefined ? {} : { training: describeTraining(options.training) }),
      mutations: replayer.options.mutations.map((m) => m.name),
      fitness: method.name,
      ...(options.plugins === undefined || options.plugins.length === 0 ? {} : { plugins: options.plugins }),
      ...(options.predictor === undefined ? {} : { predictor: await sha256OfFile(options.predictor) }),
    };
    checkSameRun(join(out, 'config.json'), config);
    const limit = options.evaluations ?? (options.timeMs === undefined ? 24 : 400);
    if (!existsSync(join(out, 'config.json')))
      writeJson(join(out, 'config.json'), { ...config, evaluations: null, archived: null });

    const log = openJsonLog(join(out, 'archive.jsonl'), parseRecord);
    const archive = archiveOf({
      log,
      volatile,
      evaluator: workshop.place.evaluator(reference, { latency: wantsLatency }),
      effort: plan.search,
      ...(signal === undefined ? {} : { signal }),
      ...(interrupt === undefined ? {} : { interrupt }),
    });
    const calibration = rng.fork('calibrate');
    const least =
      constraints.minScore === undefined
        ? undefined
        : leastScore({
            workshop,
            plan,
            out,
            rng: calibration,
            // it is known to be asked for
            wish: (score) => constraintsOf(options.wishes, { ...original, score }).minScore!,
            ...(signal === undefined ? {} : { signal }),
            ...(interrupt === undefined ? {} : { interrupt }),
          });
    const refusals = createRefusals();
    /** Scores as they were measured, which the search may see otherwise. */
    const raw = new Map<string, number>();
    const measure = async (
      candidates: readonly Candidate[],
      predictions?: readonly Prediction[],
    ): Promise<readonly (Result | undefined)[]> => {
      const foretold = predictions?.map((p, i) => least?.asMeasured(candidates[i]!, p) ?? p);
      const results = await archive.measure(candidates, foretold);
      return results.map((result, i) => {
        if (result === undefined) return undefined;
        if ('failed' in result) {
          refusals.failed(candidates[i]!, result.failed);
          return undefined;
        }
        refusals.worked(candidates[i]!.genome);
        raw.set(result.key, result.score);
        return { ...result, score: least?.comparable(candidates[i]!, result.score) ?? result.score };
      });
    };
    const measured: Measured[] = [];
    let tried = 0;
    const beforeSearch = performance.now();
    const bypasses =
      timing === undefined
        ? { seeds: [], alone: [] }
        : await bypassSeeds({
            replayer,
            variation,
            assess: workshop.assess,
            measure: async (candidates) => {
              const results = await measure(candidates);
              timing.learn(measuredOf(candidates, results));
              return results;
            },
            score: original.score,
            saves: (genome) => timing.law().of([]) - timing.law().of(genome),
            share: within.high,
          });
    const exact = exactSeeds(
      exactEdits(replayer, own.mutations, rng.fork('exact')),
      variation,
      within.low,
      within.high,
    );
    const search = explore({
      base: original,
      known: bypasses.alone,
      seeds: [...bypasses.seeds, ...exact, ...variation.seeds(20, rng.fork('seeds'))],
      initial: bypasses.seeds.length + exact.length + 8,
      assess: workshop.assess,
      vary: (a, b, stream) => {
        const made = variation.vary(a, b, stream);
        return made === undefined || refusals.allows(made) ? made : undefined;
      },
      measure,
      ...(timing === undefined ? {} : { latency: (m) => timing.learn(m) }),
      ...choosingBy(method, predictor, fitness),
      constraints,
      ...(least === undefined ? {} : { leastScore: (m) => least.ofSearch(m) }),
      rng: rng.fork('search'),
      evaluations: limit,
      stop: () => {
        signal?.throwIfAborted();
        if (interrupt?.aborted === true) return true;
        if (options.timeMs === undefined) return false;
        const now = performance.now();
        const each = (now - beforeSearch) / Math.max(1, archive.fresh());
        // A full refit runs both networks and collects moments, about two and a half times what learning costs an image; two at once
        // take less than one after the other.
        const calibrators = least?.calibrated() === undefined ? plan.calibrators : 0;
        const files = least === undefined ? plan.members : mostTried(plan.members);
        const images = files * plan.final.images + calibrators * plan.calibration.images;
        const finals = (2.5 * learntMs * images) / plan.learnImages / (workshop.place.refits > 1 ? 1.4 : 1);
        return archive.fresh() > 0 && volatile.spentMs + now - started + 4 * each + finals > options.timeMs;
      },
    });
    try {
      for await (const report of search) {
        measured.splice(0, measured.length, ...report.measured);
        tried = report.tried;
        for (const warning of [...own.warnings(), ...refusals.warnings()]) yield { stage: report.stage, warning };
        for (const text of least?.news() ?? []) yield { stage: 'learnt', text };
        volatile.touch(performance.now() - started);
        const words = report.stage === 'learnt' ? confidenceText(report.confidence, evaluation.metric) : undefined;
        if (words !== undefined) yield { stage: 'learnt', text: words };
        else if (report.stage !== 'learnt') yield describe(report, limit, original, evaluation.metric);
      }
    } finally {
      log.close();
    }

    for (const warning of own.warnings()) yield { stage: 'finish', warning };
    const asMeasured = measured.map((m) => withMeasurement(m, raw.get(m.key) ?? m.score, m.latencyMs));
    const front = yield* handOver({
      workshop,
      original,
      measured: asMeasured,
      // What nobody foretold while searching is foretold for the report.
      predictor: predictor ?? createEnsemble(rng.fork('predictor')),
      constraints,
      variation,
      plan,
      rng: calibration,
      ...(least === undefined ? {} : { least }),
      table,
      out,
      rounding,
      model: basename(options.model),
      recipe: { sourceSha256, version: options.version },
      ...(note === undefined ? {} : { note }),
      reasons: refusals.reasons,
      ...(options.training === undefined ? {} : { training: options.training }),
      ...(signal === undefined ? {} : { signal }),
      ...(interrupt === undefined ? {} : { interrupt }),
    });
    if (front.interrupted !== true) {
      writeJson(join(out, 'config.json'), { ...config, evaluations: tried, archived: archive.used() });
    }
    const { fileLatencies } = volatile;
    const files: readonly [string, string][] = [
      ['original', options.model],
      ...front.candidates.map(({ file }): [string, string] => [file, join(out, file)]),
    ];
    fileLatencies.clear();
    const batch = dataset.fixedBatch ?? 1;
    const feeds = dataset.batch(Array.from({ length: batch }, (_, i) => i % dataset.size)).inputs;
    for (const [name, path] of files) {
      fileLatencies.set(name, (await measureLatency(path, { rounds: 15, maxMs: 600, batch, feeds })).median);
    }
    volatile.touch(performance.now() - started);
    volatile.save();
    yield { stage: 'written', text: out };
    return {
      out,
      front,
      evaluations: tried,
      measured: asMeasured,
      fileLatencies,
      spentMs: volatile.spentMs + performance.now() - started,
    };
  } finally {
    await workshop.close();
  }
}
