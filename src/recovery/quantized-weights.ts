// Weights that a QDQ network keeps as integers behind DequantizeLinear: taken out as floats, so that they can be refitted like any
// others, and put back as integers of the same type with scales of their own. Activations keep their scales.
// https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
import { attrInt, intAttribute, type Attribute, type Graph, type Model, type Node } from '../ir/graph.js';
import { DataType, elementCount, hasData, readFloats, readNumbers, type Tensor } from '../ir/tensor.js';
import { allNames, freshName, indexGraph, removeDead, type GraphIndex } from '../ir/walk.js';
import { constantOf, encodeFloats } from './constants.js';

/** How a weight was stored. */
interface Storage {
  readonly dataType: number;
  readonly scaleType: number;
  /** Of per-channel scales; undefined: one scale for the tensor. */
  readonly axis: number | undefined;
  /** All zero points are zero. */
  readonly symmetric: boolean;
  readonly opset: Node;
}

/** Value that stands for the weight -> how it was stored. */
export type QuantizedWeights = ReadonlyMap<string, Storage>;

const INTEGERS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [DataType.INT8, [-128, 127]],
  [DataType.UINT8, [0, 255]],
  [DataType.INT32, [-(2 ** 31), 2 ** 31 - 1]],
]);

/** The model with such weights as floats under the names of the dequantised values; the same object when it has none. */
export function withFloatWeights(model: Model): { readonly model: Model; readonly quantized: QuantizedWeights } {
  const { graph } = model;
  const index = indexGraph(graph);
  const constant = (name: string): Tensor | undefined => {
    const at = index.producer.get(name);
    return graph.initializers.get(name) ?? (at === undefined ? undefined : constantOf(graph.nodes[at]));
  };
  const quantized = new Map<string, Storage>();
  const initializers = new Map(graph.initializers);
  const nodes = graph.nodes.filter((node) => {
    const found = node.opType === 'DequantizeLinear' ? dequantized(node, constant) : undefined;
    if (found === undefined) return true;
    quantized.set(found.tensor.name, found.storage);
    initializers.set(found.tensor.name, found.tensor);
    return false;
  });
  if (quantized.size === 0) return { model, quantized };
  return { model: { ...model, graph: removeDead({ ...graph, nodes, initializers }) }, quantized };
}

/**
 * Puts the weights back as integers. Scales are new: the largest magnitude of each output channel (or of the tensor) is the largest
 * integer; a bias becomes INT32 at the scale that integer kernels expect, input scale times weight scale, and stays a float where
 * that is not known. `left`: tensors that stay floats, such as factors that a mutation made.
 */
export function withQuantizedWeights(
  model: Model,
  quantized: QuantizedWeights,
): { readonly model: Model; readonly left: readonly string[] } {
  if (quantized.size === 0) return { model, left: [] };
  const { graph } = model;
  const taken = allNames(graph);
  const initializers = new Map(graph.initializers);
  const made: Node[] = [];
  const left: string[] = [];
  const scales = new Map<string, Float32Array>();
  const store = (name: string, part: string, tensor: Tensor): string => {
    const own = freshName(taken, `${name}_${part}`);
    taken.add(own);
    initializers.set(own, { ...tensor, name: own });
    return own;
  };
  const put = (name: string, { storage, scale, zero, integers }: Coded): void => {
    const { dims } = graph.initializers.get(name)!;
    const vector = storage.axis === undefined ? [] : [scale.length];
    initializers.delete(name);
    scales.set(name, scale);
    const zeros = Float32Array.from(scale, () => zero);
    made.push({
      ...storage.opset,
      name: freshName(taken, `${name}_DequantizeLinear`),
      inputs: [
        store(name, 'quantized', encodeIntegers(storage.dataType, dims, integers)),
        store(name, 'scale', encodeFloats('', storage.scaleType, vector, scale)),
        store(name, 'zero_point', encodeIntegers(storage.dataType, vector, zeros)),
      ],
      outputs: [name],
      attributes: axisAttribute(storage),
    });
  };
  const vectors: (readonly [string, Storage, Float32Array])[] = [];
  for (const [name, tensor] of graph.initializers) {
    // a cut that differs between uses made a copy under a name of its own
    const storage = quantized.get(name) ?? quantized.get(name.replace(/_cut(_\d+)?$/, ''));
    if (storage?.dataType === DataType.INT32) vectors.push([name, storage, readFloats(tensor)]);
    else if (storage !== undefined) put(name, codeWeight(readFloats(tensor), tensor.dims, storage));
  }
  // a refit gives biases to layers that had none: integer kernels want those as integers too
  const like = vectors[0]?.[1] ?? [...quantized.values()].find((s) => s.dataType !== DataType.INT32);
  const known = new Set(vectors.map(([name]) => name));
  for (const node of graph.nodes) {
    const [, weight = '', bias = ''] = node.inputs;
    const tensor = graph.initializers.get(bias);
    if (!CONTRACTIONS.has(node.opType) || !scales.has(weight) || tensor === undefined || known.has(bias)) continue;
    known.add(bias);
    vectors.push([bias, { ...like!, dataType: DataType.INT32, symmetric: true }, readFloats(tensor)]);
  }
  const index = indexGraph(graph);
  for (const [name, storage, values] of vectors) {
    const scale = biasScale(graph, index, name, values, scales);
    if (scale === undefined || (scale.length !== 1 && scale.length !== values.length)) left.push(name);
    else put(name, codeBias(values, scale, storage));
  }
  for (const node of graph.nodes) {
    const weight = node.inputs[1] ?? '';
    if (CONTRACTIONS.has(node.opType) && graph.initializers.has(weight) && !scales.has(weight)) left.push(weight);
  }
  return { model: { ...model, graph: { ...graph, nodes: [...made, ...graph.nodes], initializers } }, left };
}

const CONTRACTIONS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

function dequantized(
  node: Node,
  constant: (name: string) => Tensor | undefined,
): { readonly tensor: Tensor; readonly storage: Storage } | undefined {
  const [source, scaleSource] = [constant(node.inputs[0] ?? ''), constant(node.inputs[1] ?? '')];
  const zeroSource = constant(node.inputs[2] ?? '');
  if (source === undefined || scaleSource === undefined || !hasData(source) || !hasData(scaleSource)) return undefined;
  // blocks of scales, computed zero points and narrower types stay as they are: their channels can be cut, not refitted
  if (!INTEGERS.has(source.dataType) || attrInt(node, 'block_size', 0) !== 0) return undefined;
  if (zeroSource === undefined && (node.inputs[2] ?? '') !== '') return undefined;
  const { dims } = source;
  const scale = readFloats(scaleSource);
  const zero = zeroSource === undefined ? new Float64Array(scale.length) : readNumbers(zeroSource);
  const asked = attrInt(node, 'axis', 1);
  const axis = scale.length === 1 ? undefined : asked < 0 ? asked + dims.length : asked;
  if (axis !== undefined && dims[axis] !== scale.length) return undefined;
  const channelOf = channels(dims, axis);
  const values = Float32Array.from(readNumbers(source), (q, i) => (q - zero[channelOf(i)]!) * scale[channelOf(i)]!);
  return {
    tensor: encodeFloats(node.outputs[0]!, scaleSource.dataType, dims, values),
    storage: {
      dataType: source.dataType,
      scaleType: scaleSource.dataType,
      axis,
      symmetric: zero.every((z) => z === 0),
      opset: {
        name: '',
        opType: node.opType,
        domain: node.domain,
        inputs: [],
        outputs: [],
        attributes: node.attributes,
      },
    },
  };
}

interface Coded {
  readonly storage: Storage;
  readonly scale: Float32Array;
  readonly zero: number;
  readonly integers: Float32Array | Float64Array;
}

function codeWeight(values: Float32Array, dims: readonly number[], storage: Storage): Coded {
  const [least, most] = INTEGERS.get(storage.dataType)!;
  const channelOf = channels(dims, storage.axis);
  const count = storage.axis === undefined ? 1 : dims[storage.axis]!;
  const peak = new Float64Array(count);
  values.forEach((v, i) => {
    const c = channelOf(i);
    peak[c] = Math.max(peak[c]!, Math.abs(v));
  });
  // unsigned weights lie around the middle of their range, as those of a symmetric choice do
  const zero = storage.symmetric && least < 0 ? 0 : Math.round((least + most) / 2);
  const reach = Math.min(most - zero, zero - least);
  const scale = Float32Array.from(peak, (p) => (p === 0 ? 1 : p / reach));
  const integers = Float32Array.from(values, (v, i) => clamp(Math.round(v / scale[channelOf(i)]!) + zero, least, most));
  return { storage, scale, zero, integers };
}

function codeBias(values: Float32Array, scale: Float32Array, storage: Storage): Coded {
  const [least, most] = INTEGERS.get(DataType.INT32)!;
  const perChannel = scale.length > 1;
  const integers = Float64Array.from(values, (v, i) => clamp(Math.round(v / scale[perChannel ? i : 0]!), least, most));
  return { storage: { ...storage, axis: perChannel ? 0 : undefined }, scale, zero: 0, integers };
}

/** Input scale times weight scale of the layer that takes the bias as its third input; elsewhere any fine scale will do. */
function biasScale(
  graph: Graph,
  index: GraphIndex,
  bias: string,
  values: Float32Array,
  weightScales: ReadonlyMap<string, Float32Array>,
): Float32Array | undefined {
  const layers = (index.consumers.get(bias) ?? []).map((i) => graph.nodes[i]!);
  const layer = layers.find((node) => node.inputs[2] === bias && CONTRACTIONS.has(node.opType));
  if (layer === undefined)
    return Float32Array.of(values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30) / 2 ** 30);
  const maker = index.producer.get(layer.inputs[0] ?? '');
  const source = maker === undefined ? undefined : graph.nodes[maker];
  const scale = source?.opType === 'DequantizeLinear' ? graph.initializers.get(source.inputs[1] ?? '') : undefined;
  const weights = weightScales.get(layer.inputs[1] ?? '');
  if (scale === undefined || weights === undefined || elementCount(scale.dims) !== 1) return undefined;
  const input = readFloats(scale)[0]!;
  return weights.map((w) => w * input);
}

function channels(dims: readonly number[], axis: number | undefined): (position: number) => number {
  if (axis === undefined) return () => 0;
  const inner = elementCount(dims.slice(axis + 1));
  return (i) => Math.floor(i / inner) % dims[axis]!;
}

/** Before opset 13 there is no axis. */
function axisAttribute({ axis, opset }: Storage): ReadonlyMap<string, Attribute> {
  const attributes = new Map(opset.attributes);
  if (axis === undefined) attributes.delete('axis');
  else attributes.set('axis', intAttribute('axis', axis));
  return attributes;
}

function encodeIntegers(dataType: number, dims: readonly number[], values: ArrayLike<number>): Tensor {
  const list = Array.from(values);
  const array =
    dataType === DataType.INT8
      ? Int8Array.from(list)
      : dataType === DataType.UINT8
        ? Uint8Array.from(list)
        : Int32Array.from(list);
  const bytes = new Uint8Array(array.buffer);
  return { name: '', dataType, dims, bytes: () => bytes };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
