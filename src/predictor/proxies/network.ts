// A network as the zero-cost proxies read it (methods.md §4): fresh or inherited weights, BatchNormalization with the statistics
// of the batch, its dense layers listed, the class scores before a final Softmax.
import { concreteShape, inferShapes, type ModelParts, type Shapes } from '../../analysis/shapes.js';
import { PareError } from '../../errors.js';
import { attrInt, intAttribute, type Graph, type Model, type Node, type ValueInfo } from '../../ir/graph.js';
import { DataType, elementCount, floatTensor } from '../../ir/tensor.js';
import { allNames, freshName } from '../../ir/walk.js';
import type { OpTable } from '../../ops/op.js';
import { constantsLifted } from '../../recovery/constants.js';
import type { Rng } from '../../rng.js';
import { modernized } from '../../training/modernize.js';
import { reinitialized } from '../../training/reinit.js';
import { scoresOf } from '../../training/step.js';

/** 'fresh': drawn anew (He et al. 2015), as the proxies are defined; 'inherited': as they are. */
export type WeightSource = 'fresh' | 'inherited';

/** A Conv, Gemm or MatMul whose weight is a constant: what PyTorch's Conv2d and Linear become. */
export interface DenseLayer {
  readonly node: Node;
  readonly weight: string;
  readonly dims: readonly number[];
  readonly output: string;
  /** Of the output. */
  readonly channelAxis: number;
}

export interface Network {
  readonly model: Model;
  /** Of the inputs, batch included. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  readonly shapes: Shapes;
  /** In graph order. */
  readonly layers: readonly DenseLayer[];
  /** What the loss reads; its dims as [N, C] where further axes have length 1. */
  readonly scores: { readonly name: string; readonly dims: readonly number[] };
  /** The variance of each BatchNormalization's input over the batch: a value of the graph. */
  readonly variances: readonly string[];
}

export interface NetworkOptions {
  readonly table: OpTable;
  readonly weights: WeightSource;
  readonly rng: Rng;
  /** The output that counts; the first when absent. */
  readonly output?: string;
}

export function prepareNetwork(
  given: Model,
  dims: ReadonlyMap<string, readonly number[]>,
  { table, weights, rng, output }: NetworkOptions,
): Network {
  const lifted = { ...given, graph: constantsLifted(given.graph) };
  const modern: Model = { ...lifted, ...modernized(lifted) };
  const own = weights === 'fresh' ? reinitialized(modern, rng.fork('weights')) : modern;
  const { graph, variances } = inTrainingMode({ ...own.graph, inputs: own.graph.inputs.map((v) => bound(v, dims)) });
  const model: Model = { ...own, graph: { ...graph, valueInfo: new Map(), outputs: graph.outputs.map(unshaped) } };
  const shapes = inferShapes(model, table, { inputs: dims });
  const name = scoresOf(model.graph, { loss: { kind: 'cross-entropy' }, ...(output === undefined ? {} : { output }) });
  const shape = concreteShape(shapes, name);
  if (shape === undefined)
    throw new PareError(`output "${name}": its shape does not follow from the inputs', which proxies need`);
  const flat = shape.length > 2 && shape.slice(2).every((d) => d === 1) ? shape.slice(0, 2) : shape;
  return { model, dims, shapes, layers: denseLayers(model.graph, shapes), scores: { name, dims: flat }, variances };
}

/** The model's parts with other outputs: what a session is loaded from. */
export function withOutputs(model: Model, parts: ModelParts, outputs: readonly string[]): Model {
  return {
    ...model,
    opsets: parts.opsets,
    graph: { ...parts.graph, outputs: [...new Set(outputs)].map((name) => floatValue(name)) },
  };
}

export function floatValue(name: string, shape?: readonly number[]): ValueInfo {
  return { name, type: { kind: 'tensor', elemType: DataType.FLOAT, ...(shape === undefined ? {} : { shape }) } };
}

export function shapeOf({ shapes }: Network, name: string): readonly number[] {
  const shape = concreteShape(shapes, name);
  if (shape === undefined)
    throw new PareError(`the shape of "${name}" does not follow from the inputs', which proxies need`);
  return shape;
}

/** An input with these dims, where they are given. */
export function bound(value: ValueInfo, dims: ReadonlyMap<string, readonly number[]>): ValueInfo {
  const shape = dims.get(value.name);
  return shape === undefined || value.type?.kind !== 'tensor' ? value : { ...value, type: { ...value.type, shape } };
}

/** What was declared held for the declared batch. */
function unshaped(value: ValueInfo): ValueInfo {
  if (value.type?.kind !== 'tensor') return value;
  return { ...value, type: { kind: 'tensor', elemType: value.type.elemType } };
}

/** Statistics of the batch; the stored ones become inputs of nothing else, since the runtime writes over them. */
function inTrainingMode(graph: Graph): { graph: Graph; variances: string[] } {
  const taken = allNames(graph);
  const initializers = new Map(graph.initializers);
  const variances: string[] = [];
  const fresh = (stem: string): string => {
    const name = freshName(taken, stem);
    taken.add(name);
    return name;
  };
  const nodes = graph.nodes.map((node): Node => {
    const channels = initializers.get(node.inputs[1] ?? '')?.dims[0];
    if (node.opType !== 'BatchNormalization' || node.domain !== '' || channels === undefined) return node;
    const stored = [0, 1].map((value) => {
      const name = fresh(`${node.outputs[0]}/stored`);
      initializers.set(name, floatTensor(name, [channels], new Float32Array(channels).fill(value)));
      return name;
    });
    const made = [fresh(`${node.outputs[0]}/mean`), fresh(`${node.outputs[0]}/variance`)];
    variances.push(made[1]!);
    const attributes = new Map(node.attributes)
      .set('training_mode', intAttribute('training_mode', 1))
      // running = 0 * stored + 1 * current
      .set('momentum', { name: 'momentum', kind: 'float', value: 0 });
    return {
      ...node,
      attributes,
      inputs: [...node.inputs.slice(0, 3), ...stored],
      outputs: [node.outputs[0]!, ...made],
    };
  });
  return { graph: { ...graph, nodes, initializers }, variances };
}

const PASSING = /^(Identity|Transpose|Reshape|Unsqueeze|Squeeze|Flatten)$/;

function denseLayers(graph: Graph, shapes: Shapes): DenseLayer[] {
  // value -> the initializer that it is, in another form
  const root = new Map<string, string>();
  for (const name of graph.initializers.keys()) root.set(name, name);
  const layers: DenseLayer[] = [];
  for (const node of graph.nodes) {
    const [first = '', second = ''] = node.inputs;
    if (node.domain !== '') continue;
    if (PASSING.test(node.opType) && root.has(first)) root.set(node.outputs[0]!, root.get(first)!);
    const weight = graph.initializers.get(root.get(second) ?? '');
    if (!/^(Conv|Gemm|MatMul)$/.test(node.opType) || weight?.dataType !== DataType.FLOAT || root.has(first)) continue;
    const output = node.outputs[0]!;
    const rank = concreteShape(shapes, output)?.length ?? 2;
    if (elementCount(weight.dims) < 2) continue;
    const channelAxis = node.opType === 'MatMul' ? rank - 1 : 1;
    layers.push({ node, weight: weight.name, dims: weight.dims, output, channelAxis });
  }
  return layers;
}

/** Weights of one channel of a layer: what a channel's value is spread over. */
export function weightsPerChannel({ node, dims }: DenseLayer): number {
  const count = elementCount(dims);
  const channels = node.opType === 'Conv' ? dims[0]! : attrInt(node, 'transB', 0) === 1 ? dims[0]! : dims.at(-1)!;
  return count / Math.max(1, channels);
}
