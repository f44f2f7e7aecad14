// What mutations of single layers need to know of one: its node, sizes and cost, and its weights as numbers.
import { concreteShape } from '../../src/analysis/shapes.js';
import { PareError } from '../../src/errors.js';
import type { Node } from '../../src/ir/graph.js';
import { readFloats, type Tensor } from '../../src/ir/tensor.js';
import { encodeFloats } from '../../src/recovery/constants.js';
import type { FactorLayer } from '../../src/recovery/factors.js';
import type { Gram } from '../../src/recovery/gram.js';
import { constantReader, findLayers, normFactors, windowsOf, type Layer } from '../../src/recovery/layers.js';
import type { ModelEditor } from './edit.js';
import type { MutationContext } from './mutation.js';

/** A dense layer (group 1) with known sizes that may be changed. */
export interface OpenLayer {
  readonly layer: Layer;
  readonly node: Node;
  /** Input channels, or features. */
  readonly channels: number;
  /** Kernel lengths; none for Gemm and MatMul. */
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  /** Spatial lengths of input and output of a Conv. */
  readonly input: readonly number[];
  readonly output: readonly number[];
  /** Images of a Conv, rows of a matrix product. */
  readonly rows: number;
  readonly macs: number;
}

/** All layers that mutations may change, in topological order. Tied weights and unknown sizes are left out. */
export function openLayers(context: MutationContext): OpenLayer[] {
  const { model, shapes } = context.analysis;
  const open: OpenLayer[] = [];
  for (const layer of findLayers(model.graph)) {
    const node = model.graph.nodes[layer.node]!;
    const input = concreteShape(shapes, layer.input);
    if (layer.group !== 1 || input === undefined || [node.name, layer.weight, layer.output].some(context.ignore))
      continue;
    const made = openLayer(layer, node, input);
    if (made !== undefined && made.macs > 0) open.push(made);
  }
  return open;
}

function openLayer(layer: Layer, node: Node, input: readonly number[]): OpenLayer | undefined {
  if (layer.kind !== 'conv') {
    if (input.at(-1) !== layer.columns) return undefined;
    const rows = input.slice(0, -1).reduce((n, d) => n * d, 1);
    const none: readonly number[] = [];
    return {
      layer,
      node,
      channels: layer.columns,
      kernel: none,
      strides: none,
      input: none,
      output: none,
      rows,
      macs: rows * layer.columns * layer.outputs,
    };
  }
  const kernel = layer.dims.slice(2);
  const channels = layer.columns / layer.taps;
  if (input.length !== layer.dims.length || input[1] !== channels) return undefined;
  const windows = windowsOf(node, layer.dims, input);
  const rows = input[0]!;
  return {
    layer,
    node,
    channels,
    kernel,
    strides: windows.strides,
    input: input.slice(2),
    output: windows.output,
    rows,
    macs: rows * product(windows.output) * layer.columns * layer.outputs,
  };
}

export function product(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** The layers of an edit by their weights; throws PareError when a mutation cannot change one (any more). */
export function layerFinder(mutation: string, open: readonly OpenLayer[]): (weight: string) => OpenLayer {
  const byWeight = new Map(open.map((l) => [l.layer.weight, l]));
  return (weight) => {
    const found = byWeight.get(weight);
    if (found !== undefined) return found;
    throw new PareError(
      `${mutation}: "${weight}" is not the weight of one dense Conv, Gemm or MatMul that may be changed in this network`,
    );
  };
}

/** The numbers that a replacement is computed from. `reader` reads each constant once. */
export function numbersOf(
  open: OpenLayer,
  context: MutationContext,
  reader = constantReader(context.analysis.model.graph),
): FactorLayer {
  const { layer, channels, kernel } = open;
  const { outputs, columns } = layer;
  const stored = reader(layer.weight);
  const weights = new Float64Array(outputs * columns);
  for (let o = 0; o < outputs; o++) {
    for (let k = 0; k < columns; k++) {
      weights[o * columns + k] = layer.alpha * stored[layer.rowMajor ? o * columns + k : k * outputs + o]!;
    }
  }
  const moments = gramOf(open, context);
  const scale = layer.bias.kind === 'norm' ? normFactors(layer.bias.norm, reader) : undefined;
  return {
    weights,
    outputs,
    channels,
    kernel,
    ...(moments === undefined ? {} : { moments }),
    ...(scale === undefined ? {} : { scale }),
  };
}

/** Moments of the layer's inputs in the base network, as far as they are still about the same inputs. */
export function gramOf({ layer }: OpenLayer, context: MutationContext): Gram | undefined {
  const gram = context.knowledge?.gram(layer.output);
  if (gram === undefined || gram.group !== 1) return undefined;
  return gram.size === (gram.kind === 'exact' ? layer.columns : layer.columns / layer.taps) ? gram : undefined;
}

/** A tensor of the same number format as the layer's weights, whose values are computed when somebody asks. */
export function lazyTensor(
  name: string,
  dataType: number,
  dims: readonly number[],
  values: () => Float64Array,
): Tensor {
  let bytes: Uint8Array | undefined;
  return {
    name,
    dataType,
    dims,
    bytes: () => {
      const made = bytes ?? encodeFloats(name, dataType, dims, Float32Array.from(values())).bytes!();
      bytes = made;
      return made;
    },
  };
}

/** The constant with this name: an initializer or a Constant node's value. */
export function constantTensorOf(context: Pick<MutationContext, 'analysis'>, name: string): Tensor {
  const { model, graph, producers } = context.analysis;
  const initializer = model.graph.initializers.get(name);
  if (initializer !== undefined) return initializer;
  const node = graph.nodes[producers.get(name) ?? -1];
  const value = node?.attributes.get('value');
  if (value?.kind === 'tensor') return value.value;
  throw new PareError(`"${name}" is not a constant of this network`);
}

/**
 * Moves the mean of the layer's output by `shift` (computed when asked) where its constant term lives. Returns the name for the third
 * input of the Conv or Gemm that takes the layer's place: '' for none.
 */
export function shiftBias(
  open: OpenLayer,
  context: MutationContext,
  edit: ModelEditor,
  dataType: number,
  shift: (() => Float64Array) | undefined,
): string {
  const { layer, node } = open;
  const before = layer.kind === 'matmul' ? '' : (node.inputs[2] ?? '');
  if (shift === undefined || layer.bias.kind === 'none') return before;
  if (layer.bias.kind === 'add') {
    const { model, constantUses } = context.analysis;
    const { graph } = model;
    const { name } = layer.bias;
    // the vector is this layer's own: it has one use
    const known = context.analysis.graph === graph ? constantUses.get(name)?.[0]?.[0] : undefined;
    const index = known ?? graph.nodes.findIndex((n) => n.inputs.includes(name));
    const add = graph.nodes[index]!;
    const moved = movedBy(edit, constantTensorOf(context, name), index, shift, 1);
    edit.replace(index, [{ ...add, inputs: add.inputs.map((n) => (n === name ? moved : n)) }]);
    return before;
  }
  if (before === '') {
    const stem = `${layer.weight}.bias`;
    return edit.constant(lazyTensor(stem, dataType, [layer.outputs], shift), layer.node);
  }
  return movedBy(edit, constantTensorOf(context, before), layer.node, shift, layer.beta);
}

function movedBy(edit: ModelEditor, old: Tensor, before: number, shift: () => Float64Array, factor: number): string {
  const values = (): Float64Array => {
    const by = shift();
    return Float64Array.from(readFloats(old), (v, i) => v + by[i]! / factor);
  };
  return edit.constant(lazyTensor(old.name, old.dataType, old.dims, values), before);
}

/** Keeps what was computed from a weight (and from moments of its inputs) as long as somebody holds the weight. */
export function tensorCache<T>(): (weight: Tensor, moments: object | undefined, key: string, make: () => T) => T {
  interface Entry {
    readonly moments: object | undefined;
    readonly made: T;
  }
  const byWeight = new WeakMap<Tensor, Map<string, Entry>>();
  return (weight, moments, key, make) => {
    const entries = byWeight.get(weight) ?? new Map<string, Entry>();
    byWeight.set(weight, entries);
    const known = entries.get(key);
    if (known !== undefined && known.moments === moments) return known.made;
    const made = make();
    entries.set(key, { moments, made });
    return made;
  };
}
