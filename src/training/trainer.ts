// Trains a network on a data set: by labels, by targets, or label-free by the outputs of a teacher. Batches, augmentation and
// rates follow from seed and step number alone, so a run bounded in steps is repeatable and goes on exactly from a checkpoint.
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Augmentation } from '../data/augment.js';
import type { Dataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { DataType, type Tensor } from '../ir/tensor.js';
import type { OpTable } from '../ops/op.js';
import type { Rng } from '../rng.js';
import { floatsOf, type Runtime } from '../runtime/runtime.js';
import { modelInputs } from '../runtime/source.js';
import { readCheckpoint, writeCheckpoint, type Progress } from './checkpoint.js';
import { feeding, openTeacher, type Fed } from './feeding.js';
import type { Loss } from './loss.js';
import type { Optimizer } from './optimizer.js';
import { triedRate } from './rate-trial.js';
import type { Schedule } from './schedule.js';
import { startTraining, trainingStep, withState, type StepOptions, type TrainingState } from './step.js';

export interface TrainOptions {
  readonly table: OpTable;
  readonly runtime: Runtime;
  readonly threads?: number;
  /** A network of the same outputs whose outputs are to be met; labels are then not needed. */
  readonly teacher?: Model;
  /**
   * A run bounded in time tells its pace when it is done; the same run bounded by that pace (and steps) gives the same weights,
   * at one thread.
   */
  readonly bound:
    | { readonly steps: number; readonly pace?: readonly number[] }
    | { readonly epochs: number }
    | { readonly timeMs: number };
  readonly batch: number;
  readonly optimizer: Optimizer;
  /** The peak of the schedule; of several, from the highest to the lowest, the one that a short trial tells (rate-trial.ts). */
  readonly rate: number | readonly number[];
  readonly schedule: Schedule;
  readonly rng: Rng;
  /** By default distillation with a teacher (of class scores; mse otherwise), cross-entropy with labels, mse with targets. */
  readonly loss?: Loss;
  readonly step?: Omit<StepOptions, 'loss' | 'optimizer' | 'output'>;
  /** What the manifest says when absent; see also {@link usualAugmentation}. */
  readonly augment?: Augmentation;
  /** Samples to train on; those of `heldOut`, or all, when absent. */
  readonly fit?: readonly number[];
  /** What is not trained on but measured after every epoch; the best weights on it are returned. */
  readonly heldOut?: HeldOutPart;
  /** Ends the run after this many epochs without a better held-out value. */
  readonly patience?: number;
  /** Looks at the run now and then, and may give it up. */
  readonly watch?: Watch;
  /** A folder that gets a checkpoint every so many steps; a run whose checkpoint lies there goes on from it. */
  readonly checkpoint?: { readonly folder: string; readonly every: number };
  readonly reportEvery?: number;
  readonly signal?: AbortSignal;
}

export interface HeldOut {
  readonly metric: string;
  readonly value: number;
}

/** See measure/held-out.ts. */
export interface HeldOutPart {
  /** Samples to train on. */
  readonly fit: readonly number[];
  measure(model: Model): Promise<HeldOut & { readonly higherIsBetter: boolean }>;
}

/** What was seen lies in the checkpoint: a run that goes on from one decides the same. */
export interface Watch {
  /** Looks at equal shares of the run, the first before its first step, none at its end. */
  readonly looks: number;
  look(model: Model, seen: readonly Look[]): Promise<Look>;
  /** Why the rest of the run would be in vain; asked after each look. */
  hopeless(seen: readonly Look[]): string | undefined;
}

/** Numbers by name, as the one who looks needs them. */
export type Look = Readonly<Record<string, number>>;

export interface TrainReport {
  /** Steps done. */
  readonly step: number;
  readonly epoch: number;
  readonly imagesPerSecond: number;
  /** Mean since the last report. */
  readonly loss: number;
  readonly gradientNorm: number;
  readonly rate: number;
  /** Where it has just been measured. */
  readonly heldOut?: HeldOut;
  readonly leftMs: number;
}

export interface TrainResult {
  /** With the best held-out weights, or the last. */
  readonly model: Model;
  readonly steps: number;
  /** In training, that of the processes before included where the run went on. */
  readonly elapsedMs: number;
  /** Of a run bounded in time: the step at which each of its hundredths began; the schedule goes by them. */
  readonly pace?: readonly number[];
  readonly ended: 'done' | 'early' | 'given-up' | 'stopped' | 'diverged';
  /** Why it diverged or was given up. */
  readonly cause?: string;
  /** Before the first step, and of the returned weights. */
  readonly heldOut?: { readonly before: HeldOut; readonly best: HeldOut & { readonly step: number } };
}

export async function* train(
  model: Model,
  dataset: Dataset,
  options: TrainOptions,
): AsyncGenerator<TrainReport, TrainResult, void> {
  const { table, runtime, rng, threads = 1, reportEvery = 10, signal } = options;
  const augment = options.augment ?? dataset.augment;
  const output = dataset.output ?? model.graph.outputs[0]?.name ?? '';
  const loss = options.loss ?? lossFor(model, dataset, options.teacher, output);
  const fit = options.fit ?? options.heldOut?.fit ?? Array.from({ length: dataset.size }, (_, i) => i);
  const batch = dataset.fixedBatch ?? Math.min(options.batch, fit.length);
  if (batch > fit.length) {
    throw new PareError(
      `data ${dataset.name}: the network takes ${batch} samples a run, and there are ${fit.length} to train on`,
    );
  }
  const stepOptions: StepOptions = { ...options.step, loss, optimizer: options.optimizer, output };
  const step = trainingStep(model, table, dimsOf(model, dataset, batch), stepOptions);
  const perEpoch = Math.max(1, Math.floor(fit.length / batch));
  const { bound } = options;
  const steps = 'steps' in bound ? bound.steps : 'epochs' in bound ? Math.ceil(bound.epochs * perEpoch) : Infinity;

  const run = { ...describeRun(options, dataset, stepOptions, batch, steps), weights: digest(step.weights.values()) };
  const folder = options.checkpoint?.folder;
  const kept = folder === undefined ? undefined : readCheckpoint(folder, run);
  let progress: Progress = kept?.progress ?? { step: 0, elapsedMs: 0, waited: 0, pace: [], seen: [] };
  let best: TrainingState | undefined = kept?.best;

  const sessions: { end(): Promise<void> }[] = [];
  // the next batch is loaded while a runtime with threads of its own works on this one
  let coming: Promise<Fed> | undefined;
  try {
    const training = await startTraining(step, runtime, threads, kept?.state);
    sessions.push(training);
    const teacher =
      options.teacher === undefined ? undefined : await openTeacher(options.teacher, output, step, runtime, threads);
    if (teacher !== undefined) sessions.push(teacher);
    const before = await options.heldOut?.measure(model);
    if (before !== undefined && progress.best === undefined) {
      progress = { ...progress, best: { step: 0, metric: before.metric, value: before.value } };
      best = training.state();
    }
    const save = (): void => {
      if (folder !== undefined) writeCheckpoint(folder, run, { progress, state: training.state(), best });
    };
    const result = (ended: TrainResult['ended'], state: TrainingState, cause?: string): TrainResult => ({
      model: withState(model, step, progress.best === undefined ? state : (best ?? state)),
      steps: progress.step,
      elapsedMs: progress.elapsedMs,
      ...('timeMs' in bound ? { pace: progress.pace } : {}),
      ended,
      ...(cause === undefined ? {} : { cause }),
      ...(before === undefined || progress.best === undefined
        ? {}
        : { heldOut: { before: { metric: before.metric, value: before.value }, best: progress.best } }),
    });

    /** What takes time beside the steps counts within a time bound. */
    const counted = async <T>(act: () => Promise<T>): Promise<T> => {
      const from = performance.now();
      const made = await act();
      progress = { ...progress, elapsedMs: progress.elapsedMs + performance.now() - from };
      return made;
    };
    /** Where a look is due: what it says against going on. */
    const looked = async (share: number): Promise<string | undefined> => {
      const { watch } = options;
      if (watch === undefined || share >= 1 || share * watch.looks < progress.seen.length) return undefined;
      const look = await counted(() => watch.look(withState(model, step, training.state()), progress.seen));
      progress = { ...progress, seen: [...progress.seen, look] };
      return watch.hopeless(progress.seen);
    };
    const shareDone = (): number => ('timeMs' in bound ? progress.elapsedMs / bound.timeMs : progress.step / steps);
    let vain = progress.seen.length === 0 ? await looked(0) : options.watch?.hopeless(progress.seen);

    const history: { loss: number; norm: number }[] = [];
    let since = { at: performance.now(), loss: 0, count: 0 };
    const feed = feeding({
      dataset,
      fit,
      batch,
      rng,
      step,
      ...(augment === undefined ? {} : { augment }),
      ...(teacher === undefined ? {} : { teacher }),
    });
    const rates = [options.rate].flat();
    let peak = progress.rate ?? rates[0]!;
    if (rates.length > 1 && progress.rate === undefined) {
      const trial = trialSteps(bound, steps);
      const on = { step, runtime, threads, feed, steps: trial, ...(signal === undefined ? {} : { signal }) };
      if (trial > 0) peak = await counted(() => triedRate(rates, on));
      progress = { ...progress, rate: peak };
      since = { ...since, at: performance.now() };
    }
    let good = training.state();
    for (;;) {
      // lets signals through: the runtime blocks the thread
      await setImmediate();
      const { step: at, elapsedMs } = progress;
      const done = shareDone();
      if (done >= 1) break;
      if (signal?.aborted === true) {
        save();
        return result('stopped', training.state());
      }
      if (vain !== undefined) {
        save();
        return result('given-up', training.state(), vain);
      }
      const started = performance.now();
      const { inputs, targets, also } = await (coming ?? feed(at));
      if ('timeMs' in bound) progress = { ...progress, pace: paceAt(progress.pace, at, done) };
      const pace = 'timeMs' in bound ? progress.pace : 'steps' in bound ? bound.pace : undefined;
      const rate = peak * options.schedule(pace === undefined ? done : shareAt(pace, at));
      const known = good;
      good = training.state();
      const running = training.run({ inputs, targets, also, rate, step: at });
      coming = at + 1 < steps ? feed(at + 1) : undefined;
      // a failure is seen when the batch is needed
      coming?.catch(() => undefined);
      const { loss: lossNow, gradientNorm } = await running;
      if (!Number.isFinite(lossNow)) {
        const sick = [...inputs.values()].some((t) => t.dataType === DataType.FLOAT && !allFinite(floatsOf(t)));
        // the loss of this step was computed with what the step before made
        return result('diverged', at === 0 ? good : known, divergence(at, rate, history, sick, allFinite(targets)));
      }
      history.push({ loss: lossNow, norm: gradientNorm });
      since = { ...since, loss: since.loss + lossNow, count: since.count + 1 };
      progress = { ...progress, step: at + 1, elapsedMs: elapsedMs + performance.now() - started };

      const epochEnds = progress.step % perEpoch === 0;
      const last = 'timeMs' in bound ? progress.elapsedMs >= bound.timeMs : progress.step === steps;
      let heldOut: HeldOut | undefined;
      if (epochEnds || last) {
        const found = await counted(async () => options.heldOut?.measure(withState(model, step, training.state())));
        if (found !== undefined) {
          const { higherIsBetter, ...value } = found;
          heldOut = value;
          const than = progress.best?.value ?? NaN;
          const better = higherIsBetter ? !(value.value <= than) : !(value.value >= than);
          if (better) best = training.state();
          progress = {
            ...progress,
            waited: better ? 0 : progress.waited + 1,
            ...(better ? { best: { step: progress.step, ...value } } : {}),
          };
        }
      }
      vain = await looked(shareDone());
      if (options.checkpoint !== undefined && (last || progress.step % options.checkpoint.every === 0)) save();
      if (last || heldOut !== undefined || progress.step % reportEvery === 0) {
        const seconds = (performance.now() - since.at) / 1000;
        const share = shareDone();
        yield {
          step: progress.step,
          epoch: progress.step / perEpoch,
          imagesPerSecond: (since.count * batch) / seconds,
          loss: since.loss / since.count,
          gradientNorm,
          rate,
          ...(heldOut === undefined ? {} : { heldOut }),
          leftMs: Math.max(0, progress.elapsedMs / share - progress.elapsedMs),
        };
        since = { at: performance.now(), loss: 0, count: 0 };
      }
      if (options.patience !== undefined && heldOut !== undefined && progress.waited >= options.patience) {
        save();
        return result('early', training.state());
      }
    }
    const state = training.state();
    const broken = [...state.values()].some((t) => !allFinite(floatsOf(t)));
    if (broken) return result('diverged', good, divergence(progress.step, peak, history, false, true));
    return result('done', state);
  } finally {
    await coming?.catch(() => undefined);
    for (const session of sessions) await session.end();
  }
}

/** Enough to tell rates apart; of a short run a part that leaves most of it to training. */
const TRIAL_STEPS = 24;

function trialSteps(bound: TrainOptions['bound'], steps: number): number {
  const timed = 'timeMs' in bound || ('steps' in bound && bound.pace !== undefined);
  const trial = timed ? TRIAL_STEPS : Math.min(TRIAL_STEPS, Math.floor(steps / 20));
  return trial < 3 ? 0 : trial;
}

const HUNDREDTHS = 100;

/** The hundredths that have begun by this step. */
function paceAt(pace: readonly number[], step: number, done: number): readonly number[] {
  const begun = Math.min(HUNDREDTHS, Math.floor(HUNDREDTHS * done) + 1);
  return begun <= pace.length ? pace : [...pace, ...Array.from({ length: begun - pace.length }, () => step)];
}

/** The middle of the hundredth that this step lies in. */
function shareAt(pace: readonly number[], step: number): number {
  const begun = pace.findLastIndex((first) => first <= step) + 1;
  return (begun - 0.5) / HUNDREDTHS;
}

function lossFor(model: Model, dataset: Dataset, teacher: Model | undefined, output: string): Loss {
  const type = model.graph.outputs.find((o) => o.name === output)?.type;
  const shape = type?.kind === 'tensor' ? type.shape : undefined;
  // [N, C] or [N, C, 1, 1] are class scores unless the data say otherwise; one number is none
  const scores = shape === undefined || (shape.length > 1 && shape[1] !== 1 && shape.slice(2).every((d) => d === 1));
  const measured = dataset.hasTargets || dataset.metric === 'mse' || dataset.metric === 'mae';
  if (teacher !== undefined) return scores && !measured ? { kind: 'distill' } : { kind: 'mse' };
  if (dataset.labels !== undefined) return { kind: 'cross-entropy', smoothing: 0.05 };
  if (dataset.hasTargets) return { kind: 'mse' };
  throw new PareError(
    `data ${dataset.name} have neither labels nor targets: give the original network as teacher (--teacher ORIGINAL)`,
  );
}

function dimsOf(model: Model, dataset: Dataset, batch: number): ReadonlyMap<string, readonly number[]> {
  const sample = dataset.batch(Array.from({ length: batch }, (_, i) => i % dataset.size)).inputs;
  return new Map(modelInputs(model).map(({ name }) => [name, sample.get(name)!.dims]));
}

function digest(tensors: Iterable<Tensor>): string {
  const hash = createHash('sha256');
  for (const t of tensors) hash.update(`${t.name} ${t.dims.join()}`).update(t.bytes?.() ?? '');
  return hash.digest('hex').slice(0, 16);
}

/** What determines the run, for checkpoints. */
function describeRun(
  options: TrainOptions,
  dataset: Dataset,
  step: StepOptions,
  batch: number,
  steps: number,
): Readonly<Record<string, string>> {
  return {
    seed: options.rng.path,
    data: `${options.fit?.length ?? dataset.size} samples`,
    batch: String(batch),
    loss: JSON.stringify([step.loss, step.weight ?? 1, step.also ?? []]),
    optimizer: JSON.stringify([step.optimizer, step.clip ?? null, step.average ?? null, step.batchNorm ?? 'train']),
    rate: String(options.rate),
    length: 'timeMs' in options.bound ? `${options.bound.timeMs} ms` : `${steps} steps`,
    ...('steps' in options.bound && options.bound.pace !== undefined ? { pace: options.bound.pace.join() } : {}),
    augmentation: JSON.stringify(options.augment ?? dataset.augment ?? {}),
    teacher: String(options.teacher !== undefined),
  };
}

function allFinite(values: Float32Array): boolean {
  return values.every((v) => Number.isFinite(v));
}

/** One sentence: the step, and what most likely went wrong. */
function divergence(
  step: number,
  rate: number,
  history: readonly { readonly loss: number; readonly norm: number }[],
  sickInputs: boolean,
  targetsFinite: boolean,
): string {
  const where = `training broke down at step ${step + 1}: the loss is not a number`;
  if (sickInputs) return `${where}; the batch holds values that are not finite: look at the data and their scaling`;
  if (!targetsFinite) return `${where}; the targets (the teacher's outputs) are not finite`;
  if (step === 0) return `${where} before any weight was changed; the network itself gives values that are not finite`;
  const last = history.at(-1);
  const start = history[0];
  const grown =
    last !== undefined && start !== undefined && (last.loss > 2 * start.loss || last.norm > 10 * start.norm);
  const told = grown ? `the loss had grown from ${start.loss.toPrecision(3)} to ${last.loss.toPrecision(3)} and ` : '';
  return `${where}; ${told}the rate was ${rate.toPrecision(2)}, most likely too high: lower it (--rate ${(rate / 10).toPrecision(1)}) or clip gradients (--clip 1)`;
}
