// What the predictors see of a network: a directed graph of primitive operators with a few integers on each (AIO-P; methods.md
// §1.1). Flat arrays, because a search encodes thousands of them a second.

import { VOCABULARY, type OperatorName } from './vocabulary.js';

/** Node features of AIO-P, and the edges. Nodes 0 .. weighted-1 own a weight, then come the others; each part in topological order. */
export interface ComputationGraph {
  readonly size: number;
  readonly weighted: number;
  /** [size] Class of each node, an index of VOCABULARY. */
  readonly ops: Uint8Array;
  /** [size, 6] Hin, Hout, Win, Wout, Cin, Cout in pixels and channels; a network divides them by RESOLUTION_SCALE. */
  readonly resolutions: Float32Array;
  /** [weighted, 2] Kernel height and width, at most MAX_KERNEL; 0, 0 for matrices. */
  readonly kernels: Uint8Array;
  /** [weighted] 1 = adds a bias. */
  readonly bias: Uint8Array;
  /** Edge i goes from sources[i] to targets[i]; sorted by target, then source; no edge twice. */
  readonly sources: Int32Array;
  readonly targets: Int32Array;
  /** [size] The nodes' numbers in topological order. */
  readonly order: Int32Array;
  /** Multiply-accumulates of one sample, of the whole graph. */
  readonly macs: number;
  /** Weighted nodes whose kernel was larger than MAX_KERNEL. */
  readonly clamped: number;
  /** Beyond AIO-P, behind a switch. */
  readonly extras?: Extras;
}

/** Features that AIO-P has not; [size] each. */
export interface Extras {
  /** Convolution groups; 1 for others. */
  readonly groups: Float32Array;
  /** The larger stride of convolutions and pools; 1 for others. */
  readonly strides: Float32Array;
  readonly macs: Float64Array;
  /** Elements of the node's weights. */
  readonly params: Float64Array;
  /** Place in topological order, 0 .. 1. */
  readonly positions: Float32Array;
}

export const RESOLUTION_SCALE: readonly number[] = [256, 256, 256, 256, 512, 512];
export const MAX_KERNEL = 7;

/** One node, for reading. */
export interface ComputationNode {
  readonly op: OperatorName;
  readonly resolution: readonly number[];
  /** Of weighted nodes only. */
  readonly kernel?: readonly [number, number];
  readonly bias?: boolean;
}

export function nodeOf(graph: ComputationGraph, i: number): ComputationNode {
  const op = VOCABULARY[graph.ops[i]!]!;
  const resolution = Array.from(graph.resolutions.subarray(6 * i, 6 * i + 6));
  if (i >= graph.weighted) return { op, resolution };
  return { op, resolution, kernel: [graph.kernels[2 * i]!, graph.kernels[2 * i + 1]!], bias: graph.bias[i] === 1 };
}

/** All of the graph in one run of bytes: equal graphs, equal bytes. For hashes and comparison. */
export function graphBytes(graph: ComputationGraph): Uint8Array {
  const { extras } = graph;
  const head = Float64Array.of(graph.size, graph.weighted, graph.sources.length, graph.macs, graph.clamped);
  const { ops, resolutions, kernels, bias, sources, targets, order } = graph;
  const parts: (Uint8Array | Float32Array | Float64Array | Int32Array)[] = [head, ops, resolutions, kernels, bias];
  parts.push(sources, targets, order);
  if (extras !== undefined) parts.push(extras.groups, extras.strides, extras.macs, extras.params, extras.positions);
  return Buffer.concat(parts.map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength)));
}
