// The layers that least squares can refit: Conv, Gemm and MatMul with constant weights, together with the bias and the
// BatchNormalization that directly follow. Seen from outside each is one affine map: output = W · unfolded input + b.
import {
  attrFloat,
  attrInt,
  attrInts,
  attrString,
  describeNode,
  type Graph,
  type Model,
  type Node,
} from '../ir/graph.js';
import { readFloats, type Tensor } from '../ir/tensor.js';
import { indexGraph, type GraphIndex } from '../ir/walk.js';
import { constantOf } from './constants.js';

/** Where the additive constant of a layer lives. */
export type BiasSlot =
  | { readonly kind: 'none' }
  /** Third input of Conv and Gemm; the name is '' where it is absent (see `addBiases`). */
  | { readonly kind: 'input'; readonly name: string }
  /** An Add of a constant vector right behind. */
  | { readonly kind: 'add'; readonly name: string }
  | { readonly kind: 'norm'; readonly norm: NormSlot };

export interface NormSlot {
  readonly scale: string;
  readonly bias: string;
  readonly mean: string;
  readonly variance: string;
  readonly epsilon: number;
  /** Constant vector added between the layer and the normalisation; '' when there is none. */
  readonly before: string;
}

export interface Layer {
  /** Index of the Conv, Gemm or MatMul in the graph. */
  readonly node: number;
  /** For people. */
  readonly label: string;
  readonly kind: 'conv' | 'gemm' | 'matmul';
  readonly input: string;
  /** The value behind bias and normalisation: what a refit reproduces. */
  readonly output: string;
  readonly weight: string;
  readonly dims: readonly number[];
  readonly outputs: number;
  readonly group: number;
  /** Kernel positions; 1 for Gemm and MatMul. */
  readonly taps: number;
  /** Columns of W: input channels of one group times taps, channel-major as in Conv's weight. */
  readonly columns: number;
  /** Factor on the stored weights (Gemm's alpha). */
  readonly alpha: number;
  readonly beta: number;
  /** Weights are stored [outputs, columns] rather than [columns, outputs]. */
  readonly rowMajor: boolean;
  readonly bias: BiasSlot;
}

/** W [outputs, columns] and b of the whole affine map, normalisation folded in. */
export interface Affine {
  readonly weights: Float64Array;
  readonly bias: Float64Array;
}

/** All refittable layers in topological order. Layers whose weights other nodes share are left out. O(nodes). */
export function findLayers(graph: Graph, index: GraphIndex = indexGraph(graph)): Layer[] {
  const layers: Layer[] = [];
  const outputs = new Set(graph.outputs.map((v) => v.name));
  graph.nodes.forEach((node, i) => {
    const base = plainLayer(graph, index, node, i);
    if (base !== undefined) layers.push(withFollowers(graph, index, outputs, base));
  });
  return layers;
}

/** The layer's affine map, read from the graph. */
export function readLayer(layer: Layer, read: (name: string) => Float32Array): Affine {
  const stored = read(layer.weight);
  const { outputs, columns } = layer;
  const weights = new Float64Array(outputs * columns);
  for (let o = 0; o < outputs; o++) {
    for (let k = 0; k < columns; k++) {
      weights[o * columns + k] = layer.alpha * stored[layer.rowMajor ? o * columns + k : k * outputs + o]!;
    }
  }
  const bias = new Float64Array(outputs);
  const slot = layer.bias;
  if (slot.kind === 'input' || slot.kind === 'add') {
    addVector(bias, slot.name, read, slot.kind === 'input' ? layer.beta : 1);
  } else if (slot.kind === 'norm') {
    const { norm } = slot;
    addVector(bias, norm.before, read, 1);
    const factors = normFactors(norm, read);
    const [shift, mean] = [read(norm.bias), read(norm.mean)];
    for (let o = 0; o < outputs; o++) {
      const s = factors[o]!;
      bias[o] = (bias[o]! - mean[o]!) * s + shift[o]!;
      for (let k = 0; k < columns; k++) weights[o * columns + k] = weights[o * columns + k]! * s;
    }
  }
  return { weights, bias };
}

/**
 * The constants that make the layer compute exactly this map: name -> new values. A normalisation keeps its statistics and
 * scale (the weights take the inverse), except channels whose scale is as good as zero, which get scale 1.
 */
export function writeLayer(
  layer: Layer,
  affine: Affine,
  read: (name: string) => Float32Array,
): ReadonlyMap<string, Float32Array> {
  const changes = new Map<string, Float32Array>();
  const { outputs, columns } = layer;
  const slot = layer.bias;
  const factor = new Float64Array(outputs).fill(1);
  if (slot.kind === 'norm') {
    const { norm } = slot;
    const factors = normFactors(norm, read);
    let largest = 0;
    for (const f of factors) largest = Math.max(largest, Math.abs(f));
    const scale = read(norm.scale).slice();
    const [variance, mean] = [read(norm.variance), read(norm.mean)];
    const before = norm.before === '' ? undefined : read(norm.before);
    const shift = new Float32Array(outputs);
    let rescaled = false;
    for (let o = 0; o < outputs; o++) {
      factor[o] = factors[o]!;
      if (!(Math.abs(factor[o]!) > largest * 1e-4)) {
        // the value is stored as float32: take the factor that it will really have
        scale[o] = Math.sqrt(variance[o]! + norm.epsilon);
        factor[o] = scale[o]! / Math.sqrt(variance[o]! + norm.epsilon);
        rescaled = true;
      }
      shift[o] = affine.bias[o]! + (mean[o]! - (before?.[o] ?? 0)) * factor[o]!;
    }
    changes.set(norm.bias, shift);
    if (rescaled) changes.set(norm.scale, scale);
  } else if (slot.kind !== 'none' && slot.name !== '') {
    const scale = slot.kind === 'input' ? layer.beta : 1;
    changes.set(
      slot.name,
      Float32Array.from(affine.bias, (v) => v / scale),
    );
  }
  const stored = new Float32Array(outputs * columns);
  for (let o = 0; o < outputs; o++) {
    for (let k = 0; k < columns; k++) {
      const value = affine.weights[o * columns + k]! / (layer.alpha * factor[o]!);
      stored[layer.rowMajor ? o * columns + k : k * outputs + o] = value;
    }
  }
  changes.set(layer.weight, stored);
  return changes;
}

/** Reads a model's constants as float32, each once. */
export function constantReader(graph: Graph): (name: string) => Float32Array {
  const read = new Map<string, Float32Array>();
  const nodes = new Map<string, Node>();
  for (const node of graph.nodes) if (node.opType === 'Constant') nodes.set(node.outputs[0]!, node);
  return (name) => {
    const known = read.get(name);
    if (known !== undefined) return known;
    const tensor = graph.initializers.get(name) ?? constantOf(nodes.get(name));
    if (tensor === undefined) throw new Error(`"${name}" is not a constant`);
    const values = readFloats(tensor);
    read.set(name, values);
    return values;
  };
}

/** Gives every Conv and Gemm among the layers that has no constant term at all a zero bias, so that a refit can move it. */
export function addBiases(model: Model, layers: readonly Layer[]): Model {
  const wanted = layers.filter((l) => l.bias.kind === 'input' && l.bias.name === '');
  if (wanted.length === 0) return model;
  const { graph } = model;
  const nodes = [...graph.nodes];
  const initializers = new Map(graph.initializers);
  for (const layer of wanted) {
    const node = nodes[layer.node]!;
    let name = `${layer.weight}.bias`;
    while (initializers.has(name)) name += '_';
    const weight = initializers.get(layer.weight);
    if (weight === undefined) continue;
    const bytes = new Uint8Array((layer.outputs * weightBytes(weight)) | 0);
    initializers.set(name, { name, dataType: weight.dataType, dims: [layer.outputs], bytes: () => bytes });
    nodes[layer.node] = { ...node, inputs: [node.inputs[0]!, node.inputs[1]!, name] };
  }
  return { ...model, graph: { ...graph, nodes, initializers } };
}

function weightBytes(weight: Tensor): number {
  return weight.dataType === 11 ? 8 : weight.dataType === 1 ? 4 : 2;
}

const FLOATS: ReadonlySet<number> = new Set([1, 10, 11, 16]);

function plainLayer(graph: Graph, index: GraphIndex, node: Node, i: number): Layer | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined;
  if (node.opType !== 'Conv' && node.opType !== 'Gemm' && node.opType !== 'MatMul') return undefined;
  const [input, weight, bias = ''] = node.inputs;
  const output = node.outputs[0];
  if (input === undefined || weight === undefined || output === undefined || input === weight) return undefined;
  const tensor = graphConstant(graph, index, weight);
  if (tensor === undefined || !FLOATS.has(tensor.dataType) || tensor.bytes === undefined) return undefined;
  if (graphConstant(graph, index, input) !== undefined) return undefined;
  // a weight that several nodes share cannot move for one of them alone
  if ((index.consumers.get(weight)?.length ?? 0) !== 1) return undefined;
  const common = { node: i, label: describeNode(node), input, output, weight, dims: tensor.dims };
  const slot = (outputs: number): BiasSlot | undefined => {
    if (bias === '') return { kind: 'input', name: '' };
    const vector = graphConstant(graph, index, bias);
    if (vector === undefined || count(vector.dims) !== outputs || (index.consumers.get(bias)?.length ?? 0) !== 1)
      return undefined;
    return { kind: 'input', name: bias };
  };
  if (node.opType === 'Conv') {
    if (tensor.dims.length < 3) return undefined;
    const [outputs = 0, perGroup = 0, ...kernel] = tensor.dims;
    const taps = count(kernel);
    const term = slot(outputs);
    if (term === undefined || outputs === 0 || perGroup === 0) return undefined;
    const group = attrInt(node, 'group', 1);
    return {
      ...common,
      kind: 'conv',
      outputs,
      group,
      taps,
      columns: perGroup * taps,
      alpha: 1,
      beta: 1,
      rowMajor: true,
      bias: term,
    };
  }
  if (tensor.dims.length !== 2) return undefined;
  if (node.opType === 'Gemm') {
    if (attrInt(node, 'transA', 0) !== 0) return undefined;
    const rowMajor = attrInt(node, 'transB', 0) !== 0;
    const outputs = tensor.dims[rowMajor ? 0 : 1]!;
    const columns = tensor.dims[rowMajor ? 1 : 0]!;
    const [alpha, beta] = [attrFloat(node, 'alpha', 1), attrFloat(node, 'beta', 1)];
    const term = slot(outputs);
    if (term === undefined || alpha === 0 || beta === 0) return undefined;
    return { ...common, kind: 'gemm', outputs, group: 1, taps: 1, columns, alpha, beta, rowMajor, bias: term };
  }
  const [columns = 0, outputs = 0] = tensor.dims;
  return {
    ...common,
    kind: 'matmul',
    outputs,
    group: 1,
    taps: 1,
    columns,
    alpha: 1,
    beta: 1,
    rowMajor: false,
    bias: { kind: 'none' },
  };
}

/** Takes a directly following Add of a constant vector and a BatchNormalization into the layer. */
function withFollowers(graph: Graph, index: GraphIndex, outputs: ReadonlySet<string>, layer: Layer): Layer {
  let current = layer;
  for (;;) {
    const users = index.consumers.get(current.output) ?? [];
    const next = users.length === 1 && !outputs.has(current.output) ? graph.nodes[users[0]!] : undefined;
    const output = next?.outputs[0];
    if (next === undefined || output === undefined || output === '') return current;
    const hasTerm = !(current.bias.kind === 'none' || (current.bias.kind === 'input' && current.bias.name === ''));
    if (next.opType === 'Add' && !hasTerm) {
      const name = next.inputs[0] === current.output ? next.inputs[1] : next.inputs[0];
      if (name === undefined || !isChannelVector(graph, index, name, layer)) return current;
      current = { ...current, output, bias: { kind: 'add', name } };
      continue;
    }
    if (next.opType === 'BatchNormalization' && layer.kind === 'conv') {
      const [, scale = '', bias = '', mean = '', variance = ''] = next.inputs;
      const names = [scale, bias, mean, variance];
      const plain =
        next.outputs.filter((o) => o !== '').length === 1 &&
        attrInt(next, 'training_mode', 0) === 0 &&
        attrInt(next, 'spatial', 1) === 1 &&
        new Set(names).size === 4 &&
        names.every((n) => graphConstant(graph, index, n) !== undefined) &&
        // what is rewritten must be this layer's own
        [scale, bias].every((n) => index.consumers.get(n)?.length === 1);
      if (!plain) return current;
      const before = current.bias.kind === 'input' || current.bias.kind === 'add' ? current.bias.name : '';
      const epsilon = attrFloat(next, 'epsilon', 1e-5);
      return { ...current, output, bias: { kind: 'norm', norm: { scale, bias, mean, variance, epsilon, before } } };
    }
    return current;
  }
}

function isChannelVector(graph: Graph, index: GraphIndex, name: string, layer: Layer): boolean {
  const tensor = graphConstant(graph, index, name);
  if (tensor === undefined || !FLOATS.has(tensor.dataType) || count(tensor.dims) !== layer.outputs) return false;
  if (index.consumers.get(name)?.length !== 1) return false;
  // channels stand before the spatial axes of a Conv, and last after Gemm and MatMul
  const spatial = layer.kind === 'conv' ? layer.dims.length - 2 : 0;
  const axis = tensor.dims.length - 1 - spatial;
  return layer.outputs === 1 || tensor.dims[axis] === layer.outputs;
}

function graphConstant(graph: Graph, index: GraphIndex, name: string): Tensor | undefined {
  const initializer = graph.initializers.get(name);
  if (initializer !== undefined) return initializer;
  const producer = index.producer.get(name);
  return producer === undefined ? undefined : constantOf(graph.nodes[producer]);
}

function addVector(into: Float64Array, name: string, read: (name: string) => Float32Array, factor: number): void {
  if (name === '') return;
  const values = read(name);
  for (let o = 0; o < into.length; o++) into[o] = into[o]! + factor * values[o]!;
}

/** What a normalisation multiplies each channel by. */
export function normFactors(norm: NormSlot, read: (name: string) => Float32Array): Float64Array {
  const variance = read(norm.variance);
  return Float64Array.from(read(norm.scale), (s, o) => s / Math.sqrt(variance[o]! + norm.epsilon));
}

function count(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

/** Geometry of a Conv on an input of these dims [N, C, spatial...]: explicit pads and output lengths. */
export interface Windows {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begin: readonly number[];
  readonly end: readonly number[];
  readonly input: readonly number[];
  readonly output: readonly number[];
}

export function windowsOf(node: Node, weightDims: readonly number[], inputDims: readonly number[]): Windows {
  const kernel = weightDims.slice(2);
  const input = inputDims.slice(2);
  const rank = kernel.length;
  const ones = Array.from({ length: rank }, () => 1);
  const strides = attrInts(node, 'strides') ?? ones;
  const dilations = attrInts(node, 'dilations') ?? ones;
  const auto = attrString(node, 'auto_pad', 'NOTSET');
  const pads = attrInts(node, 'pads') ?? Array.from({ length: 2 * rank }, () => 0);
  const begin: number[] = [];
  const end: number[] = [];
  const output: number[] = [];
  for (let d = 0; d < rank; d++) {
    const extent = (kernel[d]! - 1) * dilations[d]! + 1;
    if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
      const total = Math.max(0, (Math.ceil(input[d]! / strides[d]!) - 1) * strides[d]! + extent - input[d]!);
      const small = Math.floor(total / 2);
      begin.push(auto === 'SAME_UPPER' ? small : total - small);
      end.push(auto === 'SAME_UPPER' ? total - small : small);
    } else {
      begin.push(auto === 'VALID' ? 0 : pads[d]!);
      end.push(auto === 'VALID' ? 0 : pads[d + rank]!);
    }
    output.push(Math.floor((input[d]! + begin[d]! + end[d]! - extent) / strides[d]!) + 1);
  }
  return { kernel, strides, dilations, begin, end, input, output };
}
