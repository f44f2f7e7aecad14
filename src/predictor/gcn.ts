// A graph convolution network that averages the noise out of cheap evaluations (Chen et al., AAAI 2021; methods.md §12): two layers
// H' = relu(S H W) with the normalised adjacency S, the mean over the nodes, one linear output; squared error, Adam, in plain loops.
import type { Rng } from '../rng.js';

/** A graph with its features; edges both ways alike. */
export interface FeatureGraph {
  readonly size: number;
  /** [size, width] */
  readonly features: Float64Array;
  readonly edges: readonly (readonly [number, number])[];
}

export interface GcnOptions {
  readonly rng: Rng;
  readonly width: number;
  readonly epochs: number;
  readonly rate?: number;
  readonly batch?: number;
}

export interface Gcn {
  predict(graph: FeatureGraph): number;
}

/** S = D^-1/2 (A + I) D^-1/2 by rows: neighbours and weights. Its spectral radius is 1. */
export interface Adjacency {
  readonly starts: Int32Array;
  readonly neighbours: Int32Array;
  readonly weights: Float64Array;
}

export function normalisedAdjacency(size: number, edges: FeatureGraph['edges']): Adjacency {
  const lists: Set<number>[] = Array.from({ length: size }, (_, v) => new Set([v]));
  for (const [a, b] of edges) {
    lists[a]!.add(b);
    lists[b]!.add(a);
  }
  const starts = new Int32Array(size + 1);
  lists.forEach((list, v) => (starts[v + 1] = starts[v]! + list.size));
  const neighbours = Int32Array.from(lists.flatMap((list) => [...list]));
  const weights = new Float64Array(neighbours.length);
  for (let v = 0; v < size; v++) {
    for (let e = starts[v]!; e < starts[v + 1]!; e++) {
      weights[e] = 1 / Math.sqrt(lists[v]!.size * lists[neighbours[e]!]!.size);
    }
  }
  return { starts, neighbours, weights };
}

/** S times values [size, width]. */
export function spread(s: Adjacency, values: Float64Array, width: number): Float64Array {
  const found = new Float64Array(values.length);
  for (let v = 0; v + 1 < s.starts.length; v++) {
    for (let e = s.starts[v]!; e < s.starts[v + 1]!; e++) {
      const from = s.neighbours[e]! * width;
      const w = s.weights[e]!;
      for (let k = 0; k < width; k++) found[v * width + k]! += w * values[from + k]!;
    }
  }
  return found;
}

interface Prepared {
  readonly size: number;
  readonly s: Adjacency;
  /** S times the features: what the first layer multiplies. */
  readonly mixed: Float64Array;
}

/** All parameters in one run: W1 [inputs, width], W2 [width, width], readout [width], bias. */
interface Shape {
  readonly inputs: number;
  readonly width: number;
}

export function fitGcn(graphs: readonly FeatureGraph[], targets: readonly number[], options: GcnOptions): Gcn {
  const inputs = graphs[0]!.features.length / graphs[0]!.size;
  const shape: Shape = { inputs, width: options.width };
  const mean = targets.reduce((sum, y) => sum + y, 0) / targets.length;
  const deviation = Math.sqrt(targets.reduce((sum, y) => sum + (y - mean) ** 2, 0) / targets.length) || 1;
  const prepared = graphs.map((g) => prepare(g, inputs));
  const parameters = start(shape, options.rng.fork('start'));
  const gradient = new Float64Array(parameters.length);
  const first = new Float64Array(parameters.length);
  const second = new Float64Array(parameters.length);
  const batch = options.batch ?? 16;
  const peak = options.rate ?? 0.01;
  let step = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    const order = options.rng.fork(`epoch/${epoch}`).shuffle(prepared.map((_, i) => i));
    for (let at = 0; at < order.length; at += batch) {
      const part = order.slice(at, at + batch);
      gradient.fill(0);
      for (const i of part) {
        gradientOf(prepared[i]!, (targets[i]! - mean) / deviation, shape, parameters, gradient, 1 / part.length);
      }
      step++;
      const rate = 0.5 * peak * (1 + Math.cos((Math.PI * (epoch + at / order.length)) / options.epochs));
      for (let k = 0; k < parameters.length; k++) {
        const g = gradient[k]!;
        first[k] = 0.9 * first[k]! + 0.1 * g;
        second[k] = 0.999 * second[k]! + 0.001 * g * g;
        const size = Math.sqrt(second[k]! / (1 - 0.999 ** step)) + 1e-8;
        parameters[k]! -= (rate * first[k]!) / (1 - 0.9 ** step) / size;
      }
    }
  }
  return { predict: (graph) => mean + deviation * forward(prepare(graph, inputs), shape, parameters).output };
}

/** Squared error of one graph and its gradient, added to `into`. Exported for its check by finite differences. */
export function gradientOf(
  graph: Prepared,
  target: number,
  shape: Shape,
  parameters: Float64Array,
  into: Float64Array,
  share: number,
): number {
  const { inputs, width } = shape;
  const { hidden, hidden2, mixed2, output } = forward(graph, shape, parameters);
  const second = inputs * width;
  const readout = second + width * width;
  const error = output - target;
  const slope = 2 * error * share;
  into[readout + width]! += slope;
  const back2 = new Float64Array(graph.size * width);
  for (let v = 0; v < graph.size; v++) {
    for (let k = 0; k < width; k++) {
      const h = hidden2[v * width + k]!;
      into[readout + k]! += (slope * h) / graph.size;
      if (h > 0) back2[v * width + k] = (slope * parameters[readout + k]!) / graph.size;
    }
  }
  const towards = new Float64Array(graph.size * width);
  for (let v = 0; v < graph.size; v++) {
    for (let j = 0; j < width; j++) {
      const m = mixed2[v * width + j]!;
      let sum = 0;
      const row = second + j * width;
      for (let k = 0; k < width; k++) {
        const b = back2[v * width + k]!;
        into[row + k]! += m * b;
        sum += b * parameters[row + k]!;
      }
      towards[v * width + j] = sum;
    }
  }
  // S is symmetric: the way back is the way forth
  const back = spread(graph.s, towards, width);
  for (let v = 0; v < graph.size; v++) {
    for (let k = 0; k < width; k++) if (hidden[v * width + k]! <= 0) back[v * width + k] = 0;
    for (let j = 0; j < inputs; j++) {
      const x = graph.mixed[v * inputs + j]!;
      if (x === 0) continue;
      for (let k = 0; k < width; k++) into[j * width + k]! += x * back[v * width + k]!;
    }
  }
  return share * error * error;
}

function forward(graph: Prepared, { inputs, width }: Shape, parameters: Float64Array) {
  const second = inputs * width;
  const readout = second + width * width;
  const hidden = layer(graph.mixed, graph.size, inputs, width, parameters, 0);
  const mixed2 = spread(graph.s, hidden, width);
  const hidden2 = layer(mixed2, graph.size, width, width, parameters, second);
  let output = parameters[readout + width]!;
  for (let v = 0; v < graph.size; v++) {
    for (let k = 0; k < width; k++) output += (hidden2[v * width + k]! * parameters[readout + k]!) / graph.size;
  }
  return { hidden, mixed2, hidden2, output };
}

/** relu(values [size, inputs] times the matrix at `offset`). */
function layer(
  values: Float64Array,
  size: number,
  inputs: number,
  width: number,
  parameters: Float64Array,
  offset: number,
): Float64Array {
  const found = new Float64Array(size * width);
  for (let v = 0; v < size; v++) {
    for (let j = 0; j < inputs; j++) {
      const x = values[v * inputs + j]!;
      if (x === 0) continue;
      const row = offset + j * width;
      for (let k = 0; k < width; k++) found[v * width + k]! += x * parameters[row + k]!;
    }
    for (let k = 0; k < width; k++) if (found[v * width + k]! < 0) found[v * width + k] = 0;
  }
  return found;
}

export function prepare(graph: FeatureGraph, inputs: number): Prepared {
  const s = normalisedAdjacency(graph.size, graph.edges);
  return { size: graph.size, s, mixed: spread(s, graph.features, inputs) };
}

/** He's normal for the layers, a small readout. */
export function start({ inputs, width }: Shape, rng: Rng): Float64Array {
  const second = inputs * width;
  const readout = second + width * width;
  return Float64Array.from({ length: readout + width + 1 }, (_, i) => {
    if (i < second) return rng.normal() * Math.sqrt(2 / inputs);
    if (i < readout) return rng.normal() * Math.sqrt(2 / width);
    return i < readout + width ? rng.normal() / Math.sqrt(width) : 0;
  });
}
