// The second half of our predictor: a small perceptron on graph features (graph-features.ts) with one output for every label, all trained
// together, beside the graph network and its adapters. Features are standardised over the training corpus and held within bounds.
import { graphBuilder, type GraphBuilder } from '../ir/builder.js';
import { DataType, floatTensor } from '../ir/tensor.js';
import type { Rng } from '../rng.js';
import { floatData, type Runtime } from '../runtime/runtime.js';
import { fitEpochs, squaredErrors, wantedFeeds, type FitReport } from './fit-network.js';
import { freshWeights, type Weights } from './network.js';

/** Hidden units of both layers. */
const HIDDEN = 128;
/** Standard deviations beyond which a feature says no more: graphs of unknown spaces lie far out. */
const BOUND = 4;

export function trunkDims(features: number, outputs: number): ReadonlyMap<string, readonly number[]> {
  return new Map<string, readonly number[]>([
    ['trunk/0.w', [features, HIDDEN]],
    ['trunk/0.b', [HIDDEN]],
    ['trunk/1.w', [HIDDEN, HIDDEN]],
    ['trunk/1.b', [HIDDEN]],
    ['trunk/2.w', [HIDDEN, outputs]],
    ['trunk/2.b', [outputs]],
  ]);
}

/** Fresh weights, and the features' mean and inverse deviation; a constant feature counts for nothing. */
export function freshTrunk(rows: readonly Float32Array[], outputs: number, rng: Rng): Weights {
  const width = rows[0]?.length ?? 0;
  const mean = new Float32Array(width);
  const scale = new Float32Array(width);
  for (let c = 0; c < width; c++) {
    const m = rows.reduce((sum, r) => sum + r[c]!, 0) / rows.length;
    const variance = rows.reduce((sum, r) => sum + (r[c]! - m) ** 2, 0) / rows.length;
    mean[c] = m;
    scale[c] = variance > 1e-10 ? 1 / Math.sqrt(variance) : 0;
  }
  return new Map([
    ...freshWeights(trunkDims(width, outputs), rng),
    ['trunk/mean', floatTensor('trunk/mean', [width], mean)],
    ['trunk/scale', floatTensor('trunk/scale', [width], scale)],
  ]);
}

/** From `graph.features` [G, F] to the outputs [G, K]. */
export function emitTrunk(g: GraphBuilder, weights: Weights): string {
  const w = (name: string): string => g.constant(weights.get(name)!);
  const mean = weights.get('trunk/mean')!;
  const input = g.input('graph.features', DataType.FLOAT, ['graphs', mean.dims[0]!]);
  const centred = g.op('Mul', [g.op('Sub', [input, w('trunk/mean')]), w('trunk/scale')]);
  const layer = (x: string, i: number): string => g.op('Gemm', [x, w(`trunk/${i}.w`), w(`trunk/${i}.b`)]);
  const first = g.op('Relu', [layer(g.op('Clip', [centred, g.floats(-BOUND), g.floats(BOUND)]), 0)]);
  return layer(g.op('Relu', [layer(first, 1)]), 2);
}

export interface TrunkOptions {
  readonly rows: readonly Float32Array[];
  readonly outputs: number;
  /** NaN where the row has no such label. */
  readonly target: (row: number, output: number) => number;
  readonly epochs: number;
  readonly rng: Rng;
  readonly runtime: Runtime;
}

export async function* fitTrunk(options: TrunkOptions): AsyncGenerator<FitReport, Weights, void> {
  const { rows, outputs, target, rng } = options;
  const weights = freshTrunk(rows, outputs, rng.fork('weights'));
  const batch = Math.min(64, rows.length);
  const width = rows[0]?.length ?? 0;
  const g = graphBuilder();
  const { loss, dims: lossDims } = squaredErrors(g, emitTrunk(g, weights), [batch, outputs]);
  const dims = new Map<string, readonly number[]>([
    ['graph.features', [batch, width]],
    ['wanted', lossDims],
    ['counts', lossDims],
  ]);
  const all = rows.map((_, i) => i);
  function* batches(epoch: number) {
    const order = rng.fork(`order/${epoch}`).shuffle(all);
    for (let at = 0; at < order.length; at += batch) {
      const part = order.slice(at, at + batch);
      const features = new Float32Array(batch * width);
      part.forEach((s, i) => features.set(rows[s]!, i * width));
      const wanted = wantedFeeds(part, [batch, outputs], target, (s, k) => (Number.isNaN(target(s, k)) ? 0 : 1));
      yield {
        count: part.length,
        inputs: new Map([['graph.features', floatData([batch, width], features)], ...wanted]),
      };
    }
  }
  return yield* fitEpochs({
    weights,
    trained: (name) => !name.endsWith('mean') && !name.endsWith('scale'),
    samples: rows.length,
    epochs: options.epochs,
    rate: 2e-3,
    optimizer: { kind: 'adamw', decay: 1e-2 },
    runtime: options.runtime,
    builder: g,
    loss,
    lossDims,
    dims,
    batches,
  });
}

/** The trunk alone, for predicting: input `graph.features`, output `trunk`. */
export function trunkModel(weights: Weights) {
  const g = graphBuilder();
  g.output(g.op('Identity', [emitTrunk(g, weights)], {}, { outputs: ['trunk'] }), DataType.FLOAT);
  return g.model();
}
