// Trains the graph network on our own engine: batches of fixed size, one step graph in onnxruntime, several labels at once where they
// are asked for. What is frozen is not part of the step's state, so its bytes stay as they are.
import { graphBuilder, type GraphBuilder } from '../ir/builder.js';
import { DataType } from '../ir/tensor.js';
import { standardOps } from '../ops/index.js';
import type { Rng } from '../rng.js';
import { floatData, type Runtime, type RuntimeTensor } from '../runtime/runtime.js';
import { cosine, warmUp, type Schedule } from '../training/schedule.js';
import type { Optimizer } from '../training/optimizer.js';
import { startTraining, trainingStep, withState } from '../training/step.js';
import type { ComputationGraph } from './computation-graph.js';
import { fitting, inputDims, packGraphs, sizeFor } from './graph-batch.js';
import { emitNetwork, type NetworkSize, type NetworkValues, type Weights } from './network.js';

/** What a batch is trained for: emitted behind the network, fed beside its graphs. */
export interface Objective {
  /** Emits the loss from what the network gives; returns a value whose mean is to fall, and its dims. `graphs` includes the spare one. */
  emit(
    g: GraphBuilder,
    values: NetworkValues,
    graphs: number,
  ): { readonly loss: string; readonly dims: readonly number[] };
  /** Further inputs of a batch of these graphs (indices), padded to `graphs` rows. */
  feeds(indices: readonly number[], graphs: number, rng: Rng): ReadonlyMap<string, RuntimeTensor>;
}

export interface Emitted {
  readonly loss: string;
  readonly dims: readonly number[];
}

export interface FitOptions {
  readonly size: NetworkSize;
  readonly weights: Weights;
  readonly trained: (name: string) => boolean;
  readonly objective: Objective;
  /** The graph of sample i; may differ from epoch to epoch. */
  readonly samples: number;
  readonly graph: (sample: number, epoch: number) => ComputationGraph;
  readonly epochs: number;
  /** Graphs a step. */
  readonly batch: number;
  readonly rate: number;
  readonly schedule?: Schedule;
  readonly optimizer?: Optimizer;
  /** Common norm of the gradients at most; 5 in the paper. */
  readonly clip?: number;
  readonly rng: Rng;
  readonly runtime: Runtime;
  readonly signal?: AbortSignal;
}

export interface FitReport {
  readonly epoch: number;
  readonly steps: number;
  /** Mean over the epoch. */
  readonly loss: number;
}

/** One report an epoch; returns all weights, the frozen ones the same objects as before. */
export async function* fitNetwork(options: FitOptions): AsyncGenerator<FitReport, Weights, void> {
  const { objective, samples, rng } = options;
  const all = Array.from({ length: samples }, (_, i) => i);
  const size = sizeFor(
    all.map((i) => options.graph(i, 0)),
    Math.min(options.batch, samples),
  );
  const g = graphBuilder();
  const values = emitNetwork(g, options.size, options.weights);
  const { loss, dims: lossDims } = objective.emit(g, values, size.graphs);
  const dims = new Map([
    ...inputDims(size),
    ...[...objective.feeds([], size.graphs, rng)].map(([name, t]) => [name, t.dims] as const),
  ]);
  function* batches(epoch: number): Iterable<{ readonly count: number; readonly inputs: Feeds }> {
    const order = rng.fork(`order/${epoch}`).shuffle(all);
    const graphs = order.map((i) => options.graph(i, epoch));
    for (let at = 0; at < order.length;) {
      const count = fitting(graphs.slice(at, at + size.graphs), size);
      const extra = objective.feeds(order.slice(at, at + count), size.graphs, rng.fork(`batch/${epoch}/${at}`));
      yield { count, inputs: new Map([...packGraphs(graphs.slice(at, at + count), size), ...extra]) };
      at += count;
    }
  }
  return yield* fitEpochs({ ...options, builder: g, loss, lossDims, dims, batches });
}

type Feeds = ReadonlyMap<string, RuntimeTensor>;

export interface EpochOptions extends Omit<FitOptions, 'size' | 'objective' | 'graph' | 'batch' | 'rng'> {
  /** The model whose value `loss` is to fall on the mean. */
  readonly builder: GraphBuilder;
  readonly loss: string;
  readonly lossDims: readonly number[];
  readonly dims: ReadonlyMap<string, readonly number[]>;
  /** The batches of an epoch, with the number of samples in each. */
  readonly batches: (epoch: number) => Iterable<{ readonly count: number; readonly inputs: Feeds }>;
}

/** The loop under {@link fitNetwork}, for any model. */
export async function* fitEpochs(options: EpochOptions): AsyncGenerator<FitReport, Weights, void> {
  const { builder, loss, lossDims, samples } = options;
  builder.output(loss, DataType.FLOAT, lossDims);
  const model = builder.model();
  const trained = [...model.graph.initializers.keys()].filter(
    (name) => options.weights.has(name) && options.trained(name),
  );
  const step = trainingStep(model, standardOps, options.dims, {
    loss: { kind: 'mean' },
    optimizer: options.optimizer ?? { kind: 'adam', decay: 0 },
    trained,
    output: loss,
    ...(options.clip === undefined ? {} : { clip: options.clip }),
  });
  const schedule = options.schedule ?? warmUp(0.05, cosine);
  const training = await startTraining(step, options.runtime, 1);
  try {
    const nothing = new Float32Array(lossDims.reduce((a, b) => a * b, 1));
    let steps = 0;
    for (let epoch = 0; epoch < options.epochs; epoch++) {
      let sum = 0;
      let seen = 0;
      for (const { count, inputs } of options.batches(epoch)) {
        options.signal?.throwIfAborted();
        const rate = options.rate * schedule((epoch + seen / samples) / options.epochs);
        const result = await training.run({ inputs, targets: nothing, rate, step: steps++ });
        sum += result.loss * count;
        seen += count;
      }
      yield { epoch: epoch + 1, steps, loss: sum / Math.max(1, seen) };
    }
    const { initializers } = withState(model, step, training.state()).graph;
    // weights that the objective brought with it come back too; constants of the graph do not
    return new Map(
      [...options.weights.keys()].map((name) => [name, initializers.get(name) ?? options.weights.get(name)!]),
    );
  } finally {
    await training.end();
  }
}

/** Squared errors of several outputs, each sample counting for those whose weight is above 0. */
export function regression(
  pick: (values: NetworkValues) => readonly string[],
  target: (sample: number, output: number) => number,
  weight: (sample: number, output: number) => number,
  outputs: number,
): Objective {
  return {
    emit(g, values, graphs) {
      const said = pick(values);
      const prediction = said.length === 1 ? said[0]! : g.op('Concat', said, { axis: 1 });
      return squaredErrors(g, prediction, [graphs, outputs]);
    },
    feeds: (indices, graphs) => wantedFeeds(indices, [graphs, outputs], target, weight),
  };
}

/** Inputs `wanted` and `counts` of the prediction's dims, and their weighted squares. */
export function squaredErrors(g: GraphBuilder, prediction: string, dims: readonly [number, number]): Emitted {
  const wanted = g.input('wanted', DataType.FLOAT, dims);
  const counts = g.input('counts', DataType.FLOAT, dims);
  const difference = g.op('Sub', [prediction, wanted]);
  const square = g.op('Mul', [difference, difference]);
  return { loss: g.op('Mul', [square, counts], {}, { name: 'errors' }), dims };
}

/** Feeds of {@link squaredErrors}, padded to its rows. */
export function wantedFeeds(
  indices: readonly number[],
  dims: readonly [number, number],
  target: (sample: number, output: number) => number,
  weight: (sample: number, output: number) => number,
): Feeds {
  const [rows, outputs] = dims;
  const wanted = new Float32Array(rows * outputs);
  const counts = new Float32Array(rows * outputs);
  // the mean runs over padding and outputs; a sum over outputs lets each one learn as if it were alone
  const share = (rows * outputs) / Math.max(1, indices.length);
  indices.forEach((s, i) => {
    for (let k = 0; k < outputs; k++) {
      const w = weight(s, k);
      if (!(w > 0)) continue;
      wanted[i * outputs + k] = target(s, k);
      counts[i * outputs + k] = w * share;
    }
  });
  return new Map([
    ['wanted', floatData(dims, wanted)],
    ['counts', floatData(dims, counts)],
  ]);
}

/** Pairs in the wrong order, or in the right one by less than the margin (FGP's loss; methods.md §2.3). */
export function pairwiseHinge(
  pick: (values: NetworkValues) => string,
  target: (sample: number) => number,
  margin: number,
): Objective {
  return {
    emit(g, values, graphs) {
      const dims = [graphs, graphs];
      const signs = g.input('signs', DataType.FLOAT, dims);
      const said = pick(values);
      const difference = g.op('Sub', [said, g.op('Transpose', [said], { perm: [1, 0] })]);
      // pairs of equal labels and padding have sign 0: neither margin nor difference counts
      const wide = g.op('Mul', [g.op('Abs', [signs]), g.floats(margin)]);
      const loss = g.op('Relu', [g.op('Sub', [wide, g.op('Mul', [signs, difference])])]);
      return { loss, dims };
    },
    feeds(indices, graphs) {
      const signs = new Float32Array(graphs * graphs);
      indices.forEach((a, i) => {
        indices.forEach((b, j) => (signs[i * graphs + j] = Math.sign(target(a) - target(b))));
      });
      return new Map([['signs', floatData([graphs, graphs], signs)]]);
    },
  };
}
