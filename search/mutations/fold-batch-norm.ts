// fold-batch-norm: a BatchNormalization becomes part of the Conv, ConvTranspose, Gemm or MatMul before it (with a constant vector added in
// between), or of the Conv or Gemm behind it where no padding comes between. The last value keeps its name.
import { concreteShape } from '../../src/analysis/shapes.js';
import {
  attrFloat,
  attrInt,
  attrInts,
  attrString,
  opsetOf,
  withAttributes,
  type Graph,
  type Model,
  type Node,
} from '../../src/ir/graph.js';
import { elementCount, type Tensor } from '../../src/ir/tensor.js';
import { indexGraph, type GraphIndex } from '../../src/ir/walk.js';
import { constantOf } from '../../src/recovery/constants.js';
import { constantReader } from '../../src/recovery/layers.js';
import { editModel, type ModelEditor } from './edit.js';
import { lazyTensor } from './layers.js';
import type { Mutation, MutationContext } from './mutation.js';
import { once } from '../../src/once.js';

export function foldBatchNorm(): Mutation {
  return {
    name: 'fold-batch-norm',
    summary: 'folds every BatchNormalization into the layer before or behind it',
    law: 'exact',
    propose: (context) => (findFolds(context).length > 0 ? {} : undefined),
    places: (context) =>
      findFolds(context).length > 0 ? [{ params: {}, site: 'batch-norm', saving: 0, error: () => 0 }] : [],
    apply(_, context): Model {
      const folds = findFolds(context);
      if (folds.length === 0) return context.analysis.model;
      const edit = editModel(context.analysis.model);
      const read = constantReader(context.analysis.model.graph);
      for (const fold of folds) (fold.where === 'before' ? foldBefore : foldBehind)(fold, context, edit, read);
      return edit.model();
    },
  };
}

interface Fold {
  readonly where: 'before' | 'behind';
  readonly norm: number;
  readonly layer: number;
  /** The Add between them and its vector. */
  readonly add?: { readonly node: number; readonly vector: string };
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** Channels of the normalisation. */
  readonly channels: number;
}

type Read = (name: string) => Float32Array;

/** Each node takes part in one fold at most: normalisations in a row are folded one an application. */
function findFolds(context: MutationContext): Fold[] {
  const { graph } = context.analysis.model;
  const index = indexGraph(graph);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const taken = new Set<number>();
  const folds: Fold[] = [];
  graph.nodes.forEach((node, i) => {
    if (!isPlainNorm(context, graph, index, node) || taken.has(i)) return;
    const fold = beforeOf(context, index, outputs, i) ?? behindOf(context, index, outputs, i);
    if (fold === undefined) return;
    const touched = [fold.norm, fold.layer, ...(fold.add === undefined ? [] : [fold.add.node])];
    if (touched.some((n) => taken.has(n) || ignored(context, graph.nodes[n]!))) return;
    for (const n of touched) taken.add(n);
    folds.push(fold);
  });
  return folds;
}

function ignored({ ignore }: MutationContext, node: Node): boolean {
  return ignore(node.name) || node.inputs.some(ignore) || node.outputs.some(ignore);
}

function isPlainNorm({ analysis }: MutationContext, graph: Graph, index: GraphIndex, node: Node): boolean {
  if (node.opType !== 'BatchNormalization' || (node.domain !== '' && node.domain !== 'ai.onnx')) return false;
  if (node.outputs.filter((o) => o !== '').length !== 1) return false;
  if (attrInt(node, 'training_mode', 0) !== 0 || attrInt(node, 'spatial', 1) !== 1) return false;
  // before opset 7 inference had to be asked for
  if (opsetOf(analysis.model) < 7 && attrInt(node, 'is_test', 0) === 0) return false;
  return node.inputs.length === 5 && node.inputs.slice(1).every((n) => tensorOf(graph, index, n) !== undefined);
}

function tensorOf(graph: Graph, index: GraphIndex, name: string): Tensor | undefined {
  const found = graph.initializers.get(name) ?? constantOf(graph.nodes[index.producer.get(name) ?? -1]);
  return found?.bytes !== undefined && FLOATS.has(found.dataType) ? found : undefined;
}

const FLOATS: ReadonlySet<number> = new Set([1, 10, 11, 16]);

/** The constants of a layer that may be rewritten: its own weight, and a bias of one value a channel or none. */
function constantsOf(
  graph: Graph,
  index: GraphIndex,
  node: Node,
  outputs: number,
): { readonly weight: Tensor; readonly bias?: Tensor } | undefined {
  const [, weightName = '', biasName = ''] = node.inputs;
  const weight = tensorOf(graph, index, weightName);
  if (weight === undefined || index.consumers.get(weightName)?.length !== 1) return undefined;
  if (biasName === '') return { weight };
  const bias = tensorOf(graph, index, biasName);
  return bias !== undefined && elementCount(bias.dims) === outputs ? { weight, bias } : undefined;
}

/** Output channels of a layer's weight, by operator. */
function outputsOf(node: Node, weight: Tensor): number | undefined {
  const { dims } = weight;
  switch (node.opType) {
    case 'Conv':
      return dims.length >= 3 ? dims[0] : undefined;
    case 'ConvTranspose':
      return dims.length >= 3 ? dims[1]! * attrInt(node, 'group', 1) : undefined;
    case 'Gemm':
      return attrInt(node, 'transB', 0) === 0 ? dims[1] : dims[0];
    case 'MatMul':
      return dims.length === 2 ? dims[1] : undefined;
    default:
      return undefined;
  }
}

function beforeOf(
  context: MutationContext,
  index: GraphIndex,
  outputs: ReadonlySet<string>,
  norm: number,
): Fold | undefined {
  const { model, shapes } = context.analysis;
  const { graph } = model;
  const alone = (value: string): number | undefined =>
    index.consumers.get(value)?.length === 1 && !outputs.has(value) ? index.producer.get(value) : undefined;
  const input = graph.nodes[norm]!.inputs[0]!;
  let layer = alone(input);
  let add: Fold['add'];
  const between = graph.nodes[layer ?? -1];
  if (layer !== undefined && between?.opType === 'Add') {
    const [a = '', b = ''] = between.inputs;
    const vector = [a, b].find((n) => tensorOf(graph, index, n) !== undefined);
    if (vector === undefined || a === b) return undefined;
    add = { node: layer, vector };
    layer = alone(vector === a ? b : a);
  }
  const node = graph.nodes[layer ?? -1];
  if (layer === undefined || node === undefined) return undefined;
  const weight = tensorOf(graph, index, node.inputs[1] ?? '');
  const channels = weight === undefined ? undefined : outputsOf(node, weight);
  const own = channels === undefined ? undefined : constantsOf(graph, index, node, channels);
  if (own === undefined || channels === undefined) return undefined;
  const rank = concreteShape(shapes, input)?.length;
  // the channels of a normalisation are axis 1: the last axis of a matrix product only if it is two-dimensional
  if (rank === undefined || ((node.opType === 'MatMul' || node.opType === 'Gemm') && rank !== 2)) return undefined;
  if (add !== undefined && !isChannelVector(tensorOf(graph, index, add.vector)!, channels, rank)) return undefined;
  return { where: 'before', norm, layer, channels, ...own, ...(add === undefined ? {} : { add }) };
}

function isChannelVector({ dims }: Tensor, channels: number, rank: number): boolean {
  if (elementCount(dims) !== channels || dims.length > rank) return false;
  return channels === 1 || dims[dims.length - rank + 1] === channels;
}

function behindOf(
  { analysis }: MutationContext,
  index: GraphIndex,
  outputs: ReadonlySet<string>,
  norm: number,
): Fold | undefined {
  const { graph } = analysis.model;
  const value = graph.nodes[norm]!.outputs[0]!;
  const users = index.consumers.get(value) ?? [];
  const node = graph.nodes[users[0] ?? -1];
  if (node === undefined || users.length !== 1 || outputs.has(value) || node.inputs[0] !== value) return undefined;
  if (node.inputs.slice(1).includes(value)) return undefined;
  const layer = users[0]!;
  if (node.opType !== 'Conv' && node.opType !== 'Gemm') return undefined;
  const weight = tensorOf(graph, index, node.inputs[1] ?? '');
  const count = weight === undefined ? undefined : outputsOf(node, weight);
  const own = count === undefined ? undefined : constantsOf(graph, index, node, count);
  if (own === undefined) return undefined;
  if (node.opType === 'Gemm') {
    if (attrInt(node, 'transA', 0) !== 0) return undefined;
    const channels = own.weight.dims[attrInt(node, 'transB', 0) === 0 ? 0 : 1]!;
    return { where: 'behind', norm, layer, channels, ...own };
  }
  // padding puts zeros where the normalisation would have put its shift
  const taps = elementCount(own.weight.dims.slice(2));
  const auto = attrString(node, 'auto_pad', 'NOTSET');
  const padded = auto.startsWith('SAME') ? taps > 1 : auto !== 'VALID' && attrInts(node, 'pads')?.some((p) => p !== 0);
  if (padded === true) return undefined;
  return { where: 'behind', norm, layer, channels: own.weight.dims[1]! * attrInt(node, 'group', 1), ...own };
}

/** y = factor x + shift, by channel. */
function affineOf(norm: Node, channels: number, read: Read): { factor: Float64Array; shift: Float64Array } {
  const [, scale = '', bias = '', mean = '', variance = ''] = norm.inputs;
  const epsilon = attrFloat(norm, 'epsilon', 1e-5);
  const [s, b, m, v] = [read(scale), read(bias), read(mean), read(variance)];
  const factor = Float64Array.from({ length: channels }, (_, c) => s[c]! / Math.sqrt(v[c]! + epsilon));
  return { factor, shift: factor.map((f, c) => b[c]! - m[c]! * f) };
}

function foldBefore(fold: Fold, { analysis }: MutationContext, edit: ModelEditor, read: Read): void {
  const { nodes } = analysis.model.graph;
  const { channels, add, weight, bias } = fold;
  const [norm, node] = [nodes[fold.norm]!, nodes[fold.layer]!];
  const affine = once(() => affineOf(norm, channels, read));
  const channelOf = outputChannel(node, weight.dims);
  edit.change(
    lazyTensor(node.inputs[1]!, weight.dataType, weight.dims, () => {
      const { factor } = affine();
      return Float64Array.from(read(node.inputs[1]!), (v, i) => v * factor[channelOf(i)]!);
    }),
  );
  const beta = attrFloat(node, 'beta', 1);
  const terms = (): Float64Array => {
    const { factor, shift } = affine();
    const own = bias === undefined ? undefined : read(node.inputs[2]!);
    const between = add === undefined ? undefined : read(add.vector);
    return shift.map((s, c) => s + factor[c]! * (beta * (own?.[c] ?? 0) + (between?.[c] ?? 0)));
  };
  const output = norm.outputs[0]!;
  edit.replace(fold.norm, []);
  if (add !== undefined) edit.replace(add.node, []);
  const stem = bias === undefined ? `${node.inputs[1]!}.bias` : node.inputs[2]!;
  const vector = edit.constant(lazyTensor(stem, weight.dataType, [channels], terms), fold.layer);
  if (node.opType === 'MatMul') {
    const product = node.outputs[0]!;
    const sum: Node = { ...norm, opType: 'Add', inputs: [product, vector], outputs: [output], attributes: new Map() };
    edit.replace(fold.layer, [node, sum]);
    return;
  }
  const plain = node.opType === 'Gemm' ? withAttributes(node, { beta: undefined }) : node;
  edit.replace(fold.layer, [{ ...plain, inputs: [node.inputs[0]!, node.inputs[1]!, vector], outputs: [output] }]);
}

function foldBehind(fold: Fold, { analysis }: MutationContext, edit: ModelEditor, read: Read): void {
  const { nodes } = analysis.model.graph;
  const { channels, weight, bias } = fold;
  const [norm, node] = [nodes[fold.norm]!, nodes[fold.layer]!];
  const outputs = outputsOf(node, weight)!;
  const affine = once(() => affineOf(norm, channels, read));
  const [into, from] = [inputChannel(node, weight.dims), outputChannel(node, weight.dims)];
  edit.change(
    lazyTensor(node.inputs[1]!, weight.dataType, weight.dims, () => {
      const { factor } = affine();
      return Float64Array.from(read(node.inputs[1]!), (v, i) => v * factor[into(i)]!);
    }),
  );
  const [alpha, beta] = [attrFloat(node, 'alpha', 1), attrFloat(node, 'beta', 1)];
  const terms = (): Float64Array => {
    const { shift } = affine();
    const own = bias === undefined ? undefined : read(node.inputs[2]!);
    const sum = Float64Array.from({ length: outputs }, (_, o) => beta * (own?.[o] ?? 0));
    read(node.inputs[1]!).forEach((v, i) => (sum[from(i)]! += alpha * v * shift[into(i)]!));
    return sum;
  };
  const stem = bias === undefined ? `${node.inputs[1]!}.bias` : node.inputs[2]!;
  const vector = edit.constant(lazyTensor(stem, weight.dataType, [outputs], terms), fold.layer);
  const plain = node.opType === 'Gemm' ? withAttributes(node, { beta: undefined }) : node;
  edit.replace(fold.norm, []);
  edit.replace(fold.layer, [{ ...plain, inputs: [norm.inputs[0]!, node.inputs[1]!, vector] }]);
}

/** Output channel of each element of a weight. */
function outputChannel(node: Node, dims: readonly number[]): (i: number) => number {
  const inner = elementCount(dims.slice(1));
  if (node.opType === 'Conv' || (node.opType === 'Gemm' && attrInt(node, 'transB', 0) !== 0))
    return (i) => Math.floor(i / inner);
  if (node.opType !== 'ConvTranspose') return (i) => i % dims[1]!;
  const perGroup = dims[0]! / attrInt(node, 'group', 1);
  const taps = elementCount(dims.slice(2));
  // [C, M/group, ...]: the group follows from the input channel
  return (i) => Math.floor(Math.floor(i / inner) / perGroup) * dims[1]! + (Math.floor(i / taps) % dims[1]!);
}

/** Input channel of each element of a Conv's or Gemm's weight. */
function inputChannel(node: Node, dims: readonly number[]): (i: number) => number {
  if (node.opType === 'Gemm')
    return attrInt(node, 'transB', 0) === 0 ? (i) => Math.floor(i / dims[1]!) : (i) => i % dims[1]!;
  const taps = elementCount(dims.slice(2));
  const inner = dims[1]! * taps;
  const perGroup = dims[0]! / attrInt(node, 'group', 1);
  return (i) => Math.floor(Math.floor(i / inner) / perGroup) * dims[1]! + (Math.floor(i / taps) % dims[1]!);
}
