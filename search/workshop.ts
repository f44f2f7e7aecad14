// What a run works with, made once from its settings: the analysed network, the samples and which of them fit, score and are held
// out, the knowledge of the base network, replay and fitness. `pare compare` makes the same again from a finished run's settings.
import { splitDataset } from '../src/data/batches.js';
import { openDataset, type Dataset } from '../src/data/dataset.js';
import { PareError } from '../src/errors.js';
import { checkData } from '../src/measure/check-data.js';
import { evaluate, recordOutputs, safeBatch, type Evaluation, type RecordedOutputs } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import { standardOps } from '../src/ops/index.js';
import type { OpTable } from '../src/ops/op.js';
import { learnFrom } from '../src/recovery/recover.js';
import { knowledgeOf, type Knowledge } from '../src/recovery/knowledge.js';
import { createRng } from '../src/rng.js';
import { shared } from '../src/runtime/crew.js';
import type { Runtime, RuntimeTensor, Session } from '../src/runtime/runtime.js';
import { baseNetwork } from './base-network.js';
import { resultOf, type Effort, type RecoveryContext } from './evaluator.js';
import { withMeasurement, type Measured } from './explore.js';
import { createFitness, type Candidate, type Fitness } from './fitness.js';
import { genomeKey, type Genome } from './genome.js';
import { guardMutations, type GuardedMutations } from './guarded-mutations.js';
import { standardMutations } from './mutations/index.js';
import type { Mutation } from './mutations/mutation.js';
import { createReplayer, openGroups, surgeryWith, type Replayer } from './replay.js';
import { inlineWorkplace, threadedWorkplace, type Workplace } from './workplace.js';

/** How many samples go where; part of a run's definition. */
export interface EffortPlan {
  readonly search: Effort;
  readonly final: Effort;
  /** With which networks all over the range are refitted, to learn what the final refit makes of a score of the search. */
  readonly calibration: Effort;
  /** How many of them; 0 = what is foretold of the front is a score of the search. */
  readonly calibrators: number;
  /** Samples from which the base network is learnt: what each channel is worth. */
  readonly learnImages: number;
  /** Samples that score candidates during the search. */
  readonly scoreImages: number;
  /** Samples on which the front is measured at the end, others than those. */
  readonly heldImages: number;
  /** Largest number of front members. */
  readonly members: number;
}

export interface WorkshopOptions {
  readonly model: string;
  readonly data: string;
  /** Opened at once: a mistake in it is said before hours are spent. */
  readonly test?: string;
  readonly runtime: Runtime;
  readonly table: OpTable;
  readonly seed: string;
  readonly plan: EffortPlan;
  readonly ignore: (name: string) => boolean;
  readonly roundTo: number;
  readonly maxRatio: number;
  /** Beside prune-channels, which is always there. */
  readonly mutations: readonly Mutation[];
  /** Refits and measurements are done by so many threads; in this process when absent. */
  readonly threads?: WorkerThreads;
  readonly signal?: AbortSignal;
}

/** They know the standard operators and mutations only. */
export interface WorkerThreads {
  readonly workers: number;
  /** What `ignore` says, as patterns. */
  readonly ignore: readonly string[];
}

export interface WorkshopReport {
  readonly stage: 'read' | 'data' | 'learn';
  readonly text?: string;
  readonly warning?: string;
}

export interface Workshop {
  readonly session: Session;
  readonly dataset: Dataset;
  /** What the front is measured on at the end and nothing is chosen by. */
  readonly test?: { readonly path: string; readonly dataset: Dataset };
  /** The original's outputs on the samples that score candidates. */
  readonly reference: RecordedOutputs;
  /** What the original reaches on them. */
  readonly evaluation: Evaluation;
  /** Samples that neither fit nor score; with few samples the scoring ones serve again. */
  readonly heldIndices: readonly number[];
  readonly context: RecoveryContext;
  /** Where candidates are refitted and measured. */
  readonly place: Workplace;
  readonly replayer: Replayer;
  /** The mutations that are not built in, and what is to be said of them. */
  readonly own: GuardedMutations;
  readonly fitness: Fitness;
  /** The uncut network, measured as the search measures. */
  readonly original: Measured;
  /** Candidates are assessed once, as long as there are not too many of them. */
  readonly assess: (genome: Genome) => Candidate;
  readonly learntMs: number;
  close(): Promise<void>;
}

/** Deterministic, whatever the runtime. The caller closes what it gets. */
export async function* openWorkshop(options: WorkshopOptions): AsyncGenerator<WorkshopReport, Workshop, void> {
  const { runtime, table, seed, plan, signal } = options;
  const surgery = surgeryWith(table);
  const own = guardMutations(options.mutations);
  const { model, quantized } = baseNetwork(readModel(options.model), table);
  const base = surgery.analyse(model);
  const { macs, params } = base.cost;
  yield {
    stage: 'read',
    text: `${(macs / 1e6).toFixed(2)} M MACs, ${(params / 1e6).toFixed(3)} M parameters, ${base.groups.groups.length} channel groups${quantized.size > 0 ? `, ${quantized.size} quantised tensors (refitted as floats, stored with new scales)` : ''}`,
  };
  const session = await runtime.load(options.model);
  let handedOver = false;
  try {
    const dataset = openDataset(options.data, session.inputs);
    const test =
      options.test === undefined
        ? undefined
        : { path: options.test, dataset: openDataset(options.test, session.inputs) };
    for (const opened of test === undefined ? [dataset] : [dataset, test.dataset]) {
      for (const warning of await checkData(session, opened)) yield { stage: 'data', warning };
    }
    const split = splitDataset(dataset.size, createRng(seed));
    const order = createRng(`${seed}/score`).shuffle(split.score);
    const scoring = ascending(order.slice(0, plan.scoreImages));
    const rest = order.slice(plan.scoreImages, plan.scoreImages + plan.heldImages);
    const heldIndices = rest.length >= Math.min(500, scoring.length) ? ascending(rest) : scoring;
    const concurrency = runtime.concurrency;
    const reference = await recordOutputs(session, dataset, { indices: scoring, concurrency });
    const evaluation = await evaluate(session, dataset, { indices: scoring, reference, concurrency });

    const batch = await safeBatch(session, dataset, split.fit, 32);
    const before = performance.now();
    const learning = learnFrom(
      base,
      { dataset, indices: split.fit, batch },
      { seed, images: plan.learnImages, runtime, ...(signal === undefined ? {} : { signal }) },
    );
    let lesson = await learning.next();
    for (; lesson.done !== true; lesson = await learning.next()) {
      const { stage, index, of } = lesson.value;
      if (index + 1 === of)
        yield { stage: 'learn', text: stage === 'moments' ? 'activations seen' : 'channels ranked' };
    }
    const { threads } = options;
    const learnt = threads === undefined ? lesson.value.data : shared(lesson.value.data);
    const knowledge: Knowledge = threads === undefined ? lesson.value : knowledgeOf(base, learnt);
    const learntMs = performance.now() - before;
    const replayer = createReplayer(base, {
      surgery,
      mutations: [...standardMutations(surgery), ...own.mutations],
      ignore: options.ignore,
      roundTo: options.roundTo,
      maxRatio: options.maxRatio,
      knowledge,
    });
    if (openGroups(base, options.ignore).length === 0) {
      throw new PareError(
        `${options.model}: there is no channel group to cut; \`pare groups\` says what is frozen and why`,
      );
    }
    const fitness = createFitness(replayer);
    const { model: path, data, roundTo, maxRatio } = options;
    const context: RecoveryContext = { replayer, runtime, dataset, fit: split.fit, batch, seed, quantized };
    const place =
      threads === undefined
        ? inlineWorkplace(context, table)
        : threadedWorkplace({
            ...threads,
            path,
            data,
            roundTo,
            maxRatio,
            learnt,
            fit: split.fit,
            batch,
            seed,
            context,
            inputs: session.inputs,
          });
    handedOver = true;
    return {
      session,
      dataset,
      ...(test === undefined ? {} : { test }),
      reference,
      evaluation,
      heldIndices,
      context,
      place,
      replayer,
      own,
      fitness,
      original: withMeasurement(fitness.assess([]), resultOf('[]', evaluation).score),
      assess: memo(fitness),
      learntMs,
      close: async () => {
        await place.close();
        await session.release();
      },
    };
  } finally {
    if (!handedOver) await session.release();
  }
}

/** None where they could not know what a run uses: mutations, operators, or an `ignore` that is not given as patterns. */
export function workerThreads(options: {
  readonly workers?: number;
  readonly mutations?: readonly Mutation[];
  readonly table: OpTable;
  readonly ignore?: (name: string) => boolean;
  readonly ignorePatterns?: readonly string[];
}): { readonly threads?: WorkerThreads } {
  const { workers, mutations = [], table, ignore, ignorePatterns } = options;
  const known = mutations.length === 0 && table === standardOps;
  if (workers === undefined || !known || (ignore !== undefined && ignorePatterns === undefined)) return {};
  return { threads: { workers, ignore: ignorePatterns ?? [] } };
}

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

function ascending(list: readonly number[]): number[] {
  return list.toSorted((a, b) => a - b);
}

/** A few of the samples that weights may be fitted on: 4 to 16 of them, the fewer the dearer the network. */
export function probeBatch({ dataset, context, replayer }: Workshop): ReadonlyMap<string, RuntimeTensor> {
  const affordable = Math.floor(PROBE_MACS / replayer.base.cost.macs);
  const count = dataset.fixedBatch ?? Math.min(16, Math.max(4, affordable));
  const { fit } = context;
  return dataset.batch(Array.from({ length: count }, (_, i) => fit[i % fit.length]!)).inputs;
}

const PROBE_MACS = 1e9;
