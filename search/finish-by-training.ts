// The end of a run that may train: the best members of the front are distilled from the original network, label-free, best first, each
// within its share of the time. A trained file takes the place of the refitted one only where held-out samples say it is better; one that
// is foretold to end beaten is given up while others wait, and its time is theirs.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { usualAugmentation } from '../src/data/usual-augmentation.js';
import { PareError } from '../src/errors.js';
import { recordOutputs, type RecordedOutputs } from '../src/measure/evaluate.js';
import { readModel } from '../src/onnx/read.js';
import { withRecipe, writeModel } from '../src/onnx/write.js';
import type { OpTable } from '../src/ops/op.js';
import { createRng } from '../src/rng.js';
import type { Runtime } from '../src/runtime/runtime.js';
import { batchThatFits, distillation, lossOfAllOutputs } from '../src/training/distillation.js';
import { train, type TrainOptions, type TrainReport, type TrainResult, type Watch } from '../src/training/trainer.js';
import { writeJson } from './archive.js';
import { dominates } from './dominance.js';
import { watchOver, likeness } from './early-stop.js';
import { measureFile, type Figure, type Finished, type FinishOptions } from './finish.js';
import { withFoldedNorms } from './fold-norms.js';
import type { FrontReport, Refitted } from './front.js';
import { genomeKey } from './genome.js';
import type { Workshop } from './workshop.js';

export interface TrainingPlan {
  /** For all members together, or steps of each: then equal seeds give equal files. */
  readonly bound: { readonly timeMs: number } | { readonly steps: number };
  /** Where training runs, with so many threads inside an operator. */
  readonly runtime: Runtime;
  readonly threads: number;
}

/** For config.json. */
export function describeTraining({ bound }: TrainingPlan): TrainingPlan['bound'] {
  return bound;
}

export interface ByTrainingOptions {
  readonly workshop: Workshop;
  readonly table: OpTable;
  readonly out: string;
  readonly recipe: FinishOptions['recipe'];
  readonly held: RecordedOutputs;
  readonly test: FinishOptions['test'] | undefined;
  /** -1 where a higher value of the metric is better, else 1. */
  readonly sign: number;
  readonly signal?: AbortSignal;
  readonly interrupt?: AbortSignal;
}

/** So many members are trained at most: time is worth more where the front is best. */
const MOST = 3;
/** Samples of each look at a run: looking must stay cheap beside training. */
const LOOKED_AT = 500;
const REPORT_MS = 15_000;
const CHECKPOINT_STEPS = 200;

export async function* finishByTraining(
  refitted: readonly Refitted[],
  plan: TrainingPlan,
  options: ByTrainingOptions,
): AsyncGenerator<FrontReport, readonly Refitted[], void> {
  const { out, sign, signal } = options;
  const order = mostPromising(refitted);
  const result = new Map(refitted.map((r) => [r.member.file, r]));
  let deadline = 'timeMs' in plan.bound ? performance.now() + plan.bound.timeMs : Infinity;
  let done = 0;
  for (const [i, before] of order.entries()) {
    signal?.throwIfAborted();
    if (options.interrupt?.aborted === true) break;
    const { file } = before.member;
    const of = Math.min(MOST, done + order.length - i);
    if (done === MOST) break;
    const started = performance.now();
    const bound = 'steps' in plan.bound ? plan.bound : { timeMs: (deadline - started) * share(done, of) };
    if ('timeMs' in bound && bound.timeMs <= 0) break;
    const label = { measured: done + 1, of };
    try {
      const rivals = [...result.values()].filter((r) => r.member.trained !== undefined && noLarger(r, before));
      const trained = yield* distilled(before, bound, i + 1 < order.length ? rivals : undefined, plan, options);
      // what an earlier process spent on this member is spent
      deadline -= Math.max(0, trained.elapsedMs - (performance.now() - started));
      if ('givenUp' in trained) {
        const { steps, givenUp: why } = trained;
        result.set(file, { ...before, member: { ...before.member, givenUp: { steps, why } } });
        yield { stage: 'finish', ...label, text: `${file} stays untrained: given up after ${steps} steps, ${why}` };
        continue;
      }
      done++;
      const { finished, steps } = trained;
      const { measured } = finished;
      const told = `${measured.metric} ${before.member.measured.value.toFixed(4)} before, ${measured.value.toFixed(4)} after ${steps} steps`;
      if (!better(measured, before.member.measured, sign)) {
        rmSync(join(out, finished.file), { force: true });
        yield { stage: 'finish', ...label, text: `${file} stays untrained: ${told}` };
        continue;
      }
      renameSync(join(out, finished.file), join(out, file));
      const member = { ...before.member, ...finished, file, trained: { steps, before: before.member.measured } };
      result.set(file, { member, objectives: [sign * measured.value, ...before.objectives.slice(1)] });
      yield { stage: 'finish', ...label, text: `${file} distilled: ${told}` };
    } catch (error) {
      if (!(error instanceof PareError) || signal?.aborted === true) throw error;
      done++;
      yield { stage: 'finish', warning: `${file} stays untrained: ${error.message}` };
    }
  }
  rmSync(join(out, 'training'), { recursive: true, force: true });
  return refitted.map((r) => result.get(r.member.file)!);
}

/** Those that nothing beats, the most accurate within the constraints first. */
function mostPromising(refitted: readonly Refitted[]): readonly Refitted[] {
  return refitted
    .filter((r) => !refitted.some((other) => dominates(other.objectives, r.objectives)))
    .toSorted((a, b) => a.member.violation - b.member.violation || a.objectives[0]! - b.objectives[0]!);
}

/** In all that is minimised beside the score. */
function noLarger(a: Refitted, b: Refitted): boolean {
  return a.member.file !== b.member.file && a.objectives.slice(1).every((v, i) => v <= b.objectives[i + 1]!);
}

/** Of the time that is left when it is the turn of number i: the first of all gets twice what the second gets. */
function share(i: number, count: number): number {
  let all = 0;
  for (let k = i; k < count; k++) all += 1 / (k + 1);
  return 1 / (i + 1) / all;
}

function better(after: Figure, before: Figure, sign: number): boolean {
  if (after.value !== before.value) return sign * after.value < sign * before.value;
  const [now, then] = [after.kl ?? after.relativeError, before.kl ?? before.relativeError];
  return now !== undefined && then !== undefined && now < then;
}

type Distilled = { readonly steps: number; readonly elapsedMs: number } & (
  | { readonly finished: Finished }
  | { readonly givenUp: string }
);

/** `rivals`: trained ones that it must not end behind; undefined where nobody waits for its time. */
async function* distilled(
  before: Refitted,
  given: { readonly timeMs: number } | { readonly steps: number },
  rivals: readonly Refitted[] | undefined,
  plan: TrainingPlan,
  options: ByTrainingOptions,
): AsyncGenerator<FrontReport, Distilled, void> {
  const { workshop, table, out, held, test, signal, interrupt } = options;
  const { dataset, context, replayer } = workshop;
  const { file, macs, genome } = before.member;
  const student = withFoldedNorms(readModel(join(out, file)), table);
  const seed = `${context.seed}/train/${genomeKey(genome)}`;
  const unseen = new Set(held.indices);
  const augment = usualAugmentation(dataset) ?? {};
  const batch = batchThatFits(student, table);
  const folder = join(out, 'training', createHash('sha256').update(seed).digest('hex').slice(0, 16));
  const bound = 'steps' in given ? given : { timeMs: rememberedTime(folder, given.timeMs) };
  const watch = rivals === undefined ? undefined : await watchFor(before, rivals, plan, options);
  const signals = [signal, interrupt].filter((s) => s !== undefined);
  const { loss, also } = lossOfAllOutputs(student, dataset);
  const settings: TrainOptions = {
    table,
    runtime: plan.runtime,
    threads: plan.threads,
    teacher: replayer.base.model,
    bound,
    batch,
    optimizer: distillation.optimizer,
    rate: distillation.rate,
    schedule: distillation.schedule,
    rng: createRng(seed),
    augment,
    fit: Array.from({ length: dataset.size }, (_, i) => i).filter((i) => !unseen.has(i)),
    step: { clip: distillation.clip, average: distillation.average, ...(also === undefined ? {} : { also }) },
    checkpoint: { folder, every: CHECKPOINT_STEPS },
    ...(watch === undefined ? {} : { watch }),
    ...(loss === undefined ? {} : { loss }),
    ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }),
  };
  const result = yield* told(file, train(student, dataset, settings));
  signal?.throwIfAborted();
  if (result.ended === 'diverged') throw new PareError(result.cause ?? 'training diverged');
  const { steps, pace, elapsedMs } = result;
  if (result.ended === 'given-up') return { steps, elapsedMs, givenUp: result.cause ?? '' };
  const { optimizer, rate } = distillation;
  const training = JSON.stringify({
    steps,
    ...(pace === undefined ? {} : { pace }),
    seed,
    batch,
    optimizer,
    rate,
    augment,
  });
  const recipe = { ...options.recipe, seed: context.seed, genome: JSON.stringify(genome), training };
  const name = file.replace(/\.onnx$/, '.trained.onnx');
  writeModel(withRecipe(result.model, recipe), join(out, name));
  const finished = await measureFile(name, macs, {
    out,
    table,
    context,
    held,
    ...(test === undefined ? {} : { test }),
    ...(signal === undefined ? {} : { signal }),
  });
  return { finished, steps, elapsedMs };
}

/** A run that goes on keeps the time that it was given first: its schedule goes by it. */
function rememberedTime(folder: string, timeMs: number): number {
  const path = join(folder, 'bound.json');
  // the cast: written below
  if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { readonly timeMs: number }).timeMs;
  mkdirSync(folder, { recursive: true });
  writeJson(path, { timeMs });
  return timeMs;
}

async function watchFor(
  before: Refitted,
  rivals: readonly Refitted[],
  { runtime, threads }: TrainingPlan,
  { workshop, held }: ByTrainingOptions,
): Promise<Watch> {
  const { session, dataset } = workshop;
  const own = likeness(before.member.measured);
  const best = rivals.toSorted((a, b) => likeness(b.member.measured) - likeness(a.member.measured))[0];
  const gain = best === undefined ? 1 : likeness(best.member.measured) / own;
  const indices = held.indices.slice(0, LOOKED_AT);
  return watchOver({
    dataset,
    runtime,
    threads,
    reference: await recordOutputs(session, dataset, { indices }),
    ...(gain > 1 ? { toBeat: { name: best!.member.file, gain } } : {}),
  });
}

/** A line now and then. */
async function* told(
  file: string,
  reports: AsyncGenerator<TrainReport, TrainResult, void>,
): AsyncGenerator<FrontReport, TrainResult, void> {
  let last = performance.now();
  for (;;) {
    const next = await reports.next();
    if (next.done === true) return next.value;
    if (performance.now() - last < REPORT_MS) continue;
    last = performance.now();
    const { step, loss, imagesPerSecond, leftMs } = next.value;
    yield {
      stage: 'finish',
      text: `${file} is distilled: step ${step}, loss ${loss.toPrecision(3)}, ${Math.round(imagesPerSecond)} samples/s, ${(leftMs / 60_000).toFixed(1)} min left`,
    };
  }
}
