// Second moments of the inputs of a base network's layers, streamed over calibration batches: what every removal order and every
// closed-form refit is computed from.
import type { Model } from '../ir/graph.js';
import type { Rng } from '../rng.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Layer } from './layers.js';
import { asFloat, covariance, drawPositions, inputMoments, type RawSums } from './moments.js';
import { inOrder, startWalk, type Feeds } from './walk.js';

/**
 * 'exact': covariance of all columns. 'channel': of the input channels, taken over all taps alike (more than `EXACT` columns).
 * 'diagonal': variances of the channels only (more than `EXACT` channels).
 */
export type GramKind = 'exact' | 'channel' | 'diagonal';

/** Plain data; the arrays may be shared between threads. */
export interface Gram {
  readonly kind: GramKind;
  readonly group: number;
  /** Columns a group: weights' columns, or channels. */
  readonly size: number;
  /** [group, size, size], or [group, size] for 'diagonal'. */
  readonly covariance: Float32Array;
  /** [group, size]: the means that were subtracted (zero for layers without a constant term). */
  readonly mean: Float32Array;
}

/** Above this many columns a Gram matrix is kept by channel. */
export const EXACT = 1200;

export interface GramOptions {
  readonly runtime: Runtime;
  readonly rng: Rng;
  /** Positions drawn per image. */
  readonly positions: number;
  readonly signal?: AbortSignal;
}

/** Yields one Gram matrix after the other, in the order of `layers` (topological). Memory: the values at one cut for all batches. */
export async function* collectGrams(
  model: Model,
  layers: readonly Layer[],
  feeds: readonly Feeds[],
  options: GramOptions,
): AsyncGenerator<readonly [Layer, Gram], void> {
  const { runtime, rng, positions, signal } = options;
  const walk = startWalk(
    model,
    runtime,
    layers.map((l) => [l.input]),
    feeds,
  );
  for (const layer of layers) {
    signal?.throwIfAborted();
    await walk.advance();
    const node = model.graph.nodes[layer.node]!;
    const first = walk.value(0, layer.input);
    const kind = gramKind(layer);
    const program = await inputMoments(runtime, layer, node, first.dims, MOMENTS[kind]);
    try {
      await inOrder<RawSums>(
        walk.batches,
        runtime.concurrency,
        (b) => {
          const x = walk.value(b, layer.input);
          const drawn = drawPositions(layer, node, x.dims, positions, rng.fork(`${layer.output}/${b}`));
          return program.run(
            new Map([
              ['x', asFloat(x)],
              ['xi', drawn.input],
            ]),
          );
        },
        (_, sums) => program.add(sums),
      );
      yield [layer, gramOf(layer, kind, program.take())];
    } finally {
      await program.release();
    }
  }
}

const MOMENTS = { exact: 'columns', channel: 'channels', diagonal: 'squares' } as const;

export function gramKind(layer: Layer): GramKind {
  if (layer.columns <= EXACT) return 'exact';
  return layer.columns / layer.taps <= EXACT ? 'channel' : 'diagonal';
}

function gramOf(layer: Layer, kind: GramKind, moments: Parameters<typeof covariance>[0]): Gram {
  const { group } = layer;
  const size = kind === 'exact' ? layer.columns : layer.columns / layer.taps;
  const centred = layer.bias.kind !== 'none';
  const mean = Float32Array.from(moments.x, (v) => (centred ? v / Math.max(1, moments.n) : 0));
  const values = new Float32Array(group * size * (kind === 'diagonal' ? 1 : size));
  if (kind === 'diagonal') moments.xx.forEach((v, i) => (values[i] = v / Math.max(1, moments.n) - mean[i]! ** 2));
  else for (let g = 0; g < group; g++) values.set(covariance(moments, g, size, centred), g * size * size);
  return { kind, group, size, covariance: values, mean };
}
