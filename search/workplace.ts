// Where the dear work of a run is done, refits and measurements: in this process, or in worker threads, each with a network, data and
// an onnxruntime of its own. Results do not depend on the place nor on the number of threads.
import { existsSync, readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Dataset } from '../src/data/dataset.js';
import type { Evaluation, RecordedOutputs } from '../src/measure/evaluate.js';
import type { OpTable } from '../src/ops/op.js';
import type { LearntData } from '../src/recovery/knowledge.js';
import { JobLost, openCrew, shared } from '../src/runtime/crew.js';
import type { ValueMeta } from '../src/runtime/runtime.js';
import {
  inlineEvaluator,
  limited,
  measuredOn,
  timed,
  type Effort,
  type Evaluator,
  type Failure,
  type Job,
  type RecoveryContext,
  type Result,
  type Yardstick,
} from './evaluator.js';
import type { Measured } from './explore.js';
import { finish, type Finished } from './finish.js';
import { genomeKey, type Genome } from './genome.js';

export interface Workplace {
  /** How many full refits at once, each of which holds activations of both networks. */
  readonly refits: number;
  evaluator(reference: RecordedOutputs, options?: EvaluatorOptions): Evaluator;
  /** Refits a candidate once and measures it on each of these; throws what keeps it from being measured. */
  measure(job: Job, on: readonly PlacedYardstick[], signal?: AbortSignal): Promise<readonly Evaluation[]>;
  /** Refits, verifies, writes and measures one candidate; throws PareError when a verification fails. */
  finish(candidate: Pick<Measured, 'genome' | 'macs'>, name: string, options: PlacedFinish): Promise<Finished>;
  close(): Promise<void>;
}

export interface EvaluatorOptions {
  /** Candidates are timed, in this process and alone. */
  readonly latency?: boolean;
  /** At most so many at once; as many as the place has hands otherwise. */
  readonly concurrency?: number;
}

/** `path`: of data other than the run's own. */
export interface PlacedYardstick extends Yardstick {
  readonly path?: string;
}

export interface PlacedFinish {
  readonly out: string;
  readonly effort: Effort;
  readonly held: RecordedOutputs;
  readonly test?: { readonly path: string; readonly dataset: Dataset; readonly reference: RecordedOutputs };
  readonly recipe: { readonly sourceSha256: string; readonly version: string };
  readonly signal?: AbortSignal;
}

/** Everything in this process, over the context's runtime. */
export function inlineWorkplace(context: RecoveryContext, table: OpTable): Workplace {
  const hands = Math.min(2, context.runtime.concurrency);
  return {
    refits: hands,
    evaluator: (reference, options = {}) => inlineEvaluator({ concurrency: hands, ...options, ...context, reference }),
    measure: (job, on, signal) => measuredOn(context, job, on, signal),
    finish: (candidate, name, options) => finish(candidate, name, { ...options, table, context }),
    close: () => Promise.resolve(),
  };
}

/** What a thread makes its workshop from; plain, and what is large in shared memory. */
export interface Opening {
  /** The model's file: its bytes, and where its external data are. */
  readonly bytes: Uint8Array;
  readonly path: string;
  readonly data: string;
  readonly inputs: readonly ValueMeta[];
  readonly ignore: readonly string[];
  readonly roundTo: number;
  readonly maxRatio: number;
  readonly learnt: LearntData;
  readonly fit: readonly number[];
  readonly batch: number;
  readonly seed: string;
}

export type PlacedJob = EvaluateJob | MeasureJob | FinishJob;

export interface EvaluateJob {
  readonly kind: 'evaluate';
  readonly genome: Genome;
  readonly effort: Effort;
  readonly reference: RecordedOutputs;
}

export interface MeasureJob extends Job {
  readonly kind: 'measure';
  readonly on: readonly { readonly path?: string; readonly reference: RecordedOutputs }[];
}

export interface FinishJob {
  readonly kind: 'finish';
  readonly genome: Genome;
  readonly macs: number;
  readonly name: string;
  readonly out: string;
  readonly effort: Effort;
  readonly held: RecordedOutputs;
  readonly test?: { readonly path: string; readonly reference: RecordedOutputs };
  readonly recipe: PlacedFinish['recipe'];
}

export interface ThreadsOptions extends Omit<Opening, 'bytes'> {
  readonly workers: number;
  /** For what is done in this process: timing. */
  readonly context: RecoveryContext;
}

export function threadedWorkplace({ workers, context, ...opening }: ThreadsOptions): Workplace {
  const crew = openCrew({
    entry: entryFile(),
    size: workers,
    open: { ...opening, bytes: shared(readFileSync(opening.path)) } satisfies Opening,
  });
  // Made once of each: a job then carries no copy of them.
  const known = new WeakMap<RecordedOutputs, RecordedOutputs>();
  const sharedOnce = (recorded: RecordedOutputs): RecordedOutputs => {
    const found = known.get(recorded) ?? shared(recorded);
    known.set(recorded, found);
    return found;
  };
  const ask = async (job: PlacedJob, signal: AbortSignal | undefined): Promise<unknown> => {
    signal?.throwIfAborted();
    const abort = (): void => void crew.close(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await crew.ask(job);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  };
  const evaluateOne = async (job: EvaluateJob, signal: AbortSignal | undefined): Promise<Result | Failure> => {
    try {
      // the cast: worker.ts answers so
      return (await ask(job, signal)) as Result | Failure;
    } catch (error) {
      if (error instanceof JobLost) return { key: genomeKey(job.genome), failed: error.message };
      throw error;
    }
  };
  return {
    refits: Math.max(1, Math.min(workers, Math.floor((0.7 * freemem()) / refitBytes(context)))),
    evaluator: (reference, { latency = false, concurrency = workers } = {}) => ({
      concurrency: Math.min(workers, concurrency),
      together: latency,
      async evaluate(jobs, signal) {
        const results = await limited(jobs, concurrency, ({ genome, effort }) =>
          evaluateOne({ kind: 'evaluate', genome, effort, reference: sharedOnce(reference) }, signal),
        );
        return timed(results, jobs, { latency, replayer: context.replayer }, signal);
      },
    }),
    async measure(job, on, signal) {
      const places = on.map(({ path, reference }) => ({
        reference: sharedOnce(reference),
        ...(path === undefined ? {} : { path }),
      }));
      // the cast: worker.ts answers so
      return (await ask({ ...job, kind: 'measure', on: places }, signal)) as readonly Evaluation[];
    },
    async finish({ genome, macs }, name, { out, effort, held, test, recipe, signal }) {
      const job: FinishJob = {
        kind: 'finish',
        genome,
        macs,
        name,
        out,
        effort,
        recipe,
        held: sharedOnce(held),
        ...(test === undefined ? {} : { test: { path: test.path, reference: sharedOnce(test.reference) } }),
      };
      // the cast: worker.ts answers so
      return (await ask(job, signal)) as Finished;
    },
    close: () => crew.close(),
  };
}

/** About what a full refit holds: see `calibrationFeeds`. */
function refitBytes({ replayer, fit }: RecoveryContext): number {
  return 2e8 + Math.min(1.5e9, fit.length * 3 * replayer.base.cost.peakMemoryBytes);
}

/** `worker` beside this file; from sources (tests), the built file. */
function entryFile(): string {
  const beside = fileURLToPath(new URL('./worker.js', import.meta.url));
  const built = fileURLToPath(new URL('../dist/search/worker.js', import.meta.url));
  const file = [beside, built].find(existsSync);
  if (file === undefined) throw new Error('dist/search/worker.js is missing: run "npm run build" first');
  return file;
}
