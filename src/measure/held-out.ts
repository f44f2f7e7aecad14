// The part of a data set that training does not see, and how good a network is on it.
import { splitDataset } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import { withSession, type Runtime } from '../runtime/runtime.js';
import type { HeldOutPart } from '../training/trainer.js';
import { evaluate, recordOutputs, type RecordedOutputs } from './evaluate.js';

/** Samples at most: measuring must stay cheap beside training. */
const LIMIT = 1000;

export interface HeldOutOptions {
  readonly runtime: Runtime;
  readonly rng: Rng;
  /** Of the samples; 0: none. */
  readonly share: number;
  readonly batch: number;
  /**
   * What to be like: a network that starts close to it gives the right classes of samples that the teacher was trained on already, and
   * only the divergence from its scores (of class scores; else the data's own metric, or the agreement) still tells better from worse.
   */
  readonly teacher?: Model;
  readonly threads?: number;
}

/** A seeded part and its metric; undefined when there is nothing to compare with. */
export async function heldOutPart(dataset: Dataset, options: HeldOutOptions): Promise<HeldOutPart | undefined> {
  const { runtime, teacher, batch, threads = 1 } = options;
  const share = Math.min(options.share, LIMIT / dataset.size);
  const own = dataset.metric !== undefined && dataset.metric !== 'agreement' && dataset.metric !== 'relative-error';
  if (share === 0 || (!own && teacher === undefined)) return undefined;
  const { fit, score: indices } = splitDataset(dataset.size, options.rng, share);
  if (indices.length === 0) return undefined;
  const load = { intraOpThreads: threads };
  let reference: RecordedOutputs | undefined;
  if (teacher !== undefined) {
    reference = await withSession(runtime, teacher, load, (s) => recordOutputs(s, dataset, { indices, batch }));
  }
  return {
    fit,
    measure: (model) =>
      withSession(runtime, model, load, async (session) => {
        const how = reference === undefined ? { indices, batch } : { indices, batch, reference };
        const { metric, value, higherIsBetter, versus } = await evaluate(session, dataset, how);
        if (versus?.kl !== undefined) return { metric: 'kl', value: versus.kl.value, higherIsBetter: false };
        return { metric, value: metric === 'relative-error' ? versus!.relativeError.value : value, higherIsBetter };
      }),
  };
}
