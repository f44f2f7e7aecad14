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
  g.output(loss, DataType.FLOAT, lossDims);
  const dims = new Map([
    ...inputDims(size),
    ...[...objective.feeds([], size.graphs, rng)].map(([name, t]) => [name, t.dims] as const),
  ]);
  const model = g.model();
  const trained = [...model.graph.initializers.keys()].filter((name) => options.trained(name));
  const step = trainingStep(model, standardOps, dims, {
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
      const order = rng.fork(`order/${epoch}`).shuffle(all);
      const graphs = order.map((i) => options.graph(i, epoch));
      let sum = 0;
      let batches = 0;
      for (let at = 0; at < order.length;) {
        options.signal?.throwIfAborted();
        const count = fitting(graphs.slice(at, at + size.graphs), size);
        const batch = order.slice(at, at + count);
        const inputs = new Map([
          ...packGraphs(graphs.slice(at, at + count), size),
          ...objective.feeds(batch, size.graphs, rng.fork(`batch/${epoch}/${at}`)),
        ]);
        const rate = options.rate * schedule((epoch + at / order.length) / options.epochs);
        const result = await training.run({ inputs, targets: nothing, rate, step: steps++ });
        sum += result.loss;
        batches++;
        at += count;
      }
      yield { epoch: epoch + 1, steps, loss: sum / batches };
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

/** Squared errors of several outputs, each graph counting for those whose weight is above 0. */
export function regression(
  pick: (values: NetworkValues) => readonly string[],
  target: (sample: number, output: number) => number,
  weight: (sample: number, output: number) => number,
  outputs: number,
): Objective {
  const table = (indices: readonly number[], graphs: number, of: (s: number, k: number) => number): Float32Array => {
    const data = new Float32Array(graphs * outputs);
    indices.forEach((s, i) => {
      for (let k = 0; k < outputs; k++) data[i * outputs + k] = of(s, k);
    });
    return data;
  };
  return {
    emit(g, values, graphs) {
      const dims = [graphs, outputs];
      const said = pick(values);
      const prediction = said.length === 1 ? said[0]! : g.op('Concat', said, { axis: 1 });
      const wanted = g.input('wanted', DataType.FLOAT, dims);
      const counts = g.input('counts', DataType.FLOAT, dims);
      const difference = g.op('Sub', [prediction, wanted]);
      return { loss: g.op('Mul', [g.op('Mul', [difference, difference]), counts], {}, { name: 'errors' }), dims };
    },
    feeds(indices, graphs) {
      const dims = [graphs, outputs];
      const wanted = table(indices, graphs, target);
      const counts = table(indices, graphs, weight);
      // the mean runs over padding and outputs; a sum over outputs lets each one learn as if it were alone
      const share = (graphs * outputs) / Math.max(1, indices.length);
      return new Map([
        ['wanted', floatData(dims, wanted)],
        [
          'counts',
          floatData(
            dims,
            counts.map((v) => v * share),
          ),
        ],
      ]);
    },
  };
}
