// Flow surrogate of FGP (arXiv 2510.18360; methods.md §2): what one forward and one backward sweep of fixed random messages leave at
// the sources of a graph. It costs no label, and an encoder that learns to foretell it knows paths and their operators.
import type { Rng } from '../rng.js';

/** Nodes 0 .. size-1, edges sources[i] -> targets[i], `order` topological. */
export interface FlowGraph {
  readonly size: number;
  readonly sources: Int32Array;
  readonly targets: Int32Array;
  readonly order: Int32Array;
}

/** Drawn once for a whole corpus. */
export interface FlowConstants {
  /** What a source starts with: k numbers. */
  readonly start: Float64Array;
  /** [features, k]: node features to operator vectors. */
  readonly projection: Float64Array;
  /** [2k, k]: operator vector and message to message. */
  readonly mixing: Float64Array;
  /** Share of the message that passes unchanged. */
  readonly alpha: number;
}

/** Sums over neighbours as in the paper; `mean` keeps graphs a hundred operators deep within bounds. */
export type FlowSums = 'sum' | 'mean';

export interface FlowOptions {
  readonly k: number;
  readonly features: number;
  /** 1 for NAS-Bench-101, 0.1 for NAS-Bench-201 in the paper. */
  readonly sigma: number;
}

/** r uniform in (0, 1), projection and mixing normal; a stream for each. */
export function drawFlow({ k, features, sigma }: FlowOptions, rng: Rng): FlowConstants {
  const normals = (name: string, n: number): Float64Array => {
    const stream = rng.fork(name);
    return Float64Array.from({ length: n }, () => sigma * stream.normal());
  };
  const start = rng.fork('start');
  return {
    start: Float64Array.from({ length: k }, () => start.next()),
    projection: normals('projection', features * k),
    mixing: normals('mixing', 2 * k * k),
    alpha: 0.5,
  };
}

/** The operator vectors o = x P of all nodes, [size, k]. `features` is [size, F]. */
export function operatorVectors(constants: FlowConstants, features: Float64Array, size: number): Float64Array {
  const k = constants.start.length;
  const width = features.length / Math.max(1, size);
  const vectors = new Float64Array(size * k);
  for (let v = 0; v < size; v++) {
    for (let f = 0; f < width; f++) {
      const x = features[v * width + f]!;
      if (x === 0) continue;
      for (let c = 0; c < k; c++) vectors[v * k + c]! += x * constants.projection[f * k + c]!;
    }
  }
  return vectors;
}

/** The surrogate z of a graph, k numbers: the sum over its sources after both sweeps. O(edges k + nodes k²). */
export function flowSurrogate(
  graph: FlowGraph,
  vectors: Float64Array,
  constants: Omit<FlowConstants, 'projection'>,
  sums: FlowSums = 'sum',
): Float64Array {
  const k = constants.start.length;
  const { size, order } = graph;
  const h = new Float64Array(size * k);
  const before = neighbours(size, graph.targets, graph.sources);
  const after = neighbours(size, graph.sources, graph.targets);
  for (let v = 0; v < size; v++) if (before.count(v) === 0) h.set(constants.start, v * k);
  const message = new Float64Array(k);
  const gather = (around: Neighbours, v: number): void => {
    message.fill(0);
    around.each(v, (u) => {
      for (let c = 0; c < k; c++) message[c]! += h[u * k + c]!;
    });
    if (sums === 'sum') return;
    const n = around.count(v);
    for (let c = 0; c < k; c++) message[c]! /= n;
  };
  const update = (v: number): void => {
    const { alpha, mixing } = constants;
    for (let c = 0; c < k; c++) {
      let sum = 0;
      for (let i = 0; i < k; i++) {
        sum += vectors[v * k + i]! * mixing[i * k + c]! + message[i]! * mixing[(k + i) * k + c]!;
      }
      h[v * k + c] = alpha * message[c]! + (1 - alpha) * Math.max(0, sum);
    }
  };
  for (const v of order) {
    if (before.count(v) === 0) continue;
    gather(before, v);
    update(v);
  }
  for (let i = order.length - 1; i >= 0; i--) {
    const u = order[i]!;
    if (after.count(u) === 0) continue;
    gather(after, u);
    update(u);
  }
  const z = new Float64Array(k);
  for (let v = 0; v < size; v++) {
    if (before.count(v) > 0) continue;
    for (let c = 0; c < k; c++) z[c]! += h[v * k + c]!;
  }
  return z;
}

/** Drops coordinates that are the same for all (dead ReLUs) and z-scores the rest; rows of equal length come back. */
export function standardizedSurrogates(rows: readonly Float64Array[]): Float64Array[] {
  const width = rows[0]?.length ?? 0;
  const kept: { readonly c: number; readonly mean: number; readonly deviation: number }[] = [];
  for (let c = 0; c < width; c++) {
    const mean = rows.reduce((sum, r) => sum + r[c]!, 0) / rows.length;
    const deviation = Math.sqrt(rows.reduce((sum, r) => sum + (r[c]! - mean) ** 2, 0) / rows.length);
    if (deviation > 1e-9 * Math.max(1e-30, Math.abs(mean))) kept.push({ c, mean, deviation });
  }
  return rows.map((r) => Float64Array.from(kept, ({ c, mean, deviation }) => (r[c]! - mean) / deviation));
}

interface Neighbours {
  count(v: number): number;
  each(v: number, visit: (u: number) => void): void;
}

/** For each node the `others` of the edges whose `own` end it is. */
function neighbours(size: number, own: Int32Array, others: Int32Array): Neighbours {
  const start = new Int32Array(size + 1);
  for (const v of own) start[v + 1]!++;
  for (let v = 0; v < size; v++) start[v + 1]! += start[v]!;
  const at = start.slice();
  const list = new Int32Array(own.length);
  own.forEach((v, i) => (list[at[v]!++] = others[i]!));
  return {
    count: (v) => start[v + 1]! - start[v]!,
    each: (v, visit) => {
      for (let i = start[v]!; i < start[v + 1]!; i++) visit(list[i]!);
    },
  };
}
