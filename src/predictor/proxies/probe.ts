// What the proxies have in common, computed when first asked for: one loss with its gradients, one gradient to the input, one
// forward pass with the signs before activations.
import { PareError } from '../../errors.js';
import type { Model } from '../../ir/graph.js';
import { DataType, elementCount, readFloats } from '../../ir/tensor.js';
import type { OpTable } from '../../ops/op.js';
import type { Rng } from '../../rng.js';
import { floatData, floatsOf, withSession, type Runtime, type RuntimeTensor } from '../../runtime/runtime.js';
import { createEmitter } from '../../training/emitter.js';
import { appendGradients, type Gradients } from '../../training/gradient.js';
import { emitLoss } from '../../training/loss.js';
import type { ModelParts } from '../../analysis/shapes.js';
import { entropies } from './entropy.js';
import {
  floatValue,
  prepareNetwork,
  shapeOf,
  weightsPerChannel,
  withOutputs,
  type Network,
  type WeightSource,
} from './network.js';
import { ownTargets, type Targets } from './targets.js';
import { once } from '../../once.js';

export interface ProbeBatch {
  readonly inputs: ReadonlyMap<string, RuntimeTensor>;
  /** One class a sample. */
  readonly labels?: Int32Array;
}

export interface LayerGradient {
  readonly weights: Float32Array;
  readonly gradient: Float32Array;
  /** Weights that share one channel of the output. */
  readonly perChannel: number;
  /** Sum over positions of output times its gradient, [N, C]. */
  readonly products: { readonly dims: readonly number[]; readonly values: Float32Array };
}

export interface LossPass {
  readonly loss: number;
  readonly layers: readonly LayerGradient[];
}

export interface Jacobian {
  readonly rows: number;
  readonly columns: number;
  /** Row by row: the gradient of the summed scores with respect to a sample. */
  readonly values: Float32Array;
}

export interface Probe {
  readonly given: Model;
  readonly network: Network;
  readonly batch: ProbeBatch;
  readonly table: OpTable;
  readonly rng: Rng;
  readonly weights: WeightSource;
  targets(): Promise<Targets>;
  lossPass(): Promise<LossPass>;
  jacobian(): Promise<Jacobian>;
  /** Of the blocks' outputs; see entropy.ts. */
  entropies(): Promise<readonly number[]>;
  /** Runs a model made from the network on the batch (and more inputs); FLOAT results by name. */
  run(
    model: Model,
    outputs: readonly string[],
    more?: ReadonlyMap<string, RuntimeTensor>,
  ): Promise<ReadonlyMap<string, RuntimeTensor>>;
}

export interface ProbeOptions {
  readonly table: OpTable;
  readonly runtime: Runtime;
  readonly rng: Rng;
  /** 'fresh' by default: the proxies' own definition. */
  readonly weights?: WeightSource;
  /** Threads inside one operator (1). */
  readonly threads?: number;
  /** The output that counts; the first when absent. */
  readonly output?: string;
}

export function createProbe(given: Model, batch: ProbeBatch, options: ProbeOptions): Probe {
  const { table, runtime, rng, weights = 'fresh', threads = 1, output } = options;
  const dims = new Map([...batch.inputs].map(([name, t]) => [name, t.dims]));
  const network = prepareNetwork(given, dims, { table, weights, rng, ...(output === undefined ? {} : { output }) });
  const run: Probe['run'] = (model, outputs, more) =>
    withSession(
      runtime,
      model,
      { intraOpThreads: threads, optimization: 'basic', label: 'the probed network' },
      (session) => session.run(new Map([...batch.inputs, ...(more ?? [])]), outputs),
    );
  const targets = once(() => ownTargets({ given, network, batch, weights, rng, run }));
  const probe: Probe = {
    given,
    network,
    batch,
    table,
    rng,
    weights,
    run,
    targets,
    lossPass: once(async () => lossPass(probe, await targets())),
    jacobian: once(() => jacobian(probe)),
    entropies: once(() => entropies(probe)),
  };
  return probe;
}

export interface WithLoss {
  readonly parts: ModelParts;
  readonly loss: string;
  readonly binding: { readonly inputs: ReadonlyMap<string, readonly number[]> };
}

/** The network with its loss against an input "targets". */
export function withLoss({ model, dims, scores }: Network, targets: Targets): WithLoss {
  const m = createEmitter(model.graph, 'loss');
  const flat = m.emit('Reshape', [scores.name, m.ints(scores.dims)]);
  const loss = emitLoss(m, targets.loss, flat, 'targets', scores.dims);
  const graph = m.extended({ ...model.graph, inputs: [...model.graph.inputs, floatValue('targets', scores.dims)] });
  return {
    parts: { graph, opsets: model.opsets, functions: model.functions },
    loss,
    binding: { inputs: new Map([...dims, ['targets', scores.dims] as const]) },
  };
}

export function targetFeed({ scores }: Network, targets: Targets): ReadonlyMap<string, RuntimeTensor> {
  return new Map([['targets', floatData(scores.dims, targets.values)]]);
}

/** Names of the layers' weights, each once. */
export function weightNames({ layers }: Network): string[] {
  return [...new Set(layers.map((l) => l.weight))];
}

async function lossPass(probe: Probe, targets: Targets): Promise<LossPass> {
  const { network, table } = probe;
  const { parts, loss, binding } = withLoss(network, targets);
  const wrt = [...weightNames(network), ...network.layers.map((l) => l.output)];
  const made = appendGradients(parts, table, loss, wrt, binding);
  const m = createEmitter(made.graph, 'products', made.opsets.get('') ?? 17);
  const seen = new Set<string>();
  const layers = network.layers.flatMap((layer) => {
    const [gradient, through] = [made.of.get(layer.weight), made.of.get(layer.output)];
    if (gradient === undefined || through === undefined || seen.has(layer.weight)) return [];
    seen.add(layer.weight);
    const dims = shapeOf(network, layer.output);
    const axes = dims.map((_, k) => k).filter((k) => k !== 0 && k !== layer.channelAxis);
    const product = m.emit('Mul', [layer.output, through]);
    const summed = axes.length === 0 ? product : m.emit('ReduceSum', [product, m.ints(axes)], { keepdims: 0 });
    return [{ layer, gradient, products: summed }];
  });
  if (layers.length === 0) throw new PareError('the scores depend on no Conv, Gemm or MatMul with constant weights');
  const complete: Gradients = { ...made, graph: m.extended(made.graph) };
  const outputs = [loss, ...layers.flatMap((l) => [l.gradient, l.products])];
  const results = await probe.run(withOutputs(network.model, complete, outputs), outputs, targetFeed(network, targets));
  return {
    loss: floatsOf(results.get(loss)!)[0]!,
    layers: layers.map(({ layer, gradient, products }) => ({
      weights: readFloats(network.model.graph.initializers.get(layer.weight)!),
      gradient: floatsOf(results.get(gradient)!),
      perChannel: weightsPerChannel(layer),
      products: { dims: results.get(products)!.dims, values: floatsOf(results.get(products)!) },
    })),
  };
}

async function jacobian(probe: Probe): Promise<Jacobian> {
  const { network, table, batch } = probe;
  const input = [...batch.inputs].find(([, t]) => t.dataType === DataType.FLOAT);
  if (input === undefined)
    throw new PareError('the network has no input of type FLOAT, so nothing to differentiate by');
  const m = createEmitter(network.model.graph, 'sum');
  const sum = m.emit('ReduceSum', [network.scores.name], { keepdims: 0 });
  const parts = { ...network.model, graph: m.extended(network.model.graph) };
  const made = appendGradients(parts, table, sum, [input[0]], { inputs: network.dims });
  const name = made.of.get(input[0]);
  if (name === undefined) throw new PareError(`the scores do not depend on input "${input[0]}"`);
  const values = floatsOf((await probe.run(withOutputs(network.model, made, [name]), [name])).get(name)!);
  const rows = input[1].dims[0] ?? 1;
  return { rows, columns: elementCount(input[1].dims) / rows, values };
}
