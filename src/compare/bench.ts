// What `compare` works with: the finished run's network, data and knowledge made again, and a bench that measures on the new data.
import { basename } from 'node:path';
import { calibrationIndices } from '../../search/calibrate.js';
import { resultOf, type Effort } from '../../search/evaluator.js';
import { locate, type FinishedRun } from '../../search/finished.js';
import type { Genome } from '../../search/genome.js';
import type { Mutation } from '../../search/mutations/mutation.js';
import { openWorkshop, workerThreads, type Workshop, type WorkshopReport } from '../../search/workshop.js';
import { chooseSamples } from '../data/batches.js';
import { openDataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import { evaluate, recordOutputs, type Evaluation } from '../measure/evaluate.js';
import { sha256OfFile } from '../onnx/read.js';
import type { OpTable } from '../ops/op.js';
import { createRng } from '../rng.js';
import { withSession, type Runtime } from '../runtime/runtime.js';

export interface BenchOptions {
  /** The run's folder. */
  readonly folder: string;
  /** What to measure on. */
  readonly data: string;
  /** The network and the calibration data of the run, where they are not where the run found them. */
  readonly model?: string;
  readonly calibration?: string;
  /** At most so many samples of the data, drawn by the seed; all otherwise. */
  readonly samples?: number;
  /** --ignore patterns as the run had them, made into a function. */
  readonly ignore: (patterns: readonly string[]) => (name: string) => boolean;
  readonly mutations: readonly Mutation[];
  readonly runtime: Runtime;
  /** Threads that refit and measure; in this one when absent. */
  readonly workers?: number;
  readonly table: OpTable;
  readonly signal?: AbortSignal;
}

/** The run's network, data and knowledge, made again; refused when they are not the run's. */
export async function* workshopOf(
  { config, places }: FinishedRun,
  options: BenchOptions,
): AsyncGenerator<WorkshopReport, Workshop, void> {
  const { folder, runtime, table, signal } = options;
  const { file } = config.model;
  const model = locate(folder, { name: 'the network', option: '--model', given: options.model, file }, places?.model);
  const sha256 = await sha256OfFile(model);
  if (sha256 !== config.model.sha256) {
    throw new PareError(
      `"${model}": is not the network that this run pared: its SHA-256 begins with ${sha256.slice(0, 12)}, the run's with ${config.model.sha256.slice(0, 12)}; give that one with --model`,
    );
  }
  const given = options.calibration;
  const data = locate(folder, { name: 'the calibration data', option: '--calibration', given }, places?.data);
  // Built-in ones are there anyway; of the others those that the run had.
  const mutations = options.mutations.filter((m) => config.mutations.includes(m.name));
  const opening = openWorkshop({
    model,
    data,
    runtime,
    table,
    seed: config.seed,
    plan: config.effort,
    ignore: options.ignore(config.ignore),
    roundTo: config.roundTo,
    maxRatio: config.maxRatio,
    mutations,
    ...workerThreads({
      table,
      mutations,
      ignorePatterns: config.ignore,
      ...(options.workers === undefined ? {} : { workers: options.workers }),
    }),
    ...(signal === undefined ? {} : { signal }),
  });
  let step = await opening.next();
  for (; step.done !== true; step = await opening.next()) yield step.value;
  const workshop = step.value;
  const here = workshop.replayer.options.mutations.map((m) => m.name);
  const missing = config.mutations.filter((name) => !here.includes(name));
  const added = here.filter((name) => !config.mutations.includes(name));
  if (missing.length > 0 || added.length > 0) {
    await workshop.close();
    throw new PareError(
      missing.length > 0
        ? `${folder}: the run used the mutations ${missing.join(', ')}, which are not here; load them as the run did (--plugin FILE)`
        : `${folder}: the run was made by Pare ${config.pare}, which did not know ${added.join(', ')} yet; run it again into a new folder`,
    );
  }
  if ((await workshop.dataset.fingerprint()) !== config.data) {
    await workshop.close();
    throw new PareError(
      `data "${data}": not the calibration data of this run (other files, or prepared in another way); give those with --calibration`,
    );
  }
  return workshop;
}

/** Measures on the data, always on the same samples. */
export interface Bench {
  readonly data: { readonly name: string; readonly fingerprint: string; readonly n: number };
  readonly warning?: string;
  /** So many candidates are refitted at once. */
  readonly atOnce: number;
  file(path: string): Promise<Evaluation>;
  /** Recovered with the bench's effort; on the data, and on the calibration samples that score at this effort. */
  candidate(genome: Genome): Promise<BenchResult>;
  /** The same, on the data alone. */
  remade(genome: Genome): Promise<Evaluation>;
}

export interface BenchResult {
  readonly onData: Evaluation;
  readonly scored: number;
}

export async function openBench(
  workshop: Workshop,
  calibration: string,
  effort: Effort,
  seed: string,
  options: BenchOptions,
): Promise<Bench> {
  const { runtime, signal, samples } = options;
  const { session, place } = workshop;
  const dataset = openDataset(options.data, session.inputs);
  const fingerprint = await dataset.fingerprint();
  // Weights were fitted on one part of the calibration data, and the search chose by another.
  const same = fingerprint === calibration;
  const all = same ? workshop.heldIndices : Array.from({ length: dataset.size }, (_, i) => i);
  const rng = createRng(seed).fork('compare/samples');
  const indices = chooseSamples(all.length, samples ?? all.length, rng).map((i) => all[i]!);
  const common = { concurrency: runtime.concurrency, ...(signal === undefined ? {} : { signal }) };
  const reference = await recordOutputs(session, dataset, { indices, ...common });
  const here = { path: options.data, dataset, reference };
  // What is fitted on data is scored apart from the samples that the search chose by.
  const scoring =
    effort.mode === 'quick'
      ? workshop.reference
      : await recordOutputs(session, workshop.dataset, { indices: calibrationIndices(workshop), ...common });
  const asScored = { dataset: workshop.dataset, reference: scoring };
  return {
    data: { name: basename(options.data), fingerprint, n: indices.length },
    ...(same
      ? { warning: 'these are the calibration data: only samples are used that did not fit weights; give a test set' }
      : {}),
    atOnce: place.refits,
    file: (path) =>
      withSession(runtime, path, { label: path }, (on) => evaluate(on, dataset, { indices, reference, ...common })),
    remade: async (genome) => (await place.measure({ genome, effort }, [here], signal))[0]!,
    candidate: async (genome) => {
      const [onData, scored] = await place.measure({ genome, effort }, [here, asScored], signal);
      return { onData: onData!, scored: resultOf('', scored!).score };
    },
  };
}
