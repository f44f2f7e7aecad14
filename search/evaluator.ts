// Where candidates become measured ones. The search sees the interface only; this file also holds the implementation in this
// process: replay, refit on a few hundred images, measure on others. Results do not depend on how many are under way at once.
import type { Analysis } from '../src/analysis/analyse.js';
import { chooseSamples, chunksOf } from '../src/data/batches.js';
import type { Dataset } from '../src/data/dataset.js';
import type { MetricName } from '../src/data/manifest.js';
import type { Model } from '../src/ir/graph.js';
import { evaluate, safeBatch, type Evaluation, type RecordedOutputs } from '../src/measure/evaluate.js';
import { measureLatency } from '../src/measure/latency.js';
import { reconstruct } from '../src/recovery/least-squares.js';
import type { Feeds } from '../src/recovery/walk.js';
import { createRng } from '../src/rng.js';
import { withSession, type Runtime, type Session } from '../src/runtime/runtime.js';
import { genomeKey, partsOf, type Genome } from './genome.js';
import type { Replayer } from './replay.js';

/** How much a measurement may cost. */
export interface Effort {
  /** Images that weights are refitted on; 0 = weights stay as inherited. */
  readonly fitImages: number;
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

export interface Evaluator {
  readonly concurrency: number;
  /** Results in the order of the jobs' genome keys. */
  evaluate(jobs: readonly Job[], signal?: AbortSignal): Promise<readonly Result[]>;
}

export interface InlineOptions {
  readonly replayer: Replayer;
  readonly runtime: Runtime;
  readonly dataset: Dataset;
  /** Samples that weights may be fitted on. */
  readonly fit: readonly number[];
  /** The original's outputs on the samples that score. */
  readonly reference: RecordedOutputs;
  readonly seed: string;
  readonly concurrency?: number;
  /** Measure the latency of every candidate, in the search's own process, one at a time. */
  readonly latency?: boolean;
}

export function inlineEvaluator(options: InlineOptions): Evaluator {
  const concurrency = options.concurrency ?? 2;
  const feedsBySize = new Map<number, Promise<readonly Feeds[]>>();
  const feeds = (count: number): Promise<readonly Feeds[]> => {
    let known = feedsBySize.get(count);
    if (known === undefined) feedsBySize.set(count, (known = calibrationFeeds(options, count)));
    return known;
  };

  const run = async ({ genome, effort }: Job, signal: AbortSignal | undefined): Promise<Result> => {
    const model = await recovered(options, genome, effort, await feeds(effort.fitImages), signal);
    return withSession(options.runtime, model, {}, async (session) => {
      const measured = await evaluate(session, options.dataset, {
        indices: options.reference.indices,
        reference: options.reference,
        concurrency: options.runtime.concurrency,
        ...(signal === undefined ? {} : { signal }),
      });
      return resultOf(genomeKey(genome), measured);
    });
  };

  return {
    concurrency,
    async evaluate(jobs, signal) {
      const results = await limited(jobs, concurrency, (job) => run(job, signal));
      // Alone on the machine: nothing else of ours runs meanwhile.
      const timed: Result[] = [];
      for (const [i, result] of results.entries()) {
        if (options.latency !== true) timed.push(result);
        else {
          const { median } = await measureLatency(options.replayer.replay(jobs[i]!.genome), {
            rounds: 15,
            maxMs: 2000,
          });
          timed.push({ ...result, latencyMs: median });
        }
      }
      return timed.toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    },
  };
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

/** The network of a genome with its weights refitted: a pure function of base, genome, data, seed and effort. */
export async function recovered(
  options: Pick<InlineOptions, 'replayer' | 'runtime' | 'seed'>,
  genome: Genome,
  effort: Effort,
  feeds: readonly Feeds[],
  signal?: AbortSignal,
): Promise<Model> {
  const { replayer, runtime } = options;
  const { structure, dead } = partsOf(genome);
  const start = replayer.replay(genome);
  if (effort.fitImages === 0 || feeds.length === 0 || genome.length === 0) return start;
  const analysis: Analysis = replayer.structure(structure);
  const refit = reconstruct(replayer.base.model, start, feeds, {
    runtime,
    rng: createRng(`${options.seed}/refit`),
    groups: analysis.groups,
    dead,
    positions: effort.positions,
    ...(signal === undefined ? {} : { signal }),
  });
  for (;;) {
    const step = await refit.next();
    if (step.done === true) return step.value;
  }
}

/** Batches of inputs of a seeded choice of the fit samples; a network that cannot run batches gets single samples. */
export async function calibrationFeeds(
  { dataset, fit, seed, runtime, replayer }: Pick<InlineOptions, 'dataset' | 'fit' | 'seed' | 'runtime' | 'replayer'>,
  count: number,
): Promise<readonly Feeds[]> {
  const chosen = chooseSamples(fit.length, count, createRng(`${seed}/fit`)).map((i) => fit[i]!);
  if (chosen.length === 0) return [];
  const batch = await withSession(runtime, replayer.base.model, {}, (session: Session) =>
    safeBatch(session, dataset, chosen, 32),
  );
  return chunksOf(dataset, chosen, batch).map((chunk) => dataset.batch(chunk.indices).inputs);
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
