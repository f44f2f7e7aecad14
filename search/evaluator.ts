// Where candidates become measured ones. The search sees the interface only; this file also holds the implementation in this
// process: replay, refit on a few hundred images, measure on others. Results do not depend on how many are under way at once.
import type { Analysis } from '../src/analysis/analyse.js';
import type { Dataset } from '../src/data/dataset.js';
import type { MetricName } from '../src/data/manifest.js';
import { drain } from '../src/drain.js';
import type { Model } from '../src/ir/graph.js';
import type { Tensor } from '../src/ir/tensor.js';
import { evaluate, type Evaluation, type RecordedOutputs } from '../src/measure/evaluate.js';
import { isOfTheSystem, messageOf } from '../src/errors.js';
import { quietLatency } from '../src/measure/latency.js';
import { findLayers } from '../src/recovery/layers.js';
import { withQuantizedWeights, type QuantizedWeights } from '../src/recovery/quantized-weights.js';
import { recover } from '../src/recovery/recover.js';
import { withSession, type Runtime } from '../src/runtime/runtime.js';
import { genomeKey, partsOf, type Genome } from './genome.js';
import { constantTensorOf } from './mutations/layers.js';
import type { Replayer } from './replay.js';

/** How well weights are recovered before a measurement. */
export interface Effort {
  /**
   * "none": weights as inherited; "quick": the closed-form refit from what is known of the base network, no data; "bn": the same, and
   * statistics measured anew; "reconstruct": the same, and every layer by least squares on the pruned network's own activations.
   */
  readonly mode: 'none' | 'quick' | 'bn' | 'reconstruct';
  /** Images for "bn" and "reconstruct". */
  readonly images: number;
  /** Positions drawn per image. */
  readonly positions: number;
}

/** A job is data. */
export interface Job {
  readonly genome: Genome;
  readonly effort: Effort;
}

export interface Result {
  readonly key: string;
  /** Higher is better: the metric, or its negative where lower is better. */
  readonly score: number;
  readonly metric: MetricName;
  readonly value: number;
  readonly n: number;
  readonly ci95: readonly [number, number];
  /** Against the original on the same samples, where defined. */
  readonly kl?: number;
  readonly agreement?: number;
  readonly relativeError?: number;
  /** Volatile. */
  readonly latencyMs?: number;
}

/** A candidate that cannot be measured: onnxruntime refuses it, or its refit fails. */
export interface Failure {
  readonly key: string;
  /** One sentence, the same whenever it is tried again. */
  readonly failed: string;
}

export interface Evaluator {
  readonly concurrency: number;
  /** Jobs that are given together end together, because something is done alone at their end (timing). */
  readonly together?: boolean;
  /** In the order of the jobs' genome keys. Rejects only for what is no candidate's fault: aborted, disk full, a dead thread. */
  evaluate(jobs: readonly Job[], signal?: AbortSignal): Promise<readonly (Result | Failure)[]>;
}

export interface InlineOptions extends RecoveryContext {
  /** The original's outputs on the samples that score. */
  readonly reference: RecordedOutputs;
  readonly concurrency?: number;
  /** Measure the latency of every candidate, in the search's own process, one at a time. */
  readonly latency?: boolean;
}

/** How long a candidate is timed. */
export const CANDIDATE_TIMING = { rounds: 40, maxMs: 1500 } as const;

export function inlineEvaluator(options: InlineOptions): Evaluator {
  const concurrency = options.concurrency ?? 2;
  const run = async (job: Job, signal: AbortSignal | undefined): Promise<Result> => {
    const [measured] = await measuredOn(options, job, [options], signal);
    return resultOf(genomeKey(job.genome), measured!);
  };

  return {
    concurrency,
    together: options.latency === true,
    async evaluate(jobs, signal) {
      const results = await limited(jobs, concurrency, (job) =>
        attempt<Result | Failure>(job.genome, signal, () => run(job, signal)),
      );
      return timed(results, jobs, options, signal);
    },
  };
}

/** Samples to measure on: those of the original's outputs. */
export interface Yardstick {
  readonly dataset: Dataset;
  readonly reference: RecordedOutputs;
}

/** A candidate, refitted once, on each of them. */
export async function measuredOn(
  context: RecoveryContext,
  { genome, effort }: Job,
  yardsticks: readonly Yardstick[],
  signal?: AbortSignal,
): Promise<readonly Evaluation[]> {
  const model = await recovered(context, genome, effort, signal);
  return withSession(context.runtime, model, {}, async (session) => {
    const found: Evaluation[] = [];
    for (const { dataset, reference } of yardsticks) {
      found.push(
        await evaluate(session, dataset, {
          indices: reference.indices,
          reference,
          concurrency: context.runtime.concurrency,
          ...(signal === undefined ? {} : { signal }),
        }),
      );
    }
    return found;
  });
}

async function attempt<T>(
  genome: Genome,
  signal: AbortSignal | undefined,
  act: () => Promise<T>,
): Promise<T | Failure> {
  try {
    return await act();
  } catch (error) {
    if (signal?.aborted === true || isOfTheSystem(error)) throw error;
    return { key: genomeKey(genome), failed: messageOf(error) };
  }
}

/** The results of these jobs by key, with times where they are asked for: measured here, nothing else of ours runs meanwhile. */
export async function timed(
  results: readonly (Result | Failure)[],
  jobs: readonly Job[],
  { latency, replayer }: Pick<InlineOptions, 'latency' | 'replayer'>,
  signal?: AbortSignal,
): Promise<readonly (Result | Failure)[]> {
  const all: (Result | Failure)[] = [];
  for (const [i, result] of results.entries()) {
    if (latency !== true || 'failed' in result) all.push(result);
    else {
      const { genome } = jobs[i]!;
      all.push(
        await attempt<Result | Failure>(genome, signal, async () => {
          const latencyMs = await quietLatency(replayer.replay(genome), CANDIDATE_TIMING);
          return { ...result, latencyMs };
        }),
      );
    }
  }
  return all.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

export function resultOf(key: string, measured: Evaluation): Result {
  const { versus } = measured;
  return {
    key,
    score: measured.higherIsBetter ? measured.value : -measured.value,
    metric: measured.metric,
    value: measured.value,
    n: measured.n,
    ci95: measured.ci95,
    ...(versus?.kl === undefined ? {} : { kl: versus.kl.value }),
    ...(versus?.agreement === undefined ? {} : { agreement: versus.agreement.value }),
    ...(versus === undefined ? {} : { relativeError: versus.relativeError.value }),
  };
}

/** What recovery needs, whoever asks for it. */
export interface RecoveryContext {
  readonly replayer: Replayer;
  readonly runtime: Runtime;
  readonly dataset: Dataset;
  /** Samples that weights may be fitted on. */
  readonly fit: readonly number[];
  /** Samples a run. */
  readonly batch: number;
  readonly seed: string;
  /** Weights that the model's file keeps as integers. */
  readonly quantized: QuantizedWeights;
}

/**
 * The network of a genome with its weights refitted, and stored as the model's file stores them: a pure function of base, genome,
 * data, seed and effort.
 */
export async function recovered(
  context: RecoveryContext,
  genome: Genome,
  effort: Effort,
  signal?: AbortSignal,
): Promise<Model> {
  return withQuantizedWeights(await refitted(context, genome, effort, signal), context.quantized).model;
}

/** Whether a candidate is refitted on data already when the search measures it: it holds an edit that is worth little before. */
export function isNeedy(genome: Genome, { options }: Pick<Replayer, 'options'>): boolean {
  const needy = needyOf(options);
  return genome.some((e) => needy.has(e.mutation));
}

function needyOf({ mutations }: Replayer['options']): ReadonlySet<string> {
  return new Set(mutations.filter((m) => m.refit === true).map((m) => m.name));
}

/** What makes layers of new shapes comparable with cut ones. */
const NEEDY: Effort = { mode: 'reconstruct', images: 192, positions: 32 };

/**
 * The weights of the layers that needy edits brought in, or others put in their place: they alone are fitted to data when the search
 * measures, so that the candidate has little advantage over others, and costs little more. Undefined = all, where such an edit brought none.
 */
function broughtIn(structure: Genome, replayer: Replayer): ReadonlySet<string> | undefined {
  const needy = needyOf(replayer.options);
  const found = new Set<string>();
  let before = layerWeights(replayer.base);
  for (const [i, edit] of structure.entries()) {
    const after = layerWeights(replayer.structure(structure.slice(0, i + 1)));
    const own = [...after.keys()].filter((name) => before.get(name) !== after.get(name));
    const replaced = [...found].filter((name) => !after.has(name));
    if (needy.has(edit.mutation) && own.length === 0) return undefined;
    if (needy.has(edit.mutation) || replaced.length > 0) for (const name of own) found.add(name);
    for (const name of replaced) found.delete(name);
    before = after;
  }
  return found;
}

/** By name; an edit that leaves a weight alone hands on the same tensor. */
function layerWeights(analysis: Analysis): ReadonlyMap<string, Tensor> {
  return new Map(
    findLayers(analysis.model.graph).map(({ weight }) => [weight, constantTensorOf({ analysis }, weight)]),
  );
}

async function refitted(
  context: RecoveryContext,
  genome: Genome,
  asked: Effort,
  signal: AbortSignal | undefined,
): Promise<Model> {
  const { replayer, runtime } = context;
  const { structure, dead } = partsOf(genome);
  const start = replayer.replay(genome);
  const { groups, model: edited } = replayer.structure(structure);
  const { knowledge } = replayer.options;
  const needy = asked.mode === 'quick' && isNeedy(genome, replayer);
  const effort = needy ? NEEDY : asked;
  const only = needy ? broughtIn(structure, replayer) : undefined;
  if (genome.length === 0 || effort.mode === 'none') return start;
  if (effort.mode === 'quick') return knowledge?.quickRefit(start, dead, groups) ?? start;
  const { dataset, fit: indices, batch, seed } = context;
  return drain(
    recover(
      replayer.base,
      start,
      { dataset, indices, batch },
      {
        mode: effort.mode,
        seed,
        images: effort.images,
        positions: effort.positions,
        dead,
        groups,
        edited,
        runtime,
        ...(knowledge === undefined ? {} : { knowledge }),
        ...(only === undefined ? {} : { only }),
        ...(signal === undefined ? {} : { signal }),
      },
    ),
  );
}

/**
 * Acts on the items, at most `limit` at once, and gives what comes of each in their order. `more` is asked before each start, of
 * how many are begun and not read yet. What has begun is finished, also where the caller stops reading.
 */
export async function* ahead<T, R>(
  items: readonly T[],
  limit: number,
  act: (item: T) => Promise<R>,
  more: (pending: number) => boolean = () => true,
): AsyncGenerator<{ readonly item: T; readonly result: Promise<R> }, void, void> {
  const begun: { readonly item: T; readonly result: Promise<R> }[] = [];
  let running = 0;
  let read = 0;
  let over = false;
  const fill = (): void => {
    while (!over && running < limit && begun.length < items.length && more(begun.length - read)) {
      const item = items[begun.length]!;
      running++;
      const result = act(item).finally(() => {
        running--;
        fill();
      });
      // whoever reads it hears of it
      result.catch(() => undefined);
      begun.push({ item, result });
    }
  };
  try {
    for (; ; read++) {
      fill();
      const entry = begun[read];
      if (entry === undefined) return;
      yield entry;
      await entry.result.catch(() => undefined);
    }
  } finally {
    over = true;
    await Promise.allSettled(begun.map((b) => b.result));
  }
}

/** At most `limit` at once, results in the order of the inputs. */
export async function limited<T, R>(items: readonly T[], limit: number, act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = Array.from({ length: items.length });
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const i = next++;
      results[i] = await act(items[i]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}
