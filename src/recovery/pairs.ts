// Two layers that stand where the base network has one (factorize-conv): recognised in the graph, composed to the one map that they
// make, and refitted together: the first factor by the best low rank in the metric of the inputs, the second by least squares.
import { attrInts, intsAttribute, withAttributes, type Graph, type Node } from '../ir/graph.js';
import type { GraphIndex } from '../ir/walk.js';
import { factorise } from './factors.js';
import type { Gram } from './gram.js';
import { readLayer, writeLayer, type Affine, type Layer } from './layers.js';

export interface Pair {
  readonly first: Layer;
  readonly second: Layer;
  /** The base's layer of the same output. */
  readonly origin: Layer;
  /** Both as one layer of full rank, with the constant term of the second; its weight is in no graph. */
  readonly dense: Layer;
  /** Node of the dense layer, for its windows. */
  readonly node: Node;
  /** Kernel axes of the first factor. */
  readonly axes: readonly boolean[];
}

/** By output of the second layer. `origins`: the base's layers by output. */
export function findPairs(
  origins: ReadonlyMap<string, Layer>,
  graph: Graph,
  layers: readonly Layer[],
  index: GraphIndex,
): ReadonlyMap<string, Pair> {
  const byOutput = new Map(layers.map((l) => [l.output, l]));
  const outputs = new Set(graph.outputs.map((v) => v.name));
  const found = new Map<string, Pair>();
  for (const second of layers) {
    const origin = origins.get(second.output);
    const first = byOutput.get(second.input);
    if (origin === undefined || first === undefined || origins.has(first.output)) continue;
    if (first.group !== 1 || second.group !== 1 || origin.group !== 1 || first.input !== origin.input) continue;
    if (first.bias.kind !== 'none' && !(first.bias.kind === 'input' && first.bias.name === '')) continue;
    if (index.consumers.get(first.output)?.length !== 1 || outputs.has(first.output)) continue;
    const axes = axesOf(origin, first, second);
    if (axes === undefined || second.columns / second.taps !== first.outputs) continue;
    found.set(second.output, { first, second, origin, axes, ...denseOf(graph, origin, first, second) });
  }
  return found;
}

function axesOf(origin: Layer, first: Layer, second: Layer): boolean[] | undefined {
  if (origin.kind !== 'conv') return first.kind === 'conv' || second.kind === 'conv' ? undefined : [];
  if (first.kind !== 'conv' || second.kind !== 'conv' || first.dims.length !== origin.dims.length) return undefined;
  const axes: boolean[] = [];
  for (let a = 2; a < origin.dims.length; a++) {
    const [k, k1, k2] = [origin.dims[a]!, first.dims[a]!, second.dims[a]!];
    if (k1 === k && k2 === 1) axes.push(true);
    else if (k1 === 1 && k2 === k) axes.push(false);
    else return undefined;
  }
  return axes;
}

function denseOf(graph: Graph, origin: Layer, first: Layer, second: Layer): { dense: Layer; node: Node } {
  const channels = first.columns / first.taps;
  const [a, b] = [graph.nodes[first.node]!, graph.nodes[second.node]!];
  const { taps } = origin;
  const dims =
    origin.kind === 'conv' ? [second.outputs, channels, ...origin.dims.slice(2)] : [channels, second.outputs];
  const dense: Layer = {
    ...second,
    kind: origin.kind,
    input: first.input,
    dims,
    taps,
    columns: channels * taps,
    alpha: 1,
    rowMajor: origin.kind === 'conv',
  };
  if (origin.kind !== 'conv') return { dense, node: b };
  // strides, pads and dilations of an axis are those of the factor that has it; the other one has 1, 0 and 1
  const kernel = origin.dims.slice(2);
  const joined = (name: string, neutral: number): ReturnType<typeof intsAttribute> | undefined => {
    const [x, y] = [attrInts(a, name), attrInts(b, name)];
    const length = (x ?? y)?.length;
    if (length === undefined) return undefined;
    const of = (list: readonly number[] | undefined, i: number): number => list?.[i] ?? neutral;
    const both = Array.from({ length }, (_, i) => (of(x, i) === neutral ? of(y, i) : of(x, i)));
    return intsAttribute(name, both);
  };
  const node = withAttributes(b, {
    kernel_shape: intsAttribute('kernel_shape', kernel),
    strides: joined('strides', 1),
    dilations: joined('dilations', 1),
    pads: joined('pads', 0),
  });
  return { dense, node };
}

/** The one map that both layers make. */
export function composed(pair: Pair, read: (name: string) => Float32Array): Affine {
  const { first, second, dense, origin, axes } = pair;
  const f = readLayer(first, read).weights;
  const { weights: s, bias } = readLayer(second, read);
  const { outputs, columns } = dense;
  const taps = tapsOf(origin, axes);
  const channels = columns / dense.taps;
  const rank = first.outputs;
  const weights = new Float64Array(outputs * columns);
  for (let o = 0; o < outputs; o++) {
    for (let q = 0; q < rank; q++) {
      for (let t = 0; t < dense.taps; t++) {
        const factor = s[(o * rank + q) * second.taps + taps.second[t]!]!;
        if (factor === 0) continue;
        const at = q * first.columns + taps.first[t]!;
        for (let c = 0; c < channels; c++) {
          const to = o * columns + c * dense.taps + t;
          weights[to] = weights[to]! + factor * f[at + c * first.taps]!;
        }
      }
    }
  }
  return { weights, bias };
}

/** Flat index of each tap of the dense kernel in those of the factors. */
function tapsOf(origin: Layer, axes: readonly boolean[]): { first: Int32Array; second: Int32Array } {
  const kernel = origin.kind === 'conv' ? origin.dims.slice(2) : [];
  const count = kernel.reduce((n, k) => n * k, 1);
  const first = new Int32Array(count);
  const second = new Int32Array(count);
  for (let t = 0; t < count; t++) {
    let rest = t;
    let [strideI, strideJ] = [1, 1];
    for (let a = kernel.length - 1; a >= 0; a--) {
      const k = kernel[a]!;
      const at = rest % k;
      rest = Math.floor(rest / k);
      if (axes[a] === true) {
        first[t] = first[t]! + at * strideI;
        strideI *= k;
      } else {
        second[t] = second[t]! + at * strideJ;
        strideJ *= k;
      }
    }
  }
  return { first, second };
}

/** The constants of both layers that come nearest to this map under the moments of the inputs: name -> new values. */
export function writePair(
  pair: Pair,
  { weights, bias }: Affine,
  moments: Gram,
  read: (name: string) => Float32Array,
): ReadonlyMap<string, Float32Array> {
  const { first, second, dense, origin, axes } = pair;
  const rank = first.outputs;
  const made = factorise(
    {
      weights,
      outputs: dense.outputs,
      channels: dense.columns / dense.taps,
      kernel: origin.kind === 'conv' ? origin.dims.slice(2) : [],
      moments,
    },
    axes,
    rank,
  );
  const factors = made.factors(rank);
  // a rank that the matrix does not have is filled with zeros
  const own = new Float64Array(rank * first.columns);
  own.set(factors.first.subarray(0, Math.min(own.length, factors.first.length)));
  const got = factors.first.length / first.columns;
  const after = new Float64Array(dense.outputs * rank * second.taps);
  for (let o = 0; o < dense.outputs; o++) {
    const from = o * got * second.taps;
    after.set(factors.second.subarray(from, from + got * second.taps), o * rank * second.taps);
  }
  const shifted = bias.map((v, o) => v + factors.shift[o]!);
  return new Map([
    ...writeLayer(first, { weights: own, bias: new Float64Array(rank) }, read),
    ...writeLayer(second, { weights: after, bias: shifted }, read),
  ]);
}
