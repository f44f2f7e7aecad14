// Computation graphs of any sizes as one batch: all nodes in one list, edges as pairs of row numbers. Nothing is padded unless fixed
// sizes are asked for, as a training step does; then a last graph of zeros takes up what is left.
import { PareError } from '../errors.js';
import { DataType } from '../ir/tensor.js';
import { floatData, type RuntimeTensor } from '../runtime/runtime.js';
import { RESOLUTION_SCALE, type ComputationGraph } from './computation-graph.js';

/** Rows of a batch with fixed sizes. */
export interface BatchSize {
  readonly weighted: number;
  readonly regular: number;
  readonly edges: number;
  /** The last one takes the padding, so one less may be used. */
  readonly graphs: number;
}

export const RESOLUTIONS = 6;

/** How many of the graphs, from the first, fit into one batch of this size; at least one must. */
export function fitting(graphs: readonly ComputationGraph[], size: BatchSize): number {
  let [weighted, regular, edges] = [0, 0, 0];
  for (let i = 0; i < Math.min(graphs.length, size.graphs - 1); i++) {
    const g = graphs[i]!;
    weighted += g.weighted;
    regular += g.size - g.weighted;
    edges += g.sources.length;
    if (weighted <= size.weighted && regular < size.regular && edges <= size.edges) continue;
    if (i === 0) throw new PareError(`a computation graph of ${g.size} nodes does not fit into a training batch`);
    return i;
  }
  return Math.min(graphs.length, size.graphs - 1);
}

/** Sizes that hold `count` average graphs and the largest one. */
export function sizeFor(graphs: readonly ComputationGraph[], count: number): BatchSize {
  const size = (of: (g: ComputationGraph) => number): number => {
    const all = graphs.map(of);
    const mean = all.reduce((a, b) => a + b, 0) / Math.max(1, all.length);
    const largest = all.reduce((a, b) => Math.max(a, b), 1);
    // a little above the mean, so that the number of graphs is the limit more often than one of the others
    return Math.max(largest, Math.ceil(mean * count * 1.1));
  };
  return {
    weighted: size((g) => g.weighted),
    // and one row for the padding
    regular: size((g) => g.size - g.weighted) + 1,
    edges: size((g) => g.sources.length),
    graphs: count + 1,
  };
}

/** Dims of the network's inputs in a batch of this size. */
export function inputDims(size: BatchSize): ReadonlyMap<string, readonly number[]> {
  const nodes = size.weighted + size.regular;
  return new Map([
    ['weighted.op', [size.weighted]],
    ['weighted.resolution', [size.weighted, RESOLUTIONS]],
    ['weighted.kernel.height', [size.weighted]],
    ['weighted.kernel.width', [size.weighted]],
    ['weighted.bias', [size.weighted, 2]],
    ['regular.op', [size.regular]],
    ['regular.resolution', [size.regular, RESOLUTIONS]],
    ['edge.from', [size.edges]],
    ['edge.to', [size.edges]],
    ['node.graph', [nodes]],
    ['graph.share', [size.graphs, 1]],
  ]);
}

/** The feeds of a batch; without a size it is as large as its graphs. */
export function packGraphs(graphs: readonly ComputationGraph[], fixed?: BatchSize): ReadonlyMap<string, RuntimeTensor> {
  const total = (of: (g: ComputationGraph) => number): number => graphs.reduce((sum, g) => sum + of(g), 0);
  const size = fixed ?? {
    weighted: total((g) => g.weighted),
    regular: total((g) => g.size - g.weighted),
    edges: total((g) => g.sources.length),
    graphs: graphs.length,
  };
  const { weighted, regular, edges } = size;
  const nodes = weighted + regular;
  const opW = new Int32Array(weighted);
  const opR = new Int32Array(regular);
  const resolutionW = new Float32Array(weighted * RESOLUTIONS);
  const resolutionR = new Float32Array(regular * RESOLUTIONS);
  const height = new Int32Array(weighted);
  const width = new Int32Array(weighted);
  const bias = new Float32Array(weighted * 2);
  // what is left over runs in a circle on the last row, which belongs to the spare graph
  const from = new Int32Array(edges).fill(nodes - 1);
  const to = new Int32Array(edges).fill(nodes - 1);
  const graphOf = new Int32Array(nodes).fill(size.graphs - 1);
  const share = new Float32Array(size.graphs);
  let w = 0;
  let r = 0;
  let e = 0;
  graphs.forEach((g, i) => {
    const n = g.size;
    const own = g.weighted;
    for (let v = 0; v < own; v++) {
      opW[w + v] = g.ops[v]!;
      height[w + v] = g.kernels[2 * v]!;
      width[w + v] = g.kernels[2 * v + 1]!;
      bias[2 * (w + v) + g.bias[v]!] = 1;
      graphOf[w + v] = i;
    }
    for (let v = own; v < n; v++) {
      opR[r + v - own] = g.ops[v]!;
      graphOf[weighted + r + v - own] = i;
    }
    scaled(g.resolutions.subarray(0, own * RESOLUTIONS), resolutionW, w * RESOLUTIONS);
    scaled(g.resolutions.subarray(own * RESOLUTIONS), resolutionR, r * RESOLUTIONS);
    const row = (v: number): number => (v < own ? w + v : weighted + r + v - own);
    for (let k = 0; k < g.sources.length; k++) {
      from[e + k] = row(g.sources[k]!);
      to[e + k] = row(g.targets[k]!);
    }
    share[i] = 1 / n;
    w += own;
    r += n - own;
    e += g.sources.length;
  });
  const dims = inputDims(size);
  const whole = (name: string, data: Int32Array): [string, RuntimeTensor] => [
    name,
    { dataType: DataType.INT32, dims: dims.get(name)!, data },
  ];
  const float = (name: string, data: Float32Array): [string, RuntimeTensor] => [name, floatData(dims.get(name)!, data)];
  return new Map([
    whole('weighted.op', opW),
    float('weighted.resolution', resolutionW),
    whole('weighted.kernel.height', height),
    whole('weighted.kernel.width', width),
    float('weighted.bias', bias),
    whole('regular.op', opR),
    float('regular.resolution', resolutionR),
    whole('edge.from', from),
    whole('edge.to', to),
    whole('node.graph', graphOf),
    float('graph.share', share),
  ]);
}

function scaled(values: Float32Array, into: Float32Array, at: number): void {
  for (let i = 0; i < values.length; i++) into[at + i] = values[i]! / RESOLUTION_SCALE[i % RESOLUTIONS]!;
}
