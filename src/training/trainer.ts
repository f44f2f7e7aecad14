// One training step as an ONNX graph: forward, loss, gradients and the optimizer's update; and the loop that runs it.
// Weights are inputs and outputs of the step: the runtime's results of one step feed the next.
import type { ModelParts } from '../analysis/shapes.js';
import { attrFloat, intAttribute, type Graph, type Model, type Node, type ValueInfo } from '../ir/graph.js';
import { DataType, floatTensor, readFloats, type Tensor } from '../ir/tensor.js';
import type { OpTable } from '../ops/op.js';
import type { Runtime, RuntimeTensor, Session } from '../runtime/runtime.js';
import { createEmitter } from './emitter.js';
import { appendGradients } from './gradient.js';
import { modernized } from './modernize.js';

export interface SgdOptions {
  readonly momentum: number;
  /** Decoupled from the learning rate's momentum: added to the gradient as decay * weight. */
  readonly weightDecay: number;
}

export interface TrainingStep {
  readonly model: Model;
  /** Trained tensors, by name, with their initial values. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Running statistics of BatchNormalization, updated by the forward pass. */
  readonly statistics: ReadonlyMap<string, Tensor>;
}

/**
 * The graph of one step of SGD with Nesterov momentum on a classifier. Inputs: the model's inputs, `targets` [N, classes]
 * (probabilities), `rate` (scalar), each weight `w` and its velocity `v/w`. Outputs: `loss`, `next/w`, `next/v/w` and the running
 * statistics `next/s`. BatchNormalization runs in training mode. Batch and input sizes are fixed by `dims`.
 */
export function trainingStep(
  given: Model,
  table: OpTable,
  dims: ReadonlyMap<string, readonly number[]>,
  options: SgdOptions,
): TrainingStep {
  const model: Model = { ...given, ...modernized(given) };
  const trained = trainableNames(model.graph);
  const { graph, statistics } = inTrainingMode(model.graph);
  const logits = graph.outputs[0]!.name;
  const batch = [...dims.values()][0]![0]!;
  const forward = createEmitter(graph, 'loss');
  const log = forward.emit('LogSoftmax', [logits], { axis: -1 });
  const sum = forward.emit('ReduceSum', [forward.emit('Mul', [log, 'targets'])], { keepdims: 0 });
  const loss = forward.emit('Mul', [sum, forward.float(-1 / batch)]);
  const classes = declaredClasses(graph);
  const withLoss = forward.extended({
    ...graph,
    inputs: [...graph.inputs, floatInput('targets', [batch, classes]), floatInput('rate', [])],
  });
  const parts: ModelParts = { graph: withLoss, opsets: model.opsets, functions: model.functions };
  const binding = { inputs: new Map([...dims, ['targets', [batch, classes]] as const]) };
  const gradients = appendGradients(parts, table, loss, trained, binding);
  const update = createEmitter(gradients.graph, 'update');
  const outputs: [string, string, readonly number[]][] = [['loss', loss, []]];
  for (const name of trained) {
    const gradient = gradients.of.get(name);
    const tensor = graph.initializers.get(name)!;
    if (gradient === undefined) continue;
    const g = update.emit('Add', [gradient, update.emit('Mul', [name, update.float(options.weightDecay)])]);
    const velocity = update.emit('Add', [update.emit('Mul', [`v/${name}`, update.float(options.momentum)]), g]);
    const step = update.emit('Add', [g, update.emit('Mul', [velocity, update.float(options.momentum)])]);
    const next = update.emit('Sub', [name, update.emit('Mul', [step, 'rate'])]);
    outputs.push([`next/${name}`, next, tensor.dims], [`next/v/${name}`, velocity, tensor.dims]);
  }
  for (const s of statistics) outputs.push([`next/${s}`, `stat/${s}`, graph.initializers.get(s)!.dims]);
  const moving = [...trained, ...statistics];
  const complete = update.extended(gradients.graph);
  const initializers = new Map([...complete.initializers].filter(([name]) => !moving.includes(name)));
  const tensorOf = (name: string): Tensor => graph.initializers.get(name)!;
  const renamed = outputs.map(([to, from]): Node => ({
    name: `out/${to}`,
    opType: 'Identity',
    domain: '',
    inputs: [from],
    outputs: [to],
    attributes: new Map(),
  }));
  const inputs = [
    ...complete.inputs.map((v) => (dims.has(v.name) ? floatInput(v.name, dims.get(v.name)!) : v)),
    ...moving.map((name) => floatInput(name, tensorOf(name).dims)),
    ...trained.map((name) => floatInput(`v/${name}`, tensorOf(name).dims)),
  ];
  return {
    model: {
      ...model,
      graph: {
        ...complete,
        initializers,
        inputs,
        valueInfo: new Map(),
        nodes: [...complete.nodes, ...renamed],
        outputs: outputs.map(([to, , d]) => floatInput(to, d)),
      },
    },
    weights: new Map(trained.map((name) => [name, tensorOf(name)])),
    statistics: new Map(statistics.map((name) => [name, tensorOf(name)])),
  };
}

export interface StepBatch {
  readonly inputs: ReadonlyMap<string, RuntimeTensor>;
  /** [N, classes], rows sum to 1. */
  readonly targets: Float32Array;
  readonly rate: number;
}

/** Runs the step on each batch in turn; yields the loss after each. `current()` gives weights and statistics at any time. */
export async function startTraining(
  step: TrainingStep,
  runtime: Runtime,
  threads: number,
): Promise<{
  run(batch: StepBatch): Promise<number>;
  current(): ReadonlyMap<string, Float32Array>;
  end(): Promise<void>;
}> {
  const session: Session = await runtime.load(step.model, { intraOpThreads: threads });
  const state = new Map<string, RuntimeTensor>();
  for (const [name, t] of [...step.weights, ...step.statistics])
    state.set(name, { dataType: DataType.FLOAT, dims: t.dims, data: readFloats(t) });
  for (const [name, t] of step.weights)
    state.set(`v/${name}`, { dataType: DataType.FLOAT, dims: t.dims, data: new Float32Array(readFloats(t).length) });
  return {
    async run({ inputs, targets, rate }) {
      const batch = [...inputs.values()][0]!.dims[0]!;
      const feeds = new Map<string, RuntimeTensor>([
        ...state,
        ...inputs,
        ['targets', { dataType: DataType.FLOAT, dims: [batch, targets.length / batch], data: targets }],
        ['rate', { dataType: DataType.FLOAT, dims: [], data: Float32Array.of(rate) }],
      ]);
      const results = await session.run(feeds);
      for (const name of state.keys()) {
        const next = results.get(`next/${name}`);
        if (next !== undefined) state.set(name, next);
      }
      return Number(results.get('loss')!.data[0]);
    },
    current: () =>
      new Map(
        [...state]
          .filter(([name]) => step.weights.has(name) || step.statistics.has(name))
          .map(([name, t]) => [name, t.data as Float32Array]),
      ),
    end: () => session.release(),
  };
}

/** The model with new contents for some initializers. */
export function withWeights(model: Model, values: ReadonlyMap<string, Float32Array>): Model {
  const initializers = new Map(model.graph.initializers);
  for (const [name, data] of values) {
    const old = initializers.get(name)!;
    initializers.set(name, floatTensor(name, old.dims, data));
  }
  return { ...model, graph: { ...model.graph, initializers } };
}

/** FLOAT initializers that some node multiplies or adds; running statistics of BatchNormalization are not trained. */
function trainableNames(graph: Graph): string[] {
  const fixed = new Set(graph.nodes.flatMap((n) => (n.opType === 'BatchNormalization' ? n.inputs.slice(3, 5) : [])));
  return [...graph.initializers.values()]
    .filter((t) => t.dataType === DataType.FLOAT && t.dims.length > 0 && !fixed.has(t.name))
    .map((t) => t.name);
}

function inTrainingMode(graph: Graph): { graph: Graph; statistics: string[] } {
  const statistics: string[] = [];
  const nodes = graph.nodes.map((node): Node => {
    if (node.opType !== 'BatchNormalization') return node;
    const [mean = '', variance = ''] = node.inputs.slice(3, 5);
    statistics.push(mean, variance);
    const attributes = new Map(node.attributes).set('training_mode', intAttribute('training_mode', 1));
    if (attrFloat(node, 'momentum', -1) < 0)
      attributes.set('momentum', { name: 'momentum', kind: 'float', value: 0.9 });
    return { ...node, attributes, outputs: [node.outputs[0]!, `stat/${mean}`, `stat/${variance}`] };
  });
  return { graph: { ...graph, nodes }, statistics };
}

function declaredClasses(graph: Graph): number {
  const type = graph.outputs[0]?.type;
  const last = type?.kind === 'tensor' ? type.shape?.[type.shape.length - 1] : undefined;
  return typeof last === 'number' ? last : 1;
}

function floatInput(name: string, shape: readonly number[]): ValueInfo {
  return { name, type: { kind: 'tensor', elemType: DataType.FLOAT, shape } };
}
