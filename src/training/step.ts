// One training step as an ONNX graph: forward, loss, gradients and the optimizer's update; and the loop that runs it.
// Weights are inputs and outputs of the step: the runtime's results of one step feed the next, not copied on our side. onnxruntime-node
// 1.30 copies each result once, preallocated or not: it fills a given output and still hands back a copy of it. All that moving costs 0.3 %
// of a step, 0.8 % from a thread of its own (`npm run bench -- train-copies`: ResNet-20 and MobileNetV2, batch 128, CPU time).
import { concreteShape, inferShapes, type ModelParts } from '../analysis/shapes.js';
import { PareError } from '../errors.js';
import { attrFloat, intAttribute, type Graph, type Model, type Node, type ValueInfo } from '../ir/graph.js';
import { DataType, elementCount, floatTensor, readFloats, type Tensor } from '../ir/tensor.js';
import type { OpTable } from '../ops/op.js';
import { floatData, floatsOf, type Runtime, type RuntimeTensor, type Session } from '../runtime/runtime.js';
import { createEmitter } from './emitter.js';
import { appendGradients } from './gradient.js';
import { emitLoss, type Loss } from './loss.js';
import { modernized } from './modernize.js';
import {
  averageDecay,
  emitAverage,
  emitClipped,
  emitUpdate,
  slotsOf,
  stepScalars,
  type Optimizer,
} from './optimizer.js';

/** A further part of the loss: labels beside a teacher, or a value inside the network that is to be like the teacher's. */
export interface LossTerm {
  /** Its name among the inputs of the step is `targets/` and this. */
  readonly name: string;
  /** The value that it reads; what the main loss reads when absent. */
  readonly value?: string;
  readonly loss: Loss;
  readonly weight: number;
}

export interface StepOptions {
  readonly loss: Loss;
  /** Of the main loss beside `also`; 1 when absent. */
  readonly weight?: number;
  readonly also?: readonly LossTerm[];
  readonly optimizer: Optimizer;
  /** The gradients' common norm at most; unbounded when absent. */
  readonly clip?: number;
  /** Decay of a moving average of the weights; none is kept when absent. */
  readonly average?: number;
  /** Whether BatchNormalization works with the statistics of the batch (and updates the running ones) or the running ones. */
  readonly batchNorm?: 'train' | 'frozen';
  /** Weights that stay as they are. */
  readonly frozen?: (name: string) => boolean;
  /** Exactly these initializers are trained; by default all that work as weights of layers. */
  readonly trained?: readonly string[];
  /** The output that the loss reads; the first when absent. */
  readonly output?: string;
}

export interface TrainingStep {
  readonly model: Model;
  readonly options: StepOptions;
  /** Trained tensors, by name, with their initial values. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Running statistics of BatchNormalization, updated by the forward pass. */
  readonly statistics: ReadonlyMap<string, Tensor>;
  /** Dims of the input `targets`: those of the output. */
  readonly targetDims: readonly number[];
  /** Dims of the targets of {@link StepOptions.also}, by name. */
  readonly alsoDims: ReadonlyMap<string, readonly number[]>;
}

/**
 * The graph of one step. Inputs: the model's inputs, `targets` (as {@link Loss} says), the scalars of the optimizer, each weight
 * `w`, its slots `slot/w` and, when asked for, its average `average/w`. Outputs: `loss`, `gradient-norm` and `next/...` of all
 * that moves, running statistics included. Batch and input sizes are fixed by `dims`.
 */
export function trainingStep(
  given: Model,
  table: OpTable,
  dims: ReadonlyMap<string, readonly number[]>,
  options: StepOptions,
): TrainingStep {
  const model: Model = { ...given, ...modernized(given) };
  const frozen = options.frozen ?? (() => false);
  const wanted = (options.trained ?? trainableNames(model.graph)).filter((name) => !frozen(name));
  const { graph, statistics } = options.batchNorm === 'frozen' ? still(model.graph) : inTrainingMode(model.graph);
  const shapes = inferShapes({ ...model, graph }, table, { inputs: dims });
  const made = new Set(graph.nodes.flatMap((n) => n.outputs));
  const forward = createEmitter(graph, 'loss');
  const term = (value: string, loss: Loss, targets: string): { loss: string; dims: readonly number[] } => {
    if (!shapes.types.has(value) && !made.has(value))
      throw new PareError(`value "${value}": the network has none of this name`);
    const shape = concreteShape(shapes, value);
    if (shape === undefined) {
      throw new PareError(`value "${value}": its shape does not follow from the inputs', which training needs`);
    }
    // class scores of convolutional heads: [N, C, 1, 1]
    const flat = shape.length > 2 && shape.slice(2).every((d) => d === 1) ? shape.slice(0, 2) : shape;
    const read = flat === shape ? value : forward.emit('Reshape', [value, forward.ints(flat)]);
    return { loss: emitLoss(forward, loss, read, targets, flat), dims: flat };
  };
  const output = scoresOf(graph, options);
  const main = term(output, options.loss, 'targets');
  const weighted = (name: string, weight: number): string =>
    weight === 1 ? name : forward.emit('Mul', [name, forward.float(weight)]);
  const also = (options.also ?? []).map((t) => ({ ...t, ...term(t.value ?? output, t.loss, `targets/${t.name}`) }));
  const terms = [weighted(main.loss, options.weight ?? 1), ...also.map((t) => weighted(t.loss, t.weight))];
  const loss = terms.length === 1 ? terms[0]! : forward.emit('Sum', terms);
  const alsoDims = new Map(also.map((t) => [t.name, t.dims]));
  const targets = [['targets', main.dims] as const, ...also.map((t) => [`targets/${t.name}`, t.dims] as const)];
  const targetInputs = targets.map(([name, d]) => floatInput(name, d));
  const withLoss = forward.extended({ ...graph, inputs: [...graph.inputs, ...targetInputs] });
  const parts: ModelParts = { graph: withLoss, opsets: model.opsets, functions: model.functions };
  const binding = { inputs: new Map([...dims, ...targets]) };
  const gradients = appendGradients(parts, table, loss, wanted, binding);
  const trained = wanted.filter((name) => gradients.of.has(name));
  if (trained.length === 0) throw new PareError('the loss depends on no weight that may be trained');

  const update = createEmitter(gradients.graph, 'update', gradients.opsets.get('') ?? 17);
  const clipped = emitClipped(
    update,
    trained.map((name) => gradients.of.get(name)!),
    options.clip,
  );
  const tensorOf = (name: string): Tensor => graph.initializers.get(name)!;
  const outputs: [string, string, readonly number[]][] = [
    ['loss', loss, []],
    ['gradient-norm', clipped.norm, []],
  ];
  const moving: [string, readonly number[]][] = [];
  const moves = (name: string, next: string, d: readonly number[]): void => {
    moving.push([name, d]);
    outputs.push([`next/${name}`, next, d]);
  };
  trained.forEach((name, i) => {
    const d = tensorOf(name).dims;
    const next = emitUpdate(update, options.optimizer, name, clipped.gradients[i]!);
    moves(name, next.weight, d);
    slotsOf(options.optimizer).forEach((slot, k) => moves(`${slot}/${name}`, next.slots[k]!, d));
    if (options.average !== undefined) {
      moves(`average/${name}`, emitAverage(update, `average/${name}`, next.weight), d);
    }
  });
  // inputs, not constants, and their outputs are kept: onnxruntime writes new statistics over the old ones otherwise
  for (const s of statistics) moves(s, `stat/${s}`, tensorOf(s).dims);
  const complete = update.extended(gradients.graph);
  const moved = new Set(moving.map(([name]) => name));
  const initializers = new Map([...complete.initializers].filter(([name]) => !moved.has(name)));
  const renamed = outputs.map(([to, from]): Node => ({
    name: `out/${to}`,
    opType: 'Identity',
    domain: '',
    inputs: [from],
    outputs: [to],
    attributes: new Map(),
  }));
  const inputs = [
    ...complete.inputs.filter((v) => !moved.has(v.name)).map((v) => withDims(v, dims.get(v.name))),
    ...[...scalarsAt(options, 0, 0).keys()].map((name) => floatInput(name, [])),
    ...moving.map(([name, d]) => floatInput(name, d)),
  ];
  return {
    model: {
      ...model,
      opsets: gradients.opsets,
      graph: {
        ...complete,
        initializers,
        inputs,
        valueInfo: new Map(),
        nodes: [...complete.nodes, ...renamed],
        outputs: outputs.map(([to, , d]) => floatInput(to, d)),
      },
    },
    options,
    weights: new Map(trained.map((name) => [name, tensorOf(name)])),
    statistics: new Map(statistics.map((name) => [name, tensorOf(name)])),
    targetDims: main.dims,
    alsoDims,
  };
}

function scalarsAt(options: StepOptions, step: number, rate: number): ReadonlyMap<string, number> {
  const scalars = stepScalars(options.optimizer, step, rate);
  return options.average === undefined
    ? scalars
    : new Map([...scalars, ['ema-decay', averageDecay(options.average, step)]]);
}

export interface StepBatch {
  readonly inputs: ReadonlyMap<string, RuntimeTensor>;
  /** As many values as `targetDims` has. */
  readonly targets: Float32Array;
  /** Of the further terms of the loss, by name. */
  readonly also?: ReadonlyMap<string, Float32Array>;
  readonly rate: number;
  /** From 0. */
  readonly step: number;
}

/** What moves from step to step, by name: weights, slots, averages, statistics. */
export type TrainingState = ReadonlyMap<string, RuntimeTensor>;

export interface StepResult {
  readonly loss: number;
  readonly gradientNorm: number;
}

export interface RunningStep {
  run(batch: StepBatch): Promise<StepResult>;
  /** As it is now; later steps do not change it. */
  state(): TrainingState;
  end(): Promise<void>;
}

/** Runs the step on each batch in turn, from the model's weights or from a state kept before. */
export async function startTraining(
  step: TrainingStep,
  runtime: Runtime,
  threads: number,
  from?: TrainingState,
): Promise<RunningStep> {
  const session: Session = await runtime.load(step.model, { intraOpThreads: threads, label: 'the training step' });
  let state: TrainingState = from ?? initialState(step);
  return {
    async run({ inputs, targets, also, rate, step: number }) {
      const scalars = [...scalarsAt(step.options, number, rate)];
      const feeds = new Map<string, RuntimeTensor>([
        ...state,
        ...inputs,
        ['targets', floatData(step.targetDims, targets)],
        ...[...step.alsoDims].map(
          ([name, d]) => [`targets/${name}`, floatData(d, also?.get(name) ?? new Float32Array(0))] as const,
        ),
        ...scalars.map(([name, value]) => [name, floatData([], Float32Array.of(value))] as const),
      ]);
      const results = await session.run(feeds);
      state = new Map([...state.keys()].map((name) => [name, results.get(`next/${name}`)!]));
      const scalar = (name: string): number => floatsOf(results.get(name)!)[0]!;
      return { loss: scalar('loss'), gradientNorm: scalar('gradient-norm') };
    },
    state: () => state,
    end: () => session.release(),
  };
}

function initialState(step: TrainingStep): TrainingState {
  const state = new Map<string, RuntimeTensor>();
  for (const [name, t] of step.weights) {
    state.set(name, floatData(t.dims, readFloats(t)));
    for (const slot of slotsOf(step.options.optimizer)) {
      state.set(`${slot}/${name}`, floatData(t.dims, new Float32Array(elementCount(t.dims))));
    }
    if (step.options.average !== undefined) state.set(`average/${name}`, floatData(t.dims, readFloats(t)));
  }
  for (const [name, t] of step.statistics) state.set(name, floatData(t.dims, readFloats(t)));
  return state;
}

/** The model with the weights of a state, the averaged ones where they are kept. */
export function withState(model: Model, step: TrainingStep, state: TrainingState): Model {
  const initializers = new Map(model.graph.initializers);
  for (const name of [...step.weights.keys(), ...step.statistics.keys()]) {
    const value = state.get(`average/${name}`) ?? state.get(name)!;
    initializers.set(name, floatTensor(name, value.dims, floatsOf(value)));
  }
  return { ...model, graph: { ...model.graph, initializers } };
}

/** What the loss reads: the output, or the scores before its Softmax when the loss takes one itself. */
export function scoresOf(graph: Graph, options: Pick<StepOptions, 'loss' | 'output'>): string {
  const name = options.output ?? graph.outputs[0]?.name;
  if (name === undefined || !graph.outputs.some((o) => o.name === name)) {
    throw new PareError(`the network has no output "${name}"; it has ${graph.outputs.map((o) => o.name).join(', ')}`);
  }
  if (options.loss.kind !== 'cross-entropy' && options.loss.kind !== 'distill') return name;
  const maker = graph.nodes.find((n) => n.outputs.includes(name));
  return maker?.opType === 'Softmax' && maker.domain === '' ? maker.inputs[0]! : name;
}

const weighty = /^(Conv|ConvTranspose|Gemm|MatMul|Einsum|PRelu|LSTM|GRU|RNN|Gather|.*Normalization)$/;
const passing = /^(Identity|Transpose|Reshape|Unsqueeze|Squeeze|Flatten)$/;
const arithmetic = /^(Add|Sub|Mul|Div)$/;

/** FLOAT initializers that work as weights: those of layers, and of plain arithmetic what is more than one number. */
function trainableNames(graph: Graph): string[] {
  const fixed = new Set(graph.nodes.flatMap((n) => (n.opType === 'BatchNormalization' ? n.inputs.slice(3, 5) : [])));
  const used = new Set<string>();
  for (const node of graph.nodes) {
    const single = arithmetic.test(node.opType) || passing.test(node.opType);
    if (!single && !weighty.test(node.opType)) continue;
    for (const name of node.inputs) {
      const t = graph.initializers.get(name);
      if (t?.dataType !== DataType.FLOAT || t.dims.length === 0) continue;
      if (!single || elementCount(t.dims) > 1) used.add(name);
    }
  }
  return [...graph.initializers.keys()].filter((name) => used.has(name) && !fixed.has(name));
}

const still = (graph: Graph): { graph: Graph; statistics: string[] } => ({ graph, statistics: [] });

function inTrainingMode(graph: Graph): { graph: Graph; statistics: string[] } {
  const uses = new Map<string, number>();
  for (const name of graph.nodes.flatMap((n) => n.inputs)) uses.set(name, (uses.get(name) ?? 0) + 1);
  // statistics that two layers share, or that some node computes, stay as they are
  const own = (name: string): boolean => uses.get(name) === 1 && graph.initializers.has(name);
  const statistics: string[] = [];
  const nodes = graph.nodes.map((node): Node => {
    const [mean = '', variance = ''] = node.inputs.slice(3, 5);
    if (node.opType !== 'BatchNormalization' || !own(mean) || !own(variance)) return node;
    statistics.push(mean, variance);
    const attributes = new Map(node.attributes).set('training_mode', intAttribute('training_mode', 1));
    if (attrFloat(node, 'momentum', -1) < 0)
      attributes.set('momentum', { name: 'momentum', kind: 'float', value: 0.9 });
    return { ...node, attributes, outputs: [node.outputs[0]!, `stat/${mean}`, `stat/${variance}`] };
  });
  return { graph: { ...graph, nodes }, statistics };
}

function withDims(value: ValueInfo, dims: readonly number[] | undefined): ValueInfo {
  if (dims === undefined || value.type?.kind !== 'tensor') return value;
  return { ...value, type: { ...value.type, shape: dims } };
}

function floatInput(name: string, shape: readonly number[]): ValueInfo {
  return { name, type: { kind: 'tensor', elemType: DataType.FLOAT, shape } };
}
