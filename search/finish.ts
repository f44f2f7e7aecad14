// The end of a run: the chosen candidates get the full refit, are verified one by one, written, and measured on samples that the
// search never saw.
import { join } from 'node:path';
import type { OpTable } from '../src/ops/op.js';
import { roundsToSteps } from '../src/ops/quantize.js';
import { countCost } from '../src/analysis/cost.js';
import { maskModel } from '../src/analysis/mask.js';
import { inferShapes } from '../src/analysis/shapes.js';
import type { Dataset } from '../src/data/dataset.js';
import { PareError } from '../src/errors.js';
import { checkModel } from '../src/ir/check.js';
import type { Model } from '../src/ir/graph.js';
import { evaluate, type Evaluation, type RecordedOutputs } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import type { Explanation } from '../src/predictor/explain.js';
import { withRecipe, writeModel } from '../src/onnx/write.js';
import type { Feeds } from '../src/recovery/walk.js';
import { floatsOf, withSession, type Runtime, type RuntimeTensor } from '../src/runtime/runtime.js';
import { recovered, type Effort, type RecoveryContext } from './evaluator.js';
import type { Measured } from './explore.js';
import { partsOf, type Genome } from './genome.js';

/** A measured value with its interval, as it is written to front.json. */
export interface Figure {
  readonly metric: string;
  readonly value: number;
  readonly n: number;
  readonly ci95: readonly [number, number];
  /** Against the original on the same samples. */
  readonly difference?: { readonly value: number; readonly ci95: readonly [number, number] };
  readonly agreement?: number;
  readonly kl?: number;
  readonly relativeError?: number;
}

/** One member of the front, as it is written to front.json. */
export interface FrontMember {
  /** Relative to the run's folder. */
  readonly file: string;
  readonly macs: number;
  readonly params: number;
  readonly memoryBytes: number;
  /** Foretold before the refit: of what `foretelling` in front.json says. */
  readonly predicted: { readonly mean: number; readonly deviation: number };
  /** The score that the search measured, before the refit on data. */
  readonly searched: number;
  readonly measured: Figure;
  readonly test?: Figure;
  readonly violation: number;
  readonly genome: Genome;
  /** What moved the search's predictor most, against the mean of the front; absent where it cannot tell. */
  readonly why?: Explanation;
  /** Where it was distilled from the original after the refit: for so many steps, and what it reached before. */
  readonly trained?: { readonly steps: number; readonly before: Figure };
  /** Where its distillation was not worth going on with: after so many steps, and why. */
  readonly givenUp?: { readonly steps: number; readonly why: string };
}

export interface FinishOptions {
  readonly out: string;
  readonly table: OpTable;
  readonly context: RecoveryContext;
  readonly effort: Effort;
  readonly held: RecordedOutputs;
  readonly test?: { readonly dataset: Dataset; readonly reference: RecordedOutputs };
  readonly recipe: { readonly sourceSha256: string; readonly version: string };
  readonly signal?: AbortSignal;
}

export interface Finished {
  readonly file: string;
  readonly macs: number;
  readonly params: number;
  readonly memoryBytes: number;
  readonly measured: Figure;
  readonly test?: Figure;
}

/** Refits, verifies, writes and measures one candidate; throws PareError when a verification fails. */
export async function finish(
  candidate: Pick<Measured, 'genome' | 'macs'>,
  name: string,
  options: FinishOptions,
): Promise<Finished> {
  const { context, signal } = options;
  const { seed } = context;
  await verifyMasked(candidate.genome, context);
  const model = await recovered(context, candidate.genome, options.effort, signal);
  const recipe = { ...options.recipe, seed, genome: JSON.stringify(candidate.genome) };
  const file = `candidates/${name}.onnx`;
  const path = join(options.out, file);
  writeModel(withRecipe(model, recipe), path);

  return measureFile(file, candidate.macs, options);
}

/** Everything is said of the file, as it was written. Throws PareError when it is not what it should be. */
export async function measureFile(
  file: string,
  macs: number,
  options: Omit<FinishOptions, 'effort' | 'recipe'>,
): Promise<Finished> {
  const { held, test, signal } = options;
  const { runtime, dataset } = options.context;
  const path = join(options.out, file);
  const written = readModel(path);
  checkModel(written);
  const cost = countCost(written, options.table, inferShapes(written, options.table, { dynamic: 1 }));
  if (cost.macs !== macs) {
    throw new PareError(`${file}: has ${cost.macs} MACs, but ${macs} were expected; the file is not exported`);
  }
  const measured = await withSession(runtime, path, { label: file }, (session) =>
    evaluate(session, dataset, {
      indices: held.indices,
      reference: held,
      concurrency: runtime.concurrency,
      ...(signal === undefined ? {} : { signal }),
    }),
  );
  const onTest =
    test === undefined
      ? undefined
      : await withSession(runtime, path, { label: file }, (session) =>
          evaluate(session, test.dataset, {
            indices: test.reference.indices,
            reference: test.reference,
            concurrency: runtime.concurrency,
            ...(signal === undefined ? {} : { signal }),
          }),
        );
  if (measured.nonFinite > 0) {
    throw new PareError(`${file}: gives values that are not finite for ${measured.nonFinite} of ${measured.n} samples`);
  }
  return {
    file,
    macs: cost.macs,
    params: cost.params,
    memoryBytes: cost.peakMemoryBytes,
    measured: figureOf(measured),
    ...(onTest === undefined ? {} : { test: figureOf(onTest) }),
  };
}

export function figureOf({ metric, value, n, ci95, versus }: Evaluation): Figure {
  return {
    metric,
    value,
    n,
    ci95,
    ...(versus?.difference === undefined ? {} : { difference: versus.difference }),
    ...(versus?.agreement === undefined ? {} : { agreement: versus.agreement.value }),
    ...(versus?.kl === undefined ? {} : { kl: versus.kl.value }),
    ...(versus === undefined ? {} : { relativeError: versus.relativeError.value }),
  };
}

/** The law of pruning, on real inputs: the cut network gives what the masked one gives (design.md, decision 3). */
async function verifyMasked(
  genome: Genome,
  { runtime, replayer, dataset, fit, batch }: RecoveryContext,
): Promise<void> {
  const { structure, dead } = partsOf(genome);
  if (dead.size === 0 || fit.length === 0) return;
  const feeds = dataset.batch(Array.from({ length: batch }, (_, i) => fit[i % fit.length]!)).inputs;
  const pruned = await outputsOf(runtime, replayer.replay(genome), feeds);
  const masked = await outputsOf(runtime, maskModel(replayer.structure(structure), dead), feeds);
  // a last bit decides to which step of a scale a value is rounded, and later layers carry such steps on; a wrong cut is off by all of it
  const steps = replayer.structure(structure).model.graph.nodes.some((n) => roundsToSteps(n.opType));
  const tolerance = steps ? 0.1 : 1e-3;
  for (const [name, tensor] of masked) {
    const expected = floatsOf(tensor);
    const got = floatsOf(pruned.get(name) ?? tensor);
    let difference = 0;
    let size = 0;
    for (let i = 0; i < expected.length; i++) {
      difference += (expected[i]! - got[i]!) ** 2;
      size += expected[i]! ** 2;
    }
    if (got.length !== expected.length || Math.sqrt(difference) > tolerance * Math.sqrt(size) + 1e-6) {
      throw new PareError(
        `output "${name}": the pruned network differs from the masked original (relative ${Math.sqrt(difference / size).toExponential(1)}); please report the model, this is a defect of Pare`,
      );
    }
  }
}

async function outputsOf(runtime: Runtime, model: Model, feeds: Feeds): Promise<ReadonlyMap<string, RuntimeTensor>> {
  return withSession(runtime, model, {}, (session) => session.run(feeds));
}
