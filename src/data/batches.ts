// Which samples go together: chunks of a batch size, and the split into a part that fits weights and a part that scores.
import type { Rng } from '../rng.js';
import type { Dataset } from './dataset.js';

export interface Chunk {
  /** Samples to feed; with a fixed batch size the last ones may repeat to fill it. */
  readonly indices: readonly number[];
  /** How many of them count. */
  readonly count: number;
}

/** The samples in order, `batch` at a time, or as many as the network's input fixes. */
export function chunksOf(dataset: Dataset, indices: readonly number[], batch: number): Chunk[] {
  const step = dataset.fixedBatch ?? batch;
  const chunks: Chunk[] = [];
  for (let i = 0; i < indices.length; i += step) {
    const part = indices.slice(i, i + step);
    const fill = dataset.fixedBatch === undefined ? 0 : step - part.length;
    chunks.push({ indices: [...part, ...Array.from({ length: fill }, () => part.at(-1)!)], count: part.length });
  }
  return chunks;
}

export interface Split {
  /** Samples that weights are fitted on, ascending. */
  readonly fit: readonly number[];
  /** Samples that candidates are scored on, ascending; none of them is in `fit`. */
  readonly score: readonly number[];
}

/** A seeded split; `scoreShare` of the samples score, at least one on each side when there are two. */
export function splitDataset(n: number, rng: Rng, scoreShare = 0.5): Split {
  const order = rng.fork('split').shuffle(Array.from({ length: n }, (_, i) => i));
  const scores = n < 2 ? 0 : Math.min(n - 1, Math.max(1, Math.round(n * scoreShare)));
  const ascending = (list: readonly number[]): number[] => list.toSorted((a, b) => a - b);
  return { fit: ascending(order.slice(scores)), score: ascending(order.slice(0, scores)) };
}

/** All samples in order, or the first `limit` of a seeded choice, ascending. */
export function chooseSamples(n: number, limit: number, rng: Rng): number[] {
  if (limit >= n) return Array.from({ length: n }, (_, i) => i);
  return rng
    .fork('choose')
    .sample(n, limit)
    .sort((a, b) => a - b);
}
