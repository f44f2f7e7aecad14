// Recovery without training, the whole of it: from a pruned network with inherited weights to one that does as well as it can.
import type { Analysis } from '../analysis/analyse.js';
import type { ChannelGroups, DeadUnits } from '../analysis/groups.js';
import { chooseSamples, chunksOf } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { PareError } from '../errors.js';
import type { Model } from '../ir/graph.js';
import { createRng } from '../rng.js';
import { ortRuntime } from '../runtime/ort.js';
import type { Runtime } from '../runtime/runtime.js';
import { recalibrate } from './batch-norm.js';
import { knowledgeOf, learn, type Knowledge, type LearnReport, type LearntData } from './knowledge.js';
import { reconstruct } from './least-squares.js';
import type { Feeds } from './walk.js';

/** Samples that weights may be fitted on. */
export interface Calibration {
  readonly dataset: Dataset;
  /** Which of them; all when absent. */
  readonly indices?: readonly number[];
  /** Samples a run; what the network can really take (see measure/evaluate safeBatch). */
  readonly batch?: number;
}

/** 'none': weights as inherited; 'bn': means and variances only; 'reconstruct': every layer by least squares. */
export type RecoverMode = 'none' | 'bn' | 'reconstruct';
export const recoverModes: readonly RecoverMode[] = ['none', 'bn', 'reconstruct'];

export interface RecoverOptions {
  readonly mode: RecoverMode;
  /** The samples, the positions: all that is drawn follows from it. */
  readonly seed: string | number;
  /** At most so many samples (1,000); fewer when their activations would not fit `memoryBytes`. */
  readonly images?: number;
  /** Positions drawn per sample and layer; 64, and more where samples are few. */
  readonly positions?: number;
  /** What was cut, and the groups that this speaks of: the base's own unless structural edits came before the cut. */
  readonly dead?: DeadUnits;
  readonly groups?: ChannelGroups;
  /** The base after structural edits, before channels were cut: new layers aim at what they gave there. */
  readonly edited?: Model;
  /** 'reconstruct': only layers with these weights are fitted; all by default. */
  readonly only?: ReadonlySet<string>;
  /** When given, the closed-form refit comes first: apply it to networks whose weights are plainly inherited. */
  readonly knowledge?: Knowledge;
  /** Activations held at once, about (1.5 GB). */
  readonly memoryBytes?: number;
  readonly runtime?: Runtime;
  readonly signal?: AbortSignal;
}

export interface RecoverReport {
  readonly layer: string;
  readonly index: number;
  readonly of: number;
  /** Unexplained share of the layer's target before and after (reconstruction only). */
  readonly before?: number;
  readonly after?: number;
}

/** Deterministic: the same bytes for the same inputs, whatever the runtime's number of threads. */
export async function* recover(
  base: Analysis,
  pruned: Model,
  calibration: Calibration,
  options: RecoverOptions,
): AsyncGenerator<RecoverReport, Model> {
  const { mode, signal, dead, knowledge } = options;
  if (mode === 'none') return pruned;
  const groups = options.groups ?? base.groups;
  const start = knowledge === undefined || dead === undefined ? pruned : knowledge.quickRefit(pruned, dead, groups);
  const feeds = calibrationFeeds(base, calibration, options);
  const runtime = options.runtime ?? ortRuntime();
  const cut = { groups, ...(dead === undefined ? {} : { dead }), ...(signal === undefined ? {} : { signal }) };
  if (mode === 'bn') return yield* recalibrate(base.model, start, feeds, { runtime, ...cut });
  const positions = options.positions ?? enough(64, 20_000, feeds);
  return yield* reconstruct(base.model, start, feeds, {
    runtime,
    rng: createRng(options.seed).fork('reconstruct'),
    ...cut,
    ...(options.edited === undefined ? {} : { edited: options.edited }),
    ...(options.only === undefined ? {} : { only: options.only }),
    positions,
  });
}

/** Knowledge of the base network from the same kind of samples; see knowledge.ts. */
export async function* learnFrom(
  base: Analysis,
  calibration: Calibration,
  options: Omit<RecoverOptions, 'mode' | 'dead' | 'groups' | 'knowledge'>,
): AsyncGenerator<LearnReport, Knowledge & { readonly data: LearntData }> {
  const feeds = calibrationFeeds(base, calibration, { images: 500, ...options });
  const data = yield* learn(base, feeds, {
    runtime: options.runtime ?? ortRuntime(),
    rng: createRng(options.seed).fork('learn'),
    positions: options.positions ?? enough(32, 10_000, feeds),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  return { ...knowledgeOf(base, data), data };
}

/** Positions per sample: more of them where samples are few. */
function enough(least: number, total: number, feeds: readonly Feeds[]): number {
  const samples = feeds.reduce((sum, f) => sum + ([...f.values()][0]?.dims[0] ?? 1), 0);
  return Math.max(least, Math.ceil(total / Math.max(1, samples)));
}

/** A seeded choice of samples as batches of inputs. */
export function calibrationFeeds(
  base: Analysis,
  { dataset, indices, batch = 32 }: Calibration,
  { images = 1000, seed, memoryBytes = 1.5e9 }: Pick<RecoverOptions, 'images' | 'seed' | 'memoryBytes'>,
): Feeds[] {
  const from = indices ?? Array.from({ length: dataset.size }, (_, i) => i);
  if (from.length === 0) throw new PareError(`data ${dataset.name}: no samples to recover with`);
  // both networks hold what is alive at a cut, and the values around it
  const perImage = Math.max(1, base.cost.peakMemoryBytes * 3);
  const fitting = Math.max(8, Math.floor(memoryBytes / perImage));
  const rng = createRng(seed).fork('calibration');
  const chosen = chooseSamples(from.length, Math.min(images, fitting), rng).map((i) => from[i]!);
  return chunksOf(dataset, chosen, batch).map((c) => dataset.batch(c.indices).inputs);
}
