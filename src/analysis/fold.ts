// Constant folding: nodes that compute the same on every run become initializers. Integer chains (shapes, sizes, axes) by the
// operators' value rules; chains over weights lazily, without reading them.
import type { Graph, Model, Node } from '../ir/graph.js';
import { attrInt, attrInts } from '../ir/graph.js';
import { DataType, elementCount, type Tensor } from '../ir/tensor.js';
import { castTensor, concatTensors, numbersTensor, reshapeTensor, stridedTensor } from '../ir/views.js';
import { indexGraph, removeDead, subgraphs } from '../ir/walk.js';
import type { OpTable } from '../ops/op.js';
import { stridesOf } from '../ops/partial.js';
import { sliceReadings } from '../ops/slicing.js';
import { addConstants, constantOfNode, inferNodes, Scope } from './scope.js';
import { worldOf } from './shapes.js';

/**
 * The model with constant nodes replaced by initializers of the same names (by Constant nodes before IR 4, where every initializer
 * is an input). Outputs do not change, names of inputs and outputs stay, and what nobody needs any more is gone. Initializers
 * that are inputs too are not constant: a caller may override them. Nothing that depends on a dynamic dim is folded.
 */
export function foldConstants(model: Model, table: OpTable): Model {
  const { graph } = model;
  const scope = scopeOf(model, table);
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const exact = new Set(scope.constants.keys());
  const { consumers } = indexGraph(graph);
  const folded = new Map<string, Tensor>();
  const nodes: Node[] = [];
  let replaced = false;
  for (const node of graph.nodes) {
    const made = foldLazily(scope, node, consumers) ?? foldByValue(scope, node, exact);
    for (const o of node.outputs) if (o !== '' && made?.known.has(o) === true) exact.add(o);
    const tensors = made?.tensors;
    if (tensors !== undefined) for (const t of tensors) scope.setConstant(t.name, t);
    // a node that makes an output of the graph stays: its name is a promise
    if (tensors === undefined || node.outputs.some((o) => outputs.has(o))) nodes.push(node);
    else if (model.irVersion >= 4) for (const t of tensors) folded.set(t.name, t);
    else if (node.opType === 'Constant') nodes.push(node);
    else {
      nodes.push(...tensors.map((t) => constantNode(node, t)));
      replaced = true;
    }
  }
  if (!replaced && folded.size === 0) return model;
  const initializers = new Map([...graph.initializers, ...folded]);
  const valueInfo = new Map([...graph.valueInfo].filter(([name]) => !folded.has(name)));
  return { ...model, graph: removeDead({ ...graph, nodes, initializers, valueInfo }) };
}

/** A scope that knows the constants nobody can override, and the inputs by their declared types. */
function scopeOf(model: Model, table: OpTable): Scope {
  const { graph } = model;
  const scope = new Scope(worldOf(model, table), undefined);
  const inputs = new Set(graph.inputs.map((v) => v.name));
  const fixed: Graph =
    model.irVersion < 4
      ? graph
      : { ...graph, initializers: new Map([...graph.initializers].filter(([name]) => !inputs.has(name))) };
  addConstants(scope, fixed);
  for (const { name, type } of graph.inputs) {
    if (type === undefined || scope.constants.has(name)) continue;
    const shape = type.kind === 'tensor' ? type.shape : undefined;
    // exporters write -1 for an open dim
    const dims = shape?.map((d) => (typeof d === 'number' && d < 0 ? undefined : d));
    scope.types.set(name, type.kind === 'tensor' && dims !== undefined ? { ...type, shape: dims } : type);
  }
  return scope;
}

interface Folded {
  /** Outputs whose known elements are exactly what a runtime computes. */
  readonly known: ReadonlySet<string>;
  /** Present when every output is constant. */
  readonly tensors?: readonly Tensor[];
}

/** By the value rule, small tensors only. */
function foldByValue(scope: Scope, node: Node, exact: ReadonlySet<string>): Folded | undefined {
  inferNodes(scope, [node], undefined);
  if (!isStandard(node)) return undefined;
  const outputs = node.outputs.filter((o) => o !== '');
  const constant = node.opType === 'Constant' ? constantOfNode(node) : undefined;
  if (constant !== undefined && outputs.length === 1) {
    return { known: new Set(outputs), tensors: [{ ...constant, name: outputs[0]! }] };
  }
  if (!isExact(scope, node, exact)) return undefined;
  const known = new Set(outputs.filter((o) => scope.values.has(o) && isSafe(scope, o)));
  const tensors = outputs.map((o) => valueTensor(scope, o));
  const all = tensors.filter((t) => t !== undefined);
  return all.length === outputs.length && all.length > 0 ? { known, tensors: all } : { known };
}

function isStandard(node: Node): boolean {
  return (node.domain === '' || node.domain === 'ai.onnx') && subgraphs(node).length === 0;
}

/** Whether the value rule gives the runtime's own numbers to the last bit. */
function isExact(scope: Scope, node: Node, exact: ReadonlySet<string>): boolean {
  // they read the dims only
  if (node.opType === 'Shape' || node.opType === 'Size') return true;
  const inputs = node.inputs.filter((i) => i !== '');
  if (!inputs.every((i) => exact.has(i))) return false;
  if (scope.entry()?.category === 'movement' || node.opType === 'ConstantOfShape') return true;
  // arithmetic: 64-bit integers that a double cannot hold were rounded on reading
  if (!inputs.every((i) => isSafe(scope, i))) return false;
  return ROUNDS_ONCE.has(node.opType) || [...inputs, ...node.outputs].every((n) => n === '' || isWhole(scope, n));
}

function isSafe(scope: Scope, name: string): boolean {
  return !isWhole(scope, name) || scope.valueOf(name)?.elems.some((e) => Math.abs(e ?? 0) > 2 ** 53) !== true;
}

function isWhole(scope: Scope, name: string): boolean {
  const type = scope.typeOf(name);
  return type?.kind === 'tensor' && WHOLE.has(type.elemType);
}

const WHOLE: ReadonlySet<number> = new Set([
  DataType.INT64,
  DataType.INT32,
  DataType.INT16,
  DataType.INT8,
  DataType.UINT8,
  DataType.UINT16,
  DataType.UINT32,
  DataType.UINT64,
  DataType.BOOL,
]);

/** On floats, too, the nearest number to the true result. Not Exp, Pow and their like, whose last bit is the runtime's own. */
const ROUNDS_ONCE: ReadonlySet<string> = new Set(
  (
    'Cast Where Add Sub Mul Div Neg Abs Floor Ceil Sqrt Max Min Relu Clip ' +
    'Equal Less LessOrEqual Greater GreaterOrEqual Not And Or Xor'
  ).split(' '),
);

/** A fully known value as a tensor. */
function valueTensor(scope: Scope, name: string): Tensor | undefined {
  const type = scope.typeOf(name);
  const value = scope.values.get(name);
  if (type?.kind !== 'tensor' || value === undefined) return undefined;
  const elems = value.elems.filter((e) => e !== undefined);
  if (elems.length !== value.elems.length) return undefined;
  return numbersTensor(name, type.elemType, value.dims, elems);
}

/** Movement of whole constants, whatever their size: nothing is read now. */
function foldLazily(scope: Scope, node: Node, consumers: ReadonlyMap<string, readonly number[]>): Folded | undefined {
  const name = node.outputs[0] ?? '';
  scope.enter(node);
  const x = scope.constant(0);
  if (!LAZY.has(node.opType) || !isStandard(node) || x === undefined || name === '') return undefined;
  const type = scope.entry()?.shape(scope)[0];
  if (type?.kind !== 'tensor' || type.shape?.every((d) => typeof d === 'number') !== true) return undefined;
  // a large weight with other uses (tied embeddings) would be stored twice, and no longer be tied
  const shared = node.inputs.some((i) => (consumers.get(i)?.length ?? 0) > 1);
  if (shared && x.dims.length > 0 && elementCount(type.shape) >= Math.max(elementCount(x.dims), LARGE))
    return undefined;
  const tensor = viewOf(scope, node, x, name, type.shape, type.elemType);
  return tensor && { known: new Set([name]), tensors: [tensor] };
}

/** Elements. */
const LARGE = 65_536;

const LAZY: ReadonlySet<string> = new Set(
  'Identity Reshape Flatten Squeeze Unsqueeze Cast Transpose Slice Concat'.split(' '),
);

function viewOf(
  scope: Scope,
  node: Node,
  x: Tensor,
  name: string,
  dims: readonly number[],
  elemType: number,
): Tensor | undefined {
  switch (node.opType) {
    case 'Identity':
      return reshapeTensor(x, name, x.dims);
    case 'Reshape':
    case 'Flatten':
    case 'Squeeze':
    case 'Unsqueeze':
      return reshapeTensor(x, name, dims);
    case 'Cast':
      return castTensor(x, name, elemType);
    case 'Transpose': {
      const given = attrInts(node, 'perm') ?? [];
      const perm = given.length > 0 ? given : x.dims.map((_, i) => x.dims.length - 1 - i);
      const strides = stridesOf(x.dims);
      return stridedTensor(
        x,
        name,
        dims,
        perm.map((p) => strides.at(p)!),
        0,
      );
    }
    case 'Slice': {
      const readings = sliceReadings(scope, x.dims);
      const strides = stridesOf(x.dims);
      if (readings === undefined) return undefined;
      const offset = readings.reduce((at, r, i) => at + r.first * strides[i]!, 0);
      return stridedTensor(
        x,
        name,
        dims,
        readings.map((r, i) => r.step * strides[i]!),
        offset,
      );
    }
    case 'Concat': {
      const parts = node.inputs.map((_, i) => scope.constant(i));
      const all = parts.filter((p) => p !== undefined);
      const axis = attrInt(node, 'axis', 1);
      return all.length === parts.length
        ? concatTensors(all, name, axis < 0 ? axis + dims.length : axis, dims)
        : undefined;
    }
    default:
      return undefined;
  }
}

function constantNode(node: Node, t: Tensor): Node {
  return {
    name: node.name,
    opType: 'Constant',
    domain: '',
    inputs: [],
    outputs: [t.name],
    attributes: new Map([['value', { name: 'value', kind: 'tensor', value: t }]]),
  };
}
